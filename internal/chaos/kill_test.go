package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// pulse counts what the clients got, so that the broker is killed in the midst
// of the traffic however fast the machine is.
type pulse struct {
	mu   sync.Mutex
	more sync.Cond
	n    int
}

func (p *pulse) beat() {
	p.mu.Lock()
	p.n++
	p.mu.Unlock()
	p.more.Broadcast()
}

// wait returns when n more beats have come, or ctx has ended.
func (p *pulse) wait(ctx context.Context, n int) {
	defer context.AfterFunc(ctx, func() {
		p.mu.Lock()
		p.mu.Unlock() //nolint:staticcheck // whoever checks ctx waits by now
		p.more.Broadcast()
	})()
	p.mu.Lock()
	defer p.mu.Unlock()
	for end := p.n + n; p.n < end && ctx.Err() == nil; {
		p.more.Wait()
	}
}

// world is one broker and its clients.
type world struct {
	t    *testing.T
	node *clustertest.Node
	h    *history
	beat pulse
	pubs []*publisher
	subs []*subscriber // the first half is online
}

func newWorld(t *testing.T, settings ...string) *world {
	node, err := clustertest.New(clustertest.Config{
		Bin: clustertest.Bin(), Dir: filepath.Join(t.TempDir(), "n1"), Name: "n1@127.0.0.1",
		Settings: append([]string{"max_offline_messages = -1", "max_online_messages = -1"}, settings...),
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, node: node, h: &history{start: time.Now()}}
	w.beat.more.L = &w.beat.mu
	t.Cleanup(func() {
		node.Kill()
		if t.Failed() {
			t.Logf("the broker printed last:\n%s", node.Tail())
		}
	})
	for _, version := range []byte{4, 5} {
		for _, qos := range []byte{1, 2} {
			w.pubs = append(w.pubs, &publisher{
				id: fmt.Sprintf("pub-v%d-q%d", version, qos), addr: node.MQTT, version: version, qos: qos, window: 10, h: w.h, progress: w.beat.beat,
			})
		}
	}
	for i, kind := range []string{"online", "offline"} {
		for _, version := range []byte{4, 5} {
			progress := w.beat.beat
			if i == 1 {
				progress = func() {}
			}
			w.subs = append(w.subs, newSubscriber(fmt.Sprintf("%s-v%d", kind, version), node.MQTT, version, w.h, progress))
		}
	}
	return w
}

func (w *world) start(ctx context.Context) {
	w.t.Helper()
	if err := w.node.Start(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.h.add("the broker serves")
}

// TestKillLoop kills the broker at random moments while publishers of QoS 1
// and 2 send to persistent sessions, online ones and some that come seldom. In
// the end every acknowledged message has arrived, of QoS 2 once, each
// publisher's in its order.
func TestKillLoop(t *testing.T) {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d, %d kills", s, *kills)
	rng := rand.New(rand.NewPCG(s, 0))
	ctx, cancel := context.WithTimeout(t.Context(), patience+time.Duration(*kills)*10*time.Second)
	defer cancel()
	w := newWorld(t)
	w.start(ctx)
	for _, s := range w.subs {
		if err := s.subscribe(ctx); err != nil {
			t.Fatal(err)
		}
	}
	online, leave := context.WithCancel(ctx)
	defer leave()
	var receiving, sending sync.WaitGroup
	for _, s := range w.subs[:len(w.subs)/2] {
		receiving.Go(func() { w.report(s.run(online, 0)) })
	}
	for _, p := range w.pubs {
		sending.Go(func() { w.report(p.run(ctx)) })
	}
	for i := range *kills {
		w.beat.wait(ctx, rng.IntN(600))
		w.h.add("KILL %d", i+1)
		w.node.Kill()
		w.start(ctx)
		if seldom := w.subs[len(w.subs)/2+rng.IntN(len(w.subs)/2)]; rng.IntN(3) == 0 {
			w.report(seldom.run(ctx, rng.IntN(300)+1))
		}
		if t.Failed() {
			break
		}
	}
	for _, p := range w.pubs {
		p.stop.Store(true)
	}
	sending.Wait()
	for _, s := range w.subs[len(w.subs)/2:] {
		receiving.Go(func() { w.report(s.run(online, 0)) })
	}
	w.complete(ctx)
	leave()
	receiving.Wait()
	w.check()
}

// report fails the test for an error of a client.
func (w *world) report(err error) {
	if err != nil {
		w.t.Error(err)
	}
}

// complete waits until all that was acknowledged has arrived everywhere.
func (w *world) complete(ctx context.Context) {
	w.t.Helper()
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := clustertest.Await(wait, func() error {
		for _, s := range w.subs {
			for _, p := range w.pubs {
				if n := s.missing(p); n > 0 && !w.t.Failed() {
					return fmt.Errorf("%s waits for %d messages of %s", s.id, n, p.id)
				}
			}
		}
		return nil
	})
	w.report(err)
}

// check compares what everybody got with what was acknowledged.
func (w *world) check() {
	total := 0
	for _, p := range w.pubs {
		total += p.acked
		for _, s := range w.subs {
			err := s.check(p)
			if err == nil {
				continue
			}
			_, words, _ := strings.Cut(err.Error(), "\"")
			name, _, _ := strings.Cut(words, "\"")
			w.t.Errorf("%v\nwhat happened to it:\n%s", err, w.h.about(p.id, strings.TrimPrefix(name, p.id)))
		}
	}
	w.t.Logf("%d messages acknowledged, each to %d persistent sessions", total, len(w.subs))
}
