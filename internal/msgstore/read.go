package msgstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mqadmin/mqadmin/internal/message"
)

// read runs fn with the database, which stays open meanwhile.
func (s *Store) read(doing string, fn func(db *pebble.DB) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.in == nil {
		if s.pending.isClosed() {
			return fmt.Errorf("%s: %w", doing, ErrClosed)
		}
		return fmt.Errorf("%s: %w", doing, ErrUnavailable)
	}
	if err := fn(s.in.db); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// value returns a copy of the value under key, nil for none.
func value(db *pebble.DB, key []byte) ([]byte, error) {
	v, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v = append([]byte{}, v...)
	return v, closer.Close()
}

// each calls fn for the pairs in a range until it returns false.
func each(db *pebble.DB, lower, upper []byte, fn func(key, value []byte) (bool, error)) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		var more bool
		if more, err = fn(it.Key(), it.Value()); err != nil || !more {
			break
		}
	}
	return firstError(err, it.Close())
}

// readHeader returns the header of the session; ok is false for none.
func readHeader(db *pebble.DB, sid message.SessionID) (h header, ok bool, err error) {
	v, err := value(db, appendSessionKey(nil, keyHeader, sid))
	if err != nil || v == nil {
		return header{}, false, err
	}
	h, err = decodeHeader(v)
	return h, err == nil, err
}

// ReadQueue returns up to limit messages of the session's queue from sequence
// from on, oldest first.
func (s *Store) ReadQueue(sid message.SessionID, from uint64, limit int) ([]Stored, error) {
	var out []Stored
	err := s.read("reading queue", func(db *pebble.DB) error {
		h, ok, err := readHeader(db, sid)
		if err != nil || !ok || limit <= 0 {
			return err
		}
		out = make([]Stored, 0, min(uint64(limit), h.count))
		lower := appendQueueKey(nil, h.queue, max(from, h.head))
		return each(db, lower, after(lower[:9]), func(key, v []byte) (bool, error) {
			st, err := readStored(db, key, v)
			if err != nil {
				return false, err
			}
			if st.Message != nil {
				out = append(out, st)
			}
			return len(out) < limit, nil
		})
	})
	return out, err
}

// readStored completes a queue record with its message; that is nil when the
// record was dequeued after the iteration began.
func readStored(db *pebble.DB, key, v []byte) (Stored, error) {
	st := Stored{Seq: keySeq(key)}
	r, err := decodeRecord(v)
	if err != nil {
		return st, fmt.Errorf("sequence %d: %w", st.Seq, err)
	}
	st.Entry = r.entry
	if !r.shared {
		st.Message, err = r.message()
		return st, err
	}
	body, err := value(db, appendMessageKey(nil, r.id))
	if err != nil {
		return st, err
	}
	if body == nil {
		if still, err := value(db, key); err != nil || still == nil {
			return st, err
		}
		return st, fmt.Errorf("sequence %d: %w: message %s is missing", st.Seq, ErrCorrupt, r.id)
	}
	st.Message, err = decodeMessage(body)
	return st, err
}

// Bounds returns the sequence of the oldest message of the session's queue,
// one above the highest sequence ever enqueued, and the number of messages.
// All are zero when the session has no queue.
func (s *Store) Bounds(sid message.SessionID) (first, next uint64, n int, err error) {
	q, err := s.Queue(sid)
	return q.First, q.Next, q.Messages, err
}

// Queue returns the extent of the session's queue, zero for none. It costs the
// same for any length.
func (s *Store) Queue(sid message.SessionID) (QueueInfo, error) {
	var q QueueInfo
	err := s.read("reading queue bounds", func(db *pebble.DB) error {
		h, ok, err := readHeader(db, sid)
		if err != nil || !ok {
			return err
		}
		q = h.info()
		if h.count == 0 {
			return nil
		}
		lower := appendQueueKey(nil, h.queue, h.head)
		return each(db, lower, after(lower[:9]), func(key, _ []byte) (bool, error) {
			q.First = keySeq(key)
			return false, nil
		})
	})
	return q, err
}

func (h *header) info() QueueInfo {
	q := QueueInfo{First: h.head, Next: h.next, Messages: int(h.count), Bytes: int64(h.bytes)}
	if h.count == 0 {
		q.First = q.Next
	}
	return q
}

// Inbound returns the QoS 2 packet ids received and not yet released.
func (s *Store) Inbound(sid message.SessionID) (map[uint16]Inbound, error) {
	ids := map[uint16]Inbound{}
	err := s.read("reading inbound packet ids", func(db *pebble.DB) error {
		h, ok, err := readHeader(db, sid)
		if err != nil || !ok {
			return err
		}
		lower := appendQueueRange(nil, keyInbound, h.queue)
		return each(db, lower, after(lower), func(key, v []byte) (bool, error) {
			in, err := decodeInbound(v)
			if err != nil || len(key) != len(lower)+2 {
				return false, firstError(err, ErrCorrupt)
			}
			ids[binary.BigEndian.Uint16(key[len(lower):])] = in
			return true, nil
		})
	})
	return ids, err
}

// Session returns the session's record, nil for none.
func (s *Store) Session(sid message.SessionID) (*message.SessionRecord, error) {
	var r *message.SessionRecord
	err := s.read("reading session", func(db *pebble.DB) error {
		v, err := value(db, appendSessionKey(nil, keySession, sid))
		if err != nil || v == nil {
			return err
		}
		r, err = message.DecodeSessionRecord(v)
		return err
	})
	return r, err
}

// Meta returns the value under key, nil for none.
func (s *Store) Meta(key string) ([]byte, error) {
	var v []byte
	err := s.read("reading metadata", func(db *pebble.DB) (err error) {
		v, err = value(db, appendName(nil, keyMeta, key))
		return err
	})
	return v, err
}

// ReadLog returns up to limit records of a log from sequence from on.
func (s *Store) ReadLog(log string, from uint64, limit int) ([]LogRecord, error) {
	var out []LogRecord
	err := s.read("reading log", func(db *pebble.DB) error {
		if limit <= 0 {
			return nil
		}
		return each(db, appendLogKey(nil, log, from), after(appendLogRange(nil, log)), func(key, v []byte) (bool, error) {
			out = append(out, LogRecord{Seq: keySeq(key), Data: append([]byte(nil), v...)})
			return len(out) < limit, nil
		})
	})
	return out, err
}

// LogBounds returns the first sequence of a log and one above the last; both
// are zero when it is empty.
func (s *Store) LogBounds(log string) (first, next uint64, err error) {
	err = s.read("reading log bounds", func(db *pebble.DB) error {
		prefix := appendLogRange(nil, log)
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
		if err != nil {
			return err
		}
		if it.First() {
			first = keySeq(it.Key())
		}
		if it.Last() {
			next = keySeq(it.Key()) + 1
		}
		return it.Close()
	})
	return first, next, err
}
