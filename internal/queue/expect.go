package queue

import (
	"context"
	"errors"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// early keeps what is delivered to a session that this node owns and whose
// queue is not open yet: a durable session that has just moved here.
type early struct {
	waiting []earlyDelivery
	// parked is what this node still had of the session from before; it is
	// part of the queue that Open makes.
	parked *Queue
}

type earlyDelivery struct {
	d    Delivery
	done func(error)
}

// Expect tells that a durable session is this node's from now on and that Open
// will follow: what is delivered before waits for it, in order. It does not
// block, so that metadata can be applied meanwhile. What waits is bounded by
// the publishers, whose acknowledgements wait with it; QoS 0 does not wait.
func (m *Manager) Expect(id message.SessionID) {
	s := m.shardOf(id)
	s.Lock()
	defer s.Unlock()
	if s.expected[id] != nil {
		return
	}
	if s.expected == nil {
		s.expected = map[message.SessionID]*early{}
	}
	s.expected[id] = &early{parked: s.queues[id]}
	delete(s.queues, id)
}

// Unexpect takes Expect back: the session has gone elsewhere before its queue
// was opened. What waited is answered with ErrNoSession.
func (m *Manager) Unexpect(id message.SessionID) {
	s := m.shardOf(id)
	s.Lock()
	e := s.expected[id]
	delete(s.expected, id)
	if e != nil && e.parked != nil {
		s.queues[id] = e.parked
	}
	s.Unlock()
	if e == nil {
		return
	}
	for _, w := range e.waiting {
		w.done(ErrNoSession)
	}
}

// Expected reports whether Expect was called and Open has not followed.
func (m *Manager) Expected(id message.SessionID) bool {
	s := m.shardOf(id)
	s.RLock()
	defer s.RUnlock()
	return s.expected[id] != nil
}

// Known reports whether there is a queue of the session.
func (m *Manager) Known(id message.SessionID) bool { return m.Get(id) != nil }

// deliverEarly takes a delivery for a session that has no queue.
func (m *Manager) deliverEarly(id message.SessionID, d Delivery, done func(error)) {
	s := m.shardOf(id)
	s.Lock()
	q, e := s.queues[id], s.expected[id]
	kept := q == nil && e != nil && min(d.QoS, d.Message.QoS) > 0
	if kept {
		d.Waker = nil // it belongs to the caller's goroutine
		e.waiting = append(e.waiting, earlyDelivery{d, done})
	}
	s.Unlock()
	switch {
	case kept:
	case q != nil:
		q.route(d, done)
	case e != nil:
		m.unhandled.Inc()
		done(nil)
	default:
		done(ErrNoSession)
	}
}

// unpark ends what this node had of an expected session; its messages stay on
// disk, where the queue that is about to be made finds them. What the client was
// publishing when it was here is not: since then it has gone on elsewhere.
func (m *Manager) unpark(id message.SessionID) error {
	s := m.shardOf(id)
	s.Lock()
	var q *Queue
	if e := s.expected[id]; e != nil {
		q, e.parked = e.parked, nil
	}
	s.Unlock()
	if q == nil {
		return nil
	}
	var err error
	if h := q.hub.Load(); h != nil {
		err = h.collapse(packet.SessionTakenOver)
	}
	if q.stored {
		err = errors.Join(err, q.dropAllInbound())
	}
	q.mu.Lock()
	a, first := q.att, !q.closed
	q.att, q.closed = nil, true
	q.stopTimers()
	q.mu.Unlock()
	// What was being enqueued has its number and must be on disk before the
	// next queue counts on from there.
	if q.stored {
		err = errors.Join(err, q.flush(context.Background()))
	}
	if first {
		close(q.gone)
	}
	if a != nil {
		a.consumer.Close(packet.SessionTakenOver)
	}
	return err
}

// closeEarly answers what still waits for a queue when the manager closes.
func (m *Manager) closeEarly() {
	for i := range m.shard {
		s := &m.shard[i]
		s.Lock()
		left := s.expected
		s.expected = nil
		s.Unlock()
		for _, e := range left {
			for _, w := range e.waiting {
				w.done(ErrClosed)
			}
		}
	}
}

// enter makes q the queue of its session, behind what was delivered early. It
// reports whether there was none yet.
func (m *Manager) enter(q *Queue) bool {
	s := m.shardOf(q.id)
	for {
		s.Lock()
		if _, raced := s.queues[q.id]; raced {
			s.Unlock()
			return false
		}
		e := s.expected[q.id]
		if e == nil || len(e.waiting) == 0 {
			delete(s.expected, q.id)
			s.queues[q.id] = q
			s.Unlock()
			return true
		}
		waiting := e.waiting
		e.waiting = nil
		s.Unlock()
		for _, w := range waiting {
			q.Deliver(w.d, w.done)
		}
	}
}
