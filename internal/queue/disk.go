package queue

import (
	"context"
	"fmt"

	"github.com/mqadmin/mqadmin/internal/msgstore"
)

// bound reads how long the queue is on disk, once. q.mu is held.
func (q *Queue) bound() error {
	if q.bounded || !q.stored {
		return nil
	}
	first, next, n, err := q.m.cfg.Store.Bounds(q.id)
	if err != nil {
		return fmt.Errorf("reading the extent of a queue: %w", err)
	}
	q.next, q.imports = max(next, ownBase), 1
	for from := first; n > 0 && from < ownBase; from = q.imports { // an import that a restart interrupted
		page, err := q.m.cfg.Store.ReadQueue(q.id, from, q.m.cfg.HeadPage)
		if err != nil {
			return fmt.Errorf("reading what was imported into a queue: %w", err)
		}
		if len(page) == 0 || page[0].Seq >= ownBase {
			break
		}
		for _, s := range page {
			if s.Seq < ownBase {
				q.imports = s.Seq + 1
			}
		}
	}
	q.bounded, q.disk = true, n
	if q.opts.LIFO {
		q.cursor = q.next
	}
	return nil
}

// load reads what a connection needs first: what was in flight when the
// process ended, and what the client had in flight. q.mu is held.
func (q *Queue) load() error {
	if err := q.bound(); err != nil || q.loaded || !q.stored {
		return err
	}
	ids, err := q.m.cfg.Store.Inbound(q.id)
	if err != nil {
		return fmt.Errorf("reading inbound packet identifiers: %w", err)
	}
	for pid, in := range ids {
		q.knowInbound(pid, in)
	}
	if q.disk > 0 {
		if err := q.loadWindow(); err != nil {
			return err
		}
		q.win.loaded()
	}
	q.loaded = true
	return nil
}

// loadWindow reads the messages that have packet identifiers. In a fifo queue
// they are the oldest; a lifo queue is read to its end. q.mu is held.
func (q *Queue) loadWindow() error {
	if q.opts.LIFO {
		return q.loadWindowLIFO()
	}
	for {
		page, err := q.m.cfg.Store.ReadQueue(q.id, q.cursor, q.m.cfg.HeadPage)
		if err != nil {
			return fmt.Errorf("reading a queue: %w", err)
		}
		if len(page) == 0 || page[0].Entry.PacketID == 0 {
			return nil
		}
		q.place(page, nil)
		if page[len(page)-1].Entry.PacketID == 0 {
			return nil
		}
	}
}

func (q *Queue) loadWindowLIFO() error {
	for from := uint64(0); ; {
		page, err := q.m.cfg.Store.ReadQueue(q.id, from, q.m.cfg.HeadPage)
		if err != nil {
			return fmt.Errorf("reading a queue: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		for _, s := range page {
			if s.Entry.PacketID != 0 {
				q.disk--
				q.win.add(entryOf(s))
			}
		}
		from = page[len(page)-1].Seq + 1
	}
}

// place takes a page that was read into memory, without those in skip. q.mu is
// held.
func (q *Queue) place(page []msgstore.Stored, skip map[uint64]bool) {
	for _, s := range page {
		if q.held && s.Seq >= ownBase {
			return
		}
		if !q.opts.LIFO {
			q.cursor = s.Seq + 1
		}
		if skip[s.Seq] {
			continue
		}
		e := entryOf(s)
		if !q.opts.LIFO && s.Seq < q.surplusEnd && e.pid == 0 {
			if q.keepDisk == 0 {
				q.surplus = max(q.surplus-1, 0)
				q.dropEntry(e)
				continue
			}
			q.keepDisk--
		}
		q.disk = max(q.disk-1, 0)
		if e.pid == 0 {
			q.pending.push(e)
			continue
		}
		if q.win.byID[e.pid] != nil { // both halves in use: a late import
			e.pid, e.released = 0, false
			q.pending.push(e)
			continue
		}
		q.win.add(e)
		if e.released {
			q.win.sendRelease(e)
		} else {
			q.win.toSend.push(packetOut{e: e})
		}
	}
}

// readPage reads the next messages from disk for a. It reports whether there
// were any. Only the puller of the attached connection calls it.
func (q *Queue) readPage(a *Attachment) bool {
	q.mu.Lock()
	from, limit, lifo := q.cursor, q.m.cfg.HeadPage, q.opts.LIFO
	if lifo && q.held { // the newest are not known yet
		q.mu.Unlock()
		return false
	}
	var skip map[uint64]bool // what is in the window now; what left it before is gone after flush
	ordered := !lifo && !q.mixed
	if !ordered {
		skip = map[uint64]bool{}
		for _, e := range q.win.byID {
			skip[e.seq] = true
		}
	}
	imports := q.imports
	q.mu.Unlock()

	var page []msgstore.Stored
	var err error
	if !ordered {
		err = q.flush(context.Background())
	}
	switch {
	case err != nil:
	case lifo:
		page, from, err = q.readBack(from, imports, limit, skip)
	default:
		page, err = q.m.cfg.Store.ReadQueue(q.id, from, limit)
	}
	if err != nil {
		q.m.logCommit(fmt.Errorf("reading a queue: %w", err))
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.att != a || len(page) == 0 || q.pending.len() > 0 {
		return false
	}
	before := q.cursor
	if lifo {
		q.cursor = from
	}
	if lifo && q.surplus > 0 {
		q.placeBack(page)
	} else {
		q.place(page, skip)
	}
	return q.cursor != before
}

// placeBack is place for a lifo queue over its limit: of what waited when the
// limit was applied the newest are kept.
func (q *Queue) placeBack(page []msgstore.Stored) {
	at := len(page) // what is kept ends the page
	for ; at > 0; at-- {
		if page[at-1].Seq >= q.surplusEnd {
			continue
		}
		if q.keepDisk == 0 {
			break
		}
		q.keepDisk--
	}
	for _, s := range page[:at] {
		q.surplus = max(q.surplus-1, 0)
		q.dropEntry(entryOf(s))
	}
	q.place(page[at:], nil)
}

// readBack returns the newest messages below end in ascending order, and where
// they begin.
func (q *Queue) readBack(end, imports uint64, limit int, skip map[uint64]bool) ([]msgstore.Stored, uint64, error) {
	for end > 1 {
		floor := uint64(1)
		if end > ownBase {
			floor = ownBase
		}
		from := max(floor, end-min(end, uint64(limit)))
		page, err := q.m.cfg.Store.ReadQueue(q.id, from, limit)
		if err != nil {
			return nil, end, err
		}
		kept := page[:0]
		for _, s := range page {
			if s.Seq < end && !skip[s.Seq] {
				kept = append(kept, s)
			}
		}
		if end = from; end == ownBase {
			end = min(imports, ownBase)
		}
		if len(kept) > 0 {
			return kept, end, nil
		}
	}
	return nil, end, nil
}
