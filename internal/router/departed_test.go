package router

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// move lets a durable session that subscribes to "t" change as the registry
// says.
func (w *world) move(index uint64, s meta.Session) {
	id := client("d")
	s.ID, s.Durable = id, true
	w.meta.mu.Lock()
	old := w.meta.sessions[id]
	w.meta.sessions[id] = &s
	w.meta.index = index
	if w.meta.subs[id] == nil {
		w.meta.subs[id] = []message.Subscription{{Filter: "t", QoS: 1}}
	}
	w.meta.mu.Unlock()
	w.Apply(index, []meta.Event{meta.SessionChanged{Old: old, New: &s}})
}

// frame receives a message that another node matched at index and returns how
// many copies the session's queue here was given, and how many went on.
func (w *world) frame(t *testing.T, index uint64) (here, on int) {
	t.Helper()
	w.queues.mu.Lock()
	w.queues.got = map[string][]queue.Delivery{}
	w.queues.mu.Unlock()
	w.links.sent = nil
	code := peer.Code(99)
	w.Receive(peer.Identity{Node: other}, peer.Frame{Kind: peer.FramePublish, Applied: index, Message: &message.Message{Topic: "t", QoS: 1}}, func(c peer.Code) { code = c })
	if code != peer.CodeAccepted {
		t.Errorf("frame of index %d: %v", index, code)
	}
	return len(w.queues.got["d"]), len(w.links.sent)
}

// TestFrameGoesToItsOwner: the index at which a message was matched says which
// of a session's nodes delivers it, whenever it arrives (P4).
func TestFrameGoesToItsOwner(t *testing.T) {
	w := newWorld(t, nil)
	source := func(since, until uint64) meta.Source {
		return meta.Source{Node: self, Since: since, Until: until}
	}
	steps := []struct {
		what    string
		index   uint64
		session meta.Session
		// frames tells for an index how many copies are delivered here.
		frames map[uint64]int
	}{
		{"is here", 10, meta.Session{Owner: self, Since: 10}, map[uint64]int{9: 0, 10: 1, 11: 1}},
		{"has left", 20, meta.Session{Owner: other, Since: 20, Sources: []meta.Source{source(10, 20)}}, map[uint64]int{9: 0, 10: 1, 19: 1, 20: 0}},
		{"has come back", 30, meta.Session{Owner: self, Since: 30, Sources: []meta.Source{source(10, 20), {Node: other, Since: 20, Until: 30}}}, map[uint64]int{9: 0, 19: 1, 20: 0, 29: 0, 30: 1}},
		{"everything was handed over", 40, meta.Session{Owner: self, Since: 30}, map[uint64]int{19: 0, 29: 0, 30: 1, 40: 1}},
	}
	for _, s := range steps {
		w.move(s.index, s.session)
		for index, want := range s.frames {
			if here, on := w.frame(t, min(index, s.index)); here != want || on != 0 {
				t.Errorf("%s: a frame of index %d: %d copies here, %d sent on", s.what, index, here, on)
			}
		}
	}
	w.rebuild(50, viewOf{w.meta})
	for index, want := range map[uint64]int{29: 0, 30: 1} {
		if here, _ := w.frame(t, index); here != want {
			t.Errorf("after the view was replaced, a frame of index %d: %d copies", index, here)
		}
	}
}

// viewOf reads the fake registry as a view.
type viewOf struct{ f *fakeMeta }

func (v viewOf) Sessions(_ message.SessionID, fn func(*meta.Session) bool) {
	for _, s := range v.f.sessions {
		fn(s)
	}
}
func (v viewOf) Session(id message.SessionID) (*meta.Session, bool) { return v.f.Session(id) }
func (v viewOf) Subscriptions(id message.SessionID) []message.Subscription {
	return v.f.Subscriptions(id)
}
func (viewOf) Routes(func(meta.Route) bool)                {}
func (viewOf) SharedMembers(func(*meta.SharedMember) bool) {}
func (viewOf) AllRetained(func(*message.Message) bool)     {}

// TestMessageFollowsItsSession: one whose queue has been handed over while the
// message was on its way goes to the new owner, and is acknowledged only when
// that has it.
func TestMessageFollowsItsSession(t *testing.T) {
	w := newWorld(t, nil)
	w.move(10, meta.Session{Owner: self, Since: 10})
	w.queues.deliver = func(message.SessionID, queue.Delivery) error {
		// The queue goes just now.
		w.meta.mu.Lock()
		defer w.meta.mu.Unlock()
		s := *w.meta.sessions[client("d")]
		s.Owner, s.Since = other, 20
		w.meta.sessions[client("d")] = &s
		return queue.ErrNoSession
	}
	if r := w.publish(t, &message.Message{Topic: "t", QoS: 1}); r.Err != nil {
		t.Error(r.Err)
	}
	if len(w.links.sent) != 1 || w.links.sent[0].Session != client("d") || w.links.sent[0].Applied < 20 {
		t.Fatalf("sent %+v", w.links.sent)
	}
	w.move(10, meta.Session{Owner: self, Since: 10})
	w.links.answer = func(message.NodeID, peer.Frame) (peer.Code, error) { return 0, peer.ErrLinkDown }
	if r := w.publish(t, &message.Message{Topic: "t", QoS: 1}); !errors.Is(r.Err, peer.ErrLinkDown) {
		t.Errorf("acknowledged though nobody has it: %+v", r)
	}
	// A direct frame goes after its session as well.
	w.links.answer, w.links.sent = nil, nil
	var code peer.Code
	w.Receive(peer.Identity{Node: 3}, peer.Frame{Kind: peer.FrameDirect, Session: client("d"), Group: "g", Message: &message.Message{Topic: "t", QoS: 1}}, func(c peer.Code) { code = c })
	if code != peer.CodeAccepted || len(w.links.sent) != 1 || w.links.sent[0].Group != "g" {
		t.Errorf("%v, sent %+v", code, w.links.sent)
	}
	w.queues.deliver = func(message.SessionID, queue.Delivery) error { return queue.ErrNoSession }
	delete(w.meta.sessions, client("d"))
	if r := w.publish(t, &message.Message{Topic: "t", QoS: 1}); r.Err != nil {
		t.Errorf("a session that has ended fails the PUBLISH: %v", r.Err)
	}
}

// TestMark: marks tell how far a stream has come, and only grow.
func TestMark(t *testing.T) {
	w := newWorld(t, nil)
	waited := make(chan error, 1)
	go func() { waited <- w.AwaitPassed(t.Context(), other, 7) }()
	for _, index := range []uint64{5, 7, 6} {
		w.Receive(peer.Identity{Node: other}, peer.Mark(index), func(peer.Code) {})
	}
	if err := <-waited; err != nil || w.Passed(other) != 7 {
		t.Errorf("%v, passed %d", err, w.Passed(other))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.AwaitPassed(ctx, other, 8); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestBarrier: it waits for those who were inside and for nobody else.
func TestBarrier(t *testing.T) {
	var b barrier
	b.init()
	turn := b.enter()
	done := make(chan error, 1)
	go func() { done <- b.wait(t.Context()) }()
	for b.turn.Load() == 0 {
		runtime.Gosched()
	}
	later := b.enter() // it does not hold up the one who waits
	select {
	case err := <-done:
		t.Fatalf("passed somebody who is inside: %v", err)
	default:
	}
	b.leave(turn)
	b.leave(later)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestVersion: what is read belongs to the index that read returns, whatever
// changes meanwhile.
func TestVersion(t *testing.T) {
	var v version
	var mu sync.Mutex // the tables have locks of their own
	var a, b uint64
	get := func(p *uint64) uint64 { mu.Lock(); defer mu.Unlock(); return *p }
	set := func(p *uint64, n uint64) { mu.Lock(); defer mu.Unlock(); *p = n }
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := uint64(1); ; n++ {
			select {
			case <-stop:
				return
			default:
				v.change(n, func() { set(&a, n); set(&b, n) })
			}
		}
	})
	for range 10_000 {
		var x, y uint64
		if index := v.read(func() { x, y = get(&a), get(&b) }); x != index || y != index {
			t.Fatalf("read %d and %d at index %d", x, y, index)
		}
	}
	close(stop)
	wg.Wait()
}

// TestFrameWaitsForItsMetadata: a node that applies metadata slowly takes no
// frame that was matched at what it does not know yet: the session may be its
// own from then on (P1).
func TestFrameWaitsForItsMetadata(t *testing.T) {
	w := newWorld(t, nil)
	w.move(10, meta.Session{Owner: other, Since: 10})
	waits := 0
	w.meta.wait = func() error {
		if waits++; waits < 3 {
			return context.DeadlineExceeded
		}
		w.move(20, meta.Session{Owner: self, Since: 20, Sources: []meta.Source{{Node: other, Since: 10, Until: 20}}})
		return nil
	}
	if here, on := w.frame(t, 20); here != 1 || on != 0 {
		t.Errorf("%d copies here, %d sent on", here, on)
	}
}
