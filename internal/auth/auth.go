// Package auth answers who may connect, publish and subscribe from two plain
// files, in the formats that VerneMQ and mosquitto users already have: the
// password file (plugin vmq_passwd) and the ACL file (plugin vmq_acl). Both
// attach through package hook and know nothing of connections.
//
// A file is read through an injected func, again at an interval and on Reload.
// A file that is missing at first grants nothing. One that becomes unreadable
// or broken keeps the last good content, says file and line once, and sets the
// gauge auth_file_error until it is good again.
package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// maxFileSize is the largest password or ACL file that is read, in bytes.
const maxFileSize = 256 << 20

// ErrFileSize is returned for a file of more than 256 MiB.
var ErrFileSize = errors.New("file is larger than 256 MiB")

// ParseError says what is wrong in which line of a file. Its text never
// contains the line: it may hold a password.
type ParseError struct {
	File string
	// Line counts from 1.
	Line int
	Msg  string
}

// Error returns file:line: message.
func (e *ParseError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg) }

// FileOptions are what the plugins of this package need.
type FileOptions struct {
	// Path of the file.
	Path string
	// ReadFile returns its content; os.ReadFile in the broker.
	ReadFile func(path string) ([]byte, error)
	// Interval between re-reads; 0 for never.
	Interval time.Duration
	Logger   *slog.Logger
	Metrics  *metrics.Registry
}

// file keeps the parsed content of a file up to date.
type file[T any] struct {
	plugin string
	parse  func(path string, data []byte) (*T, error)
	read   func(path string) ([]byte, error)
	log    *slog.Logger

	good   atomic.Pointer[T] // nil until the first good load
	failed atomic.Bool
	wake   chan struct{} // tells Run that the interval has changed

	mu       sync.Mutex // guards what follows; held while loading
	path     string
	interval time.Duration
	sum      [sha256.Size]byte // of the content in good
	lastErr  string            // so that a lasting error is logged once
}

// newFile registers the gauge; the first load is the caller's.
func newFile[T any](plugin string, o FileOptions, parse func(string, []byte) (*T, error)) *file[T] {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &file[T]{
		plugin: plugin, parse: parse, read: o.ReadFile, log: o.Logger, path: o.Path, interval: o.Interval,
		wake: make(chan struct{}, 1),
	}
	o.Metrics.Gauge("auth_file_error", "1 while the file of an auth plugin cannot be used as it is.", func() int64 {
		if f.failed.Load() {
			return 1
		}
		return 0
	}, metrics.Label{Name: "plugin", Value: plugin})
	return f
}

// load reads the file and replaces the content if it is good and new.
func (f *file[T]) load() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, err := f.read(f.path)
	if err == nil && len(data) > maxFileSize {
		err = ErrFileSize
	}
	if err != nil {
		return f.fail(fmt.Errorf("reading %s of %s: %w", f.path, f.plugin, err))
	}
	sum := sha256.Sum256(data)
	if f.good.Load() != nil && sum == f.sum {
		f.recovered()
		return nil
	}
	v, err := f.parse(f.path, data)
	if err != nil {
		return f.fail(fmt.Errorf("reading the file of %s: %w", f.plugin, err))
	}
	first := f.good.Swap(v) == nil
	f.sum = sum
	if !f.recovered() && !first {
		f.log.Info("file reloaded", "plugin", f.plugin, "file", f.path)
	}
	return nil
}

// fail notes and logs an error, once for as long as it stays the same; f.mu is
// held.
func (f *file[T]) fail(err error) error {
	f.failed.Store(true)
	if err.Error() != f.lastErr {
		f.lastErr = err.Error()
		effect := "the last good content stays in force"
		if f.good.Load() == nil {
			effect = "it grants nothing"
		}
		level := slog.LevelError
		if errors.Is(err, fs.ErrNotExist) {
			level = slog.LevelWarn
		}
		f.log.Log(context.Background(), level, "file cannot be used: "+effect, "plugin", f.plugin, "error", err)
	}
	return err
}

// recovered ends a failure and reports whether there was one; f.mu is held.
func (f *file[T]) recovered() bool {
	f.lastErr = ""
	if !f.failed.Swap(false) {
		return false
	}
	f.log.Info("file is good again", "plugin", f.plugin, "file", f.path)
	return true
}

// configure changes path and interval at run time and loads the file.
func (f *file[T]) configure(path string, interval time.Duration) error {
	f.mu.Lock()
	f.path, f.interval = path, interval
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default: // Run has not yet taken the last one; it will see this too
	}
	return f.load()
}

// name returns the path in use.
func (f *file[T]) name() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.path
}

// every returns the interval in use.
func (f *file[T]) every() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.interval
}

// run re-reads the file at its interval until ctx ends.
func (f *file[T]) run(ctx context.Context) {
	for {
		f.mu.Lock()
		interval := f.interval
		f.mu.Unlock()
		var tick <-chan time.Time
		var timer *time.Timer
		if interval > 0 {
			timer = time.NewTimer(interval)
			tick = timer.C
		}
		select {
		case <-ctx.Done():
		case <-f.wake:
		case <-tick:
			_ = f.load() // logged, and shown by the gauge
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}
