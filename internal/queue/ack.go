package queue

import "github.com/mqadmin/mqadmin/internal/msgstore"

// Puback completes a QoS 1 message. ErrUnknownPacketID: none of that
// identifier awaits it.
func (a *Attachment) Puback(pid uint16) error {
	return a.settle(pid, func(e *entry) bool { return e.qos == 1 }, true)
}

// Pubcomp completes a QoS 2 message.
func (a *Attachment) Pubcomp(pid uint16) error {
	return a.settle(pid, func(e *entry) bool { return e.released }, true)
}

// Pubrec moves a QoS 2 message on: its PUBREL goes out, for durable sessions
// once that is on disk. failed (reason 0x80 or above) completes it
// [MQTT-4.3.3-4].
func (a *Attachment) Pubrec(pid uint16, failed bool) error {
	return a.settle(pid, func(e *entry) bool { return e.qos == 2 }, failed)
}

// settle finds the message of pid and completes or releases it.
func (a *Attachment) settle(pid uint16, fits func(*entry) bool, complete bool) error {
	q := a.q
	var err error
	change := func(b *msgstore.Batch) func(error) {
		e := q.win.byID[pid]
		if q.att != a {
			err = ErrDetached
			return nil
		}
		if e == nil || !e.sent || !fits(e) {
			err = ErrUnknownPacketID
			return nil
		}
		if complete {
			return q.complete(e, b)
		}
		return q.released(e, b)
	}
	if q.stored {
		q.commit(change)
	} else {
		q.mu.Lock()
		change(nil)
		q.mu.Unlock()
	}
	if err == nil {
		a.consumer.Wake()
	}
	return err
}

// complete ends the flow of e. q.mu is held.
func (q *Queue) complete(e *entry, b *msgstore.Batch) func(error) {
	q.win.remove(e)
	if e.qos == 2 {
		if q.recent == nil {
			q.recent = &recent{}
		}
		q.recent.add(e.msg.ID)
	}
	if e.seq == 0 {
		return nil
	}
	b.Dequeue(q.id, e.seq)
	if q.leaving == nil {
		q.leaving = map[uint64]struct{}{}
	}
	q.leaving[e.seq] = struct{}{}
	return func(err error) {
		q.m.logCommit(err)
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.leaving, e.seq)
	}
}

// released notes PUBREC: PUBREL may go out when that is on disk. q.mu is held.
func (q *Queue) released(e *entry, b *msgstore.Batch) func(error) {
	if e.released { // the client repeats itself: so do we, once per PUBREL that it may have seen
		q.win.sendRelease(e)
		return nil
	}
	q.win.release(e)
	q.win.sendRelease(e)
	if e.seq == 0 {
		return nil
	}
	e.ready = false
	b.SetEntry(q.id, e.seq, e.record())
	return func(err error) { q.saved([]*entry{e}, err) }
}

// Discard completes a message that cannot be sent: it is larger than what the
// client accepts [MQTT-3.1.2-25].
func (a *Attachment) Discard(pid uint16) {
	_ = a.settle(pid, func(*entry) bool { return true }, true) // gone already: nothing to do
}
