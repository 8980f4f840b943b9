package queue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// leave ends a connection's hold on its queue.
func (h *hub) leave(a *Attachment, o DetachOptions) bool {
	q := a.q
	h.change.Lock()
	defer h.change.Unlock()
	h.mu.Lock()
	q.mu.Lock()
	mine := q.att == a
	if mine {
		q.detach()
	}
	q.mu.Unlock()
	if !mine {
		h.mu.Unlock()
		q.m.lateWill(q, o.Will, h.main.ended())
		return false
	}
	before, cut := h.cut(q)
	h.members = slices.DeleteFunc(h.members, func(m *member) bool { return m.q == q })
	rest := len(h.members)
	h.mu.Unlock()
	if rest > 0 {
		if o.Will != nil { // the session goes on: there is no delay to wait for
			q.m.publishWill(q.id, o.Will)
		}
		h.leaveToOthers(q, before, cut)
		return true
	}
	h.leaveToSession(q, o)
	return true
}

// cut tells which messages only q has: with before those below cut, else none.
// h.mu is held.
func (h *hub) cut(q *Queue) (before bool, cut uint64) {
	if h.mode == Balance {
		return true, math.MaxUint64
	}
	cut = math.MaxUint64
	for _, m := range h.members {
		if m.q == q {
			continue
		}
		at, younger := m.since[q]
		if !younger { // it was here first, and was given all that q was
			return false, 0
		}
		cut = min(cut, at)
	}
	return true, cut
}

// leaveToOthers ends the queue of a connection while others stay.
func (h *hub) leaveToOthers(q *Queue, before bool, cut uint64) {
	if before {
		if err := h.handOn(q, cut); err != nil && !h.main.ended() { // it is merged at the next start
			q.m.logCommit(fmt.Errorf("giving the messages of a connection to the others of %s: %w", h.main.id, err))
			return
		}
	}
	if q != h.main {
		q.end(packet.NormalDisconnection, endMoved)
		return
	}
	if err := q.empty(); err != nil {
		q.m.logCommit(err)
	}
}

// handOn delivers what q holds below cut to the members, and waits until they
// have it.
func (h *hub) handOn(q *Queue, cut uint64) error {
	return q.walk(func(page []Stored) error {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var failed error
		for _, s := range page {
			if s.Seq >= cut || s.Entry.State == msgstore.Released {
				continue
			}
			wg.Add(1)
			h.deliver(Delivery{
				Message: s.Message, QoS: s.Entry.QoS, Retain: s.Entry.Retain, SubscriptionIDs: s.Entry.SubscriptionIDs,
				Group: s.Entry.Group, Filter: s.Entry.Filter,
			}, func(err error) {
				if err != nil && !errors.Is(err, ErrFull) { // what a limit drops has been counted
					mu.Lock()
					failed = err
					mu.Unlock()
				}
				wg.Done()
			})
		}
		wg.Wait()
		return failed
	})
}

// walk calls fn with the pages of the queue as it is on disk now.
func (q *Queue) walk(fn func([]Stored) error) error {
	if err := q.flush(context.Background()); err != nil {
		return err
	}
	for from := uint64(0); ; {
		page, err := q.m.cfg.Store.ReadQueue(q.id, from, q.m.cfg.HeadPage)
		if err != nil {
			return fmt.Errorf("reading a queue: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		if err := fn(page); err != nil {
			return err
		}
		from = page[len(page)-1].Seq + 1
	}
}

// leaveToSession ends the last connection: the session is offline.
func (h *hub) leaveToSession(q *Queue, o DetachOptions) {
	main := h.main
	if q != main {
		if o.Will != nil {
			main.m.storeWill(main.id, nil, o.Will)
			main.m.forgetWill(q.id, o.Will)
		}
		if err := main.absorb(q, nil); err != nil { // it is merged at the next start
			main.m.logCommit(fmt.Errorf("taking what the last connection of %s leaves: %w", main.id, err))
		}
	}
	if o.Expiry == 0 {
		main.mu.Lock()
		main.expiry, main.will = 0, o.Will
		main.mu.Unlock()
		main.end(packet.NormalDisconnection, endDeleted)
		return
	}
	main.mu.Lock()
	main.offline(o)
	main.mu.Unlock()
	main.putRecord()
}

// drop removes a queue to which no connection could be attached.
func (h *hub) drop(q *Queue) {
	if h == nil {
		return
	}
	h.change.Lock()
	defer h.change.Unlock()
	h.mu.Lock()
	before, cut := h.cut(q)
	h.members = slices.DeleteFunc(h.members, func(m *member) bool { return m.q == q })
	rest := len(h.members)
	h.mu.Unlock()
	if rest > 0 {
		h.leaveToOthers(q, before, cut)
	} else if q != h.main {
		h.main.m.logCommit(h.main.absorb(q, nil))
	}
}
