// Package daemon holds what every service needs and MQTT has no part in:
// lock and pid file, detaching, stopping another process, systemd
// notification, the open-file limit, and signals.
package daemon

import "errors"

var (
	// ErrLocked is returned for a data directory that another process uses.
	ErrLocked = errors.New("data directory is in use")
	// ErrRunning is returned for a pid file of a living process.
	ErrRunning = errors.New("already running")
	// ErrNotRunning is returned when there is no process to stop or ping.
	ErrNotRunning = errors.New("not running")
	// ErrNotReady is returned by Start for a child that ended, or took too
	// long, before it said that it serves.
	ErrNotReady = errors.New("did not start")
	// ErrTimeout is returned by Stop for a process that does not end in time.
	ErrTimeout = errors.New("still running")
	// ErrUnsupported is returned for what this operating system cannot do.
	ErrUnsupported = errors.New("not supported on this operating system; run the broker in the foreground with console")
)
