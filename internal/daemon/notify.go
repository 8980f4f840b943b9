package daemon

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// Notifier tells whoever started this process (Start in the parent, and
// systemd) how it fares. Every method is safe when nobody listens.
type Notifier struct {
	once      sync.Once
	handshake *handshake
	mono      func() string
}

// NewNotifier takes over the readiness pipe of Start and NOTIFY_SOCKET. Call
// it once, early: before other files are opened.
func NewNotifier() *Notifier {
	return &Notifier{handshake: takeHandshake(), mono: monotonic}
}

// Detached reports whether Start waits for this process.
func (n *Notifier) Detached() bool { return n.handshake != nil }

// Ready reports that the process serves; message is shown by `start`. A
// detached process has its standard output redirected first. Only the first
// call of Ready or Failed counts for Start.
func (n *Notifier) Ready(message string) error {
	var err error
	n.once.Do(func() { err = n.handshake.ready(message) })
	n.systemd(sd.SdNotifyReady + "\nSTATUS=" + oneLine(message))
	return err
}

// Failed reports why the process does not start.
func (n *Notifier) Failed(reason error) {
	n.once.Do(func() { _ = n.handshake.send(outcome{Message: reason.Error()}) })
	n.systemd("STATUS=" + oneLine(reason.Error()))
}

// Reloading tells systemd that settings are being read again; the returned
// function says that this is done.
func (n *Notifier) Reloading() (done func()) {
	state := sd.SdNotifyReloading
	if m := n.mono(); m != "" {
		state += "\nMONOTONIC_USEC=" + m
	}
	n.systemd(state)
	return func() { n.systemd(sd.SdNotifyReady) }
}

// Stopping tells systemd that the process is on its way down.
func (n *Notifier) Stopping() { n.systemd(sd.SdNotifyStopping) }

// Status shows text in `systemctl status`.
func (n *Notifier) Status(text string) { n.systemd("STATUS=" + oneLine(text)) }

// Watchdog pings systemd at half the interval that it asks for, as long as
// healthy returns true, until ctx ends. It returns at once if systemd asks
// for nothing.
func (n *Notifier) Watchdog(ctx context.Context, healthy func() bool) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		return
	}
	t := time.NewTicker(interval / 2)
	defer t.Stop()
	for {
		if healthy() {
			n.systemd(sd.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// systemd sends one state. That nobody listens, or no longer, is no reason to
// stop serving.
func (n *Notifier) systemd(state string) {
	if os.Getenv("NOTIFY_SOCKET") != "" {
		_, _ = sd.SdNotify(false, state)
	}
}

// oneLine keeps text from adding states of its own.
func oneLine(s string) string {
	if q := fmt.Sprintf("%q", s); len(q) != len(s)+2 {
		return q
	}
	return s
}
