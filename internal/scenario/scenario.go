// Package scenario runs the guide's proof against running brokers: messages of
// QoS 2 into a shared subscription with consumers on every node, published by
// real clients on every node, each payload counted. The demo and the
// end-to-end tests share it, so that both prove the same thing.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config describes one run. Zero values mean the defaults named.
type Config struct {
	// Brokers are the MQTT addresses (host:port), one per node.
	Brokers []string
	// Name distinguishes the client ids and topics of runs on one cluster;
	// default "scenario".
	Name string
	// Group of the shared subscription; default "workers". Empty Shared means
	// true: with Plain every consumer subscribes by itself and gets everything.
	Group string
	Plain bool
	// Messages in total; default 20,000.
	Messages int
	// Publishers and Consumers per broker; default 1 each.
	Publishers, Consumers int
	// QoS of publications and subscriptions; 2 unless QoSSet.
	QoS    byte
	QoSSet bool
	// Version is 4 (MQTT 3.1.1, the default) or 5.
	Version byte
	// Window is the number of messages that one publisher has in flight;
	// default 32.
	Window int
	// BeforeEnd is called when every message has arrived and the clients are
	// still connected: the place to compare counters. May be nil.
	BeforeEnd func(ctx context.Context) error
}

// Progress is how far a run is.
type Progress struct{ Acked, Received int }

// Report is what a run came to.
type Report struct {
	// Sent and Acked count messages on the publishers' side; Acked means
	// PUBCOMP (QoS 2) or PUBACK (QoS 1) arrived.
	Sent, Acked int
	// Received by each consumer, in the order of the brokers.
	Received []int
	// Unique payloads that arrived, those that came more than once, and those
	// that never came. Wrong counts payloads that nobody sent.
	Unique, Duplicates, Missing, Wrong int
	// Elapsed from the first PUBLISH to the last message.
	Elapsed time.Duration
}

// Sum returns the deliveries over all consumers.
func (r Report) Sum() int {
	n := 0
	for _, c := range r.Received {
		n += c
	}
	return n
}

// Perfect reports whether every message arrived as often as it must: once, or
// with Plain once per consumer.
func (r Report) Perfect(messages int) bool {
	return r.Acked == messages && r.Missing == 0 && r.Duplicates == 0 && r.Wrong == 0
}

// client is what the run needs of an MQTT client, whatever its version.
type client interface {
	subscribe(ctx context.Context, filter string, qos byte) error
	// publish returns when the broker has completed the message.
	publish(ctx context.Context, topic string, qos byte, payload []byte) error
	close()
}

type dialFunc func(ctx context.Context, address, clientID string, received func(payload []byte)) (client, error)

func (c *Config) defaults() error {
	if len(c.Brokers) == 0 {
		return errors.New("scenario: no brokers")
	}
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&c.Messages, 20_000)
	set(&c.Publishers, 1)
	set(&c.Consumers, 1)
	set(&c.Window, 32)
	if c.Name == "" {
		c.Name = "scenario"
	}
	if c.Group == "" {
		c.Group = "workers"
	}
	if !c.QoSSet {
		c.QoS = 2
	}
	if c.Version == 0 {
		c.Version = 4
	}
	return nil
}

// Run runs the scenario until every message has arrived or ctx ends; then the
// report says what is missing. progress may be nil; it is called about twice a
// second. An error means that the run could not be carried out.
func Run(ctx context.Context, cfg Config, progress func(Progress)) (Report, error) {
	if err := cfg.defaults(); err != nil {
		return Report{}, err
	}
	dial := dialV3
	if cfg.Version == 5 {
		dial = dialV5
	}
	t := newTally(cfg)
	clients, err := consumers(ctx, cfg, dial, t)
	defer func() {
		for _, c := range clients {
			c.close()
		}
	}()
	if err != nil {
		return Report{}, err
	}
	if progress != nil {
		stop := report(t, progress)
		defer stop()
	}
	start := time.Now()
	if err := publish(ctx, cfg, dial, t); err != nil {
		return t.report(time.Since(start)), err
	}
	select {
	case <-t.all:
	case <-ctx.Done():
	}
	rep := t.report(time.Since(start))
	if cfg.BeforeEnd != nil && ctx.Err() == nil {
		if err := cfg.BeforeEnd(ctx); err != nil {
			return rep, err
		}
		rep = t.report(rep.Elapsed)
	}
	return rep, nil
}

// report calls progress twice a second until the returned function is called.
func report(t *tally, progress func(Progress)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				progress(Progress{Acked: int(t.acked.Load()), Received: int(t.received.Load())})
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

func consumers(ctx context.Context, cfg Config, dial dialFunc, t *tally) ([]client, error) {
	filter := topicOf(cfg)
	if !cfg.Plain {
		filter = "$share/" + cfg.Group + "/" + filter
	}
	var out []client
	for i, address := range cfg.Brokers {
		for j := range cfg.Consumers {
			n := i*cfg.Consumers + j
			c, err := dial(ctx, address, fmt.Sprintf("%s-consumer-%d", cfg.Name, n), func(p []byte) { t.take(n, p) })
			if err != nil {
				return out, fmt.Errorf("connecting a consumer to %s: %w", address, err)
			}
			out = append(out, c)
			if err := c.subscribe(ctx, filter, cfg.QoS); err != nil {
				return out, fmt.Errorf("subscribing to %s on %s: %w", filter, address, err)
			}
		}
	}
	return out, nil
}

func topicOf(cfg Config) string { return cfg.Name + "/jobs" }

// publish sends all messages, spread over the publishers, and returns when each
// is acknowledged.
func publish(ctx context.Context, cfg Config, dial dialFunc, t *tally) error {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for i, address := range cfg.Brokers {
		for j := range cfg.Publishers {
			c, err := dial(ctx, address, fmt.Sprintf("%s-publisher-%d-%d", cfg.Name, i, j), func([]byte) {})
			if err != nil {
				return errors.Join(fmt.Errorf("connecting a publisher to %s: %w", address, err), group.Wait())
			}
			var busy sync.WaitGroup
			for range cfg.Window {
				busy.Add(1)
				group.Go(func() error {
					defer busy.Done()
					return work(ctx, cfg, c, &next, t)
				})
			}
			group.Go(func() error {
				busy.Wait()
				c.close()
				return nil
			})
		}
	}
	return group.Wait()
}

// work publishes one message after the other until none is left.
func work(ctx context.Context, cfg Config, c client, next *atomic.Int64, t *tally) error {
	for {
		n := int(next.Add(1)) - 1
		if n >= cfg.Messages {
			return nil
		}
		t.sent.Add(1)
		if err := c.publish(ctx, topicOf(cfg), cfg.QoS, payload(cfg, n)); err != nil {
			return fmt.Errorf("publishing message %d: %w", n, err)
		}
		t.acked.Add(1)
	}
}

func payload(cfg Config, n int) []byte { return []byte(cfg.Name + " " + strconv.Itoa(n)) }

// tally counts what arrives.
type tally struct {
	cfg                   Config
	sent, acked, received atomic.Int64
	all                   chan struct{} // closed when everything has arrived

	mu         sync.Mutex
	seen       []int32 // by message: how often
	byConsumer []int
	complete   int // messages that have arrived as often as they must
	wrong      int
	want       int32
}

func newTally(cfg Config) *tally {
	t := &tally{
		cfg: cfg, all: make(chan struct{}), seen: make([]int32, cfg.Messages),
		byConsumer: make([]int, len(cfg.Brokers)*cfg.Consumers), want: 1,
	}
	if cfg.Plain {
		t.want = int32(len(t.byConsumer))
	}
	return t
}

func (t *tally) take(consumer int, p []byte) {
	t.received.Add(1)
	name, number, _ := strings.Cut(string(p), " ")
	n, err := strconv.Atoi(number)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byConsumer[consumer]++
	if err != nil || name != t.cfg.Name || n < 0 || n >= len(t.seen) {
		t.wrong++
		return
	}
	t.seen[n]++
	if t.seen[n] == t.want {
		t.complete++
		if t.complete == len(t.seen) {
			close(t.all)
		}
	}
}

func (t *tally) report(elapsed time.Duration) Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Report{
		Sent: int(t.sent.Load()), Acked: int(t.acked.Load()), Received: slices.Clone(t.byConsumer), Wrong: t.wrong, Elapsed: elapsed,
	}
	for _, n := range t.seen {
		switch {
		case n > t.want:
			r.Duplicates += int(n - t.want)
			r.Unique++
		case n == t.want:
			r.Unique++
		default:
			r.Missing++
		}
	}
	return r
}
