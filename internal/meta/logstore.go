package meta

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// hungAfter is how long one write of the log may take. A leader whose disk
// hangs is never replaced by Raft, because its heartbeats go on.
const hungAfter = 5 * time.Second

// cachedEntries of the log stay in memory; it counts entries, not bytes.
const cachedEntries = 256

// logStore is what Raft writes to disk.
type logStore interface {
	raft.LogStore
	raft.StableStore
	raft.MonotonicLogStore
	io.Closer
}

// openLog opens the Raft log in a directory.
func openLog(dir string, segmentBytes int, log hclog.Logger) (logStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening metadata log: %w", err)
	}
	w, err := wal.Open(dir, wal.WithSegmentSize(segmentBytes), wal.WithLogger(log))
	if err != nil {
		return nil, fmt.Errorf("opening metadata log: %w", err)
	}
	return w, nil
}

// timedLog knows since when a write has been under way.
type timedLog struct {
	logStore
	since atomic.Int64 // Unix nanoseconds, 0 when none is
}

// StoreLog implements raft.LogStore.
func (t *timedLog) StoreLog(l *raft.Log) error { return t.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (t *timedLog) StoreLogs(l []*raft.Log) error {
	t.since.Store(time.Now().UnixNano())
	defer t.since.Store(0)
	return t.logStore.StoreLogs(l)
}

// hung reports whether a write has been under way for too long.
func (t *timedLog) hung(now time.Time) bool {
	s := t.since.Load()
	return s != 0 && now.Sub(time.Unix(0, s)) > hungAfter
}
