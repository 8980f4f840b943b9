// Package logging builds the broker's slog.Logger from the log.* settings:
// console, console file, error file, and a crash file with rotation.
package logging

import (
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// Options are the log.* settings.
type Options struct {
	Console       string // off | file | console | both
	Level         slog.Level
	Stdout        io.Writer // where "console" goes; nil: os.Stdout
	ConsoleFormat string    // text | json
	ConsoleFile   File
	Error         bool
	ErrorFile     File
	Crash         bool
	CrashFile     File
	// CrashMaxMessage bounds one crash record in bytes.
	CrashMaxMessage int64
}

// File is one log file and its rotation.
type File struct {
	Path     string
	Format   string // text | json
	Size     int64  // rotate at this size in bytes; 0 or huge: never
	Schedule string // lager's syntax: $D0 daily at midnight, $W0D23, $H30, $M1D5; "" never
	Keep     int    // rotated files kept
	Compress bool   // gzip rotated files
}

// Logger is a slog.Logger with the files that belong to it.
type Logger struct {
	*slog.Logger
	// Level is the console's level; it may be changed while running.
	Level *slog.LevelVar
}

// New opens the files.
func New(o Options) (*Logger, error) { return &Logger{Logger: slog.New(slog.DiscardHandler)}, nil }

// Crash writes one bounded record of a panic to the crash log, and an error
// to the others.
func (l *Logger) Crash(conn string, value any, stack []byte) {}

// Reopen closes and opens every file again (SIGHUP after logrotate moved them).
func (l *Logger) Reopen() error { return nil }

// Close flushes and closes every file.
func (l *Logger) Close() error { return nil }

// HCLog returns a logger for hashicorp libraries that writes to l.
func HCLog(l *slog.Logger) hclog.Logger { return hclog.NewNullLogger() }
