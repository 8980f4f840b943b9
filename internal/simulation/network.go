package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Network joins hosts in memory. Connections are ordered byte streams, as TCP's
// are: a lost packet is one that comes late, and what is written to a host that
// cannot be reached waits until it can or the connection ends.
type Network struct {
	mu        sync.Mutex
	rng       *rand.Rand
	listeners map[string]*socket
	conns     map[*Conn]*Conn // each end to the other
	cut       map[direction]bool
	changed   chan struct{} // closed and replaced when cut changes
	slow      time.Duration // the most that a segment takes between hosts
	port      int
}

// direction is the way from one host to another, by their names.
type direction struct{ from, to string }

// endpoint is a host from its start to its end.
type endpoint struct {
	host string
	dead atomic.Bool
}

// NewNetwork makes a network whose delays follow from the seed.
func NewNetwork(seed uint64) *Network {
	return &Network{
		rng: rand.New(rand.NewPCG(seed, 1)), listeners: map[string]*socket{}, conns: map[*Conn]*Conn{},
		cut: map[direction]bool{}, changed: make(chan struct{}), slow: time.Millisecond, port: 50000,
	}
}

// number draws from 0 to n-1.
func (n *Network) number(most int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rng.IntN(most)
}

// latency draws how long a segment takes. One in a hundred gets lost on its
// way and is sent again. Segments of different connections overtake each other.
func (n *Network) latency(from, to *endpoint) time.Duration {
	if from.host == to.host {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	d := 50*time.Microsecond + time.Duration(n.rng.Int64N(int64(n.slow)))
	if n.rng.IntN(100) == 0 {
		d += 200*time.Millisecond + n.slow
	}
	return d
}

// SetDelay sets the most that a segment takes between two hosts.
func (n *Network) SetDelay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slow = max(d, time.Microsecond)
}

func (n *Network) blocked(from, to *endpoint) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[direction{from.host, to.host}]
}

// Partition lets nothing pass from one host to another any more, until Heal.
func (n *Network) Partition(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[direction{from, to}] = true
}

// Heal lets everything pass again; what was held back arrives.
func (n *Network) Heal() {
	n.mu.Lock()
	held := n.cut
	n.cut = map[direction]bool{}
	close(n.changed)
	n.changed = make(chan struct{})
	var pipes []*pipe
	for c := range n.conns {
		if held[direction{c.out.from.host, c.out.to.host}] {
			pipes = append(pipes, c.out)
		}
	}
	n.mu.Unlock()
	for _, p := range pipes {
		p.healed(time.Duration(n.number(200)) * time.Millisecond)
	}
}

// Tear breaks the connections between two hosts: each in the middle of the
// next thing that is written to it.
func (n *Network) Tear(a, b string) {
	for c := range n.between(a, b) {
		c.out.mu.Lock()
		c.out.tear = true
		c.out.mu.Unlock()
	}
}

// Reset breaks the connections between two hosts at once.
func (n *Network) Reset(a, b string) {
	for c := range n.between(a, b) {
		c.reset()
	}
}

func (n *Network) between(a, b string) map[*Conn]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[*Conn]bool{}
	for c := range n.conns {
		if f, t := c.out.from.host, c.out.to.host; f == a && t == b || f == b && t == a {
			out[c] = true
		}
	}
	return out
}

func (n *Network) forget(c *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// kill ends a host. Its system closes what the process had open; without power
// nobody is told, and what it sent is lost.
func (n *Network) kill(e *endpoint, power bool) {
	e.dead.Store(true)
	n.mu.Lock()
	var sockets []*socket
	for _, l := range n.listeners {
		if l.host == e {
			sockets = append(sockets, l)
		}
	}
	conns := map[*Conn]*Conn{}
	for c, other := range n.conns {
		if c.out.from == e {
			conns[c] = other
		}
	}
	n.mu.Unlock()
	for _, l := range sockets {
		_ = l.Close()
	}
	for c := range conns {
		if power {
			c.abandon()
		} else {
			c.reset()
		}
	}
}

// booted says that a host is back: it knows nothing of the connections that it
// had when it lost its power, and resets them.
func (n *Network) booted(e *endpoint) {
	n.mu.Lock()
	var old []*Conn
	for c := range n.conns {
		if to := c.out.to; to.host == e.host && to != e {
			old = append(old, c)
		}
	}
	n.mu.Unlock()
	for _, c := range old {
		c.reset()
	}
}

// lose forgets what is under way and lets the reader wait for ever.
func (p *pipe) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.segments, p.size = nil, 0
	p.signal()
}

// socket is a net.Listener.
type socket struct {
	net    *Network
	host   *endpoint
	addr   *net.TCPAddr
	queue  chan *Conn
	closed chan struct{}
	once   sync.Once
}

// listen opens a socket of a host.
func (n *Network) listen(e *endpoint, address string) (net.Listener, error) {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	if e.dead.Load() {
		return nil, ErrPower
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, fmt.Errorf("%s: address already in use", address)
	}
	l := &socket{net: n, host: e, addr: a, queue: make(chan *Conn, 128), closed: make(chan struct{})}
	n.listeners[address] = l
	return l, nil
}

// Accept implements net.Listener.
func (l *socket) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; what was not accepted is reset.
func (l *socket) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		if key := l.addr.String(); l.net.listeners[key] == l {
			delete(l.net.listeners, key)
		}
		l.net.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.queue:
				c.reset()
				_ = c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *socket) Addr() net.Addr { return l.addr }

// dial connects a host to an address. It waits while packets do not pass.
func (n *Network) dial(ctx context.Context, e *endpoint, address string) (*Conn, error) {
	refuse := func(err error) (*Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	for {
		if e.dead.Load() {
			return refuse(ErrPower)
		}
		n.mu.Lock()
		l, changed := n.listeners[address], n.changed
		var blocked bool
		if l != nil {
			blocked = n.cut[direction{e.host, l.host.host}] || n.cut[direction{l.host.host, e.host}]
		}
		n.mu.Unlock()
		if l == nil {
			return refuse(ErrRefused)
		}
		if !blocked {
			timer := time.NewTimer(n.latency(e, l.host) + n.latency(l.host, e))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return refuse(ctx.Err())
			}
			return n.connect(e, l)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return refuse(ctx.Err())
		}
	}
}

func (n *Network) connect(e *endpoint, l *socket) (*Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.dead.Load() || n.listeners[l.addr.String()] != l {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ErrRefused}
	}
	n.port++
	a, b := n.pair(e, l.host, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: n.port}, l.addr)
	select {
	case l.queue <- b:
	default:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ErrRefused}
	}
	n.conns[a], n.conns[b] = b, a
	return a, nil
}
