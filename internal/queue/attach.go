package queue

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// Queue is what waits for one session. Its methods may be called from any
// goroutine.
type Queue struct {
	m      *Manager
	id     message.SessionID
	stored bool // kept in the message store

	// hub joins the connections of a session that has, or had, several. Set
	// once, under mu.
	hub atomic.Pointer[hub]

	commits sync.Mutex // orders batches; taken before mu
	listing sync.Mutex // held while the subscriptions are listed; taken before commits

	mu     sync.Mutex // guards what follows
	epoch  message.Epoch
	expiry uint32
	opts   Options
	subs   []message.Subscription
	att    *Attachment
	closed bool
	gone   chan struct{} // closed when the manager does not know the queue any more
	// draining: handed to another node. held: waits for other nodes' parts.
	// served: a connection has had it, whose client has told anew what it was
	// publishing.
	draining, held, served bool

	pending fifo[*entry]
	win     window
	inbound map[uint16]*inbound
	recent  *recent
	undo    []uint64 // sequence numbers that the next batch removes
	// undoNotes are notes of destinations that it removes.
	undoNotes []undoNote

	bounded bool   // next and disk have been read from the store
	loaded  bool   // the window and inbound have been read from the store
	next    uint64 // sequence of the next message delivered here
	imports uint64 // sequence of the next imported message that is older than all that is here
	// between is the sequence of the next imported message that is younger
	// than what the session had left here and older than what is delivered now;
	// betweenEnd is where they end. Both are 0 if it had left nothing.
	between, betweenEnd uint64
	// chain are the QoS 2 messages imported while several sources are pulled.
	chain map[message.ID]struct{}
	disk  int // messages in the store that are not in memory
	// cursor is where the messages on disk begin; of a lifo queue where they
	// end.
	cursor uint64
	mixed  bool // messages in flight, or dropped ones, may lie behind cursor
	// leaving are completed messages whose removal is not on disk yet: a lifo
	// queue looks for its oldest beyond them, and any may become one.
	leaving map[uint64]struct{}
	floor   uint64 // a full lifo queue has dropped what is below
	// surplus messages on disk below surplusEnd are over max_online_messages:
	// after keepDisk of them the rest is dropped as it is read.
	surplus, keepDisk int
	surplusEnd        uint64

	startedAt, offlineSince time.Time
	expire, delay, retry    *time.Timer
	will                    *Will
}

// Attachment is one connection's hold on a queue. After Detach, or when
// another connection has attached, its methods do nothing.
type Attachment struct {
	q        *Queue
	consumer Consumer
}

// ID returns the session whose queue it is.
func (q *Queue) ID() message.SessionID { return q.id }

// Attach gives the queue to a connection, ending its former one with reason
// 0x8E. What was in flight goes out again first, in order.
func (q *Queue) Attach(c Consumer, o Options) (*Attachment, error) {
	a := &Attachment{q: q, consumer: c}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return nil, ErrClosed
	}
	old := q.detach()
	q.configure(o)
	q.att, q.draining, q.served = a, false, true
	q.offlineSince = time.Time{}
	err := q.load()
	if err != nil {
		q.att = nil
	}
	q.win.replay()
	q.limitOnline()
	q.mu.Unlock()
	if old != nil {
		old.consumer.Close(packet.SessionTakenOver)
	}
	if err != nil {
		q.hub.Load().drop(q)
		return nil, err
	}
	c.Wake()
	return a, nil
}

// configure takes the options of a registration or connection. When the type
// of the queue changes, the cursor is set anew, and what is in flight lies
// among what waits. q.mu is held, and nothing that is on disk waits in memory.
func (q *Queue) configure(o Options) {
	if q.bounded && o.LIFO != q.opts.LIFO {
		q.mixed, q.cursor = true, 0
		if o.LIFO {
			q.cursor = q.next
		}
	}
	q.opts = o
}

// limitOnline applies max_online_messages to what waited offline: a fifo queue
// keeps the oldest, a lifo one the newest. q.mu is held.
func (q *Queue) limitOnline() {
	over := q.waiting() - q.opts.MaxOnline
	if q.opts.OverrideMaxOnline || q.opts.MaxOnline < 0 || over <= 0 || q.held {
		return
	}
	if !q.stored || q.disk < over {
		for ; over > 0 && q.pending.len() > 0; over-- {
			var e *entry
			if q.opts.LIFO {
				e = q.pending.popFront()
			} else {
				e = q.pending.popBack()
			}
			q.dropEntry(e)
		}
		return
	}
	q.disk -= over
	q.surplus, q.keepDisk, q.surplusEnd = q.surplus+over, q.disk, q.next
}

// dropEntry drops a waiting message over a limit. q.mu is held.
func (q *Queue) dropEntry(e *entry) {
	e.gone = true
	if e.seq != 0 {
		q.undo = append(q.undo, e.seq)
		q.mixed = true // it must not be read again before its removal is on disk
	}
	q.m.dropped.Inc()
	q.m.notify(q.session(), e.msg, "queue_full")
}

// room reports whether the window takes one more. q.mu is held.
func (q *Queue) room() bool {
	n := q.win.len()
	return n < half && (q.opts.MaxInflight == 0 || n < q.opts.MaxInflight)
}

// Pull appends up to limit packets to dst, in the order in which they have to be
// written, and marks them as sent. It must be called by one goroutine at a
// time.
func (a *Attachment) Pull(dst []Out, limit int) []Out {
	q := a.q
	for {
		now := time.Now().UnixMilli()
		var records []*entry
		q.mu.Lock()
		if q.att != a {
			q.mu.Unlock()
			return dst
		}
		dst = q.emit(dst, limit, now)
		dst, records = q.admit(dst, limit, now)
		q.armRetry()
		read := len(dst) < limit && q.pending.len() == 0 && q.room() && (q.disk > 0 || q.surplus > 0)
		q.mu.Unlock()
		q.saveSent(records)
		if !read || !q.readPage(a) {
			return dst
		}
	}
}

// emit takes what has to go out first. q.mu is held.
func (q *Queue) emit(dst []Out, limit int, now int64) []Out {
	f := &q.win.toSend
	for f.len() > 0 && len(dst) < limit {
		p := f.front()
		if !p.stale() {
			if !p.e.ready {
				return dst
			}
			if q.over(p) {
				return q.emitReleases(dst, limit, now)
			}
			dst = append(dst, q.out(p, now))
		}
		f.popFront()
	}
	return dst
}

// over reports whether p would exceed the receive maximum of this connection,
// which may be smaller than that of the connection before [MQTT-3.3.4-9].
// q.mu is held.
func (q *Queue) over(p packetOut) bool {
	return !p.release && p.e.qos > 0 && !p.e.wired && q.opts.MaxInflight > 0 && q.win.wired >= q.opts.MaxInflight
}

// emitReleases takes the PUBRELs behind a PUBLISH that has to wait for room
// [MQTT-3.3.4-10]. q.mu is held.
func (q *Queue) emitReleases(dst []Out, limit int, now int64) []Out {
	q.win.toSend.keep(func(p packetOut) bool {
		switch {
		case p.stale():
			return false
		case !p.release || !p.e.ready || len(dst) >= limit:
			return true
		}
		dst = append(dst, q.out(p, now))
		return false
	})
	return dst
}

// out makes the packet of p. q.mu is held.
func (q *Queue) out(p packetOut, now int64) Out {
	e := p.e
	e.sentAt = now
	if p.release {
		e.releasing = false
		return Out{Release: true, PacketID: e.pid, QoS: 2}
	}
	o := Out{
		Dup: e.sent && e.qos > 0, QoS: e.qos, Retain: e.retain, PacketID: e.pid, Message: e.msg, SubscriptionIDs: e.ids,
	}
	e.sent = true
	if e.qos > 0 && !e.wired {
		e.wired = true
		q.win.wired++
	}
	q.m.out.Inc()
	return o
}

// admit moves waiting messages into the window while there is room, and emits
// them. It returns those whose packet identifier must be on disk. q.mu is
// held.
func (q *Queue) admit(dst []Out, limit int, now int64) ([]Out, []*entry) {
	var records []*entry
	for len(dst) < limit && q.pending.len() > 0 {
		e := q.pending.front()
		if q.opts.LIFO {
			e = q.pending.s[len(q.pending.s)-1]
		}
		if e.qos > 0 && !e.msg.Expired(now) && (!q.room() || q.win.toSend.len() > limit) {
			break
		}
		if q.opts.LIFO {
			q.pending.popBack()
		} else {
			q.pending.popFront()
		}
		if e.msg.Expired(now) {
			q.expireEntry(e)
			continue
		}
		if e.qos == 0 {
			dst = append(dst, q.out(packetOut{e: e}, now))
			continue
		}
		q.win.assign(e)
		if e.seq != 0 {
			e.ready = e.qos < 2
			records = append(records, e)
		}
		if e.ready && q.win.toSend.len() == 0 {
			dst = append(dst, q.out(packetOut{e: e}, now))
		} else {
			q.win.toSend.push(packetOut{e: e})
		}
	}
	return dst, records
}

func (q *Queue) expireEntry(e *entry) {
	e.gone = true
	if e.seq != 0 {
		q.undo = append(q.undo, e.seq)
	}
	q.m.expired.Inc()
	q.m.notify(q.session(), e.msg, "expired")
}

// saveSent writes packet identifiers. PUBLISHes of QoS 2 wait for it: the
// client must never see one under two identifiers.
func (q *Queue) saveSent(list []*entry) {
	if len(list) == 0 {
		return
	}
	q.commit(func(b *msgstore.Batch) func(error) {
		for _, e := range list {
			if !e.gone && !q.closed {
				b.SetEntry(q.id, e.seq, e.record())
			}
		}
		return func(err error) { q.saved(list, err) }
	})
}

// saveRetry is the pause before a change that packets wait for is tried again.
const saveRetry = time.Second

func (q *Queue) saved(list []*entry, err error) {
	if err != nil {
		q.m.logCommit(err)
		time.AfterFunc(saveRetry, func() {
			q.mu.Lock()
			again := !q.closed // with or without a connection: the next one waits for it too
			q.mu.Unlock()
			if again {
				q.saveSent(list)
			}
		})
		return
	}
	q.mu.Lock()
	for _, e := range list {
		e.ready = true
	}
	a := q.att
	q.mu.Unlock()
	if a != nil {
		a.consumer.Wake()
	}
}

// armRetry starts the timer that repeats unacknowledged packets on the open
// connection. q.mu is held.
func (q *Queue) armRetry() {
	if q.opts.RetryInterval <= 0 || q.win.len() == 0 || q.retry != nil {
		return
	}
	a := q.att
	q.retry = time.AfterFunc(q.opts.RetryInterval, func() { q.repeat(a) })
}

// repeat sends again what was not acknowledged for RetryInterval.
func (q *Queue) repeat(a *Attachment) {
	q.mu.Lock()
	q.retry = nil
	if q.att != a || q.closed {
		q.mu.Unlock()
		return
	}
	old := time.Now().Add(-q.opts.RetryInterval).UnixMilli()
	if q.win.toSend.len() == 0 { // else the connection does not even take these
		for _, e := range q.win.sent.all() {
			if !e.gone && !e.released && e.sent && e.sentAt <= old {
				q.win.toSend.push(packetOut{e: e})
			}
		}
		for _, e := range q.win.released.all() {
			if !e.gone && e.sentAt <= old {
				q.win.sendRelease(e)
			}
		}
	}
	q.armRetry()
	q.mu.Unlock()
	a.consumer.Wake()
}
