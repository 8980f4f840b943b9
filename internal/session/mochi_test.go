package session

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// TestMochi has what outside conformance suites found wrong in mochi-mqtt
// v2.7.9 (docs/adr/0001-mqtt-engine.md), as a client sees it; numbers are those
// of mochi.md. What is decided below the session has its tests there as well:
// package packet (1, 7, 8, 10, 11, 13, 19 to 23), topic (8, 15, 22), router (15, 16).
func TestMochi(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"01 SUBSCRIBE without options ends only its sender", mochiShortSubscribe},
		{"02 QoS 1 and 2 both ways at once do not stall", mochiBothWays},
		{"03 packet ids of the two directions are apart", mochiPacketIDs},
		{"04 queued messages keep their order, without DUP", mochiQueuedOrder},
		{"05 what the receive maximum held back stays in flight", mochiHeldBack},
		{"06 packet ids survive a restart", TestDurableSessionSurvivesRestart},
		{"07 a length takes no memory", mochiLength},
		{"08 65,535 levels cost little", mochiLevels},
		{"09 PUBACK comes after the message is routed", mochiAckAfterRouting},
		{"10 no expiry that nobody set", TestPropertiesAreForwarded},
		{"11 wills are whole", mochiWills},
		{"12 a repeated QoS 2 PUBLISH gets PUBREC success", mochiRepeatedQoS2},
		{"13 PUBACK carries nothing of the publisher", mochiPlainAck},
		{"14 PUBLISH to the broker's topics is answered", mochiBrokersTopics},
		{"15 foo/+/baz/# has the retained foo/bar/baz", mochiRetainedParent},
		{"16 no local is of one subscription", mochiNoLocal},
		{"17 topic aliases are announced, unknown ones refused", mochiAliases},
		{"18 what has expired is gone", mochiExpired},
		{"19 MQTT 3 clients get MQTT 3 codes", mochiV3Codes},
		{"20 properties are checked", mochiProperties},
		{"21 CONNECT is checked", mochiConnect},
		{"22 filters and options are checked", mochiFilters},
		{"23 trailing bytes, unknown reasons, the wrong acknowledgement", mochiAcks},
		{"24 a message too large for its subscriber frees its place", mochiTooLarge},
	} {
		t.Run(c.name, c.run)
	}
}

// exchange sends bytes on a new connection, behind CONNECT if there is one, and
// returns what comes until the server closes.
func (n *node) exchange(version byte, connect *packet.Connect, b []byte) (got []packet.Packet) {
	n.t.Helper()
	c := n.dial(version)
	if connect != nil {
		if a := c.connect(connect); a.Reason != packet.Success {
			n.t.Fatalf("CONNACK %v", a.Reason)
		}
	}
	_, _ = c.nc.Write(b)
	for {
		p := c.recv()
		if p == nil {
			return got
		}
		got = append(got, p)
	}
}

// closes checks that bytes of a client of MQTT 5 end its connection, with that
// reason, and nobody else's, and that 3.1.1 ends it without a word.
func closes(t *testing.T, b []byte, reason packet.Reason, versions ...byte) {
	t.Helper()
	n := newNode(t)
	other := n.join(packet.V5, &packet.Connect{ClientID: "other"})
	for _, version := range versions {
		got := n.exchange(version, &packet.Connect{ClientID: "c", CleanStart: true}, b)
		switch {
		case version != packet.V5 && len(got) == 0:
		case version == packet.V5 && len(got) == 1 && got[0].Type() == packet.TypeDisconnect && got[0].(*packet.Disconnect).Reason == reason:
		default:
			t.Errorf("version %d, % x: %#v", version, b, got)
		}
	}
	other.send(&packet.Pingreq{})
	expect[*packet.Pingresp](other)
	if n.crashes.Load() != 0 {
		t.Error("a panic")
	}
}

func mochiShortSubscribe(t *testing.T) {
	closes(t, []byte{0x82, 6, 0, 1, 0, 0, 1, 'a'}, packet.MalformedPacket, packet.V5)
	closes(t, []byte{0x82, 5, 0, 1, 0, 1, 'a'}, packet.MalformedPacket, packet.V311)
	closes(t, []byte{0x82, 2, 0, 1}, packet.MalformedPacket, packet.V5)
}

func mochiBothWays(t *testing.T) {
	n := newNode(t)
	const count = 300
	clients := map[string]*client{}
	for _, name := range []string{"a", "b"} {
		clients[name] = n.join(packet.V5, &packet.Connect{ClientID: name, ReceiveMaximum: 5})
		for qos := range byte(3) {
			clients[name].subscribe(fmt.Sprint("to/", name, "/", qos), qos)
		}
	}
	var got [2]int
	var wg sync.WaitGroup
	for i, to := range []string{"b", "a"} {
		wg.Go(func() { got[i] = converse(clients[[]string{"a", "b"}[i]], to, count) })
	}
	wg.Wait()
	if got != [2]int{count, count} {
		t.Errorf("%d messages", got)
	}
}

// converse publishes count messages to another client between all that it
// answers, and returns how many it got when all flows are over.
func converse(c *client, to string, count int) (got int) {
	sent, open := 0, count
	for got < count || open > 0 {
		if sent < count {
			qos := byte(1 + sent%2)
			sent++
			c.send(&packet.Publish{Topic: fmt.Sprint("to/", to, "/", qos), QoS: qos, PacketID: uint16(sent)})
		}
		switch p := c.recv().(type) {
		case *packet.Publish:
			got++
			c.send(ackOf(map[byte]packet.Type{1: packet.TypePuback, 2: packet.TypePubrec}[p.QoS], p.PacketID))
		case *packet.Ack:
			switch p.Kind {
			case packet.TypePubrec:
				c.send(ackOf(packet.TypePubrel, p.PacketID))
			case packet.TypePubrel:
				c.send(ackOf(packet.TypePubcomp, p.PacketID))
			default:
				open--
			}
		case nil:
			return got
		}
	}
	return got
}

func mochiPacketIDs(t *testing.T) {
	for _, version := range []byte{packet.V311, packet.V5} {
		n := newNode(t)
		connect := &packet.Connect{ClientID: "sub", SessionExpiry: 100, HasSessionExpiry: version == packet.V5}
		sub := n.join(version, connect)
		sub.subscribe("t", 2)
		pub := n.join(version, &packet.Connect{ClientID: "pub", CleanStart: true})
		publishAll(pub, "t", 2, 1)
		id := expect[*packet.Publish](sub).PacketID
		for qos := byte(1); qos <= 2; qos++ { // its own flow with the same identifier
			sub.send(&packet.Publish{Topic: "other", QoS: qos, PacketID: id})
			expect[*packet.Ack](sub)
		}
		sub.send(ackOf(packet.TypePubrel, id))
		expect[*packet.Ack](sub)
		sub.nc.Close()
		sub = n.join(version, connect)
		if p := expect[*packet.Publish](sub); p.PacketID != id || !p.Dup || string(p.Payload) != "msg1" {
			t.Errorf("version %d: %+v", version, p)
		}
	}
}

func mochiQueuedOrder(t *testing.T) {
	for _, version := range []byte{packet.V311, packet.V5} {
		n := newNode(t)
		connect := &packet.Connect{ClientID: "sub", SessionExpiry: 100, HasSessionExpiry: version == packet.V5}
		sub := n.join(version, connect)
		sub.subscribe("t", 1)
		sub.send(&packet.Disconnect{})
		sub.closed()
		pub := n.join(version, &packet.Connect{ClientID: "pub", CleanStart: true})
		publishAll(pub, "t", 1, 50)
		sub = n.join(version, connect)
		var got []string
		for range 50 {
			p := expect[*packet.Publish](sub)
			if p.Dup { // [MQTT-3.3.1-1]
				t.Errorf("%+v was never sent before", p)
			}
			got = append(got, string(p.Payload))
			sub.send(ackOf(packet.TypePuback, p.PacketID))
		}
		if d := cmp.Diff(numbered(50), got); d != "" {
			t.Error(d)
		}
	}
}

func mochiHeldBack(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		n := newNode(t)
		connect := &packet.Connect{ClientID: "sub", ReceiveMaximum: 1, SessionExpiry: 100, HasSessionExpiry: true}
		sub := n.join(packet.V5, connect)
		sub.subscribe("t", qos)
		publishAll(n.join(packet.V5, &packet.Connect{ClientID: "pub"}), "t", qos, 3)
		for i := range 2 {
			p := expect[*packet.Publish](sub)
			if want := fmt.Sprint("msg", i+1); string(p.Payload) != want {
				t.Fatalf("%s, want %s", p.Payload, want)
			}
			if len(sub.in) != 0 { // [MQTT-3.3.4-7]
				t.Error("more than the receive maximum")
			}
			if qos == 1 {
				sub.send(ackOf(packet.TypePuback, p.PacketID))
				continue
			}
			sub.send(ackOf(packet.TypePubrec, p.PacketID))
			if a := expect[*packet.Ack](sub); a.Kind != packet.TypePubrel || a.Reason != packet.Success {
				t.Fatalf("%+v", a)
			}
			sub.send(ackOf(packet.TypePubcomp, p.PacketID))
		}
		last := expect[*packet.Publish](sub)
		sub.nc.Close()
		sub = n.join(packet.V5, connect)
		if p := expect[*packet.Publish](sub); p.PacketID != last.PacketID || !p.Dup || string(p.Payload) != "msg3" {
			t.Errorf("%+v", p)
		}
	}
}

func mochiLength(t *testing.T) {
	n := newNode(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const conns = 80
	for range conns {
		c := n.dial(packet.V5) // 256 MiB are promised and 15 bytes sent
		_, _ = c.nc.Write([]byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60})
	}
	for n.metric("bytes_received") < conns*15 {
		runtime.Gosched()
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > conns*256<<10 { // the clients of this test included
		t.Errorf("%d bytes for %d connections", grown, conns)
	}
}

func mochiLevels(t *testing.T) {
	deep := strings.Repeat("/", 65535)
	n := newNode(t, with(func(s *Settings) { s.TopicMaxDepth = 0 }))
	c := n.join(packet.V311, &packet.Connect{ClientID: "c", CleanStart: true})
	start := time.Now()
	c.subscribe(deep, 0)
	c.send(&packet.Publish{Topic: deep, Payload: []byte("x")})
	if p := expect[*packet.Publish](c); p.Topic != deep {
		t.Error("another topic")
	}
	if took := time.Since(start); took > 5*time.Second { // mochi took 13 s of CPU for one of them
		t.Errorf("took %v", took)
	}
	closes(t, packet.Append(nil, packet.V5, &packet.Publish{Topic: deep}), packet.TopicNameInvalid, packet.V5)
}

func mochiAckAfterRouting(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		n := newNode(t, durable)
		routed := make(chan func(PublishResult), 1)
		n.router.publish = func(_ *message.Message, _ PublishOptions, done func(PublishResult)) { routed <- done }
		c := n.join(packet.V5, &packet.Connect{ClientID: "c", SessionExpiry: 100, HasSessionExpiry: true})
		c.send(&packet.Publish{Topic: "t", QoS: qos, PacketID: 9})
		done := <-routed
		c.send(&packet.Pingreq{})
		expect[*packet.Pingresp](c) // and not the acknowledgement
		done(PublishResult{Matched: 1})
		if a := expect[*packet.Ack](c); a.PacketID != 9 {
			t.Errorf("%+v", a)
		}
	}
}

func mochiWills(t *testing.T) {
	for _, c := range []struct {
		name string
		will packet.Will
		end  []byte // nil: the connection breaks
		want bool
	}{
		{"with all properties", packet.Will{Payload: []byte("w"), Properties: everything()}, nil, true},
		{"with its expiry", packet.Will{Payload: []byte("w"), Expiry: 100, HasExpiry: true}, nil, true},
		{"delayed, without an expiry", packet.Will{Payload: []byte("w"), Delay: 5}, nil, true},
		{"empty", packet.Will{Payload: []byte{}}, nil, true},
		{"DISCONNECT 0x04 in one byte", packet.Will{Payload: []byte("w")}, []byte{0xE0, 1, 4}, true},
		{"DISCONNECT 0x04", packet.Will{Payload: []byte("w")}, []byte{0xE0, 2, 4, 0}, true},
		{"DISCONNECT", packet.Will{Payload: []byte("w")}, []byte{0xE0, 0}, false},
		{"DISCONNECT 0x00", packet.Will{Payload: []byte("w")}, []byte{0xE0, 1, 0}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				watch := n.join(packet.V5, &packet.Connect{ClientID: "watch"})
				watch.subscribe("will", 2)
				c.will.Topic, c.will.QoS = "will", 2
				cl := n.join(packet.V5, &packet.Connect{ClientID: "c", SessionExpiry: 60, HasSessionExpiry: true, Will: &c.will})
				if c.end == nil {
					cl.nc.Close()
				} else {
					_, _ = cl.nc.Write(c.end)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if c.want {
					p := expect[*packet.Publish](watch)
					if d := cmp.Diff(c.will.Properties, p.Properties); d != "" || !bytes.Equal(p.Payload, c.will.Payload) ||
						p.QoS != 2 || p.HasExpiry != c.will.HasExpiry || p.Expiry > c.will.Expiry {
						t.Errorf("%s%+v", d, p)
					}
				}
				if len(watch.in) != 0 {
					t.Errorf("%+v", <-watch.in)
				}
				n.stop()
			})
		})
	}
}

func mochiRepeatedQoS2(t *testing.T) {
	n := newNode(t)
	sub := n.join(packet.V5, &packet.Connect{ClientID: "sub"})
	sub.subscribe("t", 0)
	c := n.join(packet.V5, &packet.Connect{ClientID: "c"})
	for _, dup := range []bool{false, true, true} {
		c.send(&packet.Publish{Topic: "t", QoS: 2, PacketID: 4, Dup: dup})
		if a := expect[*packet.Ack](c); a.Kind != packet.TypePubrec || a.Reason.Failed() { // [MQTT-4.3.3-10]
			t.Errorf("%+v", a)
		}
	}
	expect[*packet.Publish](sub)
	sub.send(&packet.Pingreq{})
	expect[*packet.Pingresp](sub) // and no second one
}
