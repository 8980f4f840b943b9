package msgstore

import (
	"context"
	"time"
)

// When consumed messages give their space back. Pebble alone lets deletions
// rest above the data that they delete until much more has been written.
const (
	reclaimInterval = 2 * time.Second
	// flushBytes deleted make a flush worth while: before it, no compaction
	// knows of them.
	flushBytes = 4 << 20
	// A compaction is worth while when garbageBytes could be given back and
	// they are at least half of all: so it writes no more than it frees.
	garbageBytes = 4 << 20
)

// reclaim gives the disk space of deleted messages back, in the background.
func (in *instance) reclaim(ctx context.Context) {
	t := time.NewTicker(reclaimInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if err := in.reclaimOnce(ctx); err != nil && ctx.Err() == nil {
			in.s.log.Warn("message store cannot give space back", "error", err)
		}
	}
}

func (in *instance) reclaimOnce(ctx context.Context) error {
	if in.deleted.Load() >= flushBytes {
		in.deleted.Store(0)
		if err := in.flush(ctx); err != nil {
			return err
		}
	}
	m := in.db.Metrics().Table
	garbage := m.Garbage.PointDeletionsBytesEstimate + m.Garbage.RangeDeletionsBytesEstimate
	if garbage < garbageBytes || garbage < m.Local.LiveSize/2 {
		return nil
	}
	in.s.n.reclaims.Inc()
	return in.db.Compact(ctx, []byte{0}, []byte{0xff}, false)
}

func (in *instance) flush(ctx context.Context) error {
	flushed, err := in.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
