package meta

import (
	"context"
	"sync"
	"time"
)

// clock is a hybrid logical clock: close to the wall clock, never backwards,
// always past every stamp that was seen.
type clock struct {
	mu   sync.Mutex
	last uint64
}

// now draws the next stamp and the wall clock in Unix milliseconds.
func (c *clock) now() (stamp uint64, wall int64) {
	wall = time.Now().UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, uint64(wall)<<16)
	return c.last, wall
}

// observe moves the clock past a stamp.
func (c *clock) observe(stamp uint64) {
	c.mu.Lock()
	c.last = max(c.last, stamp)
	c.mu.Unlock()
}

// watermark is a number with waiters.
type watermark struct {
	mu      sync.Mutex
	value   uint64
	changed chan struct{}
}

// get returns the value and a channel that closes at its next change.
func (w *watermark) get() (uint64, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.value, w.changed
}

// load returns the value.
func (w *watermark) load() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.value
}

// raise sets the value if it is higher.
func (w *watermark) raise(v uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v > w.value {
		w.set(v)
	}
}

// reset sets the value, lower or not, and wakes the waiters.
func (w *watermark) reset(v uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set(v)
}

func (w *watermark) set(v uint64) {
	w.value = v
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// wait returns when the value has reached v, or with the context's error, or
// when stop closes.
func (w *watermark) wait(ctx context.Context, stop <-chan struct{}, v uint64) error {
	for {
		cur, changed := w.get()
		if cur >= v {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-stop:
			return ErrClosed
		}
	}
}
