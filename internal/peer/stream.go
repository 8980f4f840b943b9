package peer

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// address is a net.Addr that keeps host names: Raft writes it into its
// configuration, and a node may come back with another IP.
type address string

func (a address) Network() string { return "mqadmin" }
func (a address) String() string  { return string(a) }

// streamListener hands proven connections of one kind to whoever accepts.
type streamListener struct {
	p      *Port
	addr   net.Addr
	queue  chan *conn
	closed chan struct{}
	once   sync.Once
}

func newStreamListener(p *Port) *streamListener {
	return &streamListener{p: p, addr: address(p.id.Address), queue: make(chan *conn), closed: make(chan struct{})}
}

// deliver waits for somebody to accept c, as long as a handshake may take.
func (l *streamListener) deliver(c *conn) {
	t := time.NewTimer(l.p.cfg.HandshakeTimeout)
	defer t.Stop()
	select {
	case l.queue <- c:
		return
	case <-l.closed:
	case <-t.C:
	case <-l.p.ctx.Done():
	}
	c.cut()
}

// Accept returns the next connection (net.Listener).
func (l *streamListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-l.p.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close ends Accept; the port itself stays open.
func (l *streamListener) Close() error {
	l.shut()
	return nil
}

func (l *streamListener) shut() { l.once.Do(func() { close(l.closed) }) }

func (l *streamListener) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// Addr returns the advertised address.
func (l *streamListener) Addr() net.Addr { return l.addr }

// renew returns the listener in *at, or a new one in its place if its user
// closed it, such as a Raft that was stopped to be recovered.
func (p *Port) renew(at **streamListener) *streamListener {
	p.mu.Lock()
	defer p.mu.Unlock()
	if (*at).isClosed() && !p.closed {
		*at = newStreamListener(p)
	}
	return *at
}

// streamLayer adapts a port to Raft's network transport.
type streamLayer struct {
	*streamListener
	advertise address
}

var _ raft.StreamLayer = streamLayer{}

// StreamLayer returns the carrier for raft.NewNetworkTransport. Its Addr is
// advertise (host:port). Peers are dialled by host:port or by node id (16
// hexadecimal digits, looked up among the members). There is one at a time;
// after its Close the next call makes another.
func (p *Port) StreamLayer(advertise string) raft.StreamLayer {
	return streamLayer{p.renew(&p.raft), address(advertise)}
}

// Addr returns the advertised address, host name included.
func (s streamLayer) Addr() net.Addr { return s.advertise }

// Dial connects to another node's Raft.
func (s streamLayer) Dial(target raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx := s.p.ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	addr, node := s.p.resolve(string(target))
	return asNet(s.p.dial(ctx, KindRaft, addr, node, false))
}
