package msgstore

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Store is an open message store. Its methods may be called from any
// goroutine.
type Store struct {
	c     Config
	log   *slog.Logger
	cache *pebble.Cache
	lock  io.Closer
	n     counters

	// mu guards in; it is held for reading during each read, so an instance is
	// closed only when nobody reads from it.
	mu sync.RWMutex
	in *instance // nil while unavailable

	pending pending
	notes   notifier
	full    atomic.Bool // the disk has less than MinFreeBytes
	keeper  sync.WaitGroup
}

// counters are what the store counts.
type counters struct {
	batches, operations, groups, failed, blocked, refused, purged, reclaims *metrics.Counter
	commit, sync, together                                                  *metrics.Histogram
}

// Open opens the store in c.Dir, making it if absent, and takes its lock: two
// processes cannot share a directory.
func Open(c Config) (*Store, error) {
	c = c.withDefaults()
	if err := c.FS.MkdirAll(c.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("opening message store: %w", err)
	}
	lock, err := c.FS.Lock(c.FS.PathJoin(c.Dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("opening message store %s: locking it (is another broker running on it?): %w", c.Dir, err)
	}
	s := &Store{c: c, log: c.Logger, lock: lock, cache: pebble.NewCache(c.CacheBytes)}
	s.pending.init(c.PendingBytes)
	s.register(c.Metrics)
	in, err := s.openInstance()
	if err != nil {
		s.cache.Unref()
		return nil, fmt.Errorf("opening message store %s: %w", c.Dir, firstError(err, lock.Close()))
	}
	s.in = in
	s.notes.start()
	s.keeper.Go(func() { s.keep(in) })
	return s, nil
}

func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnFailure == nil {
		c.OnFailure = func(error) {}
	}
	for _, d := range []struct {
		v   *int64
		def int64
	}{
		{&c.CacheBytes, DefaultCacheBytes},
		{(*int64)(&c.SyncInterval), int64(DefaultSyncInterval)},
		{&c.PendingBytes, DefaultPendingBytes},
		{&c.MinFreeBytes, DefaultMinFreeBytes},
		{(*int64)(&c.RetryInterval), int64(DefaultRetryInterval)},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.memTable == 0 {
		c.memTable = memTableBytes
	}
	if c.EmbedBelow == 0 {
		c.EmbedBelow = DefaultEmbedBelow
	}
	return c
}

func (s *Store) register(m *metrics.Registry) {
	s.n = counters{
		batches:    m.Counter("message_store_batches", "Batches made durable."),
		operations: m.Counter("message_store_operations", "Operations made durable."),
		groups:     m.Counter("message_store_groups", "Group commits, each with one wait for the disk."),
		failed:     m.Counter("message_store_failed", "Batches that failed."),
		blocked:    m.Counter("message_store_blocked", "Commits that waited because message_store.max_pending_bytes was reached."),
		refused:    m.Counter("message_store_refused", "Batches refused because the disk has too little free space."),
		reclaims:   m.Counter("message_store_reclaims", "Compactions that gave the space of consumed messages back."),
		purged:     m.Counter("message_store_purged", "Queued messages dropped with their session."),
		commit:     m.Histogram("message_store_commit_microseconds", "Batches, from being handed in until they were durable.", metrics.Latencies()),
		sync:       m.Histogram("message_store_sync_microseconds", "Group commits, from the first write until all was durable.", metrics.Latencies()),
		together:   m.Histogram("message_store_group_batches", "Batches in one group commit.", metrics.Sizes()),
	}
	m.Gauge("message_store_unavailable", "1 while the message store cannot write.", func() int64 {
		if s.Err() != nil {
			return 1
		}
		return 0
	})
	m.Gauge("message_store_pending_bytes", "Bytes that wait for the disk.", s.pending.size)
	m.Gauge("message_store_disk_bytes", "Disk space that the message store takes.", s.diskBytes)
}

// Err returns ErrUnavailable while the store cannot take messages because of
// an I/O error or a full disk, else nil.
func (s *Store) Err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.in == nil:
		return ErrUnavailable
	case s.full.Load():
		return errFull
	default:
		return nil
	}
}

func (s *Store) diskBytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.in == nil {
		return 0
	}
	return int64(s.in.db.Metrics().DiskSpaceUsage())
}

// Commit makes b durable and then calls done(nil), or done with the error. done
// is called exactly once, in the order of the calls to Commit, from one
// goroutine of the store, so it must be brief; it may call Commit. Commit
// blocks only while Config.PendingBytes wait for the disk. After Close, done is
// called with ErrClosed before Commit returns. A nil done is allowed.
func (s *Store) Commit(b *Batch, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	b.done, b.at = done, time.Now()
	blocked, ok := s.pending.put(b)
	if blocked {
		s.n.blocked.Inc()
	}
	if !ok {
		done(ErrClosed)
	}
}

// Close waits for the batches already committed and their callbacks, then
// closes the files. Batches committed later fail with ErrClosed. It must not be
// called from a callback, and once only.
func (s *Store) Close() error {
	s.pending.close()
	s.keeper.Wait()
	s.notes.close()
	s.mu.Lock()
	in := s.in
	s.in = nil
	s.mu.Unlock()
	var err error
	if in != nil {
		err = in.close()
	}
	s.cache.Unref()
	if err = firstError(err, s.lock.Close()); err != nil {
		return fmt.Errorf("closing message store: %w", err)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
