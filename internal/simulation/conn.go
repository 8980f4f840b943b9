package simulation

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Errors of connections, in the words of an operating system.
var (
	ErrReset   = errors.New("connection reset by peer")
	ErrRefused = errors.New("connection refused")
	ErrPower   = errors.New("this host has no power")
)

// window is how many bytes one direction of a connection holds before its
// writer waits, like the buffers of two sockets.
const window = 4 << 20

// pipe is one direction of a connection: bytes that come out in order, each
// some time after it went in.
type pipe struct {
	net      *Network
	from, to *endpoint
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced on each change
	segments []segment
	size     int
	last     time.Time // when the last segment arrives
	eof      bool      // no more is written
	err      error     // the connection is gone: what is left is not read any more
	deaf     bool      // nobody reads any more: what is written is lost, and its writer learns nothing
	tear     bool      // the next write breaks the connection in its middle
}

type segment struct {
	data []byte
	at   time.Time
}

func newPipe(n *Network, from, to *endpoint) *pipe {
	return &pipe{net: n, from: from, to: to, changed: make(chan struct{})}
}

// signal wakes everybody who waits. The caller holds mu.
func (p *pipe) signal() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// ignore makes the reader deaf.
func (p *pipe) ignore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf, p.segments, p.size = true, nil, 0
	p.signal()
}

func (p *pipe) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.err == nil {
		p.err = err
	}
	p.eof = true
	p.signal()
}

// write puts b in; closed and expired end a wait for room.
func (p *pipe) write(b []byte, closed <-chan struct{}, d *deadline) (n int, torn bool, err error) {
	for {
		p.mu.Lock()
		switch {
		case p.err != nil || p.eof:
			defer p.mu.Unlock()
			return 0, false, ErrReset
		case p.deaf:
			p.mu.Unlock()
			return len(b), false, nil
		case p.tear && len(b) > 1:
			p.tear = false
			n = 1 + p.net.number(len(b)-1)
			p.put(b[:n])
			p.mu.Unlock()
			return n, true, ErrReset
		case p.size < window:
			p.put(b)
			p.mu.Unlock()
			return len(b), false, nil
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-closed:
			return 0, false, net.ErrClosed
		case <-d.wait():
			return 0, false, os.ErrDeadlineExceeded
		}
	}
}

// put appends a segment; the caller holds mu.
func (p *pipe) put(b []byte) {
	at := time.Now().Add(p.net.latency(p.from, p.to))
	if at.Before(p.last) {
		at = p.last
	}
	p.last = at
	p.segments = append(p.segments, segment{append([]byte(nil), b...), at})
	p.size += len(b)
	p.signal()
}

// read takes what has arrived.
func (p *pipe) read(b []byte, closed <-chan struct{}, d *deadline) (int, error) {
	for {
		select {
		case <-closed:
			return 0, net.ErrClosed
		case <-d.wait():
			return 0, os.ErrDeadlineExceeded
		default:
		}
		n, err, changed, arrives := p.take(b)
		if n > 0 || err != nil {
			return n, err
		}
		var due <-chan time.Time
		var timer *time.Timer
		if arrives > 0 {
			timer = time.NewTimer(arrives)
			due = timer.C
		}
		select {
		case <-changed:
		case <-due:
		case <-closed:
		case <-d.wait():
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// take returns what has arrived, or what to wait for.
func (p *pipe) take(b []byte) (n int, err error, changed <-chan struct{}, arrives time.Duration) { //nolint:revive,staticcheck // the error is one of two kinds of answer
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, p.err, nil, 0
	}
	if len(p.segments) == 0 {
		if p.eof {
			return 0, io.EOF, nil, 0
		}
		return 0, nil, p.changed, 0
	}
	if len(b) == 0 || p.net.blocked(p.from, p.to) {
		return 0, nil, p.changed, 0
	}
	now := time.Now()
	for len(p.segments) > 0 && n < len(b) && !p.segments[0].at.After(now) {
		s := &p.segments[0]
		m := copy(b[n:], s.data)
		n += m
		if s.data = s.data[m:]; len(s.data) == 0 {
			p.segments[0] = segment{}
			p.segments = p.segments[1:]
		}
	}
	if n == 0 {
		return 0, nil, p.changed, time.Until(p.segments[0].at)
	}
	if p.size >= window && p.size-n < window {
		defer p.signal()
	}
	p.size -= n
	return n, nil, nil, 0
}

// healed lets what was held back arrive: the sender's system tries again at
// some moment soon.
func (p *pipe) healed(after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := time.Now().Add(after)
	for i := range p.segments {
		if p.segments[i].at.Before(at) {
			p.segments[i].at = at
		}
	}
	if p.last.Before(at) {
		p.last = at
	}
	p.signal()
}

// Conn is one end of a connection.
type Conn struct {
	in, out       *pipe
	local, remote net.Addr
	once          sync.Once
	closed        chan struct{}
	rd, wd        deadline
}

// pair makes the two ends of a connection.
func (n *Network) pair(from, to *endpoint, local, remote net.Addr) (*Conn, *Conn) {
	there, back := newPipe(n, from, to), newPipe(n, to, from)
	a := &Conn{in: back, out: there, local: local, remote: remote, closed: make(chan struct{})}
	b := &Conn{in: there, out: back, local: remote, remote: local, closed: make(chan struct{})}
	a.rd.init()
	a.wd.init()
	b.rd.init()
	b.wd.init()
	return a, b
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) { return c.in.read(b, c.closed, &c.rd) }

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	case <-c.wd.wait():
		return 0, os.ErrDeadlineExceeded
	default:
	}
	n, torn, err := c.out.write(b, c.closed, &c.wd)
	if torn {
		c.out.end(nil)
		c.in.end(ErrReset)
	}
	return n, err
}

// Close ends the connection in good order: what was written still arrives.
func (c *Conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.out.end(nil)
		c.in.ignore() // the other end learns it when it reads, as soon as the network lets it
		c.out.net.forget(c)
	})
	return nil
}

// abandon is the end of a connection whose host has lost its power.
func (c *Conn) abandon() {
	c.once.Do(func() {
		close(c.closed)
		c.in.ignore()
		c.out.lose()
	})
}

// reset ends it without order; what is under way is lost.
func (c *Conn) reset() {
	c.out.end(ErrReset)
	c.in.end(ErrReset)
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	c.rd.set(t)
	c.wd.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { c.rd.set(t); return nil }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { c.wd.set(t); return nil }

// deadline is a moment that may be moved; its channel is closed when it comes.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	cancel chan struct{}
}

func (d *deadline) init() { d.cancel = make(chan struct{}) }

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cancel
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.cancel // its function has run or is running
	}
	d.timer = nil
	passed := false
	select {
	case <-d.cancel:
		passed = true
	default:
	}
	wait := time.Until(t)
	switch {
	case t.IsZero() || wait > 0:
		if passed {
			d.cancel = make(chan struct{})
		}
		if !t.IsZero() {
			c := d.cancel
			d.timer = time.AfterFunc(wait, func() { close(c) })
		}
	case !passed:
		close(d.cancel)
	}
}
