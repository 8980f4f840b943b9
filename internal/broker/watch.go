package broker

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Bounds of how long changes are gathered before files are read again: an
// editor or a tool that renews certificates writes several in a row.
const (
	settleTime = 200 * time.Millisecond
	settleMost = 2 * time.Second
)

// maxLinks is how many symbolic links may stand between a path and its file.
const maxLinks = 40

// source is a group of files that one func reads.
type source struct {
	files  []string
	reload func()
}

// watcher reads files again when they change. It watches directories, not
// files: editors and tools write a new file and rename it, and Kubernetes swaps
// a symbolic link to a directory. Intervals and SIGHUP stay as they are, for file
// systems that tell nothing.
type watcher struct {
	// sources returns what to watch now; it is asked again after each change.
	sources func() []source
	log     *slog.Logger
	fs      *fsnotify.Watcher
	dirs    map[string]bool     // what is watched
	seen    map[string]fileMark // what each file was when its source was last told
	settle  time.Duration
	others  chan struct{} // sources returns others than before
}

// fileMark tells one content of a path from another without reading it.
type fileMark struct {
	target   string
	size     int64
	modified time.Time
	mode     fs.FileMode
	missing  bool
}

// newWatcher notes how the files are now. Without the system's help, which it
// logs, files are read again at their intervals only.
func newWatcher(sources func() []source, log *slog.Logger) *watcher {
	w := &watcher{sources: sources, log: log, dirs: map[string]bool{}, seen: map[string]fileMark{}, settle: settleTime, others: make(chan struct{}, 1)}
	var err error
	if w.fs, err = fsnotify.NewWatcher(); err != nil {
		w.log.Warn("files cannot be watched; they are read again at their intervals and on SIGHUP", "error", err)
		return w
	}
	w.look(nil)
	return w
}

// run reloads what changes until ctx ends.
func (w *watcher) run(ctx context.Context) {
	if w.fs == nil {
		return
	}
	defer func() { _ = w.fs.Close() }()
	var settled <-chan time.Time
	var first time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-w.fs.Events:
			if !ok {
				return
			}
			if settled == nil {
				first = time.Now()
			}
			if wait := min(w.settle, settleMost-time.Since(first)); settled == nil || wait > 0 {
				settled = time.After(wait)
			}
		case <-w.others:
			settled, first = time.After(w.settle), time.Now()
		case err, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			w.log.Warn("watching files: changes may have been missed; they are read again", "error", err)
			settled = time.After(w.settle)
		case <-settled:
			settled = nil
			if w.look(func(s source) { s.reload() }) {
				settled, first = time.After(w.settle), time.Now()
			}
		}
	}
}

// refresh makes the watcher ask again which files there are.
func (w *watcher) refresh() {
	select {
	case w.others <- struct{}{}:
	default:
	}
}

// look compares every file with what it was, tells the sources of those that
// differ, and watches the directories that lead to them now. It reports whether
// anything was different: then it must look again, because something may have
// happened in a directory before it was watched.
func (w *watcher) look(tell func(source)) bool {
	sources := w.sources()
	again := w.watch(sources)
	seen := map[string]fileMark{}
	for _, s := range sources {
		differs := false
		for _, f := range s.files {
			seen[f] = markOf(f)
			// One that was not watched may have changed since it was read.
			if former, known := w.seen[f]; !known || former != seen[f] {
				differs, again = true, true
			}
		}
		if differs && tell != nil {
			tell(s)
		}
	}
	w.seen = seen
	return again
}

// watch follows the directories of all files and no others. It reports whether
// they are others than before.
func (w *watcher) watch(sources []source) bool {
	wanted := map[string]bool{}
	for _, s := range sources {
		for _, f := range s.files {
			for _, dir := range leadingTo(f) {
				wanted[dir] = true
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(wanted)) {
		// Again even if it is watched: the directory may be another one by now.
		if err := w.fs.Add(dir); err != nil && !w.dirs[dir] && !errors.Is(err, fs.ErrNotExist) {
			w.log.Warn("a directory cannot be watched; its files are read again at their intervals and on SIGHUP", "directory", dir, "error", err)
		}
	}
	for dir := range w.dirs {
		if !wanted[dir] {
			_ = w.fs.Remove(dir) // it may be gone
		}
	}
	changed := !maps.Equal(w.dirs, wanted)
	w.dirs = wanted
	return changed
}

// markOf looks at a file.
func markOf(path string) fileMark {
	info, err := os.Stat(path)
	if err != nil {
		return fileMark{missing: true}
	}
	target, _ := filepath.EvalSymlinks(path)
	return fileMark{target: target, size: info.Size(), modified: info.ModTime(), mode: info.Mode()}
}

// leadingTo lists the directories in which something decides about what path
// is: its own, and that of each symbolic link on the way. Of a way that breaks
// off, the last directory that is there.
func leadingTo(path string) []string {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	var out []string
	volume := filepath.VolumeName(path)
	at := volume + string(filepath.Separator)
	rest := strings.Split(strings.TrimPrefix(path[len(volume):], string(filepath.Separator)), string(filepath.Separator))
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		info, err := os.Lstat(next)
		last := len(rest) == 1
		isLink := err == nil && info.Mode()&fs.ModeSymlink != 0
		if err != nil || last || isLink {
			out = append(out, at)
		}
		if err != nil {
			break
		}
		if !isLink {
			at, rest = next, rest[1:]
			continue
		}
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			break
		}
		if filepath.IsAbs(target) {
			volume = filepath.VolumeName(target)
			at, target = volume+string(filepath.Separator), target[len(volume):]
		}
		rest = slices.Concat(strings.Split(strings.Trim(filepath.Clean(target), string(filepath.Separator)), string(filepath.Separator)), rest[1:])
	}
	return slices.Compact(out)
}
