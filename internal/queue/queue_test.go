package queue

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// consumer notes that it was woken.
type consumer struct {
	woken  chan struct{}
	closed chan packet.Reason
}

func newConsumer() *consumer {
	return &consumer{woken: make(chan struct{}, 1), closed: make(chan packet.Reason, 1)}
}

func (c *consumer) Wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

func (c *consumer) Close(r packet.Reason) {
	select {
	case c.closed <- r:
	default:
	}
}

// rig is a manager with its store.
type rig struct {
	t        fataler
	fs       vfs.FS
	store    *msgstore.Store
	m        *Manager
	registry *metrics.Registry
	seq      uint64
	index    uint64
	headPage int
	mode     DeliverMode
	defaults func() Options
	dropped  func(id message.SessionID, m *message.Message, qos byte, reason string)
}

type fataler interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Helper()
}

var sid = message.SessionID{ClientID: "c"}

func newRig(t fataler, disk bool) *rig {
	r := &rig{t: t, registry: metrics.New(), headPage: 8}
	if disk {
		r.fs = vfs.NewMem()
	}
	r.start()
	return r
}

func (r *rig) start() {
	cfg := Config{Metrics: r.registry, HeadPage: r.headPage, Dropped: r.dropped, Defaults: r.defaults}
	if r.fs != nil {
		s, err := msgstore.Open(msgstore.Config{Dir: "s", FS: r.fs, MinFreeBytes: -1})
		if err != nil {
			r.t.Fatal(err)
		}
		r.store, cfg.Store = s, s
	}
	m, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = m
	m.Start()
}

func (r *rig) stop() {
	r.m.Close()
	if r.store != nil {
		if err := r.store.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) open(o Options, held bool) *Queue {
	r.t.Helper()
	r.index++
	q, _, err := r.m.Open(OpenRequest{
		ID: sid, Epoch: message.Epoch{Cluster: 1, Index: r.index}, Durable: true, Expiry: message.NeverExpires, Options: o, Held: held, Mode: r.mode,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return q
}

func (r *rig) attach(o Options) (*Attachment, *consumer) {
	r.t.Helper()
	c := newConsumer()
	a, err := r.open(o, false).Attach(c, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return a, c
}

// deliver delivers one message and waits for the answer.
func (r *rig) deliver(qos byte) (*message.Message, error) {
	r.seq++
	m := &message.Message{
		ID: message.ID{Origin: 1, Sequence: r.seq}, Topic: "t", Payload: []byte(fmt.Sprint(r.seq)), QoS: qos,
	}
	done := make(chan error, 1)
	r.m.Deliver(sid, Delivery{Message: m, QoS: 2}, func(err error) { done <- err })
	return m, <-done
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// next pulls one packet, waiting to be woken.
func next(a *Attachment, c *consumer) Out {
	for {
		if out := a.Pull(nil, 1); len(out) > 0 {
			return out[0]
		}
		<-c.woken
	}
}

func (r *rig) metric(name string) (v int64) {
	for _, s := range metrics.Aggregate(r.registry.Samples()) {
		if s.Name == name {
			v = s.Value
		}
	}
	return v
}

// drain acknowledges everything and returns the payloads in order.
func (r *rig) drain(a *Attachment, c *consumer, want int) []string {
	r.t.Helper()
	var got []string
	open := 0
	for len(got) < want || open > 0 {
		o := next(a, c)
		switch {
		case o.Release:
			r.must(a.Pubcomp(o.PacketID))
			open--
		case o.QoS == 2:
			got = append(got, string(o.Message.Payload))
			r.must(a.Pubrec(o.PacketID, false))
			open++
		default:
			got = append(got, string(o.Message.Payload))
			if o.QoS == 1 {
				r.must(a.Puback(o.PacketID))
			}
		}
	}
	return got
}

// yes agrees that a queue is handed over.
func yes() bool { return true }

func numbers(from, to int) []string {
	var s []string
	for i := from; i <= to; i++ {
		s = append(s, fmt.Sprint(i))
	}
	return s
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name            string
		disk, lifo      bool
		online, offline int
		override        bool
		want            []string
	}{
		{"fifo keeps the first", true, false, -1, 10, false, numbers(1, 10)},
		{"fifo in memory", false, false, -1, 10, false, numbers(1, 10)},
		{"lifo keeps the last", true, true, -1, 3, false, []string{"30", "29", "28"}},
		{"lifo in memory", false, true, -1, 3, false, []string{"30", "29", "28"}},
		{"unlimited", true, false, -1, -1, false, numbers(1, 30)},
		{"none", true, false, -1, 0, false, nil},
		{"online limit cuts", true, false, 10, -1, false, numbers(1, 10)},
		{"online limit cuts lifo", true, true, 3, -1, false, []string{"30", "29", "28"}},
		{"online limit overridden", true, false, 10, -1, true, numbers(1, 30)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.disk)
			defer r.stop()
			o := Options{MaxOnline: c.online, MaxOffline: c.offline, LIFO: c.lifo, OverrideMaxOnline: c.override, MaxInflight: 1}
			r.open(o, false)
			for range 30 {
				_, _ = r.deliver(1)
			}
			a, k := r.attach(o)
			if d := cmp.Diff(c.want, r.drain(a, k, len(c.want))); d != "" {
				t.Fatal(d)
			}
			if out := a.Pull(nil, 10); len(out) != 0 {
				t.Fatalf("%d more", len(out))
			}
			if n := r.metric("queue_message_drop"); n != int64(30-len(c.want)) {
				t.Fatalf("queue_message_drop %d", n)
			}
		})
	}
}

func TestQoS0Offline(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	r.open(Options{MaxOnline: -1, MaxOffline: -1}, false)
	_, err := r.deliver(0)
	r.must(err)
	if r.metric("queue_message_unhandled") != 1 {
		t.Fatal("not counted")
	}
	if i, _ := r.m.Info(sid); i.Pending != 0 || i.State != Offline {
		t.Fatalf("%+v", i)
	}
}

func TestMove(t *testing.T) {
	src, dst := newRig(t, true), newRig(t, true)
	defer src.stop()
	defer dst.stop()
	o := Options{MaxOnline: -1, MaxOffline: -1, MaxInflight: 2}
	a, k := src.attach(o)
	for range 25 {
		_, err := src.deliver(2)
		src.must(err)
	}
	first := next(a, k)
	src.must(a.Pubrec(first.PacketID, false))
	if rel := next(a, k); rel.Release {
		src.t.Helper()
	}
	dst.open(o, true)
	dst.seq = 25
	_, err := dst.deliver(2) // delivered at the new owner before the old one's arrive
	dst.must(err)
	mark := Mark{Source: 7, Epoch: message.Epoch{Cluster: 1, Index: 1}}
	from := uint64(0)
	for more := true; more; {
		h, err := src.m.Take(t.Context(), sid, from, 4, yes)
		src.must(err)
		mark.From, mark.Next = from, h.Next
		for range 2 { // the second is a repetition
			done := make(chan error, 1)
			dst.m.Import(sid, h, mark, func(err error) { done <- err })
			dst.must(<-done)
		}
		src.must(src.m.Confirm(t.Context(), sid, h.Next, yes))
		from, more = h.Next, h.More
	}
	if i, _ := src.m.Info(sid); i.Pending != 0 || i.State != Drain {
		t.Fatalf("source: %+v", i)
	}
	src.m.Moved(sid, yes)
	dst.m.Release(sid)
	c := newConsumer()
	b, err := dst.m.Get(sid).Attach(c, o)
	dst.must(err)
	got := map[string]bool{}
	var order []string
	for len(order) < 25 {
		p := next(b, c)
		if p.Release {
			dst.must(b.Pubcomp(p.PacketID))
			continue
		}
		if got[string(p.Message.Payload)] {
			t.Fatalf("%s twice", p.Message.Payload)
		}
		got[string(p.Message.Payload)] = true
		order = append(order, string(p.Message.Payload))
		dst.must(b.Pubrec(p.PacketID, false))
	}
	// The first had got its PUBREC: only PUBREL was left of it.
	if d := cmp.Diff(numbers(2, 26), order); d != "" {
		t.Fatal(d)
	}
}

func TestWillFormat(t *testing.T) {
	w := Will{
		Message: &message.Message{Topic: "w", Payload: []byte("x"), QoS: 1}, Epoch: message.Epoch{Cluster: 3, Generation: 1, Index: 9},
		Delay: 5e9, Expiry: 7, HasExpiry: true, AllowNetsplit: true, SharePolicy: "random", Due: 12345,
	}
	b := w.AppendBinary(nil)
	got, err := DecodeWill(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w, got); d != "" {
		t.Fatal(d)
	}
	for i := range b {
		if _, err := DecodeWill(b[:i]); err == nil {
			t.Fatalf("%d bytes decode", i)
		}
	}
}
