package peer

import (
	"errors"
	"fmt"
	"time"
)

// errNoAck ends a connection whose peer is alive but answers nothing.
var errNoAck = errors.New("no acknowledgement within link_ack_timeout")

// write sends what waits, one write per batch: while one is under way the next
// gathers. A quiet link carries pings.
func (l *link) write(c *conn, ended <-chan struct{}) error {
	ping := time.NewTicker(max(l.p.cfg.KeepAlive/3, time.Millisecond))
	defer ping.Stop()
	var buf []byte
	for {
		var err error
		if buf, err = l.batch(buf[:0]); err != nil {
			return err
		}
		if len(buf) == 0 {
			select {
			case <-ended:
				return nil
			case <-l.wake:
				continue
			case <-ping.C:
				buf = l.ping(buf)
			}
		}
		select {
		case <-ping.C: // also under load: the peer forgets what we confirm
			buf = l.ping(buf)
		default:
		}
		l.watch()
		n, err := c.Write(buf)
		l.p.counters.sent.Add(n)
		l.p.counters.wrote.Observe(int64(n))
		if err != nil {
			return err
		}
		if cap(buf) > maxKeptBuffer {
			buf = nil
		}
	}
}

// watch begins to measure until what is written is acknowledged, unless that
// is being measured already.
func (l *link) watch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.probe == 0 && l.sent > l.confirmed {
		l.probe, l.probedAt = l.sent, time.Now()
	}
}

func (l *link) ping(b []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return appendNumbers(b, typePing, l.confirmed)
}

// batch gathers what can be written now.
func (l *link) batch(b []byte) ([]byte, error) {
	for {
		l.mu.Lock()
		for _, e := range l.ahead {
			b = l.encode(b, &e)
		}
		clear(l.ahead)
		l.ahead = l.ahead[:0]
		if l.state == linkLive {
			for l.cursor < l.ring.len() && len(b) < maxBatch {
				b = l.encode(b, l.ring.at(l.cursor))
				l.cursor++
			}
			l.trim()
			l.mu.Unlock()
			return b, nil
		}
		idle := l.unspooled == 0
		from := l.spoolFrom
		l.mu.Unlock()
		var wait bool
		var err error
		if b, wait, err = l.drain(b, from, idle); err != nil || wait || len(b) > 0 {
			return b, err
		}
	}
}

// encode is called with mu held. It draws the sequence of a publish that is
// written the first time, and moves a direct to those that await a result.
func (l *link) encode(b []byte, e *entry) []byte {
	switch {
	case e.direct != nil:
		l.nextDirect++
		b = appendDirect(b, l.nextDirect, e.direct)
		l.directs[l.nextDirect] = entry{done: e.done, size: e.size}
		*e = entry{}
	case e.msg != nil:
		if e.seq == 0 {
			e.seq = l.sequence()
		}
		b = appendPublish(b, e.seq, e.applied, e.msg)
		l.wrote(e.seq)
	}
	return b
}

// wrote is called with mu held; the patience for acknowledgements begins with
// the first frame that needs one.
func (l *link) wrote(seq uint64) {
	if l.sent <= l.confirmed {
		l.progress = time.Now()
	}
	l.sent = max(l.sent, seq)
}

// trim drops empty entries from the front; mu is held.
func (l *link) trim() {
	for l.cursor > 0 && l.ring.at(0).empty() {
		l.ring.pop()
		l.cursor--
	}
}

// read takes answers until the connection fails. The peer sends something
// several times per KeepAlive, so the patience for acknowledgements is checked
// here too, even while a write hangs.
func (l *link) read(s *stream) error {
	var dones []func(Code, error)
	for {
		typ, b, err := s.r.next()
		if err != nil {
			return err
		}
		var n, v uint64
		switch typ {
		case typeAck:
			if err := decodeNumbers(b, &n); err != nil {
				return err
			}
			if dones, err = l.acked(n, dones[:0]); err != nil {
				return err
			}
			for i, done := range dones {
				done(CodeAccepted, nil)
				dones[i] = nil
			}
			l.truncate(n)
		case typeOutcome, typeResult:
			if err := decodeNumbers(b, &n, &v); err != nil {
				return err
			}
			if done := l.answered(typ, n); done != nil {
				done(Code(v), nil)
			}
		case typePing:
		default:
			return fmt.Errorf("answer of type %d: %w", typ, ErrProtocol)
		}
		if l.stuck() {
			return errNoAck
		}
	}
}

// acked removes what the peer has up to seq and returns the dones that are due.
func (l *link) acked(seq uint64, dones []func(Code, error)) ([]func(Code, error), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq > l.sent {
		return dones, fmt.Errorf("acknowledgement of %d, sent were %d: %w", seq, l.sent, ErrProtocol)
	}
	if seq <= l.confirmed {
		return dones, nil
	}
	l.confirmed = seq
	l.progress = time.Now()
	if l.probe != 0 && seq >= l.probe {
		l.acks.Observe(l.progress.Sub(l.probedAt).Microseconds())
		l.probe = 0
	}
	for l.cursor > 0 {
		e := l.ring.at(0)
		if !e.empty() && (e.seq == 0 || e.seq > seq) {
			break
		}
		done := l.ring.pop()
		l.cursor--
		l.bytes -= done.size
		if done.done != nil {
			dones = append(dones, done.done)
		}
	}
	return dones, nil
}

// answered finds the done of a single answer: a refused publish stays in its
// place until acknowledged.
func (l *link) answered(typ byte, n uint64) func(Code, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if typ == typeResult {
		e, ok := l.directs[n]
		if ok {
			delete(l.directs, n)
			l.bytes -= e.size
		}
		return e.done
	}
	for i := range l.cursor {
		if e := l.ring.at(i); e.seq == n {
			done := e.done
			e.done = nil
			return done
		}
	}
	l.p.counters.refused.Inc()
	return nil
}

// stuck reports whether frames await acknowledgement and none came for
// link_ack_timeout.
func (l *link) stuck() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent > l.confirmed && time.Since(l.progress) > l.p.cfg.AckTimeout
}
