// Package daemon holds what every service needs and MQTT has no part in:
// lock and pid file, detaching, stopping another process, systemd
// notification, the open-file limit, and signals.
package daemon

import (
	"context"
	"io"
	"os"
	"time"
)

// Lock is the exclusive lock of a data directory.
type Lock struct{}

// LockDir takes the lock of dir, which it creates if it is missing. The error of
// a directory in use names the owner's pid and the path (ErrLocked).
func LockDir(dir string) (*Lock, error) { return &Lock{}, nil }

// Release gives the lock back.
func (l *Lock) Release() error { return nil }

// PIDFile is a file with this process's id, removed by Remove.
type PIDFile struct{}

// WritePIDFile writes path; the error of one that belongs to a living process names it.
func WritePIDFile(path string) (*PIDFile, error) { return &PIDFile{}, nil }

// Remove deletes the file if it is still ours.
func (p *PIDFile) Remove() error { return nil }

// ReadPID returns the pid in the file at path and whether that process lives.
func ReadPID(path string) (pid int, alive bool, err error) { return 0, false, nil }

// StartOptions describe the child that Start detaches.
type StartOptions struct {
	Path    string   // executable; os.Executable() when empty
	Args    []string // arguments without the program's name
	Env     []string // nil: os.Environ()
	Output  string   // file for stdout and stderr after readiness; "": /dev/null
	Timeout time.Duration
}

// Start runs a detached child and waits until it calls Ready or Failed.
// message is what Ready said.
func Start(ctx context.Context, o StartOptions) (pid int, message string, err error) {
	return 0, "", nil
}

// Notifier tells whoever started this process (a Start in the parent, and
// systemd) how it fares. Every method is safe when nobody listens.
type Notifier struct{}

// NewNotifier takes over the readiness pipe and NOTIFY_SOCKET.
func NewNotifier() *Notifier { return &Notifier{} }

// Ready reports that the process serves; message is shown by `start`.
func (n *Notifier) Ready(message string) error { return nil }

// Failed reports why the process does not start.
func (n *Notifier) Failed(err error) {}

// Reloading and Stopping tell systemd.
func (n *Notifier) Reloading() {}

// Stopping tells systemd that the process is on its way down.
func (n *Notifier) Stopping() {}

// Watchdog pings systemd at half its interval, while healthy returns true, until ctx ends.
func (n *Notifier) Watchdog(ctx context.Context, healthy func() bool) {}

// Stop asks the process of pidfile to end and waits; ErrNotRunning if there is none.
func Stop(ctx context.Context, pidfile string, timeout time.Duration) error { return nil }

// Ping reports whether the process of pidfile lives.
func Ping(pidfile string) (pid int, err error) { return 0, nil }

// RaiseFileLimit raises RLIMIT_NOFILE to want if the system allows it and returns what holds now.
func RaiseFileLimit(want uint64) (got uint64, err error) { return want, nil }

// Signals runs stop on SIGTERM and SIGINT and reload on SIGHUP until ctx ends.
// A second stop signal runs kill.
func Signals(ctx context.Context, stop func(os.Signal), reload func(), kill func(os.Signal)) {}

var _ io.Writer = (*os.File)(nil)
