package queue

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
)

// settlements know which destinations have the QoS 2 messages that durable
// clients are in the middle of publishing, from PUBLISH to PUBREL: as long as
// routing one may have to be repeated. A note reaches the disk in the batch
// that brings the message to the destination, so it is true whenever the
// process ends, whatever has become of the message since.
type settlements struct {
	n  atomic.Int32 // len(open): clients that publish nothing such take no lock
	mu sync.Mutex   // guards open
	// open has the notes of each message.
	open map[message.ID][]note
}

// note is a destination that has a message.
type note struct {
	destination string
	stored      bool // on disk too
}

// begin opens the list of a message.
func (s *settlements) begin(id message.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.open[id]; ok {
		return
	}
	if s.open == nil {
		s.open = map[message.ID][]note{}
	}
	s.open[id] = nil
	s.n.Add(1)
}

// add notes that the destination has the message. It reports whether its list
// is open, else nothing is noted.
func (s *settlements) add(id message.ID, destination string, stored bool) bool {
	if s.n.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	notes, ok := s.open[id]
	if !ok {
		return false
	}
	at := slices.IndexFunc(notes, func(n note) bool { return n.destination == destination })
	if at < 0 {
		s.open[id] = append(notes, note{destination, stored})
	} else {
		notes[at].stored = notes[at].stored || stored
	}
	return true
}

// remove takes a note back: the destination has not got the message after all.
func (s *settlements) remove(id message.ID, destination string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if notes, ok := s.open[id]; ok {
		s.open[id] = slices.DeleteFunc(notes, func(n note) bool { return n.destination == destination })
	}
}

// find tells whether the list of a message is open and whether it has the
// destination.
func (s *settlements) find(id message.ID, destination string) (open, has bool) {
	if s.n.Load() == 0 {
		return false, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	notes, open := s.open[id]
	return open, slices.ContainsFunc(notes, func(n note) bool { return n.destination == destination })
}

// end closes the list of a message and removes its notes from the disk with b,
// which may be nil when there is no store.
func (s *settlements) end(id message.ID, b *msgstore.Batch) {
	if s.n.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	notes, ok := s.open[id]
	if !ok {
		return
	}
	delete(s.open, id)
	s.n.Add(-1)
	for _, n := range notes {
		if n.stored && b != nil {
			b.Unsettle(id, n.destination)
		}
	}
}

// Names of destinations: a session for its own subscriptions, or a shared
// subscription, whichever of its members was chosen.
const (
	destinationSession = "s"
	destinationGroup   = "g"
)

// destination names where d goes when it is delivered to q.
func (q *Queue) destination(d *Delivery) string {
	if d.Group != "" {
		return groupDestination(d.Group, d.Filter)
	}
	return destinationSession + q.session().Key()
}

func groupDestination(group, filter string) string { return destinationGroup + group + "\x00" + filter }

// settle notes that q takes d: with b on disk too, together with the message.
// q.mu is held.
func (q *Queue) settle(d *Delivery, b *msgstore.Batch) {
	if d.Message.QoS < 2 || q.m.settled.n.Load() == 0 {
		return
	}
	to := q.destination(d)
	if q.m.settled.add(d.Message.ID, to, b != nil) && b != nil {
		b.Settle(d.Message.ID, to)
	}
}

// unsettle takes that back after the store refused the batch, of which nobody
// knows whether it is on disk. q.mu is held.
func (q *Queue) unsettle(d *Delivery) {
	if d.Message.QoS < 2 || q.m.settled.n.Load() == 0 {
		return
	}
	to := q.destination(d)
	q.m.settled.remove(d.Message.ID, to)
	q.undoNotes = append(q.undoNotes, undoNote{d.Message.ID, to})
}

// undoNote is a note that the next batch removes from the disk.
type undoNote struct {
	id          message.ID
	destination string
}

// GroupHas reports whether a member of the shared subscription on this node
// was given the message, whose routing was interrupted: no other may have it.
func (m *Manager) GroupHas(id message.ID, group, filter string) bool {
	_, has := m.settled.find(id, groupDestination(group, filter))
	return has
}

// restoreSettled reads the lists that were open when the process ended, and
// removes notes whose list was closed.
func (m *Manager) restoreSettled() error {
	err := m.cfg.Store.AllInbound(func(in msgstore.Inbound) bool {
		if in.Settling {
			m.settled.begin(in.ID)
		}
		return true
	})
	if err != nil {
		return err
	}
	b := m.cfg.Store.NewBatch()
	err = m.cfg.Store.Settled(func(id message.ID, destination string) bool {
		if !m.settled.add(id, destination, true) {
			b.Unsettle(id, destination)
		}
		if b.Len() >= unsettleBatch {
			m.cfg.Store.Commit(b, m.logCommit)
			b = m.cfg.Store.NewBatch()
		}
		return true
	})
	if b.Len() > 0 {
		m.cfg.Store.Commit(b, m.logCommit)
	}
	return err
}

// unsettleBatch bounds the batches of restoreSettled, in notes.
const unsettleBatch = 1024
