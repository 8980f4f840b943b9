package msgstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mqadmin/mqadmin/internal/message"
)

// apply writes one batch to the log and the memtable, with a wait for the disk
// if last; synced says that it did wait, which covers all batches before it.
func (in *instance) apply(b *Batch, last bool) (synced bool, err error) {
	if b.grows && in.s.full.Load() {
		in.s.n.refused.Inc()
		return false, errFull
	}
	pb := in.db.NewBatchWithSize(int(min(b.bytes, memTableBytes)))
	defer func() { _ = pb.Close() }()
	if err := in.build(pb, b); err != nil {
		in.reset()
		if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrFormat) || errors.Is(err, errLogName) {
			return false, err
		}
		return false, unavailable(err)
	}
	return last && !pb.Empty(), in.write(pb, last)
}

// write applies what was built and settles the caches.
func (in *instance) write(pb *pebble.Batch, sync bool) error {
	if !pb.Empty() {
		in.decongest(pb.Len())
		o := pebble.NoSync
		if sync {
			o = pebble.Sync
		}
		if err := in.db.Apply(pb, o); err != nil {
			in.fence.trip(err)
		}
	}
	if cause := in.fence.err(); cause != nil {
		return unavailable(cause)
	}
	in.settle()
	return nil
}

// build translates the operations of b into writes of records.
func (in *instance) build(pb *pebble.Batch, b *Batch) error {
	queues := in.nextQueue
	for i := range b.ops {
		if err := in.operation(pb, &b.ops[i]); err != nil {
			return err
		}
	}
	return in.buildHeaders(pb, queues)
}

// buildHeaders writes the headers that changed, and the next queue number if
// that was above queues.
func (in *instance) buildHeaders(pb *pebble.Batch, queues uint64) error {
	for _, h := range in.touched {
		in.key = appendSessionKey(in.key[:0], keyHeader, h.sid)
		var err error
		if h.exists {
			in.val = h.appendBinary(in.val[:0])
			err = pb.Set(in.key, in.val, nil)
		} else {
			err = pb.Delete(in.key, nil)
		}
		if err != nil {
			return err
		}
	}
	if in.nextQueue == queues {
		return nil
	}
	in.key = appendName(in.key[:0], keyStore, storeQueue)
	in.val = binary.BigEndian.AppendUint64(in.val[:0], in.nextQueue)
	return pb.Set(in.key, in.val, nil)
}

func (in *instance) operation(pb *pebble.Batch, o *op) error {
	switch o.kind {
	case opEnqueue:
		return in.enqueue(pb, o)
	case opDequeue:
		return in.dequeue(pb, o)
	case opSetEntry:
		return in.setEntry(pb, o)
	case opPutInbound, opDeleteInbound:
		return in.inbound(pb, o)
	case opPutSession:
		in.key = appendSessionKey(in.key[:0], keySession, o.sid)
		return pb.Set(in.key, o.data, nil)
	case opDeleteSession:
		return in.deleteSession(pb, o.sid)
	case opPutWill:
		in.key = appendSessionKey(in.key[:0], keyWill, o.sid)
		return pb.Set(in.key, o.data, nil)
	case opDeleteWill:
		in.key = appendSessionKey(in.key[:0], keyWill, o.sid)
		return pb.Delete(in.key, nil)
	case opPutMeta:
		in.key = appendName(in.key[:0], keyMeta, o.name)
		if o.data == nil {
			return pb.Delete(in.key, nil)
		}
		return pb.Set(in.key, o.data, nil)
	case opAppendLog, opTruncateLog:
		return in.logOperation(pb, o)
	case opSettle:
		in.key = appendSettledKey(in.key[:0], o.id, o.name)
		return pb.Set(in.key, nil, nil)
	case opUnsettle:
		in.key = appendSettledKey(in.key[:0], o.id, o.name)
		return pb.Delete(in.key, nil)
	}
	return fmt.Errorf("operation %d is unknown", o.kind)
}

func (in *instance) enqueue(pb *pebble.Batch, o *op) error {
	h, err := in.header(o.sid, true)
	if err != nil {
		return err
	}
	if o.seq < h.next { // may replace a record
		if err := in.remove(pb, h, o.seq); err != nil {
			return err
		}
	}
	r, err := in.place(pb, o.msg, h.queue, o.seq)
	if err != nil {
		return err
	}
	r.entry = o.entry
	if h.count == 0 || o.seq < h.head {
		h.head = o.seq
	}
	h.next = max(h.next, o.seq+1)
	h.count++
	h.bytes += uint64(r.size)
	in.touch(h)
	return in.put(pb, h.queue, o.seq, r)
}

// place stores the message for one more queue: in its record when that is
// small, else shared.
func (in *instance) place(pb *pebble.Batch, m *message.Message, queue, seq uint64) (*record, error) {
	known := in.shared[m.ID]
	if known == nil || known.refs == 0 {
		in.val = m.AppendBinary(in.val[:0])
		if len(in.val) < in.s.c.EmbedBelow || m.ID.IsZero() {
			return &record{body: append([]byte(nil), in.val...), size: len(in.val)}, nil
		}
		var err error
		if known, err = in.message(m.ID); err != nil {
			return nil, err
		}
	}
	if known.refs == 0 {
		known.size = len(in.val)
		in.key = appendMessageKey(in.key[:0], m.ID)
		if err := pb.Set(in.key, in.val, nil); err != nil {
			return nil, err
		}
	}
	known.refs++
	in.key = appendRefKey(in.key[:0], m.ID, queue, seq)
	return &record{shared: true, id: m.ID, size: known.size}, pb.Set(in.key, nil, nil)
}

// put writes a queue record.
func (in *instance) put(pb *pebble.Batch, queue, seq uint64, r *record) error {
	in.overlay[queueSeq{queue, seq}] = r
	in.key = appendQueueKey(in.key[:0], queue, seq)
	in.val = r.appendBinary(in.val[:0])
	return pb.Set(in.key, in.val, nil)
}

func (in *instance) dequeue(pb *pebble.Batch, o *op) error {
	h, err := in.header(o.sid, false)
	if err != nil || h == nil || o.seq >= h.next {
		return err
	}
	return in.remove(pb, h, o.seq)
}

// remove deletes the record at seq, if there is one, and lets go of its
// message.
func (in *instance) remove(pb *pebble.Batch, h *cachedHeader, seq uint64) error {
	r, err := in.entry(h.queue, seq)
	if err != nil || r == nil {
		return err
	}
	in.overlay[queueSeq{h.queue, seq}] = nil
	in.key = appendQueueKey(in.key[:0], h.queue, seq)
	if err := pb.Delete(in.key, nil); err != nil {
		return err
	}
	h.count -= min(h.count, 1)
	h.bytes -= min(h.bytes, uint64(r.size))
	switch {
	case h.count == 0:
		h.head = h.next
	case seq == h.head:
		h.head++
	default:
		h.stray++
	}
	in.touch(h)
	return in.letGo(pb, r, h.queue, seq)
}

// letGo deletes the reference of a removed record to its message, and the
// message with its last reference.
func (in *instance) letGo(pb *pebble.Batch, r *record, queue, seq uint64) error {
	if !r.shared {
		in.deleted.Add(int64(r.size))
		return nil
	}
	m, err := in.message(r.id)
	if err != nil {
		return err
	}
	in.key = appendRefKey(in.key[:0], r.id, queue, seq)
	if err := pb.Delete(in.key, nil); err != nil {
		return err
	}
	m.refs--
	if m.refs > 0 {
		return nil
	}
	m.refs = 0
	in.deleted.Add(int64(m.size))
	in.key = appendMessageKey(in.key[:0], r.id)
	return pb.DeleteSized(in.key, uint32(m.size), nil)
}

func (in *instance) setEntry(pb *pebble.Batch, o *op) error {
	h, err := in.header(o.sid, false)
	if err != nil || h == nil || o.seq >= h.next {
		return err
	}
	r, err := in.entry(h.queue, o.seq)
	if err != nil || r == nil {
		return err
	}
	changed := *r
	changed.entry = o.entry
	return in.put(pb, h.queue, o.seq, &changed)
}

func (in *instance) inbound(pb *pebble.Batch, o *op) error {
	put := o.kind == opPutInbound
	h, err := in.header(o.sid, put)
	if err != nil || h == nil {
		return err
	}
	in.key = appendInboundKey(in.key[:0], h.queue, uint16(o.seq))
	if !put {
		return pb.Delete(in.key, nil)
	}
	in.val = appendInbound(in.val[:0], o.flags, o.id)
	return pb.Set(in.key, in.val, nil)
}

// deleteSession forgets the session at once; its queue, which no key leads to
// any more, is left to purge.
func (in *instance) deleteSession(pb *pebble.Batch, sid message.SessionID) error {
	in.key = appendSessionKey(in.key[:0], keySession, sid)
	if err := pb.Delete(in.key, nil); err != nil {
		return err
	}
	h, err := in.header(sid, false)
	if err != nil || h == nil {
		return err
	}
	in.touch(h)
	h.exists = false
	in.dropped = append(in.dropped, h.queue)
	return pb.Set(appendQueueRange(nil, keyPurge, h.queue), nil, nil)
}

// errLogName: a log's name is at most 255 bytes, so that its keys stay small.
var errLogName = errors.New("message store log name is longer than 255 bytes")

func (in *instance) logOperation(pb *pebble.Batch, o *op) error {
	if len(o.name) > 255 {
		return errLogName
	}
	if o.kind == opAppendLog {
		in.key = appendLogKey(in.key[:0], o.name, o.seq)
		return pb.Set(in.key, o.data, nil)
	}
	upper := after(appendLogRange(nil, o.name))
	if o.seq+1 != 0 {
		upper = appendLogKey(nil, o.name, o.seq+1)
	}
	return pb.DeleteRange(appendLogRange(nil, o.name), upper, nil)
}
