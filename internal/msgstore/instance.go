package msgstore

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// Sizes of the Pebble instance.
const (
	memTableBytes = 8 << 20
	// rangeFlushDelay is when a range deletion is flushed, because before that
	// no space comes back.
	rangeFlushDelay = 10 * time.Second
)

// instance is one opening of the Pebble database with its committer. After an
// I/O error it is given up whole and another takes its place.
type instance struct {
	s      *Store
	fence  *fence
	db     *pebble.DB
	exited chan struct{} // the committer has returned
	wg     sync.WaitGroup

	closing atomic.Bool
	eased   chan struct{} // has a token after a flush or compaction
	written int           // bytes since the last look for congestion; the committer's

	// mu guards group and disowned.
	mu       sync.Mutex
	group    []*Batch // being committed
	disowned bool

	state // the committer's
}

// openInstance opens the database. No goroutine of ours runs before start.
func (s *Store) openInstance() (in *instance, err error) {
	in = &instance{s: s, fence: newFence(s.c.FS, s.c.Sync), exited: make(chan struct{}), eased: make(chan struct{}, 1)}
	defer func() {
		if r := recover(); r != nil { // Pebble panics on some failed writes
			in.fence.trip(fmt.Errorf("%v", r))
			in, err = nil, fmt.Errorf("opening pebble: %v", r)
		}
	}()
	o := &pebble.Options{
		FS:                    in.fence,
		Cache:                 s.cache,
		MemTableSize:          s.c.memTable,
		L0CompactionThreshold: 2,
		FlushDelayDeleteRange: rangeFlushDelay,
		// Pebble's own stalls would not end after an I/O error; decongest comes
		// before them. The first is also how many old logs are kept for reuse.
		MemTableStopWritesThreshold: 2 * maxMemTables,
		L0StopWritesThreshold:       math.MaxInt32,
		// Not the newest: with sync chunks in the log, what an interval without
		// fsync loses would count as corruption.
		FormatMajorVersion: pebble.FormatColumnarBlocks,
		Logger:             pebbleLog{in.fence, s.log},
		EventListener: &pebble.EventListener{
			BackgroundError: in.backgroundError,
			FlushEnd:        func(pebble.FlushInfo) { in.ease() },
			CompactionEnd:   func(pebble.CompactionInfo) { in.ease() },
		},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if in.db, err = pebble.Open(s.c.Dir, o); err != nil {
		in.fence.trip(err)
		return nil, firstError(in.fence.cause, err)
	}
	if err = firstError(in.fence.err(), in.load()); err != nil {
		in.fence.trip(err)
		return nil, firstError(err, in.db.Close())
	}
	return in, nil
}

// start runs the committer and what goes with it.
func (in *instance) start() {
	ctx, cancel := context.WithCancel(context.Background())
	in.wg.Go(in.run)
	in.wg.Go(func() {
		defer cancel()
		select {
		case <-in.fence.tripped:
		case <-in.exited:
		}
	})
	in.wg.Go(func() { in.reclaim(ctx) })
	if in.s.c.Sync == SyncInterval {
		in.wg.Go(func() { in.syncLogs(ctx) })
	}
}

// syncLogs is the fsync of SyncInterval.
func (in *instance) syncLogs(ctx context.Context) {
	t := time.NewTicker(in.s.c.SyncInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if in.fence.syncLogs() != nil {
				return // the fence has tripped
			}
		case <-ctx.Done():
			return
		}
	}
}

// run is the committer: what waits while one group is brought to the disk makes
// the next group.
func (in *instance) run() {
	defer close(in.exited)
	defer func() {
		if r := recover(); r != nil { // Pebble panics on some failed writes
			in.fence.trip(fmt.Errorf("%v", r))
		}
	}()
	for {
		var work chan struct{} // always ready when a deleted queue waits
		if len(in.purges) > 0 {
			work = in.busy
		}
		select {
		case <-in.fence.tripped:
			return
		case <-in.s.pending.wake:
			batches, more := in.s.pending.take()
			if !more {
				return
			}
			in.commit(batches)
		case <-work:
		}
		if len(in.purges) > 0 && in.fence.err() == nil {
			in.purge()
		}
	}
}

// commit makes one group durable with one wait for the disk.
func (in *instance) commit(group []*Batch) {
	if !in.own(group) {
		in.s.finish(group, ErrUnavailable, nil)
		return
	}
	began := time.Now()
	errs := make([]error, len(group))
	dirty := false
	for i, b := range group {
		var synced bool
		synced, errs[i] = in.apply(b, i == len(group)-1)
		dirty = !synced && (dirty || errs[i] == nil)
	}
	if dirty && in.fence.err() == nil {
		if err := in.db.LogData(nil, pebble.Sync); err != nil {
			in.fence.trip(err)
		}
	}
	in.s.n.groups.Inc()
	in.s.n.sync.Since(began)
	in.s.n.together.Observe(int64(len(group)))
	if !in.release() {
		return // the keeper has answered already
	}
	var err error
	if cause := in.fence.err(); cause != nil {
		err = unavailable(cause)
	}
	in.s.finish(group, err, errs)
}

// Above these the committer waits for flushes and compactions.
const (
	maxMemTables = 3
	maxSublevels = 32

	congestionLook = 100 * time.Millisecond
)

// decongest is called before n bytes are applied. It waits while Pebble's flushes or compactions lag behind, as Pebble
// would by itself, but gives up when the fence trips.
func (in *instance) decongest(n int) {
	if in.written < int(in.s.c.memTable)/2 {
		in.written += n
		return
	}
	in.written = n
	for in.congested() {
		select {
		case <-in.eased:
		case <-time.After(congestionLook): // should an event be missed
		case <-in.fence.tripped:
			return
		}
	}
}

func (in *instance) congested() bool {
	m := in.db.Metrics()
	return m.MemTable.Size >= maxMemTables*in.s.c.memTable || m.Levels[0].Sublevels >= maxSublevels
}

func (in *instance) ease() {
	select {
	case in.eased <- struct{}{}:
	default:
	}
}

// own notes that group is being committed, unless the instance was given up.
func (in *instance) own(group []*Batch) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.disowned {
		return false
	}
	in.group = group
	return true
}

// release ends own; false: the group was taken by disown.
func (in *instance) release() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.group = nil
	return !in.disowned
}

// disown gives the instance up and returns what it was committing: its
// committer may hang in the disk.
func (in *instance) disown() []*Batch {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.disowned = true
	group := in.group
	in.group = nil
	return group
}

// close closes the database in order.
func (in *instance) close() error {
	in.wg.Wait()
	in.closing.Store(true)
	if err := in.db.Close(); err != nil {
		return fmt.Errorf("closing pebble: %w", err)
	}
	return nil
}

// abandon closes a tripped instance as far as Pebble lets it. It cannot write
// any more; if the disk hangs, its goroutines and memtables stay behind.
func (in *instance) abandon() {
	in.wg.Wait()
	defer func() {
		if r := recover(); r != nil {
			in.s.log.Debug("closing the failed message store", "error", r)
		}
	}()
	if err := in.close(); err != nil {
		in.s.log.Debug("closing the failed message store", "error", err)
	}
}

// strikePause slows Pebble's retrying of flushes and compactions that cannot
// succeed any more, which goes on until the instance is closed.
const strikePause = 20 * time.Millisecond

// backgroundError is called by Pebble when a flush or compaction failed; a
// failed write has tripped the fence by then.
func (in *instance) backgroundError(err error) {
	switch {
	case in.fence.err() == nil:
		in.s.log.Warn("message store background error", "error", err)
	case !in.closing.Load():
		time.Sleep(strikePause)
	}
}

// pebbleLog receives what Pebble logs. Fatalf must end what cannot be gone on
// with: it trips the fence instead of ending the process.
type pebbleLog struct {
	f   *fence
	log *slog.Logger
}

func (l pebbleLog) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble", "message", fmt.Sprintf(format, args...))
	}
}

func (l pebbleLog) Errorf(format string, args ...any) {
	if l.f.err() == nil {
		l.log.Warn("pebble", "message", fmt.Sprintf(format, args...))
	}
}

func (l pebbleLog) Fatalf(format string, args ...any) {
	l.f.trip(fmt.Errorf(format, args...))
}
