// Package msgstore keeps on disk what a broker has acknowledged and not yet
// delivered: the queues of durable sessions, the messages in them, received
// QoS 2 packet ids, session records, wills and the spool for absent nodes. It
// exists so that "acked means kept" rests on one place: a batch of changes is
// on disk, whole, before its callback runs, and many batches share one fsync.
package msgstore

import (
	"errors"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// SyncMode is the setting message_store.sync: when a batch counts as kept.
type SyncMode byte

// The modes. In each of them a batch has left the process before its callback
// runs, so kill -9 loses nothing; they differ in what a power failure takes.
const (
	// SyncAlways: the batch is on the disk (fsync).
	SyncAlways SyncMode = iota
	// SyncInterval: fsync every Config.SyncInterval; a power failure takes at
	// most that long.
	SyncInterval
	// SyncNever: the operating system decides.
	SyncNever
)

// String returns the value of the setting.
func (m SyncMode) String() string {
	switch m {
	case SyncInterval:
		return "interval"
	case SyncNever:
		return "never"
	default:
		return "always"
	}
}

// ParseSyncMode reads the value of the setting.
func ParseSyncMode(s string) (SyncMode, error) {
	for _, m := range []SyncMode{SyncAlways, SyncInterval, SyncNever} {
		if s == m.String() {
			return m, nil
		}
	}
	return 0, errors.New("want always, interval or never")
}

// Defaults of Config.
const (
	DefaultCacheBytes    = 32 << 20
	DefaultSyncInterval  = time.Second
	DefaultPendingBytes  = 64 << 20
	DefaultEmbedBelow    = 128
	DefaultMinFreeBytes  = 64 << 20
	DefaultRetryInterval = time.Second
)

// Config says where the store is and how much it may take. Zero values mean
// the defaults above; FS defaults to the operating system's.
type Config struct {
	// Dir is the store's own directory, made if absent.
	Dir string
	FS  vfs.FS
	// CacheBytes bounds the cache of blocks read from disk.
	CacheBytes int64
	Sync       SyncMode
	// SyncInterval is the time between fsyncs with SyncInterval.
	SyncInterval time.Duration
	// PendingBytes bounds what waits for the disk (setting
	// message_store.max_pending_bytes); above it Commit blocks. Negative: no
	// limit.
	PendingBytes int64
	// EmbedBelow is the encoded size below which a message is copied into each
	// queue's record, because the reference to a shared one would take as much
	// space. Negative: every message is shared.
	EmbedBelow int
	// MinFreeBytes is the free space of the disk under which batches that add
	// data are refused, so that there is always room to delete. Negative: no
	// limit.
	MinFreeBytes int64
	// RetryInterval is the pause before the store is opened again after an I/O
	// error; it doubles up to 16 times while that fails.
	RetryInterval time.Duration
	Logger        *slog.Logger
	Metrics       *metrics.Registry
	// OnFailure is called with the cause when the store becomes unavailable and
	// with nil when it is back, from a goroutine of the store. Optional.
	OnFailure func(error)

	memTable uint64 // size of a memtable, small in tests
}

// Errors of the store.
var (
	// ErrUnavailable: the disk failed or is full. Whether the batch is on disk
	// is unknown until the store is back: commit it again (every operation is
	// idempotent) or delete what it named.
	ErrUnavailable = errors.New("message store is unavailable")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("message store is closed")
	// ErrCorrupt: a record could not be decoded.
	ErrCorrupt = errors.New("message store record is corrupt")
	// ErrFormat: the directory was written by a newer version.
	ErrFormat = errors.New("message store has an unknown format")
)

// State is how far the delivery of a queued message has come.
type State byte

// The states of an entry (MQTT 5.0 §4.3, §4.4).
const (
	// Queued: never written to the client.
	Queued State = iota
	// Sent: PUBLISH was written with PacketID; PUBACK or PUBREC is awaited.
	Sent
	// Released: PUBREC was received, PUBREL goes out; PUBCOMP is awaited.
	Released
)

// Entry is what one queue knows about one message besides the message.
type Entry struct {
	// QoS granted for this delivery, 0 to 2.
	QoS byte
	// Retain is the flag to send.
	Retain bool
	State  State
	// PacketID is set once State is Sent.
	PacketID uint16
	// Order numbers the PUBRECs of the session in the order in which they were
	// received, so that PUBRELs go out in it [MQTT-4.6.0-4]; 0 before, and in
	// records of the first format.
	Order uint64
	// SubscriptionIDs of the matching subscriptions, in order.
	SubscriptionIDs []uint32
	// Group and Filter name the shared subscription that chose this session;
	// empty otherwise.
	Group  string
	Filter string
}

// Stored is one message of a queue as read back.
type Stored struct {
	Seq     uint64
	Entry   Entry
	Message *message.Message
}

// Inbound is what is kept of a received QoS 2 PUBLISH until its PUBREL.
type Inbound struct {
	ID message.ID
	// Routed: every destination has the message, it must not be routed again.
	Routed bool
	// Settling: the destinations that have it were noted with Batch.Settle, so
	// that one without a note has never had it. Not so in records of the first
	// format.
	Settling bool
}

// LogRecord is one record of a durable log.
type LogRecord struct {
	Seq  uint64
	Data []byte
}

// QueueInfo describes a queue without reading it.
type QueueInfo struct {
	// First is the oldest sequence present; equal to Next when empty.
	First uint64
	// Next is one above the highest sequence that was ever enqueued, also when
	// the queue has been drained since.
	Next uint64
	// Messages and Bytes count what is queued; Bytes are of encoded messages.
	Messages int
	Bytes    int64
}
