package simulation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	walsegment "github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/mqadmin/mqadmin/internal/file"
	"github.com/mqadmin/mqadmin/internal/meta"
)

// segmentBytes is the size of one file of the Raft log: small, so that there
// are many.
const segmentBytes = 32 << 10

// Disk is a disk in memory that can lose its power. It is the meta.Disk of one
// process; its successor gets what is left of it.
type Disk struct{ mem *vfs.MemFS }

// NewDisk makes an empty disk.
func NewDisk() *Disk { return &Disk{vfs.NewCrashableMem()} }

// FS implements meta.Disk.
func (d *Disk) FS() vfs.FS { return d.mem }

// AfterKill returns what the next process finds when the one that used d was
// killed: everything that it had written.
func (d *Disk) AfterKill(rng *rand.Rand) *Disk {
	syncNames(d.mem, "/")
	return &Disk{d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})}
}

// AfterPowerLoss returns what the next process finds after the power was cut:
// what was synced, and some of the rest.
func (d *Disk) AfterPowerLoss(rng *rand.Rand) *Disk {
	percent := []int{0, 0, 50}[rng.IntN(3)]
	return &Disk{d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})}
}

// syncNames makes the names of all files, and that some are gone, last.
func syncNames(mem *vfs.MemFS, dir string) {
	names, err := mem.List(dir)
	if err != nil {
		return // not a directory, or gone
	}
	_ = file.SyncDir(mem, dir)
	for _, n := range names {
		path := mem.PathJoin(dir, n)
		if info, err := mem.Stat(path); err == nil && info.IsDir() {
			syncNames(mem, path)
		}
	}
}

// OpenLog implements meta.Disk: raft-wal as in production, over our files.
func (d *Disk) OpenLog(dir string, _ int, log hclog.Logger) (meta.LogStore, error) {
	if err := file.MkdirAll(d.mem, dir, 0o700); err != nil {
		return nil, err
	}
	return wal.Open(dir, wal.WithSegmentSize(segmentBytes), wal.WithLogger(log),
		wal.WithSegmentFiler(walsegment.NewFiler(dir, walFS{d.mem})), wal.WithMetaStore(&walMeta{fs: d.mem}))
}

// walFS is the file system that raft-wal wants.
type walFS struct{ vfs.FS }

// ListDir implements types.VFS.
func (w walFS) ListDir(dir string) ([]string, error) {
	names, err := w.List(dir)
	slices.Sort(names)
	return names, err
}

// Create implements types.VFS. As in raft-wal's own, the name is brought to the
// disk by the first Sync.
func (w walFS) Create(dir, name string, _ uint64) (types.WritableFile, error) {
	path := w.PathJoin(dir, name)
	if file.Exists(w.FS, path) {
		return nil, fmt.Errorf("creating %s: %w", path, fs.ErrExist)
	}
	f, err := w.FS.Create(path, vfs.WriteCategoryUnspecified)
	return &walFile{File: f, fs: w.FS, dir: dir}, err
}

// Delete implements types.VFS.
func (w walFS) Delete(dir, name string) error {
	if err := w.Remove(w.PathJoin(dir, name)); err != nil {
		return err
	}
	return file.SyncDir(w.FS, dir)
}

// OpenReader implements types.VFS.
func (w walFS) OpenReader(dir, name string) (types.ReadableFile, error) {
	return w.Open(w.PathJoin(dir, name))
}

// OpenWriter implements types.VFS.
func (w walFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	path := w.PathJoin(dir, name)
	if !file.Exists(w.FS, path) {
		return nil, fmt.Errorf("opening %s: %w", path, fs.ErrNotExist)
	}
	return w.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
}

type walFile struct {
	vfs.File
	fs    vfs.FS
	dir   string
	named atomic.Bool
}

// Sync implements types.WritableFile.
func (f *walFile) Sync() error {
	if err := f.File.Sync(); err != nil || f.named.Swap(true) {
		return err
	}
	return file.SyncDir(f.fs, f.dir)
}

// walMeta keeps what raft-wal knows about its segments, and Raft's term and
// vote, each change durable and whole. In production that is a bbolt file.
type walMeta struct {
	fs   vfs.FS
	mu   sync.Mutex
	path string
	v    struct {
		State  types.PersistentState
		Stable map[string][]byte
	}
}

// Load implements types.MetaStore.
func (m *walMeta) Load(dir string) (types.PersistentState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.path = m.fs.PathJoin(dir, "wal-meta.json")
	b, err := file.Read(m.fs, m.path)
	if err == nil {
		err = json.Unmarshal(b, &m.v)
	} else if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if m.v.Stable == nil {
		m.v.Stable = map[string][]byte{}
	}
	return m.v.State, err
}

func (m *walMeta) save() error {
	b, err := json.Marshal(m.v)
	if err != nil {
		return err
	}
	return file.Replace(m.fs, m.path, b)
}

// CommitState implements types.MetaStore.
func (m *walMeta) CommitState(s types.PersistentState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.v.State = s
	return m.save()
}

// GetStable implements types.MetaStore.
func (m *walMeta) GetStable(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.v.Stable[string(key)], nil
}

// SetStable implements types.MetaStore.
func (m *walMeta) SetStable(key, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.v.Stable[string(key)] = bytes.Clone(value)
	return m.save()
}

// Close implements io.Closer.
func (*walMeta) Close() error { return nil }

// OpenSnapshots implements meta.Disk.
func (d *Disk) OpenSnapshots(dir string, keep int, _ hclog.Logger) (raft.SnapshotStore, error) {
	dir = d.mem.PathJoin(dir, "snapshots")
	return &snapshots{fs: d.mem, dir: dir, keep: keep}, file.MkdirAll(d.mem, dir, 0o700)
}

// snapshots keeps each snapshot in one file: a line that describes it, and the
// content.
type snapshots struct {
	fs   vfs.FS
	dir  string
	keep int
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{store: s, meta: raft.SnapshotMeta{
		Version: v, ID: fmt.Sprintf("%08d-%08d", term, index), Index: index, Term: term, Configuration: c, ConfigurationIndex: ci,
	}}, nil
}

// List implements raft.SnapshotStore, newest first.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	slices.Reverse(names)
	var out []*raft.SnapshotMeta
	for _, n := range names {
		if id, ok := strings.CutSuffix(n, ".snap"); ok && len(out) < s.keep {
			m, _, err := s.read(id)
			if err != nil {
				return nil, err
			}
			out = append(out, m)
		}
	}
	return out, nil
}

func (s *snapshots) read(id string) (*raft.SnapshotMeta, []byte, error) {
	b, err := file.Read(s.fs, s.fs.PathJoin(s.dir, id+".snap"))
	if err != nil {
		return nil, nil, err
	}
	head, body, _ := bytes.Cut(b, []byte("\n"))
	m := new(raft.SnapshotMeta)
	return m, body, json.Unmarshal(head, m)
}

// Open implements raft.SnapshotStore.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m, b, err := s.read(id)
	return m, io.NopCloser(bytes.NewReader(b)), err
}

type sink struct {
	store *snapshots
	meta  raft.SnapshotMeta
	buf   bytes.Buffer
	done  bool
}

// ID implements raft.SnapshotSink.
func (s *sink) ID() string { return s.meta.ID }

// Write implements io.Writer.
func (s *sink) Write(b []byte) (int, error) { return s.buf.Write(b) }

// Cancel implements raft.SnapshotSink.
func (s *sink) Cancel() error { s.done = true; return nil }

// Close implements io.Closer: the snapshot is there from now on.
func (s *sink) Close() error {
	if s.done {
		return nil
	}
	s.done, s.meta.Size = true, int64(s.buf.Len())
	head, err := json.Marshal(s.meta)
	if err != nil {
		return err
	}
	head = append(head, '\n')
	return file.Replace(s.store.fs, s.store.fs.PathJoin(s.store.dir, s.meta.ID+".snap"), append(head, s.buf.Bytes()...))
}
