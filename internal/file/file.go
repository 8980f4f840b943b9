// Package file does with small files what must be right after a crash: a file
// has its old or its new content, a new directory is there with what was put
// into it. It works on the file system that it is given, so that tests cut the
// power in memory.
package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Read returns the content of a file. The error of one that is not there is
// fs.ErrNotExist.
func Read(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// Replace gives a file new content. When it returns, that is on the disk; a
// crash before leaves the old content.
func Replace(fsys vfs.FS, path string, content []byte) error {
	tmp := path + ".new"
	f, err := fsys.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, path); err != nil {
		return err
	}
	return SyncDir(fsys, fsys.PathDir(path))
}

// Exists reports whether there is something at path.
func Exists(fsys vfs.FS, path string) bool {
	_, err := fsys.Stat(path)
	return err == nil
}

// SyncDir brings the names in a directory to the disk, where the system can.
func SyncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrPermission) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// MkdirAll makes a directory with those that lead to it, and brings the names
// of all that it made to the disk: what is synced in a directory is lost when
// the directory's own name is.
func MkdirAll(fsys vfs.FS, dir string, mode os.FileMode) error {
	var made []string
	for at := dir; !Exists(fsys, at); {
		parent := fsys.PathDir(at)
		if parent == at {
			break
		}
		made, at = append(made, parent), parent
	}
	if err := fsys.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("making the directory %s: %w", dir, err)
	}
	for _, parent := range made {
		if err := SyncDir(fsys, parent); err != nil {
			return fmt.Errorf("making the directory %s: %w", dir, err)
		}
	}
	return nil
}
