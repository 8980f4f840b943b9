package msgstore

import (
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
)

// opKind tells the operations of a batch apart.
type opKind byte

const (
	opEnqueue opKind = iota + 1
	opDequeue
	opSetEntry
	opPutInbound
	opDeleteInbound
	opPutSession
	opDeleteSession
	opPutWill
	opDeleteWill
	opPutMeta
	opAppendLog
	opTruncateLog
	opSettle
	opUnsettle
)

// op is one operation; which fields count depends on kind.
type op struct {
	kind  opKind
	flags byte // of an inbound record
	sid   message.SessionID
	seq   uint64 // sequence, or packet id
	msg   *message.Message
	entry Entry
	id    message.ID
	name  string // log name, meta key or destination
	data  []byte
}

// opCost is charged per operation against Config.PendingBytes on top of its
// data: what a batch of one, as most are, takes in memory with its callback.
const opCost = 512

// Batch collects changes that become durable together or not at all. It is
// filled by one goroutine and must not be touched after Commit. Nothing is
// copied: messages, entries and byte slices must not change afterwards.
type Batch struct {
	ops   []op
	one   [2]op // most batches are this small
	bytes int64
	grows bool // adds data: refused while the disk is nearly full
	done  func(error)
	at    time.Time // of Commit
}

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch {
	b := &Batch{}
	b.ops = b.one[:0]
	return b
}

// Len returns the number of operations.
func (b *Batch) Len() int { return len(b.ops) }

// Bytes returns what the batch counts against Config.PendingBytes.
func (b *Batch) Bytes() int64 { return b.bytes }

func (b *Batch) add(o op, size int, grows bool) {
	b.ops = append(b.ops, o)
	b.bytes += int64(size) + opCost
	b.grows = b.grows || grows
}

// Enqueue puts m at seq of the session's queue, replacing what is there. The
// message is stored once however many queues hold it.
func (b *Batch) Enqueue(sid message.SessionID, seq uint64, m *message.Message, e Entry) {
	b.add(op{kind: opEnqueue, sid: sid, seq: seq, msg: m, entry: e}, m.Size(), true)
}

// Dequeue removes seq from the session's queue, and the message with its last
// reference. An absent seq is no error.
func (b *Batch) Dequeue(sid message.SessionID, seq uint64) {
	b.add(op{kind: opDequeue, sid: sid, seq: seq}, 0, false)
}

// SetEntry replaces the entry at seq and keeps its message. An absent seq is
// no error: it was dequeued meanwhile.
func (b *Batch) SetEntry(sid message.SessionID, seq uint64, e Entry) {
	b.add(op{kind: opSetEntry, sid: sid, seq: seq, entry: e}, 0, false)
}

// PutInbound notes that the client has sent a QoS 2 PUBLISH under packetID,
// until DeleteInbound.
func (b *Batch) PutInbound(sid message.SessionID, packetID uint16, in Inbound) {
	b.add(op{kind: opPutInbound, sid: sid, seq: uint64(packetID), id: in.ID, flags: in.flags()}, 0, false)
}

// DeleteInbound forgets packetID: PUBREL was received.
func (b *Batch) DeleteInbound(sid message.SessionID, packetID uint16) {
	b.add(op{kind: opDeleteInbound, sid: sid, seq: uint64(packetID)}, 0, false)
}

// Settle notes that a destination, named as the caller likes, has the message
// of that id and must not get it again, until Unsettle. In the batch of the
// Enqueue it is true whenever the process ends.
func (b *Batch) Settle(id message.ID, destination string) {
	b.add(op{kind: opSettle, id: id, name: destination}, len(destination), true)
}

// Unsettle removes the note: the message cannot come again.
func (b *Batch) Unsettle(id message.ID, destination string) {
	b.add(op{kind: opUnsettle, id: id, name: destination}, len(destination), false)
}

// PutSession writes the session's record.
func (b *Batch) PutSession(r *message.SessionRecord) {
	b.add(op{kind: opPutSession, sid: r.ID, data: r.AppendBinary(nil)}, 0, false)
}

// DeleteSession drops the session's record, queue and inbound packet ids. The
// will stays: it is due after the session ended. The call costs the same for
// any length of queue; the space is freed in the background.
func (b *Batch) DeleteSession(sid message.SessionID) {
	b.add(op{kind: opDeleteSession, sid: sid}, 0, false)
}

// PutWill stores the session's will in the caller's format.
func (b *Batch) PutWill(sid message.SessionID, will []byte) {
	b.add(op{kind: opPutWill, sid: sid, data: will}, len(will), false)
}

// DeleteWill removes the session's will.
func (b *Batch) DeleteWill(sid message.SessionID) {
	b.add(op{kind: opDeleteWill, sid: sid}, 0, false)
}

// PutMeta stores v under key; a nil v deletes the key.
func (b *Batch) PutMeta(key string, v []byte) {
	b.add(op{kind: opPutMeta, name: key, data: v}, len(v), false)
}

// AppendLog writes record seq of a log, replacing what is there.
func (b *Batch) AppendLog(log string, seq uint64, data []byte) {
	b.add(op{kind: opAppendLog, name: log, seq: seq, data: data}, len(data), true)
}

// TruncateLog removes the records of a log up to and including upTo.
func (b *Batch) TruncateLog(log string, upTo uint64) {
	b.add(op{kind: opTruncateLog, name: log, seq: upTo}, 0, false)
}
