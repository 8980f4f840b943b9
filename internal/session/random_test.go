package session

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// wild is a client that sends what it likes, and reads only when asked.
type wild struct {
	nc  net.Conn
	v   byte
	dec packet.Decoder
	buf []byte
	got chan []byte
	end chan struct{}
}

// wildClient opens a connection; what the server writes is always taken, so
// that only the server's own waiting can stop it.
func (n *node) wildClient(v byte) *wild {
	here, there := net.Pipe()
	n.wg.Go(func() { n.m.Serve(there, &n.info, nil) })
	w := &wild{nc: here, v: v, dec: packet.Decoder{Version: v, Client: true}, got: make(chan []byte, 1<<14), end: make(chan struct{})}
	n.wg.Go(func() {
		defer close(w.end)
		for {
			b := make([]byte, 4096)
			k, err := here.Read(b)
			if k > 0 {
				w.got <- b[:k]
			}
			if err != nil {
				return
			}
		}
	})
	return w
}

// tooLong is when an answer counts as never coming.
const tooLong = 20 * time.Second

// errClosed: the server has closed the connection.
var errClosed = errors.New("closed")

// next returns the next packet, or errClosed.
func (w *wild) next() (packet.Packet, error) {
	for {
		p, k, err := w.dec.Decode(w.buf)
		if err != nil {
			return nil, fmt.Errorf("the server sent: %w", err)
		}
		if p != nil {
			w.buf = slices.Clone(w.buf[k:])
			return p, nil
		}
		select {
		case b := <-w.got:
			w.buf = append(w.buf, b...)
			continue
		default:
		}
		select {
		case b := <-w.got:
			w.buf = append(w.buf, b...)
		case <-w.end:
			if len(w.got) == 0 {
				return nil, errClosed
			}
		case <-time.After(tooLong):
			return nil, errors.New("no answer")
		}
	}
}

// send writes packets; a closed connection shows when reading.
func (w *wild) send(ps ...packet.Packet) error {
	var b []byte
	for _, p := range ps {
		b = packet.Append(b, w.v, p)
	}
	w.nc.SetWriteDeadline(time.Now().Add(tooLong))
	if _, err := w.nc.Write(b); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the server does not read")
	}
	return nil
}

// barrier sends PINGREQ and reads until its answer: all before is answered, or
// the connection closed.
func (w *wild) barrier(see func(packet.Packet)) error {
	if err := w.send(&packet.Pingreq{}); err != nil {
		return err
	}
	for {
		p, err := w.next()
		if err != nil {
			return err
		}
		if _, ok := p.(*packet.Pingresp); ok {
			return nil
		}
		see(p)
	}
}

// play is the state of one random run.
type play struct {
	*rapid.T
	n       *node
	clients [3]*wild
	// inbox has the QoS and packet ids that a client was sent and has not
	// acknowledged; some of its acknowledgements are for them.
	inbox [3][]uint16
}

// connect opens the i-th client, often as one that exists.
func (p *play) connect(i int) {
	v := rapid.SampledFrom([]byte{3, 4, 5}).Draw(p.T, "version")
	w := p.n.wildClient(v)
	c := &packet.Connect{
		Version: v, ClientID: rapid.SampledFrom([]string{"a", "b"}).Draw(p.T, "id"), CleanStart: rapid.Bool().Draw(p.T, "clean"),
		ReceiveMaximum: rapid.SampledFrom([]uint16{1, 2, 65535}).Draw(p.T, "receive"), RequestProblem: true,
	}
	if v == 5 {
		c.SessionExpiry = rapid.SampledFrom([]uint32{0, 100}).Draw(p.T, "expiry")
		c.HasSessionExpiry = true
		c.MaximumPacketSize = rapid.SampledFrom([]uint32{0, 20, 1000}).Draw(p.T, "size")
	}
	if rapid.Bool().Draw(p.T, "will") {
		c.Will = &packet.Will{Topic: "t/will", Payload: []byte("w"), QoS: byte(rapid.IntRange(0, 2).Draw(p.T, "will qos"))}
	}
	p.leave(i)
	if err := w.send(c); err != nil {
		p.Fatal(err)
	}
	p.clients[i] = w
	p.expectConnack(i)
}

func (p *play) expectConnack(i int) {
	got, err := p.clients[i].next()
	ack, ok := got.(*packet.Connack)
	switch {
	case errors.Is(err, errClosed):
		p.clients[i] = nil
	case err != nil:
		p.Fatalf("CONNECT: %v", err)
	case !ok:
		p.Fatalf("CONNECT was answered with %#v", got)
	case ack.Reason.Failed():
		p.leave(i)
	}
}

// leave drops the i-th client without a word.
func (p *play) leave(i int) {
	if w := p.clients[i]; w != nil {
		w.nc.Close()
		p.clients[i], p.inbox[i] = nil, nil
	}
}

// id is a packet id that is often one that means something.
func (p *play) id(i int) uint16 {
	if len(p.inbox[i]) > 0 && rapid.Bool().Draw(p.T, "known") {
		return rapid.SampledFrom(p.inbox[i]).Draw(p.T, "inbox")
	}
	return rapid.SampledFrom([]uint16{1, 2, 3, 32768, 65535}).Draw(p.T, "packet id")
}

// draw makes a packet that a client may send.
func (p *play) draw(i int) packet.Packet {
	topics := []string{"t/a", "t/b", "t/will", "$SYS/x"}
	filters := []string{"t/+", "t/#", "#", "t/a", "$share/g/t/a", "$share/g/t/+"}
	switch kind := rapid.IntRange(0, 9).Draw(p.T, "kind"); kind {
	case 0, 1, 2:
		m := &packet.Publish{
			Topic: rapid.SampledFrom(topics).Draw(p.T, "topic"), QoS: byte(rapid.IntRange(0, 2).Draw(p.T, "qos")),
			Retain: rapid.Bool().Draw(p.T, "retain"), Payload: make([]byte, rapid.SampledFrom([]int{0, 1, 30, 2000}).Draw(p.T, "payload")),
		}
		if m.QoS > 0 {
			m.PacketID, m.Dup = p.id(i), rapid.Bool().Draw(p.T, "dup")
		}
		return m
	case 3, 4:
		s := message.Subscription{Filter: rapid.SampledFrom(filters).Draw(p.T, "filter"), QoS: byte(rapid.IntRange(0, 2).Draw(p.T, "qos"))}
		if p.clients[i].v == 5 {
			s.RetainHandling = byte(rapid.IntRange(0, 2).Draw(p.T, "retain handling"))
		}
		return &packet.Subscribe{PacketID: p.id(i), Subscriptions: []message.Subscription{s}}
	case 5:
		return &packet.Unsubscribe{PacketID: p.id(i), Filters: []string{rapid.SampledFrom(filters).Draw(p.T, "filter")}}
	default:
		kinds := []packet.Type{packet.TypePuback, packet.TypePubrec, packet.TypePubrel, packet.TypePubcomp}
		return &packet.Ack{Kind: kinds[kind-6], PacketID: p.id(i)}
	}
}

// act sends a few packets at once and then waits until all are answered.
func (p *play) act(i int) {
	w := p.clients[i]
	var ps []packet.Packet
	for range rapid.IntRange(1, 6).Draw(p.T, "packets") {
		ps = append(ps, p.draw(i))
	}
	if rapid.IntRange(0, 15).Draw(p.T, "disconnect") == 0 {
		ps = append(ps, &packet.Disconnect{})
	}
	if err := w.send(ps...); err != nil {
		p.Fatalf("%#v: %v", ps, err)
	}
	err := w.barrier(func(got packet.Packet) {
		if m, ok := got.(*packet.Publish); ok && m.QoS > 0 {
			p.inbox[i] = append(p.inbox[i], m.PacketID)
		}
	})
	switch {
	case errors.Is(err, errClosed):
		p.leave(i)
	case err != nil:
		p.Fatalf("after %#v: %v", ps, err)
	}
}

// TestRandomClients: whatever three clients with two client ids send in
// whatever order, every request is answered or the connection closed, nothing
// panics, and at the end nothing is left (TestMain looks for goroutines).
func TestRandomClients(t *testing.T) {
	for name, opts := range map[string][]nodeOption{"in memory": nil, "on disk": {durable}} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				n := prepareNode(t, append(slices.Clone(opts), with(func(s *Settings) { s.MaxInflight, s.MaxOnline, s.MaxOffline = 2, 5, 5 }))...)
				p := &play{T: rt, n: n}
				defer func() {
					for i := range p.clients {
						p.leave(i)
					}
					n.stop()
				}()
				for range rapid.IntRange(1, 25).Draw(rt, "steps") {
					i := rapid.IntRange(0, 2).Draw(rt, "client")
					switch {
					case p.clients[i] == nil:
						p.connect(i)
					case rapid.IntRange(0, 9).Draw(rt, "end") == 0:
						p.leave(i)
					default:
						p.act(i)
					}
				}
				if c := n.crashes.Load(); c > 0 {
					rt.Fatalf("%d connections panicked", c)
				}
			})
		})
	}
}
