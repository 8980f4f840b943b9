package cluster

import (
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
)

// Arrivals prepare this node for sessions whose queues are not open yet.
// Implemented by queue.Manager.
type Arrivals interface {
	// Expect keeps what is delivered to a session until its queue is open.
	Expect(id message.SessionID)
	Unexpect(id message.SessionID)
	Expected(id message.SessionID) bool
	// Known reports whether there is a queue.
	Known(id message.SessionID) bool
}

// registers counts the registrations of a session that are under way: whoever
// has made one opens the queue.
type registers struct {
	mu    sync.Mutex
	under map[message.SessionID]int
}

func (r *registers) begin(id message.SessionID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.under[id]++
}

func (r *registers) end(id message.SessionID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.under[id]--; r.under[id] == 0 {
		delete(r.under, id)
	}
}

func (r *registers) has(id message.SessionID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.under[id] > 0
}

// arrives prepares for a durable session that has just moved here: from this
// index on its messages come to this node. It is called inside Apply, before
// the router knows of it.
func (c *Cluster) arrives(s *meta.Session) {
	c.cfg.Queues.Expect(s.ID)
	if !c.registers.has(s.ID) {
		c.work.add(func() { c.settle(s.ID) })
	}
}

// registered ends a registration. One that failed half-way, because its client
// gave up or the answer was lost, may have been committed all the same: then
// the session is offline here and its queue has to be opened.
func (c *Cluster) registered(id message.SessionID) {
	c.registers.end(id)
	if c.cfg.Queues.Expected(id) {
		c.work.add(func() { c.settle(id) })
	}
}

// settle opens the queue of a session that is this node's and that nobody is
// about to open.
func (c *Cluster) settle(id message.SessionID) {
	if !c.cfg.Queues.Expected(id) || c.registers.has(id) {
		return
	}
	s, ok := c.cfg.Meta.Session(id)
	if !ok || s.Owner != c.cfg.Self || !s.Durable {
		c.cfg.Queues.Unexpect(id)
		return
	}
	reg := meta.Registration{Epoch: s.Epoch, UpperHalf: s.UpperHalf, Subscriptions: c.cfg.Meta.View().Subscriptions(id)}
	if _, _, err := c.cfg.Queues.Open(c.held(id, s.Expiry, reg)); err != nil {
		c.log.Error("the queue of a session that has moved here could not be opened", "client", id.String(), "error", err)
		return
	}
	since := time.Now()
	if s.OfflineSince > 0 {
		since = time.UnixMilli(s.OfflineSince)
	}
	c.cfg.Queues.Idle(id, since)
	asked := c.startMove(id, s.Epoch)
	c.wg.Go(func() {
		<-asked
		if !c.registers.has(id) { // else whoever registers waits for the parts itself
			c.cfg.Queues.Release(id)
		}
	})
}

// expectOwn prepares for the durable sessions of this node that a replaced
// view names and that have no queue here; reconcile opens them.
func (c *Cluster) expectOwn(v *meta.View) {
	v.Sessions(message.SessionID{}, func(s *meta.Session) bool {
		if s.Owner == c.cfg.Self && s.Durable && !c.cfg.Queues.Known(s.ID) {
			c.cfg.Queues.Expect(s.ID)
		}
		return true
	})
}
