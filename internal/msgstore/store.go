package msgstore

import (
	"github.com/mqadmin/mqadmin/internal/message"
)

// Store is an open message store. Its methods may be called from any
// goroutine.
type Store struct{}

// Open opens the store in c.Dir, making it if absent, and takes its lock: two
// processes cannot share a directory.
func Open(c Config) (*Store, error) { return nil, ErrUnavailable }

// Close waits for the batches already committed and their callbacks, then
// closes the files. Batches committed later fail with ErrClosed.
func (s *Store) Close() error { return nil }

// Commit makes b durable and then calls done(nil), or done with the error. done
// is called exactly once, in the order of the calls to Commit, from one
// goroutine of the store, so it must be brief; it may call Commit. Commit
// blocks only while Config.PendingBytes wait for the disk.
func (s *Store) Commit(b *Batch, done func(error)) { done(ErrUnavailable) }

// ReadQueue returns up to limit messages of the session's queue from sequence
// from on, oldest first.
func (s *Store) ReadQueue(sid message.SessionID, from uint64, limit int) ([]Stored, error) {
	return nil, ErrUnavailable
}

// Bounds returns the sequence of the oldest message of the session's queue,
// one above the highest sequence ever enqueued, and the number of messages.
// All are zero when the session has no queue.
func (s *Store) Bounds(sid message.SessionID) (first, next uint64, n int, err error) {
	return 0, 0, 0, ErrUnavailable
}

// Queue returns the extent of the session's queue, zero for none.
func (s *Store) Queue(sid message.SessionID) (QueueInfo, error) { return QueueInfo{}, ErrUnavailable }

// Inbound returns the QoS 2 packet ids received and not yet released.
func (s *Store) Inbound(sid message.SessionID) (map[uint16]message.ID, error) {
	return nil, ErrUnavailable
}

// Session returns the session's record, nil for none.
func (s *Store) Session(sid message.SessionID) (*message.SessionRecord, error) {
	return nil, ErrUnavailable
}

// Sessions calls fn with each session record in the order of SessionID.Key
// until it returns false.
func (s *Store) Sessions(fn func(*message.SessionRecord) bool) error { return ErrUnavailable }

// Queues calls fn with each session that has a queue or inbound packet ids.
func (s *Store) Queues(fn func(message.SessionID, QueueInfo) bool) error { return ErrUnavailable }

// Wills calls fn with each stored will until it returns false.
func (s *Store) Wills(fn func(sid message.SessionID, will []byte) bool) error { return ErrUnavailable }

// Meta returns the value under key, nil for none.
func (s *Store) Meta(key string) ([]byte, error) { return nil, ErrUnavailable }

// ReadLog returns up to limit records of a log from sequence from on.
func (s *Store) ReadLog(log string, from uint64, limit int) ([]LogRecord, error) {
	return nil, ErrUnavailable
}

// LogBounds returns the first sequence of a log and one above the last; equal
// when it is empty.
func (s *Store) LogBounds(log string) (first, next uint64, err error) { return 0, 0, ErrUnavailable }
