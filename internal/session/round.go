package session

import (
	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// round is what a reader puts off while it handles the packets that came
// together: the writes to the connections that have got something by them, and
// to its own. At its end each of these is written to once, by the reader
// itself as far as that needs no waiting. It belongs to the reader, which must
// not wait for anything in the midst of a round: it yields before.
type round struct {
	c    *conn
	held bool    // the own writer is
	due  []*conn // their state is writerDue until they are flushed
}

// begin holds the own writer, so that answers go out together. CONNECT is
// answered by the reader too: nobody else writes before that.
func (r *round) begin() {
	o := &r.c.out
	own := o.direct.Load() || r.c.q == nil && r.c.in.raw != nil
	r.held = own && o.state.CompareAndSwap(writerIdle, writerHeld)
}

// Wake puts the wake of a connection off; see queue.Waker.
func (r *round) Wake(consumer queue.Consumer) {
	c, ok := consumer.(*conn)
	if !ok || !c.out.direct.Load() {
		consumer.Wake()
		return
	}
	if c.out.state.CompareAndSwap(writerIdle, writerDue) {
		r.due = append(r.due, c)
		return
	}
	c.Wake()
}

// Yield hands what was put off to goroutines, before the reader waits for
// something; see queue.Waker.
func (r *round) Yield() {
	if r.held || len(r.due) > 0 {
		r.each(func(c *conn) { go c.runWriter(false) })
	}
}

// flushSize is the number of connections that one goroutine writes to; when
// there are more, others share the work.
const flushSize = 64

// flush ends the round.
func (r *round) flush() {
	for len(r.due) > flushSize {
		n := len(r.due) - flushSize
		rest := append([]*conn(nil), r.due[n:]...)
		clear(r.due[n:])
		r.due = r.due[:n]
		r.c.spawn(func() {
			for _, c := range rest {
				c.out.state.Store(writerRuns)
				c.runWriter(true)
			}
		})
	}
	r.each(func(c *conn) { c.runWriter(true) })
}

// each calls fn with all connections that are due, as their writer.
func (r *round) each(fn func(*conn)) {
	for i, c := range r.due {
		r.due[i] = nil
		c.out.state.Store(writerRuns) // nobody else leaves writerDue
		fn(c)
	}
	r.due = r.due[:0]
	if cap(r.due) > 4*flushSize {
		r.due = nil
	}
	if !r.held {
		return
	}
	r.held = false
	if o := &r.c.out; !o.state.CompareAndSwap(writerHeld, writerIdle) {
		o.state.Store(writerRuns)
		fn(r.c)
	}
}

// ask comes before a hook of the PUBLISH path.
func (r *round) ask(p hook.Point) {
	if r.c.l.Chain.MayWait(p) {
		r.Yield()
	}
}
