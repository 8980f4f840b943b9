package queue

import (
	"fmt"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// absorb takes what branch b holds to the end of q, but for messages in known,
// to which it adds them, and ends b. Without known b is the only one: what is
// in flight keeps its packet identifiers.
func (q *Queue) absorb(b *Queue, known map[message.ID]struct{}) error {
	err := b.walk(func(page []Stored) error {
		return q.store(func(batch *msgstore.Batch) error {
			if q.closed {
				return ErrClosed
			}
			if err := q.bound(); err != nil {
				return err
			}
			for _, s := range page {
				q.adopt(batch, s, known)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	b.end(packet.NormalDisconnection, endMoved)
	q.wake()
	return nil
}

// adopt takes one message of a branch. q.mu is held.
func (q *Queue) adopt(b *msgstore.Batch, s Stored, known map[message.ID]struct{}) {
	if _, has := known[s.Message.ID]; has {
		return
	}
	e := s.Entry
	if known != nil { // identifiers of several clients: only one could keep them
		known[s.Message.ID] = struct{}{}
		if e.State == msgstore.Released {
			return // its client has it
		}
		e.PacketID, e.State, e.Order = 0, msgstore.Queued, 0
	}
	b.Enqueue(q.id, q.next, s.Message, e)
	q.next++
	q.disk++
	if q.opts.LIFO {
		q.cursor = q.next
	}
}

// store commits what fill, called under q.mu, puts into the batch, and waits
// until it is on disk.
func (q *Queue) store(fill func(*msgstore.Batch) error) error {
	var err error
	done := make(chan error, 1)
	q.commit(func(b *msgstore.Batch) func(error) {
		if err = fill(b); err != nil || b.Len() == 0 {
			done <- err
		}
		return func(err error) { done <- err }
	})
	return <-done
}

func (q *Queue) ended() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// empty removes all messages from the disk, after they were given to others.
func (q *Queue) empty() error {
	err := q.walk(func(page []Stored) error {
		return q.store(func(b *msgstore.Batch) error {
			for _, s := range page {
				b.Dequeue(q.id, s.Seq)
			}
			return nil
		})
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	q.win = window{upper: q.win.upper, last: q.win.last}
	q.pending.clear()
	q.disk, q.surplus, q.cursor = 0, 0, q.next
	return err
}

// forgetInbound forgets which QoS 2 messages the client has not released:
// where several connections share a session, the next one may be another
// client, whose packet identifiers mean other messages.
func (q *Queue) forgetInbound() error {
	n, err := q.deleteInbound()
	q.m.inboundForgotten.Add(n)
	return err
}

// dropAllInbound forgets which QoS 2 messages the client had not released when
// the session left this node.
func (q *Queue) dropAllInbound() error {
	_, err := q.deleteInbound()
	return err
}

// deleteInbound removes all inbound packet identifiers and returns how many
// there were.
func (q *Queue) deleteInbound() (n int, err error) {
	on, err := q.m.cfg.Store.Inbound(q.id)
	if err != nil {
		return 0, fmt.Errorf("reading inbound packet identifiers: %w", err)
	}
	err = q.store(func(b *msgstore.Batch) error {
		for pid, in := range q.inbound {
			on[pid] = msgstore.Inbound{ID: in.id}
		}
		for pid, in := range on {
			q.m.settled.end(in.ID, b)
			b.DeleteInbound(q.id, pid)
		}
		q.inbound = nil
		n = len(on)
		return nil
	})
	return n, err
}

// mergeBranches brings into their sessions what the connections of shared
// sessions had when the process ended.
func (m *Manager) mergeBranches(ids []message.SessionID) error {
	known := map[message.SessionID]map[message.ID]struct{}{}
	for _, id := range ids {
		session, _ := sessionOf(id)
		b := m.make(OpenRequest{ID: id, Durable: true, Options: m.cfg.Defaults()})
		m.setup.Inc()
		q := m.Get(session)
		if q == nil {
			b.end(packet.NormalDisconnection, endDeleted)
			continue
		}
		if known[session] == nil {
			known[session] = map[message.ID]struct{}{}
			if err := q.know(known[session]); err != nil {
				return err
			}
		}
		if err := q.absorb(b, known[session]); err != nil {
			return fmt.Errorf("merging the connections of %s: %w", session, err)
		}
	}
	return nil
}
