package peer

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
)

// source is what this node remembers about the frames of another, across
// connections: what it took, and how that was answered.
type source struct {
	p *Port

	mu          sync.Mutex
	start       uint64 // of the sender's process
	incarnation uint32
	book        *ledger
	current     *inbound
	bytes       int // taken and not yet answered
	room        chan struct{}
}

// ledger is the account of one line of sequences.
type ledger struct {
	last    uint64 // highest taken; what comes again is dropped
	acked   uint64 // everything up to here is answered
	pending fifo[*slot]
	// refused are the answers other than accepted that the sender may not
	// know yet.
	refused []answer
}

type slot struct {
	seq  uint64
	size int
	done bool
}

// answer is a code for a sequence or a request id.
type answer struct {
	n    uint64
	code Code
}

// inbound is one connection of a source.
type inbound struct {
	s        *source
	c        *conn
	r        *frameReader
	receiver Receiver
	ctx      context.Context
	cancel   context.CancelFunc
	finished chan struct{}
	wake     chan struct{}

	// Under the source's lock.

	results     []answer
	ackSent     uint64
	refusedSent int
}

// serveLink takes a member's frames until the connection fails.
func (p *Port) serveLink(c *conn) {
	defer c.cut()
	if !p.awaitReceiver() {
		return
	}
	in := &inbound{
		s: p.source(c.peer.Node), c: c, receiver: p.receiver, finished: make(chan struct{}), wake: make(chan struct{}, 1),
		r: newFrameReader(c, p.cfg.MaxFrame, p.cfg.KeepAlive, p.counters.received),
	}
	in.ctx, in.cancel = context.WithCancel(p.ctx)
	defer in.cancel()
	defer context.AfterFunc(in.ctx, c.cut)()
	defer close(in.finished)
	if former := in.s.replace(in); former != nil {
		former.cancel()
		<-former.finished // it must not take another frame
	}
	if l := p.link(c.peer.Node); l != nil {
		signal(l.kick)
	}
	err := in.greet()
	if err == nil {
		written := make(chan struct{})
		go func() {
			defer close(written)
			defer in.cancel()
			in.write()
		}()
		err = in.read()
		in.cancel()
		<-written
	}
	p.log.Debug("link from a node ended", slog.Any("node", c.peer), slog.Any("error", err))
}

// awaitReceiver waits for SetReceiver as long as a handshake may take.
func (p *Port) awaitReceiver() bool {
	t := time.NewTimer(p.cfg.HandshakeTimeout)
	defer t.Stop()
	select {
	case <-p.receiverReady:
		return true
	case <-t.C:
	case <-p.ctx.Done():
	}
	return false
}

func (p *Port) source(node message.NodeID) *source {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sources[node]
	if s == nil {
		s = &source{p: p, book: &ledger{}, room: make(chan struct{}, 1)}
		p.sources[node] = s
	}
	return s
}

func (s *source) replace(in *inbound) *inbound {
	s.mu.Lock()
	defer s.mu.Unlock()
	former := s.current
	s.current = in
	return former
}

// greet answers the hello with what was taken already.
func (in *inbound) greet() error {
	typ, b, err := in.r.next()
	if err != nil {
		return err
	}
	var start, confirmed uint64
	if typ != typeHello {
		return fmt.Errorf("link begins with type %d: %w", typ, ErrProtocol)
	}
	if err := decodeNumbers(b, &start, &confirmed); err != nil {
		return err
	}
	last := in.s.meet(start, in.c.peer, confirmed)
	in.c.SetWriteDeadline(time.Now().Add(in.s.p.cfg.HandshakeTimeout))
	if _, err := in.c.Write(appendNumbers(nil, typeWelcome, last)); err != nil {
		return err
	}
	in.c.SetWriteDeadline(time.Time{})
	signal(in.wake)
	return nil
}

// meet finds the account of the sender's line of sequences. A new process goes
// on above the former one, because sequences begin with the incarnation; only
// if that did not grow the account begins anew.
func (s *source) meet(start uint64, peer Identity, confirmed uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if start != s.start {
		if s.start != 0 && peer.Incarnation <= s.incarnation {
			s.p.log.Warn("a node restarted without a new incarnation; frames may arrive twice", slog.Any("node", peer))
			s.book = &ledger{}
		}
		s.book.refused = nil
	}
	s.start, s.incarnation = start, peer.Incarnation
	s.book.forget(confirmed, len(s.book.refused))
	return s.book.last
}

// forget drops refusals that the sender has heard of, out of the first sent,
// and returns how many of those are left.
func (l *ledger) forget(confirmed uint64, sent int) int {
	kept := l.refused[:0]
	left := sent
	for i, a := range l.refused {
		if i < sent && a.n <= confirmed {
			left--
			continue
		}
		kept = append(kept, a)
	}
	l.refused = kept
	return left
}

// read takes frames until the connection fails.
func (in *inbound) read() error {
	for {
		typ, b, err := in.r.next()
		if err != nil {
			return err
		}
		f := fields{b: b}
		n := f.uvarint()
		if f.bad {
			return fmt.Errorf("frame without a number: %w", ErrProtocol)
		}
		switch typ {
		case typePublish:
			in.publish(n, f.b)
		case typeDirect:
			in.direct(n, f.b)
		case typePing:
			in.s.mu.Lock()
			in.refusedSent = in.s.book.forget(n, in.refusedSent)
			in.s.mu.Unlock()
		default:
			return fmt.Errorf("frame of type %d: %w", typ, ErrProtocol)
		}
		if !in.s.awaitRoom(in.ctx) {
			return in.ctx.Err()
		}
	}
}

// publish takes a frame that has not been taken before.
func (in *inbound) publish(seq uint64, b []byte) {
	s := in.s
	s.mu.Lock()
	book := s.book
	if seq <= book.last {
		s.mu.Unlock()
		return
	}
	book.last = seq
	at := &slot{seq: seq, size: len(b)}
	book.pending.push(at)
	s.bytes += at.size
	s.mu.Unlock()
	f, err := decodePublish(b)
	if err != nil {
		in.unreadable(err)
		s.answer(book, at, CodeError)
		return
	}
	in.receiver.Receive(in.c.peer, f, func(code Code) { s.answer(book, at, code) })
}

// answer records how a publish fared and lets acknowledgements advance.
func (s *source) answer(book *ledger, at *slot, code Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.done {
		return
	}
	at.done = true
	s.free(at.size)
	if book != s.book {
		return
	}
	if code != CodeAccepted {
		book.refused = append(book.refused, answer{at.seq, code})
	}
	for book.pending.len() > 0 && (*book.pending.at(0)).done {
		book.acked = book.pending.pop().seq
	}
	if s.current != nil {
		signal(s.current.wake)
	}
}

// direct takes a request for one session.
func (in *inbound) direct(id uint64, b []byte) {
	s := in.s
	at := &slot{size: len(b)}
	s.mu.Lock()
	s.bytes += at.size
	s.mu.Unlock()
	done := func(code Code) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if at.done {
			return
		}
		at.done = true
		s.free(at.size)
		in.results = append(in.results, answer{id, code})
		signal(in.wake)
	}
	f, err := decodeDirect(b)
	if err != nil {
		in.unreadable(err)
		done(CodeError)
		return
	}
	in.receiver.Receive(in.c.peer, f, done)
}

func (in *inbound) unreadable(err error) {
	in.s.p.log.Error("a node sent a frame that cannot be read; it is refused",
		slog.Any("node", in.c.peer), slog.String("error", err.Error()))
}

// free is called with mu held.
func (s *source) free(size int) {
	s.bytes -= size
	signal(s.room)
}

// awaitRoom holds the source back while too much of it is unanswered.
func (s *source) awaitRoom(ctx context.Context) bool {
	for {
		s.mu.Lock()
		full := s.bytes > s.p.cfg.ReceiveWindow
		s.mu.Unlock()
		if !full {
			return true
		}
		select {
		case <-s.room:
		case <-ctx.Done():
			return false
		}
	}
}

// write sends answers, one write per batch, and pings that tell the sender
// that this node lives, even while reading is held back.
func (in *inbound) write() {
	ping := time.NewTicker(max(in.s.p.cfg.KeepAlive/3, time.Millisecond))
	defer ping.Stop()
	var buf []byte
	for {
		buf = in.answers(buf[:0])
		if len(buf) == 0 {
			select {
			case <-in.ctx.Done():
				return
			case <-in.wake:
				continue
			case <-ping.C:
				buf = appendNumbers(buf, typePing, 0)
			}
		}
		n, err := in.c.Write(buf)
		in.s.p.counters.sent.Add(n)
		if err != nil {
			return
		}
	}
}

// answers gathers what the sender has not been told. Refusals go before the
// acknowledgement that covers them.
func (in *inbound) answers(b []byte) []byte {
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.book.refused[in.refusedSent:] {
		b = appendNumbers(b, typeOutcome, a.n, uint64(a.code))
	}
	in.refusedSent = len(s.book.refused)
	for _, a := range in.results {
		b = appendNumbers(b, typeResult, a.n, uint64(a.code))
	}
	in.results = in.results[:0]
	if s.book.acked > in.ackSent {
		in.ackSent = s.book.acked
		b = appendNumbers(b, typeAck, in.ackSent)
	}
	return b
}
