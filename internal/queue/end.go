package queue

import (
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// DetachOptions say what the end of a connection leaves behind.
type DetachOptions struct {
	// Expiry is the session expiry interval in seconds as of now (a DISCONNECT
	// may have changed it); with 0 the session ends.
	Expiry uint32
	// Will is to be published, now or after its delay; nil when there is none
	// or the client took it back.
	Will *Will
}

// Detach ends the connection's hold on the queue. It reports whether it had
// it; if not, only the will is published.
func (a *Attachment) Detach(o DetachOptions) bool {
	q := a.q
	if h := q.hub.Load(); h != nil {
		return h.leave(a, o)
	}
	if o.Expiry == 0 {
		mine := func() bool {
			if q.att != a || q.hub.Load() != nil {
				return false
			}
			q.att, q.expiry, q.will = nil, 0, o.Will
			return true
		}
		if q.endIf(mine, packet.NormalDisconnection, endDeleted) {
			return true
		}
	}
	q.mu.Lock()
	if h := q.hub.Load(); h != nil { // another connection has come meanwhile
		q.mu.Unlock()
		return h.leave(a, o)
	}
	if q.att != a {
		ended := q.closed
		q.mu.Unlock()
		q.m.lateWill(q, o.Will, ended)
		return false
	}
	q.detach()
	q.offline(o)
	q.mu.Unlock()
	q.putRecord()
	return true
}

// offline begins the time that the session may stay without a connection. q.mu
// is held.
func (q *Queue) offline(o DetachOptions) {
	q.expiry = o.Expiry
	q.offlineSince = time.Now()
	if w := o.Will; w != nil {
		q.startWill(w)
	}
	q.startExpiry()
}

// detach takes the queue from its connection: what waits in memory is left to
// the disk, QoS 0 is discarded. q.mu is held.
func (q *Queue) detach() *Attachment {
	a := q.att
	if a == nil {
		return nil
	}
	q.att = nil
	if q.retry != nil {
		q.retry.Stop()
		q.retry = nil
	}
	q.win.toSend.clear()
	q.shelve()
	return a
}

// shelve leaves what waits in memory to the disk, and discards QoS 0. q.mu is
// held.
func (q *Queue) shelve() {
	var kept fifo[*entry]
	stored := 0
	for _, e := range q.pending.all() {
		switch {
		case e.qos == 0:
			q.m.unhandled.Inc()
		case e.seq == 0:
			kept.push(e)
		default:
			if stored == 0 && !q.opts.LIFO {
				q.cursor = e.seq
			}
			if q.opts.LIFO {
				q.cursor = e.seq + 1
			}
			if e.seq < q.surplusEnd {
				q.keepDisk++ // it was let in and will be read again
			}
			stored++
		}
	}
	q.pending = kept
	q.disk += stored
}

// SetWill stores what is to be published if the connection ends badly. done is
// called once it is on disk.
func (a *Attachment) SetWill(w *Will, done func(error)) { a.q.m.storeWill(a.q.id, nil, w, done) }

// ClearWill forgets the stored will if it is w: the client took it back. With
// nil it forgets that of a former connection: the client has none.
func (a *Attachment) ClearWill(w *Will) { a.q.m.forgetWill(a.q.id, w) }

// SetSubscriptions notes what a stored session is subscribed to, for the record
// from which it is registered again if the metadata is lost. Of several calls at
// once the last one to list is the last one to write.
func (m *Manager) SetSubscriptions(id message.SessionID, list func(message.SessionID) []message.Subscription) {
	q := m.Get(id)
	if q == nil || !q.stored {
		return
	}
	q.listing.Lock()
	defer q.listing.Unlock()
	subs := list(id)
	q.mu.Lock()
	q.subs = subs
	q.mu.Unlock()
	q.putRecord()
}

// putRecord writes the session's record.
func (q *Queue) putRecord() {
	if !q.stored {
		return
	}
	q.commit(func(b *msgstore.Batch) func(error) {
		if !q.closed {
			b.PutSession(q.record())
		}
		return nil
	})
}

// record is what the store keeps of the session itself. q.mu is held.
func (q *Queue) record() *message.SessionRecord {
	r := &message.SessionRecord{
		ID: q.id, Epoch: q.epoch, Expiry: q.expiry, UpperHalf: q.win.upper, Subscriptions: q.subs,
	}
	if !q.offlineSince.IsZero() {
		r.OfflineSince = q.offlineSince.UnixMilli()
	}
	return r
}

// Ways in which a session ends.
const (
	endDeleted  = iota // by its expiry, its client or an administrator
	endReplaced        // by a clean start
	endMoved           // another node has it: nothing is lost with it
)

// end removes the session from this node. It reports whether it was there.
func (q *Queue) end(reason packet.Reason, how int) bool { return q.endIf(nil, reason, how) }

// endIf is end if due, called under q.mu, agrees: between the decision to end
// a session and its end no connection can resume it.
func (q *Queue) endIf(due func() bool, reason packet.Reason, how int) bool {
	q.mu.Lock()
	if q.closed || due != nil && !due() {
		q.mu.Unlock()
		return false
	}
	q.closed = true
	a := q.att
	q.att = nil
	q.stopTimers()
	w := q.will
	q.will = nil
	published := q.published()
	var again []Delivery
	if how != endMoved {
		again = q.undelivered()
		q.m.unhandled.Add(q.unacknowledged())
	}
	q.pending.clear()
	q.mu.Unlock()
	if q.stored { // before a new session of that id can write
		q.commit(func(b *msgstore.Batch) func(error) {
			b.DeleteSession(q.id)
			for _, id := range published {
				q.m.settled.end(id, b)
			}
			return nil
		})
	}
	if h := q.hub.Load(); h != nil && h.main == q {
		h.endBranches(reason, how)
	}
	q.m.remove(q)
	close(q.gone)
	q.m.teardown.Inc()
	if a != nil {
		a.consumer.Close(reason)
	}
	if w != nil { // the session's end cuts the delay
		q.m.publishWill(q.id, w)
	}
	if q.m.cfg.Redispatch != nil {
		for _, d := range again {
			q.m.cfg.Redispatch(q.session(), d)
		}
	}
	return true
}

// published are the QoS 2 messages that the client has not released. q.mu is
// held.
func (q *Queue) published() []message.ID {
	if !q.stored || q.m.settled.n.Load() == 0 {
		return nil
	}
	var ids []message.ID
	for _, in := range q.inbound {
		ids = append(ids, in.id)
	}
	if q.loaded {
		return ids
	}
	on, err := q.m.cfg.Store.Inbound(q.id)
	if err != nil {
		q.m.logCommit(err) // their notes stay until the next start
	}
	for _, in := range on {
		ids = append(ids, in.ID)
	}
	return ids
}

// unacknowledged counts the messages that end with the session. q.mu is held.
func (q *Queue) unacknowledged() int {
	if err := q.bound(); err != nil { // they are lost all the same
		q.m.logCommit(err)
	}
	n := q.waiting()
	for _, e := range q.win.byID {
		if !e.released {
			n++
		}
	}
	return n
}

// undelivered lists what another member of a shared group may have: messages
// never written, and those of QoS 1 that were not acknowledged. QoS 2 in
// flight must not go to anybody else [MQTT-4.8.2-5]. q.mu is held.
func (q *Queue) undelivered() []Delivery {
	var out []Delivery
	add := func(e *entry) {
		if e.gone || e.group == "" {
			return
		}
		if e.qos == 2 && e.sent {
			if !e.released {
				q.m.sharedLost.Inc()
			}
			return
		}
		out = append(out, Delivery{
			Message: e.msg, QoS: e.qos, Retain: e.retain, SubscriptionIDs: e.ids, Group: e.group, Filter: e.filter,
		})
	}
	for _, e := range q.win.sent.all() {
		add(e)
	}
	for _, e := range q.pending.all() {
		add(e)
	}
	return out
}

// stopTimers stops all of them. q.mu is held.
func (q *Queue) stopTimers() {
	for _, t := range []**time.Timer{&q.expire, &q.delay, &q.retry} {
		if *t != nil {
			(*t).Stop()
			*t = nil
		}
	}
}

// startExpiry starts the timer that ends the session. q.mu is held.
func (q *Queue) startExpiry() {
	if q.expiry == message.NeverExpires {
		return
	}
	at := q.offlineSince
	left := time.Until(at.Add(time.Duration(q.expiry) * time.Second))
	var timer *time.Timer
	timer = time.AfterFunc(max(left, 0), func() {
		q.expired(&timer)
	})
	q.expire = timer
}

// expired ends the session if timer, which q.mu guards, is still the one that
// may.
func (q *Queue) expired(timer **time.Timer) bool {
	var epoch message.Epoch
	due := func() bool {
		epoch = q.epoch
		return q.expire == *timer && q.att == nil
	}
	if !q.endIf(due, packet.NormalDisconnection, endDeleted) {
		return false
	}
	if q.m.cfg.Expired != nil {
		q.m.cfg.Expired(q.id, epoch)
	}
	return true
}
