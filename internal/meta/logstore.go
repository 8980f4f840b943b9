package meta

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// hungAfter is how long one write of the log may take. A leader whose disk
// hangs is never replaced by Raft, because its heartbeats go on.
const hungAfter = 5 * time.Second

// cachedEntries of the log stay in memory; it counts entries, not bytes.
const cachedEntries = 256

// Disk is where a Store keeps its files: the operating system's, or in tests
// one whose power can be cut.
type Disk interface {
	// FS holds the small files and the directories.
	FS() vfs.FS
	// OpenLog opens the Raft log in a directory, which it makes.
	OpenLog(dir string, segmentBytes int, log hclog.Logger) (LogStore, error)
	// OpenSnapshots opens the snapshots in a directory; keep of them stay.
	OpenSnapshots(dir string, keep int, log hclog.Logger) (raft.SnapshotStore, error)
}

// LogStore is what Raft writes to disk. A log is monotonic, so that a snapshot
// from the leader wipes entries that contradict it.
type LogStore interface {
	raft.LogStore
	raft.StableStore
	raft.MonotonicLogStore
	io.Closer
}

// SystemDisk is the operating system's.
func SystemDisk() Disk { return osDisk{} }

type osDisk struct{}

// FS implements Disk.
func (osDisk) FS() vfs.FS { return vfs.Default }

// OpenSnapshots implements Disk.
func (osDisk) OpenSnapshots(dir string, keep int, log hclog.Logger) (raft.SnapshotStore, error) {
	s, err := raft.NewFileSnapshotStoreWithLogger(dir, keep, log)
	if err != nil {
		return nil, fmt.Errorf("opening metadata snapshots: %w", err)
	}
	return s, nil
}

// OpenLog implements Disk.
func (osDisk) OpenLog(dir string, segmentBytes int, log hclog.Logger) (LogStore, error) {
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
	LogStore
	since atomic.Int64       // Unix nanoseconds, 0 when none is
	took  *metrics.Histogram // of writes
}

// StoreLog implements raft.LogStore.
func (t *timedLog) StoreLog(l *raft.Log) error { return t.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (t *timedLog) StoreLogs(l []*raft.Log) error {
	now := time.Now()
	t.since.Store(now.UnixNano())
	defer t.since.Store(0)
	defer t.took.Since(now)
	return t.LogStore.StoreLogs(l)
}

// hung reports whether a write has been under way for too long.
func (t *timedLog) hung(now time.Time) bool {
	s := t.since.Load()
	return s != 0 && now.Sub(time.Unix(0, s)) > hungAfter
}
