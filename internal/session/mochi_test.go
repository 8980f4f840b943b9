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

	"github.com/mqadmin/mqadmin/internal/hook"
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

func mochiPlainAck(t *testing.T) {
	n := newNode(t)
	c := n.join(packet.V5, &packet.Connect{ClientID: "c"})
	c.subscribe("t", 0)
	for qos := byte(1); qos <= 2; qos++ {
		c.send(&packet.Publish{Topic: "t", QoS: qos, PacketID: 1, Retain: true, Properties: everything()})
		for {
			a, ok := c.recv().(*packet.Ack)
			if !ok {
				continue // its own message
			}
			if a.Reason != packet.Success || a.User != nil || a.ReasonString != "" {
				t.Errorf("%+v", a)
			}
			break
		}
	}
}

func mochiBrokersTopics(t *testing.T) {
	for _, c := range []struct {
		version byte
		want    packet.Reason
	}{{packet.V31, 0}, {packet.V311, 0}, {packet.V5, packet.NotAuthorized}} {
		n := newNode(t)
		cl := n.join(c.version, &packet.Connect{ClientID: "c", CleanStart: true})
		for qos := byte(1); qos <= 2; qos++ {
			cl.send(&packet.Publish{Topic: "$SYS/x", QoS: qos, PacketID: uint16(qos)})
			if a := expect[*packet.Ack](cl); a.PacketID != uint16(qos) || a.Reason != c.want {
				t.Errorf("version %d: %+v", c.version, a)
			}
		}
	}
}

func mochiRetainedParent(t *testing.T) {
	n := newNode(t)
	c := n.join(packet.V311, &packet.Connect{ClientID: "c", CleanStart: true})
	c.send(&packet.Publish{Topic: "foo/bar/baz", Retain: true, QoS: 1, PacketID: 1})
	expect[*packet.Ack](c)
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "foo/+/baz/#"}}})
	if p := c.messages(1)[0]; p.Topic != "foo/bar/baz" || !p.Retain {
		t.Errorf("%+v", p)
	}
}

func mochiNoLocal(t *testing.T) {
	n := newNode(t)
	c := n.join(packet.V5, &packet.Connect{ClientID: "c"})
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "t/+", NoLocal: true}, {Filter: "t/#"}}})
	expect[*packet.Suback](c)
	c.send(&packet.Publish{Topic: "t/1", Payload: []byte("own")})
	if p := expect[*packet.Publish](c); string(p.Payload) != "own" {
		t.Errorf("%+v", p)
	}
}

func mochiAliases(t *testing.T) {
	for _, limit := range []int{0, 5} {
		for _, alias := range []uint16{1, 6} {
			n := newNode(t, with(func(s *Settings) { s.TopicAliasMaxClient = limit }))
			c := n.dial(packet.V5)
			if a := c.connect(&packet.Connect{ClientID: "c"}); int(a.TopicAliasMaximum) != limit {
				t.Errorf("announced %d", a.TopicAliasMaximum)
			}
			c.send(&packet.Publish{TopicAlias: alias})
			if d := expect[*packet.Disconnect](c); d.Reason != packet.TopicAliasInvalid {
				t.Error(d.Reason)
			}
		}
	}
}

func mochiExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		connect := &packet.Connect{ClientID: "c", SessionExpiry: 1, HasSessionExpiry: true}
		c := n.join(packet.V5, connect)
		c.send(&packet.Disconnect{})
		c.closed()
		time.Sleep(time.Second + time.Millisecond)
		c = n.dial(packet.V5)
		if a := c.connect(connect); a.SessionPresent {
			t.Error("a session that has expired is present")
		}
		n.stop()
	})
}

func mochiV3Codes(t *testing.T) {
	n := newNode(t)
	for _, c := range []struct {
		name string
		b    []byte
		want packet.Reason
	}{
		{"[MQTT-3.1.3-8] empty id, kept session", []byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 60, 0, 0}, packet.ClientIdentifierNotValid},
		{"[MQTT-3.1.2-2] level 6", []byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 6, 2, 0, 60, 0, 0}, packet.UnsupportedProtocolVersion},
		{"3.1 with the name of 3.1.1", []byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 3, 2, 0, 60, 0, 0}, packet.UnsupportedProtocolVersion},
	} {
		got := n.exchange(packet.V311, nil, c.b)
		if len(got) != 1 || got[0].(*packet.Connack).Reason != c.want { // the decoder knows the codes 0 to 5 only
			t.Errorf("%s: %#v", c.name, got)
		}
	}
	d := &decider{register: hook.Allow(), publish: hook.Allow(), subscribe: hook.Deny(packet.QuotaExceeded, "no")}
	m := authenticating(t, d)
	c := m.join(packet.V311, &packet.Connect{ClientID: "c", CleanStart: true})
	if a := c.subscribe("t", 1); a.Reasons[0] != packet.UnspecifiedError { // 0x80, the only one of 3.x
		t.Errorf("%+v", a)
	}
}

func mochiProperties(t *testing.T) {
	n := newNode(t)
	for name, c := range map[string]struct {
		props []byte
		want  packet.Reason
	}{
		"session expiry twice":       {[]byte{0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1}, packet.ProtocolError},
		"receive maximum 0":          {[]byte{0x21, 0, 0}, packet.ProtocolError},
		"maximum packet size 0":      {[]byte{0x27, 0, 0, 0, 0}, packet.ProtocolError},
		"request problem 2":          {[]byte{0x17, 2}, packet.ProtocolError},
		"of another packet":          {[]byte{0x23, 0, 1}, packet.MalformedPacket},
		"unknown":                    {[]byte{0x7E, 0}, packet.MalformedPacket},
		"beyond the property length": {[]byte{0x11, 0, 0}, packet.MalformedPacket},
		"data without a method":      {[]byte{0x16, 0, 1, 'x'}, packet.ProtocolError},
		"method":                     {[]byte{0x15, 0, 1, 'x'}, packet.BadAuthenticationMethod},
	} {
		b := append([]byte{0x10, byte(14 + len(c.props)), 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, byte(len(c.props))}, c.props...)
		got := n.exchange(packet.V5, nil, append(b, 0, 1, 'c'))
		if len(got) != 1 || got[0].Type() != packet.TypeConnack || got[0].(*packet.Connack).Reason != c.want {
			t.Errorf("%s: %#v", name, got)
		}
	}
	closes(t, []byte{0x82, 9, 0, 1, 2, 0x0B, 0, 0, 1, 'a', 0}, packet.ProtocolError, packet.V5) // subscription identifier 0
}

func mochiConnect(t *testing.T) {
	n := newNode(t)
	for name, c := range map[string]struct {
		flags byte
		body  []byte
	}{
		"will QoS without a will":    {0x0A, []byte{0, 1, 'c'}},
		"will retain without a will": {0x22, []byte{0, 1, 'c'}},
		"will QoS 3":                 {0x1E, []byte{0, 1, 'c', 0, 1, 'w', 0, 0}},
		"reserved flag":              {0x03, []byte{0, 1, 'c'}},
		"trailing bytes":             {0x02, []byte{0, 1, 'c', 0}},
		"NUL in the user name":       {0x82, []byte{0, 1, 'c', 0, 1, 0}},
		"surrogate in the user name": {0x82, []byte{0, 1, 'c', 0, 3, 0xED, 0xA0, 0x80}},
		"password without user name": {0x42, []byte{0, 1, 'c', 0, 0}},
	} {
		b := append([]byte{0x10, byte(10 + len(c.body)), 0, 4, 'M', 'Q', 'T', 'T', 4, c.flags, 0, 60}, c.body...)
		if got := n.exchange(packet.V311, nil, b); len(got) != 0 { // [MQTT-3.1.4-1]: no CONNACK
			t.Errorf("%s: %#v", name, got)
		}
	}
}

func mochiFilters(t *testing.T) {
	for _, filter := range []string{"ab/+e", "a#", "a/#/b", "", "$share/g", "$share/+/a", "$share//a", "a\x00"} {
		sub := []byte{0x82, byte(6 + len(filter)), 0, 1, 0, 0, byte(len(filter))}
		unsub := []byte{0xA2, byte(5 + len(filter)), 0, 1, 0, 0, byte(len(filter))}
		reason := packet.TopicFilterInvalid
		if strings.Contains(filter, "\x00") {
			reason = packet.MalformedPacket
		}
		closes(t, append(append(sub, filter...), 0), reason, packet.V5)
		closes(t, append(unsub, filter...), reason, packet.V5)
	}
	for options, reason := range map[byte]packet.Reason{
		0x03: packet.ProtocolError, 0x30: packet.ProtocolError, 0x40: packet.MalformedPacket, 0x80: packet.MalformedPacket,
	} {
		closes(t, []byte{0x82, 7, 0, 1, 0, 0, 1, 'a', options}, reason, packet.V5)
	}
	closes(t, []byte{0x82, 6, 0, 1, 0, 1, 'a', 3}, 0, packet.V311, packet.V31)
	closes(t, []byte{0x82, 6, 0, 1, 0, 1, 'a', 4}, 0, packet.V311, packet.V31)
	shared := append([]byte{0x82, 16, 0, 1, 0, 0, 10}, "$share/g/a\x04"...) // [MQTT-3.8.3-4]
	closes(t, shared, packet.ProtocolError, packet.V5)
}

func mochiAcks(t *testing.T) {
	closes(t, []byte{0xC0, 1, 0}, packet.MalformedPacket, packet.V5, packet.V311)
	closes(t, []byte{0x40, 3, 0, 1, 0}, 0, packet.V311)
	closes(t, []byte{0x40, 5, 0, 1, 0, 0, 0}, packet.MalformedPacket, packet.V5)
	for _, kind := range []byte{0x40, 0x50, 0x62, 0x70} {
		closes(t, []byte{kind, 3, 0, 1, 0x18}, packet.ProtocolError, packet.V5)
	}
	closes(t, []byte{0xE0, 1, 0x8B}, packet.ProtocolError, packet.V5)
	closes(t, []byte{0xE0, 1, 0}, 0, packet.V311)
	// PUBREC for a PUBLISH of QoS 1 is no answer to it.
	n := newNode(t)
	c := n.join(packet.V5, &packet.Connect{ClientID: "c"})
	c.subscribe("t", 1)
	publishAll(n.join(packet.V5, &packet.Connect{ClientID: "pub"}), "t", 1, 1)
	p := expect[*packet.Publish](c)
	c.send(ackOf(packet.TypePubrec, p.PacketID))
	if a := expect[*packet.Ack](c); a.Kind != packet.TypePubrel || a.Reason != packet.PacketIdentifierNotFound {
		t.Errorf("%+v", a)
	}
	if i, _ := n.m.Get(message.SessionID{ClientID: "c"}); i.WaitingAcks != 1 {
		t.Error("it ended the flow")
	}
}

func mochiTooLarge(t *testing.T) {
	for qos := range byte(3) {
		n := newNode(t)
		connect := &packet.Connect{ClientID: "sub", ReceiveMaximum: 1, MaximumPacketSize: 100, SessionExpiry: 100, HasSessionExpiry: true}
		sub := n.join(packet.V5, connect)
		sub.subscribe("t", qos)
		pub := n.join(packet.V5, &packet.Connect{ClientID: "pub"})
		for i, size := range []int{200, 1, 200, 2} {
			p := &packet.Publish{Topic: "t", QoS: qos, Payload: make([]byte, size)}
			if qos > 0 {
				p.PacketID = uint16(i + 1)
			}
			pub.send(p)
		}
		for _, size := range []int{1, 2} { // the large ones take no place in the window [MQTT-3.1.2-25]
			p := expect[*packet.Publish](sub)
			if len(p.Payload) != size {
				t.Fatalf("%d bytes, want %d", len(p.Payload), size)
			}
			switch qos {
			case 1:
				sub.send(ackOf(packet.TypePuback, p.PacketID))
			case 2:
				sub.send(ackOf(packet.TypePubrec, p.PacketID))
				expect[*packet.Ack](sub)
				sub.send(ackOf(packet.TypePubcomp, p.PacketID))
			}
		}
		if got := n.metric("mqtt_publish_too_large_drop"); got != 2 {
			t.Errorf("%d counted", got)
		}
		sub.nc.Close()
		if sub = n.join(packet.V5, connect); n.m.attached(message.SessionID{ClientID: "sub"}).q.Waiting() != 0 {
			t.Error("something is left to be repeated")
		}
	}
}
