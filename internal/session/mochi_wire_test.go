package session

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// The items of TestMochi from 13 on.

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
	for _, c := range []struct {
		limit int
		alias uint16
		topic string
		want  packet.Reason
	}{
		{0, 1, "t", packet.TopicAliasInvalid}, {5, 6, "t", packet.TopicAliasInvalid}, // [MQTT-3.3.2-9]
		{5, 1, "", packet.ProtocolError}, {5, 1, "t", packet.Success}, {5, 5, "t", packet.Success},
	} {
		n := newNode(t, with(func(s *Settings) { s.TopicAliasMaxClient = c.limit }))
		cl := n.dial(packet.V5)
		if a := cl.connect(&packet.Connect{ClientID: "c"}); int(a.TopicAliasMaximum) != c.limit {
			t.Errorf("announced %d", a.TopicAliasMaximum)
		}
		cl.subscribe("#", 0)
		cl.send(&packet.Publish{Topic: c.topic, TopicAlias: c.alias})
		if c.want.Failed() {
			if d := expect[*packet.Disconnect](cl); d.Reason != c.want {
				t.Errorf("%+v: %v", c, d.Reason)
			}
			continue
		}
		cl.send(&packet.Publish{TopicAlias: c.alias}, &packet.Publish{Topic: "u", TopicAlias: c.alias}, &packet.Publish{TopicAlias: c.alias})
		for _, want := range []string{"t", "t", "u", "u"} {
			if p := expect[*packet.Publish](cl); p.Topic != want || p.TopicAlias != 0 {
				t.Errorf("%+v, want %s", p, want)
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
		n.join(packet.V5, connect)
		if i, _ := n.m.Get(message.SessionID{ClientID: "sub"}); i.OnlineMessages != 0 || i.WaitingAcks != 0 {
			t.Errorf("something is left to be repeated: %+v", i)
		}
	}
}
