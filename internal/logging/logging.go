// Package logging builds the broker's slog.Logger from the log.* settings:
// console, console file, error file, and a crash file with rotation. It
// exists so that everything else only ever sees a *slog.Logger.
package logging

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// Options are the log.* settings.
type Options struct {
	Console       string // off | file | console | both
	Level         slog.Level
	Stdout        io.Writer // where "console" goes; os.Stdout when nil
	ConsoleFormat string    // text | json
	ConsoleFile   File
	Error         bool
	ErrorFile     File
	Crash         bool
	CrashFile     File
	// CrashMaxMessage bounds one crash record in bytes; 64 KiB when 0.
	CrashMaxMessage int64
	Syslog          Syslog
}

// File is one log file and its rotation.
type File struct {
	Path     string
	Format   string // text | json
	Size     int64  // rotate at this size in bytes; 0 is never
	Schedule string // lager's syntax, see ParseSchedule; "" is never
	Keep     int    // rotated files kept, at least 1
	Compress bool   // gzip rotated files
}

// Levels of VerneMQ that slog has no name for.
const (
	LevelNotice    = slog.LevelInfo + 2
	LevelCritical  = slog.LevelError + 4
	LevelAlert     = slog.LevelError + 8
	LevelEmergency = slog.LevelError + 12
)

var levelNames = []struct {
	name  string
	level slog.Level
}{
	{"all", slog.LevelDebug},
	{"debug", slog.LevelDebug},
	{"info", slog.LevelInfo},
	{"notice", LevelNotice},
	{"warning", slog.LevelWarn},
	{"error", slog.LevelError},
	{"critical", LevelCritical},
	{"alert", LevelAlert},
	{"emergency", LevelEmergency},
}

// ErrLevel is returned for a word that names no level.
var ErrLevel = errors.New("unknown log level")

// ParseLevel reads a level of log.console.level or log.level.
func ParseLevel(name string) (slog.Level, error) {
	for _, l := range levelNames {
		if l.name == name {
			return l.level, nil
		}
	}
	return 0, fmt.Errorf("%w %q", ErrLevel, name)
}

// LevelText is how a level appears in a line, and what ParseLevel reads.
func LevelText(l slog.Level) string {
	for _, n := range levelNames[1:] {
		if n.level == l {
			return n.name
		}
	}
	return strings.ToLower(l.String())
}

// Logger is a slog.Logger with the files that belong to it.
type Logger struct {
	*slog.Logger
	// Level is the console's level; it may be changed while running.
	Level *slog.LevelVar

	handlers []Handler
	syslog   *syslogger
	files    []*rotating
	crash    *rotating
	maxCrash int
	close    sync.Once
	closeErr error
}

// Handler is one of the places where records go.
type Handler struct {
	// Name is console, error, crash or syslog; the console's two are one, for
	// they share a level.
	Name string
	// Type says what is written to: standard output, a file or syslog.
	Type string
	// File is its path, "" for what is no file.
	File  string
	level *slog.LevelVar // nil: everything
}

// Level returns the level of a handler, "" for what has none.
func (h Handler) Level() string {
	if h.level == nil {
		return ""
	}
	return LevelText(h.level.Level())
}

// Handlers lists where records go.
func (l *Logger) Handlers() []Handler { return l.handlers }

// SetLevel changes what a logger writes: this level and worse.
func (l *Logger) SetLevel(name string, level slog.Level) error {
	found := false
	for _, h := range l.handlers {
		if h.Name == name && h.level != nil {
			h.level.Set(level)
			found = true
		}
	}
	if !found {
		return fmt.Errorf("%w %q", ErrLogger, name)
	}
	return nil
}

// SyslogDropped counts records that were dropped because syslog did not take
// them in time.
func (l *Logger) SyslogDropped() int64 {
	if l.syslog == nil {
		return 0
	}
	return l.syslog.dropped.Load()
}

const defaultMaxCrash = 64 << 10

// New opens the files, and fails if one cannot be written.
func New(o Options) (*Logger, error) {
	l := &Logger{Level: new(slog.LevelVar), maxCrash: defaultMaxCrash}
	l.Level.Set(o.Level)
	if o.CrashMaxMessage > 0 {
		l.maxCrash = int(min(o.CrashMaxMessage, 1<<30))
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	var handlers []slog.Handler
	add := func(h slog.Handler, about Handler) {
		handlers = append(handlers, h)
		l.handlers = append(l.handlers, about)
	}
	if o.Console == "console" || o.Console == "both" {
		add(handler(o.Stdout, o.ConsoleFormat, l.Level), Handler{Name: "console", Type: "standard output", level: l.Level})
	}
	open := func(f File) (*rotating, error) {
		r, err := openRotating(f)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.files = append(l.files, r)
		return r, nil
	}
	if o.Console == "file" || o.Console == "both" {
		r, err := open(o.ConsoleFile)
		if err != nil {
			return nil, err
		}
		add(handler(r, o.ConsoleFile.Format, l.Level), Handler{Name: "console", Type: "file", File: o.ConsoleFile.Path, level: l.Level})
	}
	if o.Error {
		r, err := open(o.ErrorFile)
		if err != nil {
			return nil, err
		}
		level := new(slog.LevelVar)
		level.Set(slog.LevelError)
		add(handler(r, o.ErrorFile.Format, level), Handler{Name: "error", Type: "file", File: o.ErrorFile.Path, level: level})
	}
	if o.Crash {
		r, err := open(o.CrashFile)
		if err != nil {
			return nil, err
		}
		l.crash = r
		l.handlers = append(l.handlers, Handler{Name: "crash", Type: "file", File: o.CrashFile.Path})
	}
	if o.Syslog.Dial != nil {
		level := new(slog.LevelVar)
		level.Set(o.Syslog.Level)
		l.syslog = newSyslogger(o.Syslog)
		add(newSyslogHandler(l.syslog, level), Handler{Name: "syslog", Type: "syslog", level: level})
	}
	l.Logger = slog.New(slog.NewMultiHandler(handlers...))
	return l, nil
}

func handler(w io.Writer, format string, level slog.Leveler) slog.Handler {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if l, ok := a.Value.Any().(slog.Level); ok && len(groups) == 0 && a.Key == slog.LevelKey {
			return slog.String(slog.LevelKey, LevelText(l))
		}
		return a
	}}
	if format == "json" {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}

// Crash writes one bounded record of a panic to the crash log and an error to
// the others. conn says whose panic it was: a client id, an address.
func (l *Logger) Crash(conn string, value any, stack []byte) {
	reason := fmt.Sprint(value)
	if l.crash == nil {
		l.Error("panic", "connection", conn, "reason", bound(reason, l.maxCrash/2), "stack", bound(string(stack), l.maxCrash/2))
		return
	}
	l.Error("panic, see the crash log", "connection", conn, "reason", bound(reason, 256))
	record := fmt.Sprintf("%s connection=%q reason=%q\n%s", time.Now().Format(time.RFC3339Nano), conn, reason, stack)
	record = strings.TrimRight(bound(record, l.maxCrash-1), "\n") + "\n"
	if _, err := io.WriteString(l.crash, record); err != nil {
		l.Error("writing the crash log", "error", err)
	}
}

// bound cuts s to at most n bytes and says so.
func bound(s string, n int) string {
	const cut = "… (cut)"
	if len(s) <= n {
		return s
	}
	if n <= len(cut) {
		return strings.ToValidUTF8(s[:max(n, 0)], "")
	}
	return strings.ToValidUTF8(s[:n-len(cut)], "") + cut
}

// Reopen closes and opens every file again, after logrotate or a person moved
// them away.
func (l *Logger) Reopen() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.reopen())
	}
	return errors.Join(errs...)
}

// Close closes every file; records that come later go to standard output only.
func (l *Logger) Close() error {
	l.close.Do(func() {
		if l.syslog != nil {
			l.syslog.close()
		}
		var errs []error
		for _, f := range l.files {
			errs = append(errs, f.Close())
		}
		l.closeErr = errors.Join(errs...)
	})
	return l.closeErr
}
