package msgstore

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// Sizes of the Pebble instance.
const (
	memTableBytes = 16 << 20
	// flushBytes is how much must have been deleted before a flush lets
	// compactions give the space back.
	flushBytes = 32 << 20
	// rangeFlushDelay does the same for range deletions.
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
	strikes atomic.Int32

	// mu guards group and disowned.
	mu       sync.Mutex
	group    []*Batch // being committed
	disowned bool

	state // the committer's
}

// openInstance opens the database. No goroutine of ours runs before start.
func (s *Store) openInstance() (in *instance, err error) {
	in = &instance{s: s, fence: newFence(s.c.FS, s.c.Sync), exited: make(chan struct{})}
	defer func() {
		if r := recover(); r != nil { // Pebble panics on some failed writes
			in.fence.trip(fmt.Errorf("%v", r))
			in, err = nil, fmt.Errorf("opening pebble: %v", r)
		}
	}()
	o := &pebble.Options{
		FS:                          in.fence,
		Cache:                       s.cache,
		MemTableSize:                s.c.memTable,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		FlushDelayDeleteRange:       rangeFlushDelay,
		// Not the newest: with sync chunks in the log, what an interval without
		// fsync loses would count as corruption.
		FormatMajorVersion: pebble.FormatColumnarBlocks,
		Logger:             pebbleLog{in.fence, s.log},
		EventListener:      &pebble.EventListener{BackgroundError: in.backgroundError},
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

// start runs the committer.
func (in *instance) start() {
	in.wg.Go(in.run)
	if in.s.c.Sync == SyncInterval {
		in.wg.Go(in.syncLogs)
	}
}

// syncLogs is the fsync of SyncInterval.
func (in *instance) syncLogs() {
	t := time.NewTicker(in.s.c.SyncInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if in.fence.syncLogs() != nil {
				return // the fence has tripped
			}
		case <-in.fence.tripped:
			return
		case <-in.exited:
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
	if !in.release() {
		return // the keeper has answered already
	}
	var err error
	if cause := in.fence.err(); cause != nil {
		err = unavailable(cause)
	}
	in.s.finish(group, err, errs)
	if in.deleted >= flushBytes && err == nil {
		in.deleted = 0
		if _, err := in.db.AsyncFlush(); err != nil {
			in.s.log.Warn("message store cannot flush", "error", err)
		}
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
// committer may hang for ever in a write that Pebble retries.
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
// any more; at worst a goroutine and its memtables stay behind.
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

// Pebble retries a failed flush at once for as long as the database is not
// closed; these slow it down and, if the committer hangs so that it cannot be
// closed, end it.
const (
	maxStrikes  = 100
	strikePause = 100 * time.Millisecond
)

// backgroundError is called by Pebble when a flush or compaction failed; a
// failed write has tripped the fence by then.
func (in *instance) backgroundError(err error) {
	switch {
	case in.fence.err() == nil:
		in.s.log.Warn("message store background error", "error", err)
	case in.closing.Load():
	case in.strikes.Add(1) > maxStrikes:
		runtime.Goexit()
	default:
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
