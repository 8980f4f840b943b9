package msgstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// errFull is what a batch that adds data gets while the disk is nearly full.
var errFull = fmt.Errorf("%w: the disk is nearly full", ErrUnavailable)

// How the keeper paces itself.
const (
	spaceInterval = time.Second // between looks at the free disk space
	maxBackoff    = 16          // times Config.RetryInterval
)

// keep owns the instance: it starts the committer, watches for I/O errors, and
// replaces an instance that had one. While there is none it fails what comes
// in. It returns when the store is closed and nothing waits any more.
func (s *Store) keep(in *instance) {
	space := time.NewTicker(spaceInterval)
	defer space.Stop()
	for in != nil {
		in.start()
		for running := true; running; {
			select {
			case <-in.exited: // closed and drained, or tripped
				running = false
			case <-in.fence.tripped:
				running = false
			case <-space.C:
				s.look()
			}
		}
		if in.fence.err() == nil {
			return
		}
		s.fail(in)
		in = s.reopen()
	}
}

// fail takes a tripped instance out of service.
func (s *Store) fail(in *instance) {
	cause := in.fence.err()
	s.mu.Lock()
	s.in = nil
	s.mu.Unlock()
	s.finish(in.disown(), unavailable(cause), nil)
	s.log.Error("message store is unavailable: publishes that need the disk are refused", "dir", s.c.Dir, "error", cause)
	s.c.OnFailure(unavailable(cause))
	in.fence.drain()
	go in.abandon()
}

// reopen tries to open the store until that succeeds, or returns nil when the
// store is closed meanwhile.
func (s *Store) reopen() *instance {
	pause := s.c.RetryInterval
	retry := time.NewTimer(pause)
	defer retry.Stop()
	for {
		select {
		case <-s.pending.wake:
			batches, more := s.pending.take()
			s.finish(batches, ErrUnavailable, nil)
			if !more {
				return nil
			}
		case <-retry.C:
			in, err := s.openInstance()
			if err == nil {
				s.mu.Lock()
				s.in = in
				s.mu.Unlock()
				s.log.Info("message store is available again", "dir", s.c.Dir)
				s.c.OnFailure(nil)
				return in
			}
			s.log.Debug("message store cannot be opened yet", "dir", s.c.Dir, "error", err)
			pause = min(2*pause, maxBackoff*s.c.RetryInterval)
			retry.Reset(pause)
		}
	}
}

// finish hands batches to their callbacks.
func (s *Store) finish(batches []*Batch, err error, errs []error) {
	if len(batches) == 0 {
		return
	}
	now := time.Now()
	for i, b := range batches {
		if err != nil || errs != nil && errs[i] != nil {
			s.n.failed.Inc()
			continue
		}
		s.n.batches.Inc()
		s.n.commit.Observe(now.Sub(b.at).Microseconds())
		s.n.operations.Add(len(b.ops))
	}
	s.pending.release(batches)
	s.notes.add(batches, err, errs)
}

// look compares the free space of the disk with the limit.
func (s *Store) look() {
	if s.c.MinFreeBytes < 0 {
		return
	}
	du, err := s.c.FS.GetDiskUsage(s.c.Dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return
	}
	full := err == nil && du.AvailBytes < uint64(s.c.MinFreeBytes)
	if s.full.Swap(full) == full {
		return
	}
	if full {
		s.log.Error("disk is nearly full: publishes that need the disk are refused",
			"dir", s.c.Dir, "free_bytes", du.AvailBytes, "limit_bytes", s.c.MinFreeBytes)
		s.c.OnFailure(errFull)
		return
	}
	s.log.Info("disk has space again", "dir", s.c.Dir, "free_bytes", du.AvailBytes)
	s.c.OnFailure(nil)
}

func unavailable(cause error) error { return fmt.Errorf("%w: %w", ErrUnavailable, cause) }
