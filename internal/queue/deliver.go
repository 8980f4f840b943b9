package queue

import (
	"fmt"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
)

// Deliver hands d to the queue of id. It never waits for a client; done is called exactly
// once, when the queue has the message (durable: on disk), with ErrNoSession,
// ErrFull, ErrOffline or the store's error otherwise.
func (m *Manager) Deliver(id message.SessionID, d Delivery, done func(error)) {
	q := m.Get(id)
	if q == nil {
		m.deliverEarly(id, d, done)
		return
	}
	q.route(d, done)
}

// route gives d to the connections of the session.
func (q *Queue) route(d Delivery, done func(error)) {
	if h := q.hub.Load(); h != nil {
		h.deliver(d, done)
		return
	}
	q.Deliver(d, done)
}

// Deliver is Manager.Deliver for the connection that has this queue.
func (q *Queue) Deliver(d Delivery, done func(error)) {
	if d.Resumed && d.Message.QoS > 0 {
		d.yield()
		d.Waker = nil // what follows may come later
		if q.resumed(d, done) {
			return
		}
	}
	var now int64
	if d.Message.Expires != 0 {
		now = time.Now().UnixMilli()
	}
	if !q.stored {
		q.mu.Lock()
		e, err := q.accept(&d, now)
		if e != nil {
			q.keep(e)
			q.settle(&d, nil)
		}
		a := q.att
		q.mu.Unlock()
		q.delivered(a, e, err, &d, done)
		return
	}
	q.deliverStored(d, now, done)
}

// deliverStored writes what has to survive. A message of QoS 0 is in memory
// only, and goes no way around those that wait for the disk.
func (q *Queue) deliverStored(d Delivery, now int64, done func(error)) {
	var (
		e   *entry
		a   *Attachment
		err error
	)
	fill := func(b *msgstore.Batch) func(error) {
		if err = q.bound(); err != nil {
			return nil
		}
		e, err = q.accept(&d, now)
		a = q.att
		if e == nil {
			return nil
		}
		if e.qos == 0 {
			q.keep(e)
			q.settle(&d, nil)
			return nil
		}
		e.seq = q.next
		q.next++
		q.keep(e)
		b.Enqueue(q.id, e.seq, e.msg, e.record())
		q.settle(&d, b)
		return func(err error) {
			q.enqueued(e, &d, err)
			done(err)
		}
	}
	if min(d.QoS, d.Message.QoS) == 0 && !q.upgrades(&d) {
		q.mu.Lock()
		fill(nil)
		q.mu.Unlock()
	} else {
		d.yield()
		q.commit(fill)
	}
	if e != nil && e.qos > 0 {
		if a != nil {
			d.wake(a)
		} else if q.m.cfg.Stored != nil {
			q.m.cfg.Stored(q.session(), e.msg, e.qos)
		}
		return // done is called from the store
	}
	q.delivered(a, e, err, &d, done)
}

// delivered ends a delivery that did not touch the disk.
func (q *Queue) delivered(a *Attachment, e *entry, err error, d *Delivery, done func(error)) {
	switch {
	case e != nil && a != nil:
		d.wake(a)
	case e != nil && q.m.cfg.Stored != nil:
		q.m.cfg.Stored(q.session(), e.msg, e.qos)
	case err == ErrFull && q.m.cfg.Dropped != nil: //nolint:errorlint // accept returns it unwrapped
		q.m.cfg.Dropped(q.session(), d.Message, d.QoS, "queue_full")
	}
	done(err)
}

func (q *Queue) upgrades(d *Delivery) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.opts.UpgradeQoS && d.QoS > 0
}

// accept decides whether the queue takes d, and makes its entry. No entry and
// no error means that the message needed no queueing. q.mu is held.
func (q *Queue) accept(d *Delivery, now int64) (*entry, error) {
	if q.closed {
		return nil, ErrNoSession
	}
	qos := min(d.QoS, d.Message.QoS)
	if q.opts.UpgradeQoS {
		qos = d.QoS
	}
	online := q.att != nil
	if !online {
		if d.OnlineOnly {
			return nil, ErrOffline
		}
		if qos == 0 {
			q.m.unhandled.Inc()
			if d.Group != "" {
				return nil, ErrNoSession // another member may be online
			}
			return nil, nil
		}
	}
	if d.Message.Expired(now) {
		q.m.expired.Inc()
		q.m.notify(q.session(), d.Message, "expired")
		return nil, nil
	}
	q.m.in.Inc()
	limit := q.opts.MaxOffline
	if online {
		limit = q.opts.MaxOnline
	}
	full := limit >= 0 && q.waiting() >= limit
	if full && !q.loaded && q.disk > 0 { // what was in flight before a restart does not count
		if err := q.load(); err != nil {
			return nil, err
		}
		q.shelve()
		full = q.waiting() >= limit
	}
	if full && (!q.opts.LIFO || limit == 0 || !q.dropOldest()) {
		q.m.dropped.Inc()
		return nil, ErrFull
	}
	return &entry{
		msg: d.Message, ids: d.SubscriptionIDs, qos: qos, retain: d.Retain, group: d.Group, filter: d.Filter, ready: true,
	}, nil
}

// waiting is the number of messages behind the window. q.mu is held.
func (q *Queue) waiting() int { return q.pending.len() + q.disk }

// keep puts an accepted entry where it belongs: into the window when nothing
// is in front of it, into memory, or on disk only. q.mu is held.
func (q *Queue) keep(e *entry) {
	if e.seq == 0 {
		q.pending.push(e)
		return
	}
	if q.att == nil || q.held || q.draining {
		q.disk++
		if q.opts.LIFO {
			q.cursor = e.seq + 1
		}
		return
	}
	if q.opts.LIFO {
		q.pending.push(e)
		if q.disk == 0 {
			q.cursor = e.seq
		}
		q.spill()
		return
	}
	if q.disk > 0 || q.surplus > 0 || q.pending.len() >= q.m.cfg.HeadPage {
		q.disk++
		return
	}
	q.cursor = e.seq + 1
	if q.pending.len() == 0 && q.room() {
		// The packet identifier goes to disk together with the message, so an
		// online QoS 2 subscriber costs one write.
		e.ready = e.qos < 2
		q.win.assign(e)
		q.win.toSend.push(packetOut{e: e})
		return
	}
	q.pending.push(e)
}

// spill leaves the oldest messages of a lifo queue to the disk when too many
// are in memory. q.mu is held.
func (q *Queue) spill() {
	for q.pending.len() > q.m.cfg.HeadPage && q.pending.front().seq != 0 {
		e := q.pending.popFront()
		q.disk++
		q.cursor = e.seq + 1
	}
}

// enqueued takes the store's answer for e.
func (q *Queue) enqueued(e *entry, d *Delivery, err error) {
	q.mu.Lock()
	a := q.att
	if err == nil {
		e.ready = true
	} else {
		q.m.storeErrors.Inc()
		q.undo = append(q.undo, e.seq)
		q.unsettle(d)
		switch {
		case e.pid != 0 && !e.sent:
			q.win.remove(e)
		case e.pid == 0:
			before := q.pending.len()
			q.pending.keep(func(o *entry) bool { return o != e })
			if q.pending.len() == before && q.disk > 0 {
				q.disk--
			}
		}
	}
	q.mu.Unlock()
	if a != nil {
		a.consumer.Wake()
	}
}

// dropOldest makes room in a full lifo queue. q.mu is held.
func (q *Queue) dropOldest() bool {
	var seq uint64
	var m *message.Message
	switch {
	case q.disk > 0:
		if seq, m = q.oldest(); m == nil {
			return false
		}
		q.disk--
	case q.pending.len() > 0:
		e := q.pending.popFront()
		e.gone = true
		seq, m = e.seq, e.msg
	default:
		return false
	}
	if seq != 0 {
		q.undo = append(q.undo, seq)
		q.floor = seq + 1 // its removal may not be on disk when the next is looked for
	}
	q.m.dropped.Inc()
	q.m.notify(q.session(), m, "queue_full")
	return true
}

// oldest finds the oldest message on disk that waits: what is in the window or
// has left it may still lie there as waiting. q.mu is held.
func (q *Queue) oldest() (uint64, *message.Message) {
	busy := make(map[uint64]bool, q.win.len())
	for _, e := range q.win.byID {
		busy[e.seq] = true
	}
	page, err := q.m.cfg.Store.ReadQueue(q.id, q.floor, len(busy)+len(q.leaving)+1)
	if err != nil {
		q.m.logCommit(fmt.Errorf("reading a queue: %w", err))
		return 0, nil
	}
	for _, s := range page {
		if _, left := q.leaving[s.Seq]; !left && !busy[s.Seq] {
			return s.Seq, s.Message
		}
	}
	return 0, nil
}

// resumed handles a message that may have been delivered before. It reports
// false when the message is certainly new. What a client of this node publishes
// is known by its notes, whatever has become of it; for what comes from other
// nodes the queue is searched.
func (q *Queue) resumed(d Delivery, done func(error)) bool {
	if open, has := q.m.settled.find(d.Message.ID, q.destination(&d)); open {
		if has {
			done(nil)
		}
		return has
	}
	q.mu.Lock()
	known := q.win.has(d.Message.ID) || q.recent.has(d.Message.ID)
	for _, e := range q.pending.all() {
		known = known || e.msg.ID == d.Message.ID
	}
	search := !known && q.stored && q.bound() == nil && q.disk > 0
	q.mu.Unlock()
	if known {
		done(nil)
		return true
	}
	if !search {
		return false
	}
	d.Resumed = false
	q.m.spawn(func() { // the whole queue is read: not on the caller's time
		found, err := q.onDisk(d.Message.ID)
		switch {
		case err != nil || found:
			done(err)
		default:
			q.Deliver(d, done)
		}
	})
	return true
}

func (q *Queue) onDisk(id message.ID) (bool, error) {
	for from := uint64(0); ; {
		page, err := q.m.cfg.Store.ReadQueue(q.id, from, q.m.cfg.HeadPage)
		if err != nil || len(page) == 0 {
			return false, err
		}
		for _, s := range page {
			if s.Message.ID == id {
				return true, nil
			}
		}
		from = page[len(page)-1].Seq + 1
	}
}

// Waiting returns the number of messages behind the window.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting()
}
