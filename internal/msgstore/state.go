package msgstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mqadmin/mqadmin/internal/message"
)

// Bounds of the committer's caches, in entries. A miss costs a read.
const (
	maxHeaders = 16384
	maxShared  = 65536
	// probeAfter is how many dequeues may leave the head of a queue where it is
	// before the committer looks where the queue begins by now.
	probeAfter = 256
)

// state is what the committer knows. Only its goroutine touches it, and after
// an error it is dropped and read again.
type state struct {
	nextQueue uint64
	headers   map[message.SessionID]*cachedHeader
	shared    map[message.ID]*sharedMessage
	purges    []uint64      // queues of deleted sessions
	busy      chan struct{} // closed
	deleted   atomic.Int64  // bytes deleted since the last flush

	// Of the batch being built:
	overlay map[queueSeq]*record // records changed; nil: deleted
	touched []*cachedHeader
	dropped []uint64 // queues to purge
	key     []byte
	val     []byte
}

type queueSeq struct{ queue, seq uint64 }

// cachedHeader is a header in the cache.
type cachedHeader struct {
	header
	sid     message.SessionID
	exists  bool // false: known to be absent
	touched bool
	stray   int // dequeues since then that did not move head
	probe   int // how many of them make the committer look
}

// sharedMessage counts the references to a shared message; 0: known to be
// absent.
type sharedMessage struct {
	refs int
	size int
}

func (in *instance) reset() {
	in.headers = map[message.SessionID]*cachedHeader{}
	in.shared = map[message.ID]*sharedMessage{}
	in.overlay = map[queueSeq]*record{}
	in.touched = nil
	in.dropped = nil
}

// load reads what the committer must know from the start, and checks or writes
// the format.
func (in *instance) load() error {
	in.reset()
	in.busy = make(chan struct{})
	close(in.busy)
	format, err := in.get(appendName(nil, keyStore, storeFormat), nil)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		if err := in.db.Set(appendName(nil, keyStore, storeFormat), []byte{formatStore}, pebble.Sync); err != nil {
			return err
		}
		if cause := in.fence.err(); cause != nil {
			return cause
		}
	case err != nil:
		return err
	case len(format) != 1 || format[0] > formatStore:
		return ErrFormat
	}
	if in.nextQueue, err = in.loadNextQueue(); err != nil {
		return err
	}
	it, err := in.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyPurge}, UpperBound: []byte{keyPurge + 1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		in.purges = append(in.purges, keySeq(it.Key()))
	}
	return it.Close()
}

func (in *instance) loadNextQueue() (uint64, error) {
	v, err := in.get(appendName(nil, keyStore, storeQueue), nil)
	if errors.Is(err, pebble.ErrNotFound) {
		return 1, nil
	}
	if err == nil && len(v) != 8 {
		err = ErrCorrupt
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// get appends the value under key to b.
func (in *instance) get(key, b []byte) ([]byte, error) {
	v, closer, err := in.db.Get(key)
	if err != nil {
		return nil, err
	}
	b = append(b, v...)
	return b, closer.Close()
}

// header returns the header of the session, making one if create is set; else
// nil for none.
func (in *instance) header(sid message.SessionID, create bool) (*cachedHeader, error) {
	h, ok := in.headers[sid]
	if !ok {
		h = &cachedHeader{sid: sid, probe: probeAfter}
		in.key = appendSessionKey(in.key[:0], keyHeader, sid)
		v, closer, err := in.db.Get(in.key)
		switch {
		case err == nil:
			h.header, err = decodeHeader(v)
			if err = firstError(err, closer.Close()); err != nil {
				return nil, fmt.Errorf("session %q: %w", sid, err)
			}
			h.exists = true
		case !errors.Is(err, pebble.ErrNotFound):
			return nil, err
		}
		in.headers[sid] = h
	}
	if !h.exists {
		if !create {
			return nil, nil //nolint:nilnil // none is no error
		}
		h.header = header{queue: in.nextQueue}
		h.exists, h.stray, h.probe = true, 0, probeAfter
		in.nextQueue++
		in.touch(h)
	}
	return h, nil
}

// touch notes that the header must be written with the batch.
func (in *instance) touch(h *cachedHeader) {
	if !h.touched {
		h.touched = true
		in.touched = append(in.touched, h)
	}
}

// entry returns the record at seq of a queue, nil for none.
func (in *instance) entry(queue, seq uint64) (*record, error) {
	if r, ok := in.overlay[queueSeq{queue, seq}]; ok {
		return r, nil
	}
	in.key = appendQueueKey(in.key[:0], queue, seq)
	v, closer, err := in.db.Get(in.key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil //nolint:nilnil // none is no error
	}
	if err != nil {
		return nil, err
	}
	r, err := decodeRecord(v)
	r.body = append([]byte(nil), r.body...)
	if err = firstError(err, closer.Close()); err != nil {
		return nil, fmt.Errorf("queue %d, sequence %d: %w", queue, seq, err)
	}
	return &r, nil
}

// message returns the reference count of a shared message.
func (in *instance) message(id message.ID) (*sharedMessage, error) {
	if m, ok := in.shared[id]; ok {
		return m, nil
	}
	m := &sharedMessage{}
	in.key = appendMessageKey(in.key[:0], id)
	v, closer, err := in.db.Get(in.key)
	switch {
	case err == nil:
		m.size = len(v)
		if err = closer.Close(); err != nil {
			return nil, err
		}
		if m.refs, err = in.countRefs(id); err != nil {
			return nil, err
		}
	case !errors.Is(err, pebble.ErrNotFound):
		return nil, err
	}
	in.shared[id] = m
	return m, nil
}

func (in *instance) countRefs(id message.ID) (int, error) {
	prefix := id.AppendBinary([]byte{keyRef})
	it, err := in.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return 0, err
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n, it.Close()
}

// settle ends a batch that was applied: caches are trimmed and heads of queues
// caught up.
func (in *instance) settle() {
	clear(in.overlay)
	for _, h := range in.touched {
		h.touched = false
		in.catchUp(h)
		if !h.exists {
			delete(in.headers, h.sid)
		}
	}
	in.touched = in.touched[:0]
	in.purges = append(in.purges, in.dropped...)
	in.dropped = in.dropped[:0]
	for sid := range in.headers {
		if len(in.headers) <= maxHeaders {
			break
		}
		delete(in.headers, sid)
	}
	for id := range in.shared {
		if len(in.shared) <= maxShared {
			break
		}
		delete(in.shared, id)
	}
}

// catchUp moves the head of a queue that was dequeued out of order. The new
// head reaches the disk with the next change of the queue; until then an older
// one is only slower. While the head does stay, it looks ever less often.
func (in *instance) catchUp(h *cachedHeader) {
	if !h.exists || h.stray < h.probe {
		return
	}
	lower := appendQueueKey(nil, h.queue, h.head)
	it, err := in.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(lower[:9])})
	if err != nil {
		return
	}
	h.stray, h.probe = 0, 2*h.probe
	if it.First() && keySeq(it.Key()) > h.head {
		h.head, h.probe = keySeq(it.Key()), probeAfter
	}
	_ = it.Close() // an error shows again where it matters
}
