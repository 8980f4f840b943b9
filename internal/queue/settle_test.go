package queue

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
)

// receive notes a PUBLISH of QoS 2 and brings its identifier to the disk.
func (r *rig) receive(a *Attachment, pid uint16) (message.ID, InboundState) {
	r.t.Helper()
	id, state := a.Receive(pid, func() message.ID {
		r.seq++
		return message.ID{Origin: 1, Sequence: r.seq}
	}, func(error) {})
	if state == InboundNew {
		done := make(chan error, 1)
		a.q.Arrived(pid, id, func(err error) { done <- err })
		r.must(<-done)
	}
	return id, state
}

// notes lists what the store knows of destinations.
func (r *rig) notes() []string {
	r.t.Helper()
	done := make(chan error, 1)
	b := r.store.NewBatch()
	b.PutMeta("flush", nil)
	r.store.Commit(b, func(err error) { done <- err })
	r.must(<-done)
	var out []string
	r.must(r.store.Settled(func(id message.ID, destination string) bool {
		out = append(out, id.String()+" "+destination)
		return true
	}))
	return out
}

func (r *rig) restart() {
	r.stop()
	r.start()
}

func unlimited() Options { return Options{MaxOnline: -1, MaxOffline: -1} }

// What other nodes have is not noted here: that the routing has ended is.
func TestRoutedElsewhereIsRememberedOverRestart(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		r := newRig(t, true)
		a, _ := r.attach(unlimited())
		id, _ := r.receive(a, 7)
		a.q.Routed(7, id, Outcome{Elsewhere: elsewhere})
		if got, state := r.receive(a, 7); got != id || state != InboundRouted {
			t.Errorf("elsewhere %v: %v %v", elsewhere, got, state)
		}
		r.restart()
		want := InboundResumed
		if elsewhere {
			want = InboundRouted
		}
		a, _ = r.attach(unlimited())
		if got, state := r.receive(a, 7); got != id || state != want {
			t.Errorf("after a restart, elsewhere %v: %v %v", elsewhere, got, state)
		}
		r.stop()
	}
}

// A message whose identifier the disk refused has gone nowhere: it must reach
// the disk before it leaves, as if it had never been there.
func TestRefusedPublishIsNew(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	a, _ := r.attach(unlimited())
	id, _ := a.Receive(7, func() message.ID { return message.ID{Origin: 1, Sequence: 1} }, nil)
	a.q.Routed(7, id, Outcome{Err: errors.New("disk is full")})
	if got, state := r.receive(a, 7); got != id || state != InboundNew {
		t.Errorf("%v %v", got, state)
	}
	a.q.Routed(7, id, Outcome{Err: errors.New("a destination failed")})
	if got, state := r.receive(a, 7); got != id || state != InboundResumed {
		t.Errorf("%v %v", got, state)
	}
}

// Notes are on disk from the delivery on, however far that has gone, and end
// with the PUBREL, with the session, or at a start that finds their list
// closed.
func TestNotesOfDestinations(t *testing.T) {
	r := newRig(t, true)
	defer func() { r.stop() }()
	a, c := r.attach(unlimited())
	id, _ := r.receive(a, 7)
	give := func(d Delivery) {
		t.Helper()
		d.Message, d.QoS = &message.Message{ID: id, Topic: "t", Payload: []byte("m"), QoS: 2}, 2
		done := make(chan error, 1)
		r.m.Deliver(sid, d, func(err error) { done <- err })
		r.must(<-done)
	}
	give(Delivery{})
	give(Delivery{Group: "g", Filter: "t"})
	r.drain(a, c, 2) // complete: nothing of it is in the queue
	want := []string{id.String() + " gg\x00t", id.String() + " s\x00c"}
	if diff := cmp.Diff(want, r.notes()); diff != "" {
		t.Error(diff)
	}
	r.restart()
	a, _ = r.attach(unlimited())
	if !r.m.GroupHas(id, "g", "t") || r.m.GroupHas(id, "g", "u") {
		t.Error("the group's note is wrong")
	}
	give(Delivery{Resumed: true})
	if out := a.Pull(nil, 10); len(out) > 0 {
		t.Errorf("it came again: %+v", out)
	}
	if diff := cmp.Diff(want, r.notes()); diff != "" {
		t.Error(diff)
	}
	done := make(chan error, 1)
	a.Pubrel(7, func(known bool, err error) {
		if !known {
			err = errors.New("unknown identifier")
		}
		done <- err
	})
	r.must(<-done)
	if got := r.notes(); got != nil {
		t.Errorf("after PUBREL: %q", got)
	}

	id, _ = r.receive(a, 8)
	give(Delivery{})
	r.restart() // the session is not loaded when it ends
	r.m.Delete(sid)
	if got := r.notes(); got != nil {
		t.Errorf("after the session's end: %q", got)
	}

	b := r.store.NewBatch()
	b.Settle(message.ID{Sequence: 99}, "s\x00c")
	r.store.Commit(b, func(err error) { done <- err })
	r.must(<-done)
	r.restart()
	if got := r.notes(); got != nil {
		t.Errorf("after a start: %q", got)
	}
}

// Clean sessions are noted in memory: they end with the process.
func TestNotesOfCleanSessionsStayInMemory(t *testing.T) {
	r := newRig(t, true)
	defer r.stop()
	a, _ := r.attach(unlimited())
	id, _ := r.receive(a, 7)
	clean := message.SessionID{ClientID: "clean"}
	q, _, err := r.m.Open(OpenRequest{ID: clean, Options: unlimited()})
	r.must(err)
	c := newConsumer()
	b, err := q.Attach(c, unlimited())
	r.must(err)
	for range 2 {
		q.Deliver(Delivery{Message: &message.Message{ID: id, Topic: "t", QoS: 2}, QoS: 2, Resumed: true}, r.must)
	}
	if out := b.Pull(nil, 10); len(out) != 1 {
		t.Errorf("%d copies", len(out))
	}
	if got := r.notes(); got != nil {
		t.Errorf("%q", got)
	}
}
