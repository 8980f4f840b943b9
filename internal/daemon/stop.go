package daemon

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// pollInterval is how often Stop looks whether the process has ended; a
// process that is not a child cannot be awaited.
const pollInterval = 20 * time.Millisecond

// Stop asks the process of pidfile to end (SIGTERM) and waits for it at most
// timeout (ErrTimeout). ErrNotRunning if there is none.
func Stop(ctx context.Context, pidfile string, timeout time.Duration) error {
	pid, err := Ping(pidfile)
	if err != nil {
		return err
	}
	if err := terminate(pid); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t := time.NewTicker(pollInterval)
	defer t.Stop()
	for processExists(pid) {
		// A zombie whose parent does not look counts as ended: its lock is gone.
		if now, alive, err := ReadPID(pidfile); err == nil && (!alive || now != pid) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: process %d after %s", ErrTimeout, pid, timeout)
		case <-t.C:
		}
	}
	return nil
}

// Catcher holds the signals that arrive from Catch on.
type Catcher struct{ ch chan os.Signal }

// Catch takes SIGTERM, SIGINT and SIGHUP from now on, so that none ends the process
// between its start and Run. Call it before Notifier.Ready.
func Catch() *Catcher {
	c := &Catcher{ch: make(chan os.Signal, 8)}
	signal.Notify(c.ch, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return c
}

// Run calls stop on the first SIGTERM or SIGINT, kill on every further one,
// and reload on each SIGHUP, until ctx ends; then the signals have their
// ordinary effect again. Callbacks run on the calling goroutine, one at a
// time; stop should only start the shutdown.
func (c *Catcher) Run(ctx context.Context, stop func(os.Signal), reload func(), kill func(os.Signal)) {
	defer signal.Stop(c.ch)
	stopping := false
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-c.ch:
			switch {
			case s == syscall.SIGHUP:
				reload()
			case stopping:
				kill(s)
			default:
				stopping = true
				stop(s)
			}
		}
	}
}
