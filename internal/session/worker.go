package session

import "sync"

// MaxIdleWorkers bounds the goroutines that wait for work; more come and go with
// it.
const MaxIdleWorkers = 64

// workers are the goroutines on which connections over plain sockets act. They
// stay, and with them their stacks: growing one in the midst of a CONNECT was an
// eighth of what that costs. A connection for which there is nothing to do has
// a goroutine with the smallest stack, which waits for bytes (conn.await).
type workers struct {
	mu     sync.Mutex // guards what follows
	idle   []chan *conn
	closed bool
}

// run lets a worker have c, which the caller must not touch any more.
func (w *workers) run(c *conn) {
	w.mu.Lock()
	n := len(w.idle) - 1
	if n < 0 {
		w.mu.Unlock()
		go w.work(c)
		return
	}
	next := w.idle[n] // the last one: its stack is in the cache
	w.idle = w.idle[:n]
	w.mu.Unlock()
	next <- c
}

func (w *workers) work(c *conn) {
	next := make(chan *conn, 1)
	for c != nil {
		c.turn()
		if !w.rest(next) {
			return
		}
		c = <-next
	}
}

// rest reports whether the worker whose channel it is may wait for work.
func (w *workers) rest(next chan *conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= MaxIdleWorkers {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// close ends those that wait, and each that works when it has done so. Others
// may still be needed.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, next := range w.idle {
		close(next)
	}
	w.idle = nil
}

// Connections that are not lively wait in await; a lively one stays on its
// worker, so that its packets cost no change of goroutines. It is lively once
// livelyRounds times in a row something came within livelyGap.
const (
	livelyRounds = 16
	livelyGap    = int64(100e6) // nanoseconds
)

// await waits for bytes and hands the connection to a worker. The stack of its
// goroutine stays at the 2 KiB that it has at first, of which some 1,100 bytes
// can be used: so nothing else may be done here.
func (c *conn) await() {
	c.in.await()
	c.m.workers.run(c)
}

// turn is what a worker does with a connection: until its end, or until
// nothing comes any more.
func (c *conn) turn() {
	waits := false
	c.m.guard(c, func() { waits = c.run() })
	if waits {
		go c.await()
		return
	}
	c.m.guard(c, c.finish)
	c.m.dismiss(c)
}

// run reads and handles packets. It reports whether it has ended only because
// somebody should wait for the next.
func (c *conn) run() (waits bool) {
	for !c.closed.Load() {
		before := c.active.Load()
		n, err := c.in.read()
		c.m.count.bytesReceived.Add(n)
		if n > 0 {
			c.busy.Store(true)
			ok := c.decode()
			c.busy.Store(false)
			if !ok {
				return false
			}
			c.in.rest()
		}
		if err != nil {
			c.lost(err)
			return false
		}
		if !c.isLively(before) && c.in.canAwait() {
			return true
		}
	}
	return false
}

// isLively counts a round before which the last packet had come at before.
func (c *conn) isLively(before int64) bool {
	if c.active.Load()-before > livelyGap {
		c.lively = 0
	} else if c.lively < livelyRounds {
		c.lively++
	}
	return c.lively == livelyRounds
}
