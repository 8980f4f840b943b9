package msgstore

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// errFenced is what an instance gets that is cut off from the disk.
var errFenced = errors.New("cut off after an I/O error")

// fence stands between one Pebble instance and the file system. The first
// write that fails trips it: from then on nothing of that instance reaches the
// disk, so it can be left to die at its own pace while the directory is opened
// again. It could not go on: an fsync that failed once may succeed later
// without having written anything.
//
// Pebble survives errors of tables and of its manifest, but a failed write or
// creation of its write-ahead log ends the process (it panics in rotateWAL with
// a mutex in a state that makes the panic fatal). So a tripped fence takes what
// goes to the log, or to a directory, with apparent success and drops it; the
// committer trusts no result without asking err.
//
// The fence also carries out the sync mode: with SyncInterval and SyncNever an
// fsync of the current log is put off. A log that is full is brought to the
// disk in every mode, because Pebble takes a torn one for corruption unless it
// is the last.
type fence struct {
	vfs.FS
	mode    SyncMode
	tripped chan struct{}

	mu    sync.RWMutex // held for reading during each write; trip excludes none
	once  sync.Once
	cause error               // written once, before tripped is closed
	logMu sync.Mutex          // guards dirty
	dirty map[*fenceFile]bool // logs written since their last fsync
}

func newFence(fs vfs.FS, mode SyncMode) *fence {
	return &fence{FS: fs, mode: mode, tripped: make(chan struct{}), dirty: map[*fenceFile]bool{}}
}

// trip cuts the instance off.
func (f *fence) trip(err error) {
	f.once.Do(func() {
		f.cause = err
		close(f.tripped)
	})
}

// err returns why the fence was tripped, nil if it was not.
func (f *fence) err() error {
	select {
	case <-f.tripped:
		return f.cause
	default:
		return nil
	}
}

// drain waits until no write that passed the fence is under way.
func (f *fence) drain() {
	f.mu.Lock()
	defer f.mu.Unlock()
}

// write runs one writing operation, unless the fence was tripped, and trips it
// if the operation fails.
func (f *fence) write(op func() error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.err() != nil {
		return errFenced
	}
	err := op()
	if err != nil {
		f.trip(err)
	}
	return err
}

// fileKind tells how the operations on a file fail.
type fileKind byte

const (
	kindOther fileKind = iota
	kindLog            // write-ahead log: seems to succeed
	kindDir            // directory: seems to succeed
)

func kindOf(name string) fileKind {
	if strings.HasSuffix(name, ".log") {
		return kindLog
	}
	return kindOther
}

// open is write for operations that return a file.
func (f *fence) open(kind fileKind, op func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	err := f.write(func() (err error) {
		file, err = op()
		return err
	})
	if err != nil {
		if kind == kindOther {
			return nil, err
		}
		file = vfs.NewMemFile(nil) // never written to
	}
	return &fenceFile{File: file, f: f, kind: kind}, nil
}

func (f *fence) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(kindOf(name), func() (vfs.File, error) {
		if strings.HasPrefix(f.PathBase(name), "marker.") {
			return f.createMarker(name, c)
		}
		return f.FS.Create(name, c)
	})
}

// createMarker makes a file whose name says which manifest counts. Pebble syncs
// the directory once, after it has also removed the marker before this one; a
// file system that does not keep the order of changes to a directory could then
// come back from a crash with a marker whose manifest is missing, or with none.
func (f *fence) createMarker(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := syncDir(f.FS, f.PathDir(name)); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	if err := syncDir(f.FS, f.PathDir(name)); err != nil {
		return nil, firstError(err, file.Close())
	}
	return file, nil
}

// syncDir brings the entries of a directory to the disk.
func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return firstError(err, d.Close())
}

func (f *fence) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.open(kindOf(name), func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, opts...) })
}

func (f *fence) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(kindOf(newname), func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f *fence) OpenDir(name string) (vfs.File, error) {
	return f.open(kindDir, func() (vfs.File, error) { return f.FS.OpenDir(name) })
}

func (f *fence) Link(oldname, newname string) error {
	return f.write(func() error { return f.FS.Link(oldname, newname) })
}

func (f *fence) Rename(oldname, newname string) error {
	return f.write(func() error { return f.FS.Rename(oldname, newname) })
}

func (f *fence) MkdirAll(dir string, perm os.FileMode) error {
	return f.write(func() error { return f.FS.MkdirAll(dir, perm) })
}

// remove runs a removal; that a file could not be removed harms nobody, so it
// does not trip the fence.
func (f *fence) remove(op func() error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.err() != nil {
		return errFenced
	}
	return op()
}

func (f *fence) Remove(name string) error {
	return f.remove(func() error { return f.FS.Remove(name) })
}

func (f *fence) RemoveAll(name string) error {
	return f.remove(func() error { return f.FS.RemoveAll(name) })
}

// Lock does nothing: the Store holds the lock of the directory across
// instances.
func (f *fence) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (f *fence) Unwrap() vfs.FS { return f.FS }

// syncLogs brings the written logs to the disk (SyncInterval).
func (f *fence) syncLogs() error {
	f.logMu.Lock()
	defer f.logMu.Unlock()
	for file := range f.dirty {
		if err := f.write(file.File.SyncData); err != nil {
			return err
		}
		delete(f.dirty, file)
	}
	return nil
}

// fenceFile is a file opened for writing behind a fence.
type fenceFile struct {
	vfs.File
	f    *fence
	kind fileKind
}

// write runs an operation on the file; if it fails, the fence is tripped, and
// what goes to a log or a directory seems to succeed.
func (w *fenceFile) write(op func() error) error {
	err := w.f.write(op)
	if w.kind != kindOther {
		return nil
	}
	return err
}

func (w *fenceFile) Write(p []byte) (int, error) {
	n := 0
	err := w.write(func() (err error) {
		n, err = w.File.Write(p)
		return err
	})
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (w *fenceFile) WriteAt(p []byte, off int64) (int, error) {
	n := 0
	err := w.write(func() (err error) {
		n, err = w.File.WriteAt(p, off)
		return err
	})
	if err == nil {
		n = len(p)
	}
	return n, err
}

// Preallocate matters only if there is no space; not every file system can.
func (w *fenceFile) Preallocate(offset, length int64) error {
	return w.write(func() error {
		if err := w.File.Preallocate(offset, length); vfs.IsNoSpaceError(err) {
			return err
		}
		return nil
	})
}

// deferred reports whether an fsync of this file is left to the sync mode, and
// notes that it is due.
func (w *fenceFile) deferred() bool {
	if w.kind != kindLog || w.f.mode == SyncAlways {
		return false
	}
	w.f.logMu.Lock()
	w.f.dirty[w] = true
	w.f.logMu.Unlock()
	return true
}

func (w *fenceFile) Sync() error {
	if w.deferred() {
		return nil
	}
	return w.write(w.File.Sync)
}

func (w *fenceFile) SyncData() error {
	if w.deferred() {
		return nil
	}
	return w.write(w.File.SyncData)
}

func (w *fenceFile) SyncTo(length int64) (full bool, err error) {
	if w.deferred() {
		return false, nil
	}
	err = w.write(func() (err error) {
		full, err = w.File.SyncTo(length)
		return err
	})
	return full, err
}

// Close brings a log that is due to the disk first: nobody could do so later.
func (w *fenceFile) Close() error {
	w.f.logMu.Lock()
	due := w.f.dirty[w]
	delete(w.f.dirty, w)
	w.f.logMu.Unlock()
	if due {
		_ = w.write(w.File.SyncData) // trips the fence
	}
	err := w.File.Close()
	if err != nil {
		w.f.trip(err)
	}
	if w.kind != kindOther {
		return nil
	}
	return err
}
