package peer

import (
	"fmt"
	"log/slog"
	"time"
)

// spooling reports whether frames of QoS ≥ 1 go into the spool; mu is held.
func (l *link) spooling() bool {
	return l.p.cfg.Spool != nil && (l.state == linkDown || l.state == linkDraining)
}

// spoolLater puts a frame in line for the spool; mu is held. Sequences are
// drawn here, so the line is in their order. flushSpool must follow.
func (l *link) spoolLater(e entry) {
	if e.seq == 0 {
		e.seq = l.sequence()
	}
	l.spoolTop = max(l.spoolTop, e.seq)
	l.unspooled++
	l.toSpool = append(l.toSpool, e)
}

// flushSpool appends what is in line. One caller at a time does it for all, so
// that the spool sees the order of the sequences and no lock is held while it
// calls back.
func (l *link) flushSpool() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.appending {
		return
	}
	l.appending = true
	for len(l.toSpool) > 0 {
		line := l.toSpool
		l.toSpool = nil
		l.mu.Unlock()
		for _, e := range line {
			now := time.Now()
			l.p.cfg.Spool.Append(l.node, e.seq, spoolRecord(e.applied, e.msg), func(err error) {
				l.p.counters.spooled.Since(now)
				l.spooled(e, err)
			})
		}
		l.mu.Lock()
	}
	l.appending = false
}

// spooled is the end of one Append.
func (l *link) spooled(e entry, err error) {
	l.mu.Lock()
	l.bytes -= e.size
	if l.closed {
		l.bytes = 0
	}
	l.unspooled--
	l.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("spooling for node %s: %w", l.node, err)
	}
	e.done(CodeAccepted, err)
	signal(l.wake)
}

// drain appends a page of the spool to b. Frames of QoS 0 that were written
// before a cut go between, in the order of their sequences. idle says that
// nothing was on its way into the spool when its reading begins. wait means
// that there is nothing to write until somebody wakes the writer.
func (l *link) drain(b []byte, from uint64, idle bool) (_ []byte, wait bool, err error) {
	page, err := l.p.cfg.Spool.Read(l.node, from, spoolPage)
	if err != nil {
		return b, false, fmt.Errorf("reading the spool of node %s: %w", l.node, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range page {
		if len(b) >= maxBatch {
			return b, false, nil
		}
		for l.cursor < l.ring.len() {
			e := l.ring.at(l.cursor)
			if e.seq == 0 || e.seq > s.Seq {
				break
			}
			b = l.encode(b, e)
			l.cursor++
		}
		l.spoolFrom = s.Seq + 1
		l.spoolTop = max(l.spoolTop, s.Seq)
		if b, err = appendSpooled(b, s); err != nil {
			l.p.log.Error("frame in a spool is unreadable and skipped", slog.String("error", err.Error()))
			continue
		}
		l.wrote(s.Seq)
	}
	switch {
	case len(page) == spoolPage:
	case l.state == linkDraining:
		l.state = linkClosing
	case len(page) == 0 && idle:
		l.state = linkLive
	case len(page) == 0:
		return b, true, nil
	}
	return b, false, nil
}

// truncate forgets what was acknowledged, if it may stand in the spool.
func (l *link) truncate(upTo uint64) {
	if l.p.cfg.Spool == nil {
		return
	}
	l.mu.Lock()
	due := l.spoolTop != 0
	if due && l.state == linkLive && upTo >= l.spoolTop {
		l.spoolTop = 0
	}
	l.mu.Unlock()
	if !due {
		return
	}
	if err := l.p.cfg.Spool.Truncate(l.node, upTo); err != nil {
		l.p.log.Error("spool cannot be truncated", slog.String("node", l.node.String()), slog.String("error", err.Error()))
	}
}
