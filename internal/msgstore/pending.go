package msgstore

import (
	"sync"
)

// pending is the line of batches that wait for the committer, bounded in bytes.
// What is being committed counts until it is done.
type pending struct {
	wake chan struct{} // has a token when batches is not empty, or closed is set

	mu      sync.Mutex
	space   sync.Cond // bytes went down, or closed was set
	batches []*Batch
	bytes   int64
	limit   int64
	closed  bool
}

func (p *pending) init(limit int64) {
	p.wake = make(chan struct{}, 1)
	p.space.L = &p.mu
	p.limit = limit
}

// put appends b, waiting for space. A batch larger than the limit is let in
// alone. ok is false after close.
func (p *pending) put(b *Batch) (blocked, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed && p.limit >= 0 && p.bytes > 0 && p.bytes+b.bytes > p.limit {
		blocked = true
		p.space.Wait()
	}
	if p.closed {
		return blocked, false
	}
	p.batches = append(p.batches, b)
	p.bytes += b.bytes
	p.signal()
	return blocked, true
}

func (p *pending) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take returns all that waits; more is false when nothing does and nothing
// will come.
func (p *pending) take() (batches []*Batch, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	batches, p.batches = p.batches, nil
	if p.closed {
		p.signal() // whoever comes next finds the end again
	}
	return batches, len(batches) > 0 || !p.closed
}

// release makes room again for what take returned.
func (p *pending) release(batches []*Batch) {
	p.mu.Lock()
	for _, b := range batches {
		p.bytes -= b.bytes
	}
	p.mu.Unlock()
	p.space.Broadcast()
}

func (p *pending) close() {
	p.mu.Lock()
	p.closed = true
	p.signal()
	p.mu.Unlock()
	p.space.Broadcast()
}

func (p *pending) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func (p *pending) size() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// note is a finished batch whose callback is due.
type note struct {
	done func(error)
	err  error
}

// notifier runs callbacks in order on a goroutine of its own, so that one that
// calls Commit and has to wait for space does not keep the committer from
// making it, and the next fsync begins while they run.
type notifier struct {
	mu     sync.Mutex
	ready  sync.Cond
	notes  []note
	closed bool
	wg     sync.WaitGroup
}

func (n *notifier) start() {
	n.ready.L = &n.mu
	n.wg.Go(n.run)
}

func (n *notifier) run() {
	for {
		n.mu.Lock()
		for len(n.notes) == 0 && !n.closed {
			n.ready.Wait()
		}
		notes := n.notes
		n.notes = nil
		n.mu.Unlock()
		if len(notes) == 0 {
			return
		}
		for _, x := range notes {
			x.done(x.err)
		}
	}
}

// add queues the callbacks of batches; errs may be nil, or has one error each.
func (n *notifier) add(batches []*Batch, err error, errs []error) {
	n.mu.Lock()
	for i, b := range batches {
		e := err
		if e == nil && errs != nil {
			e = errs[i]
		}
		n.notes = append(n.notes, note{b.done, e})
		b.done = nil
	}
	n.mu.Unlock()
	n.ready.Signal()
}

func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.ready.Signal()
	n.wg.Wait()
}
