package peer

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// linkState tells where a frame of QoS ≥ 1 goes.
type linkState byte

const (
	// linkDown: no connection; to the spool, or without one into memory.
	linkDown linkState = iota
	// linkDraining: connected, the spool is being sent; still to the spool,
	// whose end it must not overtake.
	linkDraining
	// linkClosing: the spool's last frames are being sent; into memory, behind
	// them. It ends even if new frames never stop coming.
	linkClosing
	// linkLive: into memory and out.
	linkLive
)

const (
	// maxBatch is about how much one write carries.
	maxBatch = 256 << 10
	// maxKeptBuffer is the largest write buffer that is kept for the next.
	maxKeptBuffer = 1 << 20
	// spoolPage is how many frames are read from the spool at once.
	spoolPage = 64
)

// entry is one frame that waits to be written or answered. A Direct that was
// written leaves an empty entry, so that the order of the others stays.
type entry struct {
	seq     uint64 // 0 until written or spooled the first time
	applied uint64
	msg     *message.Message
	direct  *Frame
	done    func(Code, error) // nil when called
	size    int
}

func (e *entry) empty() bool { return e.msg == nil && e.direct == nil }

// link is the way of frames to one member: a queue that outlives connections.
type link struct {
	p      *Port
	node   message.NodeID
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // something to write
	kick   chan struct{} // the member may be back

	mu     sync.Mutex
	member Member
	closed bool
	state  linkState
	bytes  int
	// ring holds publishes until they are acknowledged, and directs until they
	// are written. Entries before cursor went out on this connection.
	ring   fifo[entry]
	cursor int
	// ahead are directs that overtake a spool.
	ahead      []entry
	directs    map[uint64]entry // written, by request id
	nextDirect uint64
	next       uint64 // sequence
	sent       uint64 // highest sequence that the peer has or will get on this connection
	confirmed  uint64 // highest cumulative acknowledgement
	progress   time.Time

	// probe is the sequence of a write whose acknowledgement is waited for since
	// probedAt, 0 for none.
	probe    uint64
	probedAt time.Time
	acks     *metrics.Histogram

	// What waits to be appended to the spool, in order, by whoever comes first.
	toSpool   []entry
	appending bool
	// unspooled counts frames on their way into the spool.
	unspooled int
	spoolFrom uint64 // where reading goes on
	spoolTop  uint64 // highest sequence that may stand in the spool
}

func newLink(p *Port, m Member, next uint64) *link {
	l := &link{
		p: p, node: m.ID, member: m, next: next, directs: map[uint64]entry{},
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1),
	}
	l.ctx, l.cancel = context.WithCancel(p.ctx)
	return l
}

func (l *link) setMember(m Member) {
	l.mu.Lock()
	moved := l.member.Address != m.Address
	l.member = m
	l.mu.Unlock()
	if moved {
		signal(l.kick)
	}
}

// retire ends the link of a removed member and returns where its sequence
// would go on.
func (l *link) retire() uint64 {
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.next
}

func (l *link) isUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state != linkDown
}

func (l *link) buffered() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.bytes)
}

// send takes a frame; see Port.Send.
func (l *link) send(f Frame, done func(Code, error)) {
	l.mu.Lock()
	err := l.enqueue(f, done)
	spooled := len(l.toSpool) > 0
	l.mu.Unlock()
	if err != nil {
		done(0, err)
		return
	}
	if spooled {
		l.flushSpool()
	}
	signal(l.wake)
}

// enqueue is called with mu held.
func (l *link) enqueue(f Frame, done func(Code, error)) error {
	size := sizeOf(&f)
	direct := f.Kind == FrameDirect
	switch {
	case l.closed:
		return ErrClosed
	case size > l.p.cfg.MaxFrame:
		return ErrTooLarge
	case direct && l.state == linkDown:
		return ErrLinkDown
	case l.bytes+size > l.p.cfg.BufferSize:
		if !direct && f.Message.QoS == 0 {
			l.p.counters.dropped.Add(size)
		}
		return ErrBufferFull
	}
	l.bytes += size
	e := entry{applied: f.Applied, msg: f.Message, done: done, size: size}
	if direct {
		d := f
		e.direct, e.msg = &d, nil
	}
	switch {
	case direct && l.state != linkLive:
		l.ahead = append(l.ahead, e)
	case !direct && f.Message.QoS > 0 && l.spooling():
		l.spoolLater(e)
	default:
		l.ring.push(e)
	}
	return nil
}

// sequence draws the next one; mu is held.
func (l *link) sequence() uint64 {
	n := l.next
	l.next++
	return n
}

// run keeps the link connected until the member is removed or the port closed.
func (l *link) run() {
	defer l.shut()
	pause := l.p.cfg.MinBackoff
	said, lost := "", false
	for l.ctx.Err() == nil {
		began := time.Now()
		s, err := l.connect()
		if err != nil && lost {
			l.p.sever(l.node)
			lost = false
		}
		if err == nil {
			said = ""
			l.p.log.Debug("link to a node is up", slog.Any("node", s.c.peer))
			err = l.serve(s)
			lost = true
			if time.Since(began) >= l.p.cfg.KeepAlive {
				pause = l.p.cfg.MinBackoff
			}
		}
		if l.ctx.Err() != nil {
			return
		}
		if text := err.Error(); text != said { // once per cause, not per attempt
			said = text
			l.p.log.Warn("link to a node is down", slog.String("node", l.name()), slog.String("error", text))
		}
		l.pause(pause)
		pause = min(2*pause, l.p.cfg.MaxBackoff)
	}
}

func (l *link) name() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.member.Name
}

// pause waits for d give or take a quarter, so that nodes which lost the same
// peer do not all come back at one moment; or until the peer shows up.
func (l *link) pause(d time.Duration) {
	t := time.NewTimer(d*3/4 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.kick:
	case <-l.ctx.Done():
	}
}

// stream is one connection of a link.
type stream struct {
	c    *conn
	r    *frameReader
	last uint64 // highest sequence that the peer has taken
}

// connect dials and exchanges hello and welcome.
func (l *link) connect() (*stream, error) {
	l.mu.Lock()
	address, confirmed := l.member.Address, l.confirmed
	l.mu.Unlock()
	c, err := l.p.dial(l.ctx, KindLink, address, l.node, false)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(l.ctx, c.cut)
	defer stop()
	s := &stream{c: c, r: newFrameReader(c, l.p.cfg.MaxFrame, l.p.cfg.HandshakeTimeout, l.p.counters.received)}
	if err := s.greet(l.p.start, confirmed); err != nil {
		c.cut()
		return nil, err
	}
	s.r.silence = l.p.cfg.KeepAlive
	return s, nil
}

func (s *stream) greet(start, confirmed uint64) error {
	s.c.SetWriteDeadline(time.Now().Add(s.r.silence))
	if _, err := s.c.Write(appendNumbers(nil, typeHello, start, confirmed)); err != nil {
		return err
	}
	s.c.SetWriteDeadline(time.Time{})
	typ, b, err := s.r.next()
	if err != nil {
		return err
	}
	if typ != typeWelcome {
		return ErrProtocol
	}
	return decodeNumbers(b, &s.last)
}

// serve moves frames until the connection fails.
func (l *link) serve(s *stream) error {
	if !l.up(s.last) {
		s.c.cut()
		return ErrClosed
	}
	id := s.c.peer
	l.p.notifier.add(linkEvent{l.node, id.Incarnation, true})
	stop := context.AfterFunc(l.ctx, s.c.cut)
	defer stop()
	ended := make(chan struct{})
	wrote := make(chan error, 1)
	go func() {
		wrote <- l.write(s.c, ended)
		s.c.cut()
	}()
	err := l.read(s)
	close(ended)
	s.c.cut()
	if w := <-wrote; w != nil && !errors.Is(err, errNoAck) {
		err = errors.Join(w, err)
	}
	l.down()
	select {
	case <-l.kick: // from while it was connected
	default:
	}
	l.p.notifier.add(linkEvent{l.node, id.Incarnation, false})
	return err
}

// up lets frames flow, from behind what the peer has already.
func (l *link) up(last uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.next = max(l.next, last+1)
	l.sent = max(last, l.confirmed)
	l.spoolFrom = l.sent + 1
	l.spoolTop = max(l.spoolTop, last)
	l.progress = time.Now()
	l.probe = 0
	for l.cursor = 0; l.cursor < l.ring.len(); l.cursor++ {
		if e := l.ring.at(l.cursor); e.seq == 0 || e.seq > last {
			break
		}
	}
	l.state = linkLive
	if l.p.cfg.Spool != nil {
		l.state = linkDraining
	}
	signal(l.wake)
	return true
}
