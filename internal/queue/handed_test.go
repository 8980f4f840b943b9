package queue

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
)

// TestNotHandedOverAnyMore: whoever took a session from this node, and is late,
// gets nothing and ends nothing once the session has come back (P1).
func TestNotHandedOverAnyMore(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	a, c := r.attach(unlimited())
	for range 3 {
		if _, err := r.deliver(1); err != nil {
			t.Fatal(err)
		}
	}
	no := func() bool { return false }
	if _, err := r.m.Take(t.Context(), sid, 0, 10, no); !errors.Is(err, ErrNotHanded) {
		t.Errorf("Take: %v", err)
	}
	if err := r.m.Confirm(t.Context(), sid, ownBase+10, no); !errors.Is(err, ErrNotHanded) {
		t.Errorf("Confirm: %v", err)
	}
	if r.m.Moved(sid, no) {
		t.Error("the queue was deleted")
	}
	if diff := cmp.Diff(numbers(1, 3), r.drain(a, c, 3)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

// inboundState tells how a PUBLISH of QoS 2 with that identifier is taken.
func inboundState(a *Attachment, pid uint16) InboundState {
	_, s := a.Receive(pid, func() message.ID { return message.ID{Origin: 8, Sequence: uint64(pid)} }, nil)
	return s
}

// TestInboundIdentifiersOfOtherNodes: which messages the client had not
// released is taken from the owner before this node alone, and only until the
// client has told anew: later the identifier is another message's, which would
// be taken for a repetition and lost (P1).
func TestInboundIdentifiersOfOtherNodes(t *testing.T) {
	for _, tc := range []struct {
		what           string
		before, served bool
		want           InboundState
	}{
		{"in time", true, false, InboundRouted},
		{"too late", true, true, InboundNew},
		{"of an owner before that", false, false, InboundNew},
	} {
		t.Run(tc.what, func(t *testing.T) {
			r := newRig(t, true)
			defer r.stop()
			q := r.open(unlimited(), true)
			if tc.served {
				_, err := q.Attach(newConsumer(), unlimited())
				r.must(err)
			}
			h := Handed{Inbound: map[uint16]msgstore.Inbound{7: {ID: message.ID{Origin: 2, Sequence: 1}, Routed: true}}, Next: 1}
			done := make(chan error, 1)
			r.m.Import(sid, h, Mark{Source: 2, Next: 1, Inbound: tc.before}, func(err error) { done <- err })
			r.must(<-done)
			a, err := q.Attach(newConsumer(), unlimited())
			r.must(err)
			if got := inboundState(a, 7); got != tc.want {
				t.Errorf("state %v, want %v", got, tc.want)
			}
		})
	}
}

// TestInboundIdentifiersOfAFormerStay: what the client was publishing when it
// was here last is long over when it comes back (P1).
func TestInboundIdentifiersOfAFormerStay(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	a, _ := r.attach(unlimited())
	id, _ := a.Receive(7, func() message.ID { return message.ID{Origin: 1, Sequence: 1} }, nil)
	stored := make(chan error, 1)
	a.q.Arrived(7, id, func(err error) { stored <- err })
	r.must(<-stored)
	r.m.Expect(sid)
	b, err := r.open(unlimited(), true).Attach(newConsumer(), unlimited())
	r.must(err)
	if got := inboundState(b, 7); got != InboundNew {
		t.Errorf("state %v, want a new message", got)
	}
}

// slowStore holds back one commit.
type slowStore struct {
	*msgstore.Store
	armed, reached chan struct{} // one value each
	release        chan struct{}
}

func (s *slowStore) Commit(b *msgstore.Batch, done func(error)) {
	select {
	case <-s.armed:
		s.reached <- struct{}{}
		<-s.release
	default:
	}
	s.Store.Commit(b, done)
}

// TestComesBackDuringADelivery: a message that has its number and is not in the
// store yet when the session comes back keeps it: the next one gets another
// (P1).
func TestComesBackDuringADelivery(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	s := &slowStore{Store: r.store, armed: make(chan struct{}, 1), reached: make(chan struct{}, 1), release: make(chan struct{})}
	r.m.cfg.Store = s
	r.open(unlimited(), false)
	s.armed <- struct{}{}
	first := make(chan error, 1)
	go r.m.Deliver(sid, Delivery{Message: part(1, "first").Message, QoS: 1}, func(err error) { first <- err })
	<-s.reached
	r.m.Expect(sid)
	opened := make(chan *Queue, 1)
	go func() { opened <- r.open(unlimited(), false) }()
	var q *Queue
	select {
	case q = <-opened: // too early, which is to show below
	case <-time.After(50 * time.Millisecond):
	}
	second := make(chan error, 1)
	r.m.Deliver(sid, Delivery{Message: part(2, "second").Message, QoS: 1}, func(err error) { second <- err })
	close(s.release)
	if q == nil {
		q = <-opened
	}
	r.must(<-first)
	r.must(<-second)
	c := newConsumer()
	a, err := q.Attach(c, unlimited())
	r.must(err)
	if i := q.Info(); i.Pending+i.Inflight != 2 {
		t.Fatalf("%d messages of 2", i.Pending+i.Inflight)
	}
	if diff := cmp.Diff([]string{"first", "second"}, r.drain(a, c, 2)); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}
