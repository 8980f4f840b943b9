package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// burst is count messages in one write, numbered from 1, with payloads of size
// bytes.
func (c *client) burst(topic string, qos byte, count, size int) {
	c.t.Helper()
	var b []byte
	for i := range count {
		payload := bytes.Repeat([]byte{'.'}, size)
		binary.BigEndian.PutUint32(payload, uint32(i+1))
		b = packet.AppendPublish(b, c.version, &packet.Publish{QoS: qos, PacketID: uint16(i + 1), Topic: topic, Payload: payload})
	}
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// numbers receives count messages of a burst, acknowledging them.
func (c *client) numbers(count int) {
	c.t.Helper()
	for i := range count {
		p := expect[*packet.Publish](c)
		if got := binary.BigEndian.Uint32(p.Payload); got != uint32(i+1) {
			c.t.Fatalf("message %d came as number %d", got, i+1)
		}
		if p.QoS == 1 {
			c.send(ackOf(packet.TypePuback, p.PacketID))
		}
	}
}

func TestRoundReachesEverybodyInOrder(t *testing.T) {
	for qos := range byte(2) {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			n := newNode(t, sockets)
			subs := make([]*client, 2*flushSize+7) // more than one goroutine writes to
			for i := range subs {
				subs[i] = n.join(4, &packet.Connect{ClientID: fmt.Sprint("s", i), CleanStart: true})
				subs[i].subscribe("t", qos)
			}
			pub := n.join(4, &packet.Connect{ClientID: "p", CleanStart: true})
			const count = 3*yieldAfter + 5
			pub.burst("t", qos, count, 40)
			for _, s := range subs {
				s.numbers(count)
			}
			for i := 1; qos > 0 && i <= count; i++ {
				if a := expect[*packet.Ack](pub); a.Kind != packet.TypePuback || a.PacketID != uint16(i) {
					t.Fatalf("acknowledgement %d: %+v", i, a)
				}
			}
		})
	}
}

func TestRoundWithASubscriberThatReadsLate(t *testing.T) {
	n := newNode(t, sockets)
	slow, server := n.socketPair()
	n.wg.Go(func() { n.m.Serve(server, &n.info, nil) })
	late := &client{t: t, nc: slow, version: 4, in: make(chan packet.Packet, 4096)}
	late.send(
		&packet.Connect{Version: 4, ClientID: "late", CleanStart: true},
		&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "t"}}},
	)
	answers := make([]byte, 4+5)
	for at := 0; at < len(answers); {
		k, err := slow.Read(answers[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += k
	}
	prompt := n.join(4, &packet.Connect{ClientID: "prompt", CleanStart: true})
	prompt.subscribe("t", 0)
	pub := n.join(4, &packet.Connect{ClientID: "p", CleanStart: true})
	const count = 300 // 15 MB: more than the sockets take
	pub.burst("t", 0, count, 50_000)
	prompt.numbers(count) // the late one holds nobody up
	n.wg.Go(late.read)
	late.numbers(count)
	slow.Close()
}

// waiting is a plugin that lets a PUBLISH wait.
type waiting struct{ gate, asked chan struct{} }

func (w *waiting) AuthOnPublish(ctx context.Context, p *hook.Publish) (*hook.PublishModifiers, hook.Result) {
	if string(p.Payload) == "wait" {
		close(w.asked)
		select {
		case <-w.gate:
		case <-ctx.Done():
		}
	}
	return nil, hook.Allow()
}

func TestNothingIsPutOffWhileAPluginWaits(t *testing.T) {
	n := newNode(t, sockets)
	plugins := hook.New(hook.Options{})
	w := &waiting{gate: make(chan struct{}), asked: make(chan struct{})}
	for name, p := range map[string]any{"waiting": w, "permit": hook.Permit{}} {
		if err := plugins.Attach(name, p); err != nil {
			t.Fatal(err)
		}
	}
	chain, err := plugins.Chain(nil, []string{"waiting"})
	if err != nil {
		t.Fatal(err)
	}
	sub := n.join(4, &packet.Connect{ClientID: "s", CleanStart: true})
	sub.subscribe("t", 1)
	n.info.Chain = chain
	pub := n.join(4, &packet.Connect{ClientID: "p", CleanStart: true})
	pub.send(
		&packet.Publish{Topic: "t", QoS: 1, PacketID: 1, Payload: []byte("at once")},
		&packet.Publish{Topic: "t", QoS: 1, PacketID: 2, Payload: []byte("wait")},
	)
	<-w.asked
	if p := expect[*packet.Publish](sub); string(p.Payload) != "at once" {
		t.Errorf("got %q", p.Payload)
	}
	if a := expect[*packet.Ack](pub); a.PacketID != 1 {
		t.Errorf("acknowledgement %+v", a)
	}
	close(w.gate)
	expect[*packet.Publish](sub)
	expect[*packet.Ack](pub)
}

func TestRingFullEndsTheRound(t *testing.T) {
	n := newNode(t, sockets, with(func(s *Settings) { s.MaxPendingAcks = 3 }))
	pub := n.join(4, &packet.Connect{ClientID: "p", CleanStart: true})
	const count = 2 * yieldAfter
	pub.burst("t", 1, count, 4) // the reader waits for its own writer again and again
	for i := 1; i <= count; i++ {
		if a := expect[*packet.Ack](pub); a.PacketID != uint16(i) {
			t.Fatalf("acknowledgement %d: %+v", i, a)
		}
	}
}

func TestConnectionsThatEndInARound(t *testing.T) {
	n := newNode(t, sockets)
	sub := n.join(5, &packet.Connect{ClientID: "s", CleanStart: true})
	sub.subscribe("t", 0)
	for i := range 20 {
		pub := n.join(5, &packet.Connect{ClientID: "p", CleanStart: true})
		// The last packet ends the connection: what came before goes out, and
		// the DISCONNECT.
		b := packet.AppendPublish(nil, 5, &packet.Publish{QoS: 1, PacketID: 1, Topic: "t", Payload: fmt.Append(nil, i)})
		if _, err := pub.nc.Write(append(b, 0xF3, 0)); err != nil {
			t.Fatal(err)
		}
		if a := expect[*packet.Ack](pub); a.Kind != packet.TypePuback {
			t.Fatalf("got %+v", a)
		}
		expect[*packet.Disconnect](pub)
		pub.closed()
		if p := expect[*packet.Publish](sub); string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("got %q", p.Payload)
		}
	}
}
