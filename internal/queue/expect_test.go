package queue

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
)

// early delivers one message of QoS 1 to a session whose queue is expected.
func (r *rig) early(payload string) chan error {
	done := make(chan error, 1)
	r.seq++
	r.m.Deliver(sid, Delivery{Message: &message.Message{
		ID: message.ID{Origin: 1, Sequence: r.seq}, Topic: "t", Payload: []byte(payload), QoS: 1,
	}, QoS: 2}, func(err error) { done <- err })
	return done
}

func part(seq uint64, payload string) Stored {
	return Stored{Seq: seq, Message: &message.Message{
		ID: message.ID{Origin: 2, Sequence: seq}, Topic: "t", Payload: []byte(payload), QoS: 1,
	}, Entry: msgstore.Entry{QoS: 1}}
}

// TestSessionComesBack: a session that was here, went elsewhere and comes back
// gets everything in the order in which it was delivered: what its other node
// had taken from here, what it had left here, what was delivered there, and
// what has been delivered here since (P4).
func TestSessionComesBack(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	r.open(unlimited(), false)
	for range 3 {
		if _, err := r.deliver(1); err != nil {
			t.Fatal(err)
		}
	}
	r.m.Expect(sid)
	first := r.early("early 1")
	second := r.early("early 2")
	select {
	case err := <-first:
		t.Fatalf("answered before the queue is open: %v", err)
	default:
	}
	q := r.open(unlimited(), true)
	r.must(<-first)
	r.must(<-second)
	imported := make(chan error, 1)
	r.m.Import(sid, Handed{Entries: []Stored{part(7, "taken from here"), part(ownBase+3, "delivered there")}}, Mark{Source: 2, Next: 9}, func(err error) { imported <- err })
	r.must(<-imported)
	r.m.Release(sid)
	c := newConsumer()
	a, err := q.Attach(c, unlimited())
	r.must(err)
	want := []string{"taken from here", "1", "2", "3", "delivered there", "early 1", "early 2"}
	if diff := cmp.Diff(want, r.drain(a, c, len(want))); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestExpectedSessionGoesOn: one that went elsewhere again leaves what it had
// here, and its early messages to whoever owns it.
func TestExpectedSessionGoesOn(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	r.open(unlimited(), false)
	if _, err := r.deliver(1); err != nil {
		t.Fatal(err)
	}
	r.m.Expect(sid)
	done := r.early("x")
	r.m.Unexpect(sid)
	if err := <-done; !errors.Is(err, ErrNoSession) {
		t.Errorf("early message: %v", err)
	}
	h, err := r.m.Take(t.Context(), sid, 0, 10, yes)
	if err != nil || len(h.Entries) != 1 {
		t.Errorf("Take = %d entries, %v", len(h.Entries), err)
	}
}

// TestExpectedCleanStart: a clean start ends what was expected, and what was
// here before.
func TestExpectedCleanStart(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	r.open(unlimited(), false)
	if _, err := r.deliver(1); err != nil {
		t.Fatal(err)
	}
	r.m.Expect(sid)
	done := r.early("x")
	q, _, err := r.m.Open(OpenRequest{ID: sid, Epoch: message.Epoch{Cluster: 1, Index: 99}, Durable: true, Clean: true, Expiry: message.NeverExpires, Options: unlimited()})
	r.must(err)
	if err := <-done; !errors.Is(err, ErrNoSession) {
		t.Errorf("early message: %v", err)
	}
	if i := q.Info(); i.Pending != 0 {
		t.Errorf("%d messages of the former session are left", i.Pending)
	}
}

// TestCloseAnswersEarly: nobody waits for a manager that has closed.
func TestCloseAnswersEarly(t *testing.T) {
	r := newRig(t, true)
	r.m.Expect(sid)
	done := r.early("x")
	r.stop()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("early message: %v", err)
	}
}

// TestChainedImport: what one source had imported from another, which did not
// hear of it, is taken once at QoS 2.
func TestChainedImport(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	r.open(unlimited(), true)
	from := func(source message.NodeID, seqs ...uint64) {
		h := Handed{}
		for _, n := range seqs {
			p := part(n, fmt.Sprint(n))
			p.Message.ID, p.Message.QoS, p.Entry.QoS = message.ID{Origin: 9, Sequence: n}, 2, 2
			h.Entries = append(h.Entries, p)
		}
		done := make(chan error, 1)
		r.m.Import(sid, h, Mark{Source: source, Next: 9, Chained: true}, func(err error) { done <- err })
		r.must(<-done)
	}
	from(2, 1, 2)
	from(3, 1, 2, 3)
	// It comes back: what was left here is not taken from elsewhere again.
	r.m.Expect(sid)
	q := r.open(unlimited(), true)
	from(4, 2, 3)
	r.m.Imported(sid)
	r.m.Release(sid)
	c := newConsumer()
	a, err := q.Attach(c, unlimited())
	r.must(err)
	if diff := cmp.Diff([]string{"1", "2", "3"}, r.drain(a, c, 3)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if i := q.Info(); i.Pending+i.Inflight != 0 {
		t.Errorf("%d messages are left", i.Pending+i.Inflight)
	}
}

// deafWaker fails the test when it is asked for anything.
type deafWaker struct{ t *testing.T }

func (w deafWaker) Wake(Consumer) { w.t.Error("woken") }
func (w deafWaker) Yield()        { w.t.Error("asked to yield") }

// TestEarlyDeliveryOutlivesItsReader: what waits for a queue is delivered by
// another goroutine than the one that brought it, which has gone on.
func TestEarlyDeliveryOutlivesItsReader(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	r.m.Expect(sid)
	done := make(chan error, 1)
	r.m.Deliver(sid, Delivery{Message: &message.Message{Topic: "t", QoS: 1}, QoS: 1, Waker: deafWaker{t}}, func(err error) { done <- err })
	r.open(unlimited(), true)
	r.must(<-done)
}
