// Package graphite pushes a node's metrics to a Graphite server, in its format
// for plain text, over one TCP connection that is made again when it breaks.
package graphite

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Settings are the graphite_ settings.
type Settings struct {
	Enabled bool
	Host    string
	Port    int
	// Interval lies between two pushes.
	Interval time.Duration
	// ConnectTimeout bounds connecting, and writing one push.
	ConnectTimeout time.Duration
	// ReconnectTimeout is how long to wait before connecting again; it doubles
	// with each attempt that fails, up to maxDoublings.
	ReconnectTimeout time.Duration
	// APIKey and Prefix go before every path, in that order.
	APIKey, Prefix string
	// IncludeLabels adds a line for each value of a label.
	IncludeLabels bool
}

// The pause between attempts.
const (
	maxDoublings = 3
	maxPause     = 24 * time.Hour // before it is doubled
)

// look is how often settings are read, at least.
const look = time.Second

// Config is what a Pusher is made of.
type Config struct {
	// Settings are asked for every second at least, so that changes take effect.
	Settings func() Settings
	Samples  func() []metrics.Sample
	// Dial connects: net.Dialer.DialContext in the broker.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Metrics *metrics.Registry
	Logger  *slog.Logger
}

// Pusher pushes while Run does. What could not be pushed is not kept: the next
// push has the values of its own time.
type Pusher struct {
	cfg            Config
	pushes, failed *metrics.Counter

	// Of Run only.
	conn    net.Conn
	address string    // that conn leads to, or the last attempt went to
	next    time.Time // of the next push or attempt
	tries   int       // that have failed in a row
	said    string    // the last error logged
}

// New returns a Pusher that does nothing yet.
func New(cfg Config) *Pusher {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pusher{
		cfg:    cfg,
		pushes: cfg.Metrics.Counter("graphite_pushes", "Times that metrics were written to Graphite."),
		failed: cfg.Metrics.Counter("graphite_push_errors", "Times that metrics could not be written to Graphite, or no connection to it could be made."),
	}
}

// Run pushes until ctx ends.
func (p *Pusher) Run(ctx context.Context) {
	defer p.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			if ctx.Err() != nil {
				return
			}
		}
		p.step(ctx, p.cfg.Settings())
		timer.Reset(max(0, min(time.Until(p.next), look)))
	}
}

// step pushes if it is time to.
func (p *Pusher) step(ctx context.Context, s Settings) {
	address := net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	switch {
	case !s.Enabled:
		p.close()
		p.next, p.tries = time.Now().Add(look), 0
		return
	case address != p.address: // at once, whatever the pause was
		p.close()
		p.address, p.next, p.tries = address, time.Time{}, 0
	case p.conn != nil && time.Until(p.next) > s.Interval: // which has become shorter
		p.next = time.Now().Add(s.Interval)
	}
	if time.Now().Before(p.next) {
		return
	}
	began := time.Now()
	if err := p.push(ctx, s); err != nil {
		if ctx.Err() != nil {
			return
		}
		p.failed.Inc()
		p.close()
		pause := min(s.ReconnectTimeout, maxPause) << min(p.tries, maxDoublings)
		p.tries++
		p.next = time.Now().Add(pause*3/4 + rand.N(pause/2+1)) // not all nodes at one moment
		if text := err.Error(); text != p.said {
			p.said = text // once for as long as the reason is the same
			p.cfg.Logger.Warn("metrics cannot be pushed to Graphite", "address", p.address, "error", text)
		}
		return
	}
	p.pushes.Inc()
	p.tries, p.said = 0, ""
	p.next = began.Add(s.Interval)
}

// push writes all values once, over a connection that is made if there is none.
func (p *Pusher) push(ctx context.Context, s Settings) error {
	if p.conn != nil && !alive(p.conn) {
		p.close() // the server has closed it: connect again, that is no failure yet
	}
	if p.conn == nil {
		dialing, cancel := context.WithTimeout(ctx, s.ConnectTimeout)
		defer cancel()
		conn, err := p.cfg.Dial(dialing, "tcp", p.address)
		if err != nil {
			return err
		}
		p.conn = conn
	}
	stop := context.AfterFunc(ctx, func() { _ = p.conn.SetWriteDeadline(time.Now()) })
	defer stop()
	if err := p.conn.SetWriteDeadline(time.Now().Add(s.ConnectTimeout)); err != nil {
		return err
	}
	_, err := p.conn.Write(lines(p.cfg.Samples(), s, time.Now()))
	return err
}

func (p *Pusher) close() {
	if p.conn != nil {
		_ = p.conn.Close() // nothing is to be said to it any more
		p.conn = nil
	}
}

// alive reports whether the server has not closed the connection: a write on one
// that it has closed succeeds, and what was written is lost. Graphite says
// nothing, so whatever can be read is ignored.
func alive(c net.Conn) bool {
	const moment = time.Millisecond
	if c.SetReadDeadline(time.Now().Add(moment)) != nil {
		return false
	}
	_, err := c.Read(make([]byte, 512))
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

// lines are all samples: summed by name, as their paths tell nothing of labels,
// and with IncludeLabels each by itself beside it, with its labels in the path.
func lines(samples []metrics.Sample, s Settings, now time.Time) []byte {
	var prefix strings.Builder
	for _, part := range []string{s.APIKey, s.Prefix} {
		if part != "" {
			prefix.WriteString(part + ".")
		}
	}
	at := strconv.FormatInt(now.Unix(), 10)
	var out []byte
	add := func(sample metrics.Sample, labels string) {
		for _, v := range sample.Flat() {
			suffix := strings.TrimPrefix(v.Name, sample.Name) // of a histogram
			out = append(out, prefix.String()+dotted(sample.Name)+labels+dotted(suffix)+" "...)
			out = append(strconv.AppendInt(out, v.Value, 10), " "+at+"\n"...)
		}
	}
	for _, sample := range metrics.Aggregate(samples) {
		add(sample, "")
	}
	if !s.IncludeLabels {
		return out
	}
	for _, sample := range samples {
		var labels strings.Builder
		for _, l := range sample.Labels {
			labels.WriteString("." + l.Name + "_" + plain(l.Value))
		}
		if labels.Len() > 0 {
			add(sample, labels.String())
		}
	}
	return out
}

func dotted(name string) string { return strings.ReplaceAll(name, "_", ".") }

// plain makes one part of a path out of a label's value.
func plain(value string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' {
			return r
		}
		return '_'
	}, value)
}
