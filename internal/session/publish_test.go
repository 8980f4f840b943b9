package session

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

func TestPublishQoS(t *testing.T) {
	for _, version := range []byte{3, 4, 5} {
		for qos := byte(0); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("v%d/qos%d", version, qos), func(t *testing.T) {
				n := newNode(t)
				sub := n.join(version, &packet.Connect{ClientID: "sub", CleanStart: true})
				if a := sub.subscribe("a/+", qos); a.Reasons[0] != packet.Reason(qos) {
					t.Fatal(a.Reasons)
				}
				pub := n.join(version, &packet.Connect{ClientID: "pub", CleanStart: true})
				pub.send(&packet.Publish{Topic: "a/b", QoS: qos, PacketID: 7 * uint16(min(qos, 1)), Payload: []byte("x")})
				switch qos {
				case 1:
					if a := expect[*packet.Ack](pub); a.Kind != packet.TypePuback || a.PacketID != 7 {
						t.Fatal(a)
					}
				case 2:
					if a := expect[*packet.Ack](pub); a.Kind != packet.TypePubrec || a.PacketID != 7 {
						t.Fatal(a)
					}
					pub.send(ackOf(packet.TypePubrel, 7))
					if a := expect[*packet.Ack](pub); a.Kind != packet.TypePubcomp || a.PacketID != 7 {
						t.Fatal(a)
					}
				}
				p := expect[*packet.Publish](sub)
				if p.Topic != "a/b" || string(p.Payload) != "x" || p.QoS != qos || p.Dup || p.Retain {
					t.Fatalf("%+v", p)
				}
				switch qos {
				case 1:
					sub.send(ackOf(packet.TypePuback, p.PacketID))
				case 2:
					sub.send(ackOf(packet.TypePubrec, p.PacketID))
					if a := expect[*packet.Ack](sub); a.Kind != packet.TypePubrel || a.PacketID != p.PacketID {
						t.Fatal(a)
					}
					sub.send(ackOf(packet.TypePubcomp, p.PacketID))
				}
				sub.send(&packet.Pingreq{})
				expect[*packet.Pingresp](sub)
				if i, _ := n.m.Get(message.SessionID{ClientID: "sub"}); i.WaitingAcks != 0 || !i.Online || i.Protocol != int(version) {
					t.Fatalf("%+v", i)
				}
			})
		}
	}
}

// receiver reads want messages in the ways of QoS 1 and 2 and returns their
// payloads without duplicates of QoS 2.
func receive(c *client, want int) []string {
	var got []string
	open := map[uint16]bool{}
	for len(got) < want || len(open) > 0 {
		switch p := c.recv().(type) {
		case *packet.Publish:
			if p.QoS == 2 {
				if !open[p.PacketID] {
					got = append(got, string(p.Payload))
				}
				open[p.PacketID] = true
				c.send(ackOf(packet.TypePubrec, p.PacketID))
			} else {
				got = append(got, string(p.Payload))
				if p.QoS == 1 {
					c.send(ackOf(packet.TypePuback, p.PacketID))
				}
			}
		case *packet.Ack:
			delete(open, p.PacketID)
			c.send(ackOf(packet.TypePubcomp, p.PacketID))
		case nil:
			c.t.Fatalf("closed after %d messages", len(got))
		}
	}
	return got
}

// publishAll sends numbered messages and waits for all acknowledgements, which
// must come in order.
func publishAll(c *client, topicName string, qos byte, count int) {
	go func() {
		for i := range count {
			c.send(&packet.Publish{Topic: topicName, QoS: qos, PacketID: uint16(i + 1), Payload: []byte(fmt.Sprintf("msg%d", i+1))})
		}
	}()
	next, comps := uint16(1), 0
	for comps < count {
		a := expect[*packet.Ack](c)
		switch a.Kind {
		case packet.TypePuback, packet.TypePubrec:
			if a.PacketID != next {
				c.t.Fatalf("%v of %d, want %d", a.Kind, a.PacketID, next)
			}
			next++
			if a.Kind == packet.TypePuback {
				comps++
			} else {
				c.send(ackOf(packet.TypePubrel, a.PacketID))
			}
		case packet.TypePubcomp:
			comps++
		}
	}
}

func numbered(count int) []string {
	var s []string
	for i := range count {
		s = append(s, fmt.Sprintf("msg%d", i+1))
	}
	return s
}

func TestOrder(t *testing.T) {
	const count = 400
	for _, version := range []byte{4, 5} {
		for _, qos := range []byte{1, 2} {
			for _, online := range []bool{true, false} {
				windows := []int{1, 2, 7, 20, 30}
				if !testing.Short() && version == 4 {
					windows = nil
					for w := 1; w <= 30; w++ {
						windows = append(windows, w)
					}
				}
				for _, window := range windows {
					t.Run(fmt.Sprintf("v%d/qos%d/online=%v/%d", version, qos, online, window), func(t *testing.T) {
						n := newNode(t, with(func(s *Settings) { s.MaxInflight = window }), durable)
						connect := func() *packet.Connect {
							return &packet.Connect{
								ClientID: "sub", SessionExpiry: 1000, HasSessionExpiry: version == 5, ReceiveMaximum: uint16(window),
							}
						}
						sub := n.join(version, connect())
						sub.subscribe("o", qos)
						pub := n.join(version, &packet.Connect{ClientID: "pub", CleanStart: true})
						if !online {
							sub.send(&packet.Disconnect{})
							sub.closed()
							publishAll(pub, "o", qos, count)
							sub = n.dial(version)
							if a := sub.connect(connect()); !a.SessionPresent {
								t.Fatal("no session present")
							}
						} else {
							done := make(chan struct{})
							go func() {
								defer close(done)
								publishAll(pub, "o", qos, count)
							}()
							defer func() { <-done }()
						}
						if d := cmp.Diff(numbered(count), receive(sub, count)); d != "" {
							t.Fatal(d)
						}
					})
				}
			}
		}
	}
}

func TestQoS2Duplicates(t *testing.T) {
	for _, store := range []bool{false, true} {
		opts := []nodeOption{}
		if store {
			opts = append(opts, durable)
		}
		n := newNode(t, opts...)
		sub := n.join(4, &packet.Connect{ClientID: "sub", CleanStart: true})
		sub.subscribe("q", 2)
		pub := n.join(4, &packet.Connect{ClientID: "pub"})
		p := &packet.Publish{Topic: "q", QoS: 2, PacketID: 3, Payload: []byte("once")}
		pub.send(p)
		expect[*packet.Ack](pub)
		p.Dup = true
		pub.send(p)
		if a := expect[*packet.Ack](pub); a.Kind != packet.TypePubrec || a.Reason != 0 {
			t.Fatal(a)
		}
		pub.nc.Close()
		pub = n.join(4, &packet.Connect{ClientID: "pub"})
		pub.send(p)
		expect[*packet.Ack](pub)
		pub.send(ackOf(packet.TypePubrel, 3), ackOf(packet.TypePubrel, 3))
		expect[*packet.Ack](pub)
		expect[*packet.Ack](pub)
		if got := receive(sub, 1); len(got) != 1 {
			t.Fatal(got)
		}
		sub.send(&packet.Pingreq{})
		expect[*packet.Pingresp](sub)
	}
}

func TestAcksInOrder(t *testing.T) {
	n := newNode(t)
	var done []func(PublishResult)
	ready := make(chan struct{}, 3)
	n.router.publish = func(_ *message.Message, _ PublishOptions, d func(PublishResult)) {
		done = append(done, d)
		ready <- struct{}{}
	}
	c := n.join(5, &packet.Connect{ClientID: "c"})
	for i := range 3 {
		c.send(&packet.Publish{Topic: "t", QoS: 1, PacketID: uint16(i + 1)})
		<-ready
	}
	done[2](PublishResult{Matched: 1})
	done[1](PublishResult{Err: ErrNotReady})
	done[0](PublishResult{})
	want := []packet.Reason{packet.NoMatchingSubscribers, packet.ImplementationSpecificError, packet.Success}
	for i := range 3 {
		if a := expect[*packet.Ack](c); a.PacketID != uint16(i+1) || a.Reason != want[i] {
			t.Fatalf("%d: %+v", i, a)
		}
	}
	if n.metric("mqtt_publish_error") != 1 {
		t.Error("mqtt_publish_error")
	}
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, with(func(s *Settings) { s.RetryInterval = 20 * time.Second }))
		sub := n.join(4, &packet.Connect{ClientID: "sub", CleanStart: true})
		sub.subscribe("r", 2)
		pub := n.join(4, &packet.Connect{ClientID: "pub", CleanStart: true})
		publishAll(pub, "r", 2, 1)
		first := expect[*packet.Publish](sub)
		start := time.Now()
		again := expect[*packet.Publish](sub)
		if !again.Dup || again.PacketID != first.PacketID || time.Since(start) != 20*time.Second {
			t.Fatalf("%+v after %v", again, time.Since(start))
		}
		sub.send(ackOf(packet.TypePubrec, first.PacketID))
		expect[*packet.Ack](sub)
		if a := expect[*packet.Ack](sub); a.Kind != packet.TypePubrel {
			t.Fatal(a)
		}
		sub.send(ackOf(packet.TypePubcomp, first.PacketID))
		n.stop()
	})
}

func TestRetained(t *testing.T) {
	n := newNode(t, with(func(s *Settings) { s.MaxOnline = 5 }))
	pub := n.join(5, &packet.Connect{ClientID: "pub"})
	for i := range 40 {
		pub.send(&packet.Publish{Topic: fmt.Sprintf("r/%d", i), Retain: true, Payload: []byte("x"), QoS: 1, PacketID: 1})
		expect[*packet.Ack](pub)
	}
	sub := n.join(5, &packet.Connect{ClientID: "sub", ReceiveMaximum: 3})
	sub.subscribe("r/#", 1)
	seen := map[string]bool{}
	for len(seen) < 40 { // more than queue and window hold
		p := expect[*packet.Publish](sub)
		if !p.Retain {
			t.Fatalf("%+v", p)
		}
		seen[p.Topic] = true
		sub.send(ackOf(packet.TypePuback, p.PacketID))
	}
}

func TestReceiveMaximum(t *testing.T) {
	n := newNode(t, with(func(s *Settings) { s.ReceiveMaxBroker = 3 }))
	n.router.publish = func(*message.Message, PublishOptions, func(PublishResult)) {}
	c := n.dial(5)
	if a := c.connect(&packet.Connect{ClientID: "c"}); a.ReceiveMaximum != 3 {
		t.Fatal(a.ReceiveMaximum)
	}
	for i := range 4 {
		c.send(&packet.Publish{Topic: "t", QoS: 1 + byte(i%2), PacketID: uint16(i + 1)})
	}
	if d := expect[*packet.Disconnect](c); d.Reason != packet.ReceiveMaximumExceeded {
		t.Fatal(d.Reason)
	}
}
