package queue

import (
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
)

// InboundState is how far a QoS 2 PUBLISH of the client has come.
type InboundState byte

// The states that Receive answers with.
const (
	// InboundNew: to be stored with Arrived and then routed.
	InboundNew InboundState = iota
	// InboundResumed: routing was interrupted; route it again under the same id.
	InboundResumed
	// InboundRouting: it is on its way; Receive's callback answers.
	InboundRouting
	// InboundRouted: every destination has it; answer PUBREC.
	InboundRouted
)

// states of an inbound.
const (
	routing = iota
	routed
	interrupted
)

// inbound is a QoS 2 message between PUBLISH and PUBREL.
type inbound struct {
	id      message.ID
	state   byte
	waiters []func(error)
}

// Receive notes a PUBLISH of QoS 2 from the client. The identifier is known
// from its first PUBLISH to PUBREL, across connections and restarts
// [MQTT-4.3.3-10]. wait is kept for InboundRouting only, and then called once.
func (a *Attachment) Receive(pid uint16, newID func() message.ID, wait func(error)) (message.ID, InboundState) {
	q := a.q
	q.mu.Lock()
	defer q.mu.Unlock()
	in := q.inbound[pid]
	if in == nil {
		in = &inbound{id: newID()}
		if q.inbound == nil {
			q.inbound = make(map[uint16]*inbound, keepCapacity)
		}
		q.inbound[pid] = in
		return in.id, InboundNew
	}
	switch in.state {
	case routed:
		return in.id, InboundRouted
	case interrupted:
		in.state = routing
		return in.id, InboundResumed
	}
	in.waiters = append(in.waiters, wait)
	return in.id, InboundRouting
}

// Arrived calls done once the identifier is on disk: from then on the message
// may leave the node. Sessions that are not durable need no disk.
func (q *Queue) Arrived(pid uint16, id message.ID, done func(error)) {
	if !q.stored {
		done(nil)
		return
	}
	closed := false
	q.commit(func(b *msgstore.Batch) func(error) {
		if closed = q.closed; closed { // or a new session of that id would inherit it
			return nil
		}
		b.PutInbound(q.id, pid, id)
		return done
	})
	if closed {
		done(ErrClosed)
	}
}

// Stored reports whether the queue is kept on disk.
func (q *Queue) Stored() bool { return q.stored }

// Routed ends the routing of a QoS 2 message. With an error the identifier is
// forgotten when forget is set (the client was told), and may be routed again
// otherwise.
func (q *Queue) Routed(pid uint16, id message.ID, err error, forget bool) {
	q.mu.Lock()
	in := q.inbound[pid]
	if in == nil || in.id != id {
		q.mu.Unlock()
		return
	}
	waiters := in.waiters
	in.waiters = nil
	switch {
	case err == nil:
		in.state = routed
	case forget:
		q.dropInbound(pid)
	default:
		in.state = interrupted
	}
	q.mu.Unlock()
	if err != nil && forget && q.stored {
		// Not here: whoever brings the answer may be inside a commit of this queue.
		q.m.wg.Go(func() {
			q.commit(func(b *msgstore.Batch) func(error) {
				if q.inbound[pid] == nil && !q.closed {
					b.DeleteInbound(q.id, pid)
				}
				return nil
			})
		})
	}
	for _, w := range waiters {
		w(err)
	}
}

// Pubrel forgets an identifier; done is called once, when PUBCOMP may be
// written. known is false when there was none.
func (a *Attachment) Pubrel(pid uint16, done func(known bool, err error)) {
	q := a.q
	if !q.stored {
		q.mu.Lock()
		known := q.dropInbound(pid)
		q.mu.Unlock()
		done(known, nil)
		return
	}
	known := false
	q.commit(func(b *msgstore.Batch) func(error) {
		if known = !q.closed && q.dropInbound(pid); !known {
			return nil
		}
		b.DeleteInbound(q.id, pid)
		return func(err error) { done(true, err) }
	})
	if !known {
		done(false, nil)
	}
}

// dropInbound reports whether pid was known. q.mu is held.
func (q *Queue) dropInbound(pid uint16) bool {
	if _, ok := q.inbound[pid]; !ok {
		return false
	}
	delete(q.inbound, pid)
	if len(q.inbound) == 0 {
		q.inbound = nil
	}
	return true
}

// Inbound returns the number of QoS 2 messages that the client has not
// released.
func (q *Queue) Inbound() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.inbound)
}
