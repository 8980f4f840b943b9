package queue

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// Handed is a part of a queue on its way to another node.
type Handed struct {
	Entries []Stored
	// Inbound are the QoS 2 messages that the client has not released; in the
	// first part only.
	Inbound map[uint16]msgstore.Inbound
	// Next is where the following part starts; More tells whether there is one
	// at present.
	Next uint64
	More bool
}

// Take reads a part of the queue of id for its new owner, from the sequence
// number from on (0: the beginning). The queue goes to state drain: its
// connection ends with 0x8E, new messages are still accepted. theirs is asked
// under the queue's lock whether the session still is the new owner's; when it
// has come back to this node meanwhile, the queue is left alone (ErrNotHanded).
func (m *Manager) Take(ctx context.Context, id message.SessionID, from uint64, limit int, theirs func() bool) (Handed, error) {
	q := m.Get(id)
	if q == nil {
		return Handed{}, ErrNoSession
	}
	if !q.stored {
		return Handed{Next: from}, nil // a clean session has nothing to hand over
	}
	if h := q.hub.Load(); h != nil && theirs() {
		if err := h.collapse(packet.SessionTakenOver); err != nil {
			return Handed{}, err
		}
	}
	q.mu.Lock()
	if q.closed || !theirs() {
		q.mu.Unlock()
		return Handed{}, ErrNotHanded
	}
	q.draining = true
	a := q.detach()
	q.stopTimers()
	q.mu.Unlock()
	if a != nil {
		a.consumer.Close(packet.SessionTakenOver)
	}
	if err := q.flush(ctx); err != nil {
		return Handed{}, err
	}
	h := Handed{Next: from}
	page, err := m.cfg.Store.ReadQueue(id, from, limit+1)
	if err != nil {
		return h, fmt.Errorf("reading the queue of %s: %w", id, err)
	}
	if from == 0 {
		if h.Inbound, err = m.cfg.Store.Inbound(id); err != nil {
			return h, fmt.Errorf("reading inbound packet identifiers of %s: %w", id, err)
		}
		q.mu.Lock()
		for pid, on := range h.Inbound {
			if in := q.inbound[pid]; in != nil && in.id == on.ID && in.state == routed {
				h.Inbound[pid] = msgstore.Inbound{ID: on.ID, Routed: true}
			}
		}
		q.mu.Unlock()
	}
	if h.More = len(page) > limit; h.More {
		page = page[:limit]
	}
	h.Entries = page
	if len(page) > 0 {
		h.Next = page[len(page)-1].Seq + 1
	}
	return h, nil
}

// flush waits until everything that was committed before is on disk.
func (q *Queue) flush(ctx context.Context) error {
	done := make(chan error, 1)
	q.commit(func(b *msgstore.Batch) func(error) {
		b.Dequeue(q.id, 0) // sequences start at 1: changes nothing
		return func(err error) { done <- err }
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Confirm deletes what the new owner has stored: everything before upTo. See
// Take for theirs.
func (m *Manager) Confirm(ctx context.Context, id message.SessionID, upTo uint64, theirs func() bool) error {
	q := m.Get(id)
	if q == nil || !q.stored {
		return nil
	}
	for {
		page, err := m.cfg.Store.ReadQueue(id, 0, m.cfg.HeadPage)
		if err != nil {
			return fmt.Errorf("reading the queue of %s: %w", id, err)
		}
		n, refused := 0, false
		done := make(chan error, 1)
		q.commit(func(b *msgstore.Batch) func(error) {
			if refused = q.closed || !theirs(); refused {
				return nil
			}
			for n < len(page) && page[n].Seq < upTo {
				b.Dequeue(id, page[n].Seq)
				q.handed(page[n])
				n++
			}
			if n == 0 {
				return nil
			}
			return func(err error) { done <- err }
		})
		if refused {
			return ErrNotHanded
		}
		if n == 0 {
			return nil
		}
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("deleting what %s has handed over: %w", id, err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// handed forgets a message that the new owner has. q.mu is held.
func (q *Queue) handed(s Stored) {
	if e := q.win.byID[s.Entry.PacketID]; e != nil && e.seq == s.Seq {
		q.win.remove(e)
		return
	}
	q.disk = max(q.disk-1, 0)
	if !q.opts.LIFO {
		q.cursor = max(q.cursor, s.Seq+1)
	}
}

// Moved forgets a session that another node has taken over completely. See
// Take for theirs.
func (m *Manager) Moved(id message.SessionID, theirs func() bool) bool {
	q := m.Get(id)
	return q != nil && q.endIf(theirs, packet.SessionTakenOver, endMoved)
}

// Mark identifies a pull of one source: its parts are numbered by the source's
// sequence numbers.
type Mark struct {
	Source message.NodeID
	Epoch  message.Epoch
	// From is the first sequence number that the part may hold, Next where the
	// following part starts.
	From, Next uint64
	// Chained: the session has several sources. One of them may have imported
	// what another, which did not hear of that, hands over as well.
	Chained bool
	// Inbound: the source was the owner before this node, so that the QoS 2
	// messages that it names are those that the client has not released.
	Inbound bool
}

func (k Mark) key(id message.SessionID) string {
	return fmt.Sprintf("import/%s/%s.%d.%d/%s", k.Source, k.Epoch.Cluster, k.Epoch.Generation, k.Epoch.Index, id.Key())
}

// Import writes a part that Take returned on another node. The mark is
// written in the same batch, so a part that is imported again is recognised
// and skipped. While the queue is held, imported messages go out before those
// that are delivered here (see importSeq). done is called once, when all is on disk.
func (m *Manager) Import(id message.SessionID, h Handed, mark Mark, done func(error)) {
	q := m.Get(id)
	if q == nil {
		done(ErrNoSession)
		return
	}
	if !q.stored {
		done(fmt.Errorf("importing into %s: the session is not durable", id))
		return
	}
	at, err := m.ImportMark(id, mark)
	if err != nil || at > mark.From {
		done(err)
		return
	}
	committed := false
	q.commit(func(b *msgstore.Batch) func(error) {
		if err = q.bound(); err != nil {
			return nil
		}
		if q.closed {
			err = ErrNoSession
			return nil
		}
		for _, s := range h.Entries {
			if mark.Chained && q.importedBefore(s) {
				continue
			}
			b.Enqueue(id, q.importSeq(s.Seq), s.Message, s.Entry)
			q.disk++
		}
		for pid, in := range h.Inbound {
			if !mark.Inbound || q.served { // the client has used the identifier for another message since
				break
			}
			in.Settling = false // the notes are where it was routed
			b.PutInbound(id, pid, in)
			q.knowInbound(pid, in)
		}
		b.PutMeta(mark.key(id), binary.BigEndian.AppendUint64(nil, mark.Next))
		committed = true
		return func(err error) {
			q.wake()
			done(err)
		}
	})
	if !committed {
		done(err)
	}
}

// importedBefore reports whether another source has handed over the same QoS 2
// message, and remembers it. q.mu is held.
func (q *Queue) importedBefore(s Stored) bool {
	if s.Entry.QoS < 2 {
		return false
	}
	if q.chain == nil {
		q.chain = map[message.ID]struct{}{}
	}
	_, before := q.chain[s.Message.ID]
	q.chain[s.Message.ID] = struct{}{}
	return before
}

// Imported forgets what Import remembered of several sources.
func (m *Manager) Imported(id message.SessionID) {
	q := m.Get(id)
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.chain = nil
}

// split leaves room behind what the session had left here when it went to
// another node: what it got there comes between that and what is delivered
// from now on.
func (q *Queue) split() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.held || !q.stored {
		return nil
	}
	if err := q.bound(); err != nil {
		return err
	}
	if q.disk == 0 {
		return nil
	}
	if err := q.noteLeft(); err != nil {
		return err
	}
	if q.next > ownBase && !q.opts.LIFO {
		q.between, q.betweenEnd = q.next, q.next+betweenRoom
		q.next = q.betweenEnd
	}
	return nil
}

// noteLeft remembers the QoS 2 messages that the session had left here: another
// node may have imported some of them without this one having heard of it.
// q.mu is held.
func (q *Queue) noteLeft() error {
	for from := uint64(0); ; {
		page, err := q.m.cfg.Store.ReadQueue(q.id, from, q.m.cfg.HeadPage)
		if err != nil {
			return fmt.Errorf("reading what %s had left here: %w", q.id, err)
		}
		if len(page) == 0 {
			return nil
		}
		for _, s := range page {
			q.importedBefore(s)
		}
		from = page[len(page)-1].Seq + 1
	}
}

// betweenRoom is how many messages of other nodes fit between two stays of a
// session.
const betweenRoom = 1 << 32

// importSeq numbers an imported message while what was delivered here is held
// back. What its source had imported itself, below ownBase, is older than all
// that is here; what was delivered at the source is younger than what the
// session had left here before. q.mu is held.
func (q *Queue) importSeq(at uint64) uint64 {
	switch {
	case q.held && q.between < q.betweenEnd && at >= ownBase:
		q.between++
		return q.between - 1
	case q.held && q.imports < ownBase:
		q.imports++
		return q.imports - 1
	}
	q.next++
	return q.next - 1
}

// ImportMark returns how far the pull from mark.Source and mark.Epoch has
// come: Next of the last part; 0 when nothing was imported.
func (m *Manager) ImportMark(id message.SessionID, mark Mark) (uint64, error) {
	if m.cfg.Store == nil {
		return 0, nil
	}
	v, err := m.cfg.Store.Meta(mark.key(id))
	if err != nil {
		return 0, fmt.Errorf("reading how far %s was imported: %w", id, err)
	}
	if len(v) != 8 {
		return 0, nil
	}
	return binary.BigEndian.Uint64(v), nil
}

// ForgetMark removes the mark of a source that has confirmed its deletion.
func (m *Manager) ForgetMark(id message.SessionID, mark Mark) {
	if m.cfg.Store == nil {
		return
	}
	b := m.cfg.Store.NewBatch()
	b.PutMeta(mark.key(id), nil)
	m.cfg.Store.Commit(b, m.logCommit)
}

// Release lets messages that were delivered here go out: every source has
// been imported, or is not waited for any longer.
func (m *Manager) Release(id message.SessionID) {
	q := m.Get(id)
	if q == nil {
		return
	}
	q.mu.Lock()
	q.held = false
	q.mu.Unlock()
	q.wake()
}

func (q *Queue) wake() {
	q.mu.Lock()
	a := q.att
	q.mu.Unlock()
	if a != nil {
		a.consumer.Wake()
	}
}
