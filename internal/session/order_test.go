package session

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// subscriber is a client with the memory that MQTT asks of it, which
// acknowledges late and loses its connection now and then.
type subscriber struct {
	*client
	n      *node
	window int
	got    []string
	seen   map[string]bool
	open   map[uint16]string // QoS 2 between PUBLISH and PUBREL
	held   []packet.Packet   // acknowledgements that it has not sent
}

func (s *subscriber) join(present bool) {
	s.n.t.Helper()
	s.client = s.n.dial(4)
	if a := s.connect(&packet.Connect{ClientID: "sub"}); a.Reason != packet.Success || a.SessionPresent != present {
		s.t.Fatalf("%+v", a)
	}
}

// lose drops the connection with what it has not acknowledged.
func (s *subscriber) lose() {
	s.nc.Close()
	s.held = nil
	s.join(true)
}

func (s *subscriber) flush() {
	for _, p := range s.held {
		s.send(p)
	}
	s.held = nil
}

// next takes one packet, and acknowledges when the window is full or nothing
// more comes.
func (s *subscriber) next() {
	s.t.Helper()
	if len(s.held) >= s.window || len(s.in) == 0 {
		s.flush()
	}
	switch p := s.recv().(type) {
	case *packet.Publish:
		s.publish(p, string(p.Payload))
	case *packet.Ack:
		delete(s.open, p.PacketID)
		s.held = append(s.held, ackOf(packet.TypePubcomp, p.PacketID))
	default:
		s.t.Fatalf("got %#v", p)
	}
}

func (s *subscriber) publish(p *packet.Publish, name string) {
	s.t.Helper()
	if s.seen[name] && !p.Dup {
		s.t.Fatalf("%s again without DUP", name)
	}
	if p.QoS == 1 {
		s.held = append(s.held, ackOf(packet.TypePuback, p.PacketID))
	} else {
		former, known := s.open[p.PacketID]
		if known && former != name || !known && s.seen[name] {
			s.t.Fatalf("%s under identifier %d, where %q is open: twice", name, p.PacketID, former)
		}
		s.open[p.PacketID] = name
		s.held = append(s.held, ackOf(packet.TypePubrec, p.PacketID))
	}
	if !s.seen[name] {
		s.got = append(s.got, name)
	}
	s.seen[name] = true
}

// TestOrderAcrossReconnects: 400 messages over every window, acknowledged
// late, with connections that break while messages come: each first delivery
// is in order, and QoS 2 comes once.
func TestOrderAcrossReconnects(t *testing.T) {
	const count = 400
	for window := 1; window <= 30; window++ {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("qos%d/%d", qos, window), func(t *testing.T) {
				opts := []nodeOption{with(func(s *Settings) { s.MaxInflight = window })}
				if window%2 == 0 {
					opts = append(opts, durable)
				}
				n := newNode(t, opts...)
				s := &subscriber{n: n, window: window, seen: map[string]bool{}, open: map[uint16]string{}}
				s.join(false)
				s.subscribe("o", qos)
				pub := n.join(4, &packet.Connect{ClientID: "pub", CleanStart: true})
				done := make(chan struct{})
				go func() {
					defer close(done)
					publishAll(pub, "o", qos, count)
				}()
				defer func() { <-done }()
				for k := 1; len(s.got) < count || len(s.open) > 0; k++ {
					if s.next(); k%67 == 0 {
						s.lose()
					}
				}
				if d := cmp.Diff(numbered(count), s.got); d != "" {
					t.Fatal(d)
				}
			})
		}
	}
}

// deaf connects a subscriber that reads no more after SUBACK.
func deaf(n *node, filter string, qos byte) {
	here, there := net.Pipe()
	n.wg.Go(func() { n.m.Serve(there, &n.info, nil) })
	b := packet.Append(nil, 4, &packet.Connect{Version: 4, ClientID: "deaf", CleanStart: true})
	b = packet.Append(b, 4, &packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: filter, QoS: qos}}})
	if _, err := here.Write(b); err != nil {
		n.t.Fatal(err)
	}
	if _, err := io.ReadFull(here, make([]byte, 4+5)); err != nil { // CONNACK, SUBACK
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { here.Close() })
}

// acknowledged brings the publisher's flows to their end and counts them.
func acknowledged(c *client) (n int) {
	for list := c.settled(); len(list) > 0; list = c.settled() {
		for _, p := range list {
			if a := p.(*packet.Ack); a.Kind == packet.TypePubrec {
				c.send(ackOf(packet.TypePubrel, a.PacketID))
			} else {
				n++
			}
		}
	}
	return n
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// TestDeafSubscriber: a subscriber that does not read keeps no other from its
// messages, nor the publisher from its acknowledgements, and costs what its
// queue may hold.
func TestDeafSubscriber(t *testing.T) {
	const count, batch, limit, size = 6000, 100, 200, 4 << 10
	for qos := byte(0); qos <= 2; qos++ {
		t.Run(fmt.Sprint(qos), func(t *testing.T) {
			bubble(t, func(s *Settings) { s.MaxOnline = limit }, func(n *node) {
				deaf(n, "t", qos)
				sub := n.join(4, &packet.Connect{ClientID: "sub", CleanStart: true})
				sub.subscribe("t", qos)
				pub := n.join(4, &packet.Connect{ClientID: "pub", CleanStart: true})
				before, start := heap(), time.Now()
				for i := range count / batch {
					for k := range batch {
						pub.send(&packet.Publish{Topic: "t", QoS: qos, PacketID: uint16(min(qos, 1)) * uint16(k+1), Payload: make([]byte, size)})
					}
					if got := len(takeAll(sub)); got != batch {
						t.Fatalf("%d of %d messages after %d", got, batch, i*batch)
					}
					if got := acknowledged(pub); qos > 0 && got != batch {
						t.Fatalf("%d of %d acknowledged after %d", got, batch, i*batch)
					}
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("it took %v", took)
				}
				info, _ := n.m.Get(message.SessionID{ClientID: "deaf"})
				if info.OnlineMessages > limit || info.OnlineMessages < limit/2 {
					t.Errorf("%d messages wait with a limit of %d", info.OnlineMessages, limit)
				}
				if after := heap(); after > before+4*limit*size {
					t.Errorf("%d KiB more memory", (after-before)>>10)
				}
				// What is not in the queue, the window or the writer's hands was dropped.
				if d := n.metric("queue_message_drop"); d < count-limit-20-2*pullSize || d > count-limit {
					t.Errorf("%d of %d dropped", d, count)
				}
			})
		})
	}
}
