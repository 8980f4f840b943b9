// Package systree publishes a node's metrics on $SYS/<node>/…, for those who
// watch a broker with nothing but an MQTT client. The messages are routed like
// those of a plugin; clients cannot publish below $SYS.
package systree

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Settings are the systree_ settings.
type Settings struct {
	Enabled bool
	// Interval lies between two rounds; the first one is a second after the
	// start.
	Interval   time.Duration
	Mountpoint string
	QoS        byte
	Retain     bool
}

// Config is what a Tree is made of.
type Config struct {
	// Node is the name after $SYS/.
	Node string
	// Settings are asked for every second at least, so that changes take effect.
	Settings func() Settings
	// Samples are what is published.
	Samples func() []metrics.Sample
	// Ready reports whether messages can be routed yet.
	Ready func() bool
	// Publish routes a message, with or without a majority; done is called once.
	Publish func(m *message.Message, done func(error))
	Metrics *metrics.Registry
	Logger  *slog.Logger
}

// look is how often settings are read, at least.
const look = time.Second

// Tree publishes while Run does.
type Tree struct {
	cfg    Config
	prefix string
	// left are the messages of the last round that are still on their way.
	left            atomic.Int64
	late, failed    *metrics.Counter
	loggedAsFailing atomic.Bool
}

// New returns a Tree that publishes nothing yet.
func New(cfg Config) *Tree {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Tree{
		cfg: cfg, prefix: "$SYS/" + level(cfg.Node) + "/",
		late:   cfg.Metrics.Counter("systree_rounds_skipped", "Times that $SYS topics were not published because messages of the time before were still on their way."),
		failed: cfg.Metrics.Counter("systree_publish_errors", "Messages on $SYS topics that could not be routed."),
	}
}

// level makes one level of a topic out of a name.
func level(name string) string {
	return strings.NewReplacer("/", "_", "+", "_", "#", "_").Replace(name)
}

// Run publishes until ctx ends.
func (t *Tree) Run(ctx context.Context) {
	timer := time.NewTimer(look)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		s := t.cfg.Settings()
		due := time.Until(last.Add(s.Interval))
		if s.Enabled && due <= 0 && t.cfg.Ready() {
			last, due = time.Now(), s.Interval
			t.round(s)
		}
		if due <= 0 { // not now
			due = look
		}
		timer.Reset(min(due, look))
	}
}

// round publishes every metric once, unless the round before is not over: how
// much can be on its way is bounded.
func (t *Tree) round(s Settings) {
	if t.left.Load() > 0 {
		t.late.Inc()
		return
	}
	for _, sample := range metrics.Aggregate(t.cfg.Samples()) {
		for _, v := range sample.Flat() {
			t.left.Add(1)
			t.cfg.Publish(&message.Message{
				Mountpoint: s.Mountpoint, Topic: t.prefix + strings.ReplaceAll(v.Name, "_", "/"),
				Payload: strconv.AppendInt(nil, v.Value, 10), QoS: s.QoS, Retain: s.Retain,
			}, t.published)
		}
	}
}

// published takes the end of one message; failures are logged once until it
// works again.
func (t *Tree) published(err error) {
	if err != nil {
		t.failed.Inc()
		if !t.loggedAsFailing.Swap(true) {
			t.cfg.Logger.Warn("messages on $SYS could not be routed", "error", err)
		}
	} else {
		t.loggedAsFailing.Store(false)
	}
	t.left.Add(-1)
}
