package queue

import (
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
)

// Store keeps durable sessions. Implemented by msgstore.Store.
type Store interface {
	NewBatch() *msgstore.Batch
	// Commit calls done once, when the batch is on disk, in the order of the
	// calls. It may block while too much waits for the disk.
	Commit(b *msgstore.Batch, done func(error))
	ReadQueue(id message.SessionID, from uint64, limit int) ([]msgstore.Stored, error)
	Bounds(id message.SessionID) (first, next uint64, n int, err error)
	Inbound(id message.SessionID) (map[uint16]msgstore.Inbound, error)
	Meta(key string) ([]byte, error)
	Restorer
}

// Restorer lists what a node had when its process ended: sessions, wills, and
// the QoS 2 messages whose publishers have not released them. Queues are not
// read at the start.
type Restorer interface {
	Sessions(fn func(*message.SessionRecord) bool) error
	Wills(fn func(id message.SessionID, will []byte) bool) error
	AllInbound(fn func(msgstore.Inbound) bool) error
	Settled(fn func(id message.ID, destination string) bool) error
}

// Stored is one message of a queue as the store has it.
type Stored = msgstore.Stored

// ownBase is the first sequence number of messages that are delivered on this
// node. What is imported from former owners while the queue is held goes below
// it and so comes out first.
const ownBase = 1 << 32

// commit runs fill under q.mu, which may put operations into the batch, and
// then commits the batch without it: Commit may wait for the disk, whose
// callbacks take q.mu. q.commits keeps the order in which sequence numbers were
// given. An empty batch is not committed; without done an error is logged.
func (q *Queue) commit(fill func(b *msgstore.Batch) (done func(error))) {
	q.commits.Lock()
	defer q.commits.Unlock()
	b := q.m.cfg.Store.NewBatch()
	q.mu.Lock()
	for _, n := range q.undoNotes { // first: the batch may note the same again
		b.Unsettle(n.id, n.destination)
	}
	q.undoNotes = nil
	done := fill(b)
	for _, seq := range q.undo {
		if !q.closed { // else the whole queue goes, or has gone
			b.Dequeue(q.id, seq)
		}
	}
	q.undo = nil
	q.mu.Unlock()
	if b.Len() == 0 {
		return
	}
	if done == nil {
		done = q.m.logCommit
	}
	q.m.cfg.Store.Commit(b, done)
}

// commitUndo removes from the disk what was to go with the next batch, when none
// will come: what a limit dropped must not be there again after a restart.
func (q *Queue) commitUndo() {
	q.mu.Lock()
	waits := q.stored && !q.closed && len(q.undo)+len(q.undoNotes) > 0
	q.mu.Unlock()
	if waits {
		q.commit(func(*msgstore.Batch) func(error) { return nil })
	}
}

// logCommit reports the failure of a batch that nobody waits for. What it
// deletes is at worst delivered again.
func (m *Manager) logCommit(err error) {
	if err != nil {
		m.storeErrors.Inc()
		m.log.Warn("message store did not take a change of a queue", "error", err)
	}
}

// record is the entry as the store keeps it.
func (e *entry) record() msgstore.Entry {
	r := msgstore.Entry{
		QoS: e.qos, Retain: e.retain, PacketID: e.pid, SubscriptionIDs: e.ids, Group: e.group, Filter: e.filter, Order: e.order,
	}
	switch {
	case e.released:
		r.State = msgstore.Released
	case e.pid != 0:
		r.State = msgstore.Sent
	}
	return r
}

// entryOf is the entry that the store had kept. What was perhaps written
// before is marked, so that it goes out with DUP [MQTT-3.3.1-1].
func entryOf(s Stored) *entry {
	return &entry{
		msg: s.Message, seq: s.Seq, qos: s.Entry.QoS, retain: s.Entry.Retain, ids: s.Entry.SubscriptionIDs,
		group: s.Entry.Group, filter: s.Entry.Filter, pid: s.Entry.PacketID,
		order: s.Entry.Order, released: s.Entry.State == msgstore.Released, sent: s.Entry.State != msgstore.Queued, ready: true,
	}
}
