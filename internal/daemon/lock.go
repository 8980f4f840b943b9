package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// lockName is the file inside a data directory that is locked.
const lockName = "LOCK"

// Lock is the exclusive lock of a data directory. The system drops it with
// the process, however that ends.
type Lock struct {
	file *os.File
}

// LockDir takes the lock of dir, which it creates (mode 0750) if it is missing. The
// error of a directory in use is ErrLocked and names the owner's pid and the path.
func LockDir(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("creating data directory: %w", err)
	}
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("locking data directory %s: %w", dir, err)
	}
	if err := lockFile(f); err != nil {
		f.Close()
		if !errors.Is(err, errWouldBlock) {
			return nil, fmt.Errorf("locking data directory %s: %w", dir, err)
		}
		owner := "another process"
		if pid, err := readPID(path); err == nil {
			owner = "process " + strconv.Itoa(pid)
		}
		return nil, fmt.Errorf("%w: %s holds %s; stop it or use another directory", ErrLocked, owner, path)
	}
	l := &Lock{file: f}
	if err := writePID(f); err != nil {
		return nil, errors.Join(fmt.Errorf("locking data directory %s: %w", dir, err), l.Release())
	}
	return l, nil
}

// Release gives the lock back. The file stays: removing it would let two
// processes lock two files of one name.
func (l *Lock) Release() error {
	if l == nil || l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Truncate(0), l.file.Close())
	l.file = nil
	return err
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readPID reads the number in a pid or lock file.
func readPID(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("%s holds no process id", path)
	}
	return pid, nil
}

// PIDFile is a file with this process's id.
type PIDFile struct {
	path string
	file *os.File
}

// WritePIDFile writes path and keeps it locked, so that the number of a process that
// died and was given to another one is not taken for a broker. A file that belongs
// to a living process is ErrRunning and is left alone.
func WritePIDFile(path string) (*PIDFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("writing pid file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("writing pid file: %w", err)
	}
	if err := lockPatiently(f); err != nil {
		f.Close()
		if !errors.Is(err, errWouldBlock) {
			return nil, fmt.Errorf("locking pid file %s: %w", path, err)
		}
		pid, _ := readPID(path)
		return nil, fmt.Errorf("%w: process %d (%s)", ErrRunning, pid, path)
	}
	p := &PIDFile{path: path, file: f}
	if err := writePID(f); err != nil {
		return nil, errors.Join(fmt.Errorf("writing pid file: %w", err), p.Remove())
	}
	return p, nil
}

// lockPatiently tries for a moment: ReadPID holds the lock while it looks.
func lockPatiently(f *os.File) error {
	err := lockFile(f)
	for range 10 {
		if !errors.Is(err, errWouldBlock) {
			break
		}
		time.Sleep(10 * time.Millisecond)
		err = lockFile(f)
	}
	return err
}

// Remove deletes the file.
func (p *PIDFile) Remove() error {
	if p == nil || p.file == nil {
		return nil
	}
	// Removed while still locked, so that it cannot be a successor's.
	err := os.Remove(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	err = errors.Join(err, p.file.Close())
	p.file = nil
	return err
}

// ReadPID returns the pid in the file at path and whether that process lives and
// still holds the file. A missing file is no error: pid is 0.
func ReadPID(path string) (pid int, alive bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		// An ordinary user may read whose file it is, not lock it.
		if pid, err = readPID(path); err != nil {
			return 0, false, fmt.Errorf("reading pid file: %w", err)
		}
		return pid, processExists(pid), nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("reading pid file: %w", err)
	}
	defer f.Close()
	pid, readErr := readPID(path)
	switch err := lockFile(f); {
	case errors.Is(err, errWouldBlock):
		if readErr != nil {
			return 0, true, fmt.Errorf("reading pid file: %w", readErr)
		}
		return pid, true, nil
	case err != nil:
		return 0, false, fmt.Errorf("reading pid file %s: %w", path, err)
	default:
		return pid, false, nil
	}
}

// Ping reports the pid of the living process of pidfile, or ErrNotRunning.
func Ping(pidfile string) (pid int, err error) {
	pid, alive, err := ReadPID(pidfile)
	switch {
	case err != nil:
		return 0, err
	case alive:
		return pid, nil
	case pid == 0:
		return 0, fmt.Errorf("%w: there is no %s", ErrNotRunning, pidfile)
	default:
		return 0, fmt.Errorf("%w: %s names process %d, which has ended", ErrNotRunning, pidfile, pid)
	}
}
