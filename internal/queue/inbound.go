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
	stored  bool // the identifier has reached the disk
	waiters []func(error)
}

// knowInbound takes an identifier that is on disk, unless it is known. q.mu is
// held.
func (q *Queue) knowInbound(pid uint16, on msgstore.Inbound) {
	if q.inbound == nil {
		q.inbound = map[uint16]*inbound{}
	}
	if q.inbound[pid] != nil {
		return
	}
	in := &inbound{id: on.ID, state: interrupted, stored: true}
	if on.Routed {
		in.state = routed
	}
	q.inbound[pid] = in
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
		if q.stored {
			q.m.settled.begin(in.id)
		}
		return in.id, InboundNew
	}
	switch in.state {
	case routed:
		return in.id, InboundRouted
	case interrupted:
		in.state = routing
		if q.stored && !in.stored { // the disk refused it: it has gone nowhere
			return in.id, InboundNew
		}
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
		b.PutInbound(q.id, pid, msgstore.Inbound{ID: id, Settling: true})
		return func(err error) {
			if err == nil {
				q.arrived(pid, id)
			}
			done(err)
		}
	})
	if closed {
		done(ErrClosed)
	}
}

func (q *Queue) arrived(pid uint16, id message.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if in := q.inbound[pid]; in != nil && in.id == id {
		in.stored = true
	}
}

// Stored reports whether the queue is kept on disk.
func (q *Queue) Stored() bool { return q.stored }

// Outcome is how the routing of a QoS 2 message ended.
type Outcome struct {
	// Err: not every destination has the message. The identifier is forgotten
	// with Forget (the client was told), and may be routed again otherwise.
	Err    error
	Forget bool
	// Elsewhere: a destination is on another node, of which nothing is noted
	// here. That the routing has ended goes to disk, but nobody waits for it:
	// whether PUBREC was written changes nothing about what a crash repeats.
	Elsewhere bool
}

// Routed ends the routing of a QoS 2 message.
func (q *Queue) Routed(pid uint16, id message.ID, o Outcome) {
	err, forget := o.Err, o.Forget
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
	switch {
	case !q.stored:
	case err == nil && o.Elsewhere:
		q.markRouted(pid, in)
	case err != nil && forget:
		// Not here: whoever brings the answer may be inside a commit of this queue.
		q.m.spawn(func() {
			q.commit(func(b *msgstore.Batch) func(error) {
				q.m.settled.end(id, b)
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

// markRouted writes that in must not be routed again after a restart.
func (q *Queue) markRouted(pid uint16, in *inbound) {
	q.commit(func(b *msgstore.Batch) func(error) {
		if q.inbound[pid] == in && !q.closed {
			b.PutInbound(q.id, pid, msgstore.Inbound{ID: in.id, Routed: true, Settling: true})
		}
		return nil
	})
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
		in := q.inbound[pid]
		if known = !q.closed && q.dropInbound(pid); !known {
			return nil
		}
		q.m.settled.end(in.id, b)
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
