package queue

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
)

// A clean start must not see what the store has not yet deleted.
func TestCleanStartSeesNothingOfTheFormerQueue(t *testing.T) {
	for range 20 {
		r := newRig(t, true)
		o := Options{MaxOnline: -1, MaxOffline: -1, MaxInflight: 5}
		a, c := r.attach(o)
		for range 20 {
			_, err := r.deliver(1)
			r.must(err)
		}
		next(a, c) // in flight
		q, _, err := r.m.Open(OpenRequest{
			ID: sid, Epoch: message.Epoch{Cluster: 1, Index: 99}, Durable: true, Clean: true, Expiry: message.NeverExpires, Options: o,
		})
		r.must(err)
		b, err := q.Attach(newConsumer(), o)
		r.must(err)
		if out := b.Pull(nil, 100); len(out) > 0 {
			t.Fatalf("a clean start brought %d old packets, the first %v", len(out), out[0])
		}
		if i := q.Info(); i.Pending+i.Inflight > 0 {
			t.Fatalf("a clean start counts %d waiting and %d in flight", i.Pending, i.Inflight)
		}
		r.stop()
	}
}

// What max_online_messages lets in stays, however often the client leaves
// before it has taken everything.
func TestOnlineLimitKeepsItsMessagesOverReconnects(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	o := Options{MaxOnline: 20, MaxOffline: -1, MaxInflight: 1}
	r.open(o, false)
	for range 30 {
		_, err := r.deliver(1)
		r.must(err)
	}
	for range 3 {
		a, c := r.attach(o)
		next(a, c)
		a.Detach(DetachOptions{Expiry: message.NeverExpires})
	}
	a, c := r.attach(o)
	if diff := cmp.Diff(numbers(1, 20), r.drain(a, c, 20)); diff != "" {
		t.Error(diff)
	}
	if i := a.q.Info(); i.Pending != 0 {
		t.Errorf("%d messages are said to wait", i.Pending)
	}
	_, err := r.deliver(1)
	r.must(err)
	if got := r.drain(a, c, 1); got[0] != "31" {
		t.Errorf("got %v", got)
	}
}

// A client that repeats PUBREC and reads nothing costs no memory.
func TestRepeatedPubrecIsAnsweredOnce(t *testing.T) {
	r := newRig(t, false)
	defer r.stop()
	a, c := r.attach(Options{MaxOnline: -1})
	_, err := r.deliver(2)
	r.must(err)
	o := next(a, c)
	for range 1000 {
		r.must(a.Pubrec(o.PacketID, false))
	}
	if out := a.Pull(nil, 2000); len(out) != 1 || !out[0].Release {
		t.Fatalf("%d packets wait for the client, want one PUBREL", len(out))
	}
	r.must(a.Pubrec(o.PacketID, false))
	if out := a.Pull(nil, 2000); len(out) != 1 {
		t.Fatalf("%d packets answer a PUBREC after the PUBREL, want one", len(out))
	}
}

// Parts imported before a restart stay when the import goes on after it.
func TestImportGoesOnAfterRestart(t *testing.T) {
	src := newRig(t, true)
	defer src.stop()
	o := Options{MaxOnline: -1, MaxOffline: -1}
	src.open(o, false)
	for range 6 {
		_, err := src.deliver(1)
		src.must(err)
	}
	dst := newRig(t, true)
	defer func() { dst.stop() }()
	dst.open(o, true)
	from := uint64(0)
	for part := range 2 {
		h, err := src.m.Take(t.Context(), sid, from, 3, yes)
		src.must(err)
		done := make(chan error, 1)
		dst.m.Import(sid, h, Mark{Source: 2, From: from, Next: h.Next}, func(err error) { done <- err })
		dst.must(<-done)
		from = h.Next
		if part == 0 {
			dst.stop()
			dst.start()
			dst.open(o, true)
		}
	}
	dst.m.Release(sid)
	a, c := dst.attach(o)
	if diff := cmp.Diff(numbers(1, 6), dst.drain(a, c, 6)); diff != "" {
		t.Error(diff)
	}
}

// A timer that has fired must not end a session that was resumed meanwhile.
func TestExpiryLosesAgainstAConnection(t *testing.T) {
	r := newRig(t, false)
	defer r.stop()
	o := Options{MaxOnline: -1, MaxOffline: -1}
	a, _ := r.attach(o)
	q := a.q
	a.Detach(DetachOptions{Expiry: 100})
	q.mu.Lock()
	timer := q.expire
	q.mu.Unlock()
	c := newConsumer()
	b, err := q.Attach(c, o)
	r.must(err)
	if q.expired(&timer) {
		t.Fatal("the session ended under its connection")
	}
	if !b.Detach(DetachOptions{Expiry: 100}) {
		t.Fatal("the connection had lost its queue")
	}
	if r.m.Get(sid) == nil {
		t.Fatal("the session is gone")
	}
	select {
	case reason := <-c.closed:
		t.Fatalf("connection was closed: %v", reason)
	default:
	}
}
