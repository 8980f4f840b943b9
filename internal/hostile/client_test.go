package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// raw is a connection that sends bytes and reads packets as its user likes.
type raw struct {
	*net.TCPConn
	version byte
	dec     packet.Decoder
	buf     []byte
}

func dial(addr string) (*raw, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &raw{TCPConn: c.(*net.TCPConn)}, nil
}

// join connects, sends CONNECT and waits for CONNACK.
func join(addr string, p packet.Connect) (*raw, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	c.version = p.Version
	c.dec = packet.Decoder{Version: p.Version, Client: true}
	if p.ReceiveMaximum == 0 {
		p.ReceiveMaximum = 65535
	}
	p.RequestProblem = true
	err = c.send(&p)
	if err == nil {
		_, err = recv[*packet.Connack](c)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// mustJoin closes the connection at the end of the test.
func mustJoin(t *testing.T, addr string, p packet.Connect) *raw {
	t.Helper()
	c, err := join(addr, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (c *raw) encode(ps ...packet.Packet) (b []byte) {
	for _, p := range ps {
		b = packet.Append(b, c.version, p)
	}
	return b
}

func (c *raw) send(ps ...packet.Packet) error {
	_, err := c.Write(c.encode(ps...))
	return err
}

// next reads one packet.
func (c *raw) next() (packet.Packet, error) {
	c.SetReadDeadline(time.Now().Add(patience))
	for {
		p, n, err := c.dec.Decode(c.buf)
		if err != nil {
			return nil, fmt.Errorf("the broker sent: %w", err)
		}
		if p != nil {
			c.buf = slices.Clone(c.buf[n:])
			return p, nil
		}
		var chunk [4096]byte
		k, err := c.Read(chunk[:])
		if err != nil {
			return nil, err
		}
		c.buf = append(c.buf, chunk[:k]...)
	}
}

// recv reads one packet of a type.
func recv[T packet.Packet](c *raw) (T, error) {
	p, err := c.next()
	v, ok := p.(T)
	if err == nil && !ok {
		err = fmt.Errorf("got %#v, want %T", p, v)
	}
	return v, err
}

// reset closes with RST instead of FIN.
func (c *raw) reset() {
	_ = c.SetLinger(0)
	c.Close()
}

// press writes b again and again until n bytes are through, the broker has
// closed the connection, or it has read nothing for stall: then the sender has
// been held up, as it should be. It returns the bytes that were taken.
func (c *raw) press(b []byte, n int, stall time.Duration) (sent int) {
	for sent < n {
		c.SetWriteDeadline(time.Now().Add(stall))
		k, err := c.Write(b)
		sent += k
		if err != nil {
			return sent
		}
	}
	return sent
}

// closedWithin waits until the broker has closed the connection, reading what
// it sent before.
func (c *raw) closedWithin(limit time.Duration) error {
	c.SetReadDeadline(time.Now().Add(limit))
	_, err := io.Copy(io.Discard, c.TCPConn)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return fmt.Errorf("the connection is open after %v", limit)
	}
	return nil
}

// probe is an honest pair of clients whose messages go on while others attack.
type probe struct {
	pub, sub *raw
	stop     context.CancelFunc
	once     sync.Once // of end
	done     chan struct{}

	mu      sync.Mutex
	took    []time.Duration // since the last window
	err     error
	longest time.Duration
}

// pace is the pause between two messages of a probe.
const pace = 2 * time.Millisecond

// startProbe publishes with QoS 1 and receives until the end of the test, at
// which it must still work.
func startProbe(t *testing.T, addr string) *probe {
	t.Helper()
	p := &probe{
		pub:  mustJoin(t, addr, packet.Connect{Version: 4, ClientID: "probe-pub", CleanStart: true}),
		sub:  mustJoin(t, addr, packet.Connect{Version: 5, ClientID: "probe-sub", CleanStart: true}),
		done: make(chan struct{}),
	}
	err := p.sub.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "probe", QoS: 1}}})
	if err == nil {
		_, err = recv[*packet.Suback](p.sub)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	go p.run(ctx)
	t.Cleanup(func() { p.end(t) })
	return p
}

// end stops the probe, closes its connections, and fails the test if it did
// not work to its end.
func (p *probe) end(t *testing.T) {
	p.once.Do(func() {
		p.stop()
		<-p.done
		if p.err != nil {
			t.Errorf("the probe was not served: %v", p.err)
		}
		p.pub.Close()
		p.sub.Close()
		t.Logf("the probe's longest round trip: %v", p.longest)
	})
}

func (p *probe) run(ctx context.Context) {
	defer close(p.done)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for id := uint16(1); ; id = max(id+1, 1) {
		begin := time.Now()
		err := p.trip(id)
		took := time.Since(begin)
		p.mu.Lock()
		p.took, p.err, p.longest = append(p.took, took), err, max(p.longest, took)
		p.mu.Unlock()
		if err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// trip is one message from publisher to subscriber, with both acknowledgements.
func (p *probe) trip(id uint16) error {
	if err := p.pub.send(&packet.Publish{Topic: "probe", QoS: 1, PacketID: id, Payload: []byte("still there?")}); err != nil {
		return err
	}
	m, err := recv[*packet.Publish](p.sub)
	if err != nil {
		return fmt.Errorf("sub %d: %w", id, err)
	}
	if err := p.sub.send(&packet.Ack{Kind: packet.TypePuback, PacketID: m.PacketID}); err != nil {
		return err
	}
	_, err = recv[*packet.Ack](p.pub)
	return err
}

// window returns the 99th percentile since the last call.
func (p *probe) window() time.Duration {
	p.mu.Lock()
	took := p.took
	p.took = nil
	p.mu.Unlock()
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// subscribed sends SUBSCRIBE and waits for SUBACK.
func subscribed(t *testing.T, c *raw, filter string, qos byte) {
	t.Helper()
	err := c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: filter, QoS: qos}}})
	if err == nil {
		_, err = recv[*packet.Suback](c)
	}
	if err != nil {
		t.Fatal(err)
	}
}
