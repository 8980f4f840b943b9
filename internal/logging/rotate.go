package logging

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/DeRuina/timberjack"
)

// rotating is a log file that is renamed away at a size or by the clock. It
// decides when; timberjack renames, compresses and deletes. (timberjack's own
// triggers know whole megabytes and hours of the day only.) The clock is looked
// at when something is written, so that an idle log needs no goroutine.
type rotating struct {
	file     File
	schedule Schedule

	mu     sync.Mutex // guards what follows
	out    *timberjack.Logger
	size   int64
	due    time.Time // zero: never
	closed bool
}

// openRotating creates the file's directory and makes sure that the file can be
// written.
func openRotating(f File) (*rotating, error) {
	schedule, err := ParseSchedule(f.Schedule)
	if err != nil {
		return nil, fmt.Errorf("opening log file %s: %w", f.Path, err)
	}
	r := &rotating{file: f, schedule: schedule}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// Rotating is a file of records that is rotated like the logs.
type Rotating struct{ *rotating }

// OpenFile opens a file of records for somebody who writes them himself.
func OpenFile(f File) (Rotating, error) {
	r, err := openRotating(f)
	return Rotating{r}, err
}

// Reopen closes the file and opens what is at its path now.
func (r Rotating) Reopen() error { return r.reopen() }

// Files returns the file and what it was rotated to and is still there, newest
// first. Names that end in .gz are compressed.
func (r Rotating) Files() []string {
	path := r.file.Path
	ext := filepath.Ext(path)
	old, _ := filepath.Glob(strings.TrimSuffix(path, ext) + "-*" + ext + "*") // the pattern is good
	slices.Sort(old)                                                          // the time is in the name
	slices.Reverse(old)
	return append([]string{path}, old...)
}

func (r *rotating) open() error {
	if err := os.MkdirAll(filepath.Dir(r.file.Path), 0o750); err != nil {
		return fmt.Errorf("opening log file %s: %w", r.file.Path, err)
	}
	f, err := os.OpenFile(r.file.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("opening log file: %w", err)
	}
	info, err := f.Stat()
	f.Close()
	if err != nil {
		return fmt.Errorf("opening log file: %w", err)
	}
	from := time.Now()
	if info.Size() > 0 {
		from = info.ModTime()
	}
	compression := "none"
	if r.file.Compress {
		compression = "gzip"
	}
	r.size, r.due = info.Size(), r.schedule.Next(from)
	r.out = &timberjack.Logger{
		Filename: r.file.Path, MaxSize: math.MaxInt32, MaxBackups: max(r.file.Keep, 1),
		LocalTime: true, Compression: compression, FileMode: 0o640,
	}
	return nil
}

// Write appends one record, which is never split over two files.
func (r *rotating) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, os.ErrClosed
	}
	reason := ""
	now := time.Now()
	if !r.due.IsZero() && !now.Before(r.due) {
		reason, r.due = "time", r.schedule.Next(now)
	}
	if r.file.Size > 0 && r.size+int64(len(p)) > r.file.Size {
		reason = "size"
	}
	if reason != "" && r.size > 0 {
		// An empty write makes timberjack open the file that it is to rename.
		if _, err := r.out.Write(nil); err != nil {
			return 0, fmt.Errorf("rotating %s: %w", r.file.Path, err)
		}
		if err := r.out.RotateWithReason(reason); err != nil {
			return 0, fmt.Errorf("rotating %s: %w", r.file.Path, err)
		}
		r.size = 0
	}
	n, err := r.out.Write(p)
	r.size += int64(n)
	return n, err
}

func (r *rotating) reopen() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return os.ErrClosed
	}
	if err := r.out.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", r.file.Path, err)
	}
	return r.open()
}

// Close waits for compression that is under way.
func (r *rotating) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if err := r.out.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", r.file.Path, err)
	}
	return nil
}
