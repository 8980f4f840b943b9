package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// refusalPause is how long the port keeps silent about further refusals of one
// reason, so that a port scanner cannot fill the disk through the log.
const refusalPause = 10 * time.Second

// doorman counts and logs refused connections, and limits those that have not
// proven themselves yet.
type doorman struct {
	log   *slog.Logger
	max   int
	count map[string]*metrics.Counter

	mu     sync.Mutex
	quiet  map[string]*silence // by reason
	inside int
	byHost map[string]int
}

type silence struct {
	until      time.Time
	suppressed int
}

func newDoorman(log *slog.Logger, m *metrics.Registry, limit int) *doorman {
	d := &doorman{
		log: log, max: limit, count: map[string]*metrics.Counter{},
		quiet: map[string]*silence{}, byHost: map[string]int{},
	}
	reasons := []string{"busy", "certificate", "cookie", "protocol", "timeout", "tls"}
	for _, v := range verdicts {
		reasons = append(reasons, v.label)
	}
	for _, r := range reasons {
		d.count[r] = m.Counter("cluster_peer_refused", "Connections refused by the cluster port.",
			metrics.Label{Name: "reason", Value: r})
	}
	return d
}

// enter admits a stranger to the handshake unless too many are at it already.
// One host gets half of the places at most, so that it cannot shut the others
// out.
func (d *doorman) enter(host string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inside >= d.max || d.byHost[host] >= max(1, d.max/2) {
		return false
	}
	d.inside++
	d.byHost[host]++
	return true
}

func (d *doorman) leave(host string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside--
	if d.byHost[host]--; d.byHost[host] == 0 {
		delete(d.byHost, host)
	}
}

// refused counts one refusal and logs it if its reason was quiet lately.
func (d *doorman) refused(reason string, remote net.Addr, err error, id Identity) {
	d.count[reason].Inc()
	d.mu.Lock()
	q := d.quiet[reason]
	if q == nil {
		q = &silence{}
		d.quiet[reason] = q
	}
	now := time.Now()
	if now.Before(q.until) {
		q.suppressed++
		d.mu.Unlock()
		return
	}
	suppressed := q.suppressed
	*q = silence{until: now.Add(refusalPause)}
	d.mu.Unlock()
	args := []any{slog.String("reason", reason), slog.String("remote", remote.String())}
	if id.Node != 0 {
		args = append(args, slog.Any("node", id))
	}
	if err != nil {
		args = append(args, slog.String("error", err.Error()))
	}
	if suppressed > 0 {
		args = append(args, slog.Int("suppressed", suppressed))
	}
	d.log.Warn("cluster port refused a connection", args...)
}

// reasonOf names the failure of a handshake. inTLS tells whether TLS itself
// was still being set up.
func reasonOf(err error, inTLS bool) string {
	var verify *tls.CertificateVerificationError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.As(err, &verify):
		return "certificate"
	case inTLS:
		return "tls"
	case errors.Is(err, ErrCookie):
		return "cookie"
	}
	return "protocol"
}

// hungUp reports whether err means that the other side closed the connection.
func hungUp(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		(errors.As(err, &op) && !op.Timeout() && op.Op != "remote error")
}

// hostOf returns the host part of an address, or all of one that has none.
func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
