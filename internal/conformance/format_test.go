package conformance

import (
	"bytes"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// formatRows are chapters 1 and 2: data representation and control packets.
var formatRows = []row{
	{v311: "MQTT-1.5.3-1", v5: "MQTT-1.5.4-1", name: "in CONNECT", run: func(e *env) { badTextInConnect(e, illFormed) }},
	{v311: "MQTT-1.5.3-1", v5: "MQTT-1.5.4-1", name: "later", run: func(e *env) { badTextLater(e, illFormed) }},
	{v311: "MQTT-1.5.3-2", v5: "MQTT-1.5.4-2", name: "in CONNECT", run: func(e *env) { badTextInConnect(e, withNul) }},
	{v311: "MQTT-1.5.3-2", v5: "MQTT-1.5.4-2", name: "later", run: func(e *env) { badTextLater(e, withNul) }},
	{v311: "MQTT-1.5.3-3", v5: "MQTT-1.5.4-3", run: byteOrderMarkStays},
	{v5: "MQTT-1.5.5-1", run: notShortest},
	{v5: "MQTT-1.5.7-1", run: badUserProperties},
	{v311: "MQTT-2.2.2-1 MQTT-2.2.2-2", v5: "MQTT-2.1.3-1", run: reservedFlags},
	{v311: "MQTT-2.3.1-1", v5: "MQTT-2.2.1-3", run: packetIDZero},
	{v311: "MQTT-2.3.1-2", name: "used again once it is free", run: idsUsedAgain},
	{v311: "MQTT-2.3.1-4", v5: "MQTT-2.2.1-4", run: brokersPacketIDs},
	{v311: "MQTT-2.3.1-5", v5: "MQTT-2.2.1-2", run: noPacketIDAtQoS0},
	{v311: "MQTT-2.3.1-6", v5: "MQTT-2.2.1-5", run: acksCarryTheID},
	{v311: "MQTT-2.3.1-7", v5: "MQTT-2.2.1-6", run: subacksCarryTheID},
	{v5: "MQTT-2.2.2-1", run: propertyLengthIsThere},
}

// badTextInConnect puts bad text into each string of CONNECT.
func badTextInConnect(e *env, texts map[string]string) {
	for _, bad := range texts {
		for _, b := range [][]byte{
			e.rawConnect(0x02, bad),
			e.rawConnect(0x06, e.id("a"), e.none(), bad, "payload"),
			e.rawConnect(0xC2, e.id("a"), bad, "p"),
		} {
			c := e.dial()
			c.raw(b...)
			c.malformedConnect()
		}
	}
}

// malformedConnect expects the end after a CONNECT that breaks the format: 3.x
// clients are told nothing, MQTT 5 clients may get a CONNACK with a reason.
func (c *client) malformedConnect() {
	c.t.Helper()
	p := c.next()
	if p.Packet == nil {
		return
	}
	k, ok := p.Packet.(*packet.Connack)
	if !ok || c.version != packet.V5 || !k.Reason.Failed() {
		c.t.Fatalf("got %s after a malformed CONNECT", describe(p.Packet))
	}
	c.closed()
}

// badTextLater puts bad text into the strings of later packets.
func badTextLater(e *env, texts map[string]string) {
	for _, bad := range texts {
		all := [][]byte{
			raw(0x30, bad, e.none(), []byte("payload")),
			raw(0x82, uint16(1), e.none(), bad, 0),
			raw(0xA2, uint16(1), e.none(), bad),
		}
		if e.five() {
			all = append(all,
				raw(0x30, e.topic("a"), props(propResponseTopic, bad)),
				raw(0x30, e.topic("a"), props(propContentType, bad)),
				raw(0x40, uint16(1), 0x80, props(propReasonString, bad)),
				raw(0xE0, 0, props(propReasonString, bad)),
			)
		}
		for _, b := range all {
			e.refuses(b, packet.MalformedPacket)
		}
	}
}

// refuses sends bytes as a client that has connected; they must end the
// connection with one of the reasons.
func (e *env) refuses(b []byte, reasons ...packet.Reason) {
	e.Helper()
	c := e.join("refused")
	c.raw(b...)
	c.refused(reasons...)
}

func byteOrderMarkStays(e *env) {
	plain, marked := e.topic("x"), e.topic("\uFEFFx")
	c := e.join("c")
	c.subscribe(plain, 0)
	c.publish(marked, "no", 0)
	c.silent()
	c.subscribe(marked, 1)
	p := e.join("p")
	p.publish(marked, "yes", 1)
	c.take(marked, "yes", 1)
	c.silent()
}

func notShortest(e *env) {
	e.refuses([]byte{0xC0, 0x80, 0x00}, packet.MalformedPacket)
	e.refuses([]byte{0xC0, 0x80, 0x80, 0x80, 0x00}, packet.MalformedPacket)
	e.refuses([]byte{0xC0, 0x80, 0x80, 0x80, 0x80, 0x00}, packet.MalformedPacket)
	e.refuses(raw(0x30, e.topic("a"), []byte{0x80, 0x00}), packet.MalformedPacket)
	e.refuses(raw(0x82, uint16(1), props(propSubscriptionID, []byte{0x81, 0x00}), e.topic("a"), 0), packet.MalformedPacket)
	c := e.join("c")
	c.subscribe(e.topic("a"), 0, identifier(268_435_455))
	for _, n := range []int{0, 90, 110, 127, 128, 16_300, 16_384} { // on both sides of each length
		c.send(&packet.Publish{Topic: e.topic("a"), Payload: []byte(long(n))})
		c.message(e.topic("a"), long(n), 0)
	}
}

func badUserProperties(e *env) {
	for _, texts := range []map[string]string{illFormed, withNul} {
		for _, bad := range texts {
			e.refuses(raw(0x30, e.topic("a"), props(propUser, bad, "v")), packet.MalformedPacket)
			e.refuses(raw(0x30, e.topic("a"), props(propUser, "n", bad)), packet.MalformedPacket)
			e.refuses(raw(0x82, uint16(1), props(propUser, bad, "v"), e.topic("a"), 0), packet.MalformedPacket)
			c := e.dial()
			c.raw(raw(0x10, "MQTT", 5, 2, uint16(60), props(propUser, "n", bad), e.id("a"))...)
			c.malformedConnect()
		}
	}
}

// reservedFlags sets each reserved flag of each packet that a client sends.
func reservedFlags(e *env) {
	ok := map[byte][]byte{ // with right flags
		0x40: raw(0x40, uint16(1)), 0x50: raw(0x50, uint16(1)), 0x62: raw(0x62, uint16(1)), 0x70: raw(0x70, uint16(1)),
		0x82: raw(0x82, uint16(1), e.none(), e.topic("a"), 0), 0xA2: raw(0xA2, uint16(1), e.none(), e.topic("a")),
		0xC0: raw(0xC0), 0xE0: raw(0xE0),
	}
	for first, b := range ok {
		for flags := range byte(16) {
			if flags == first&0x0F {
				continue
			}
			bad := bytes.Clone(b)
			bad[0] = first&0xF0 | flags
			e.refuses(bad, packet.MalformedPacket)
		}
	}
	c := e.dial()
	b := e.rawConnect(2, e.id("a"))
	b[0] |= 1
	c.raw(b...)
	c.malformedConnect()
}

func packetIDZero(e *env) {
	for _, b := range [][]byte{
		raw(0x32, e.topic("a"), uint16(0), e.none()), raw(0x34, e.topic("a"), uint16(0), e.none()),
		raw(0x82, uint16(0), e.none(), e.topic("a"), 0), raw(0xA2, uint16(0), e.none(), e.topic("a")),
		raw(0x40, uint16(0)), raw(0x62, uint16(0)),
	} {
		e.refuses(b, packet.ProtocolError, packet.MalformedPacket)
	}
}

// idsUsedAgain: once its flow is over an identifier stands for something new.
func idsUsedAgain(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	for _, qos := range []byte{1, 2} {
		for _, payload := range []string{"first", "second"} {
			p.publish(e.topic("a"), payload, qos, pid(9))
			c.take(e.topic("a"), payload, qos)
		}
	}
}

// brokersPacketIDs: what is in flight at once has different identifiers, none 0.
func brokersPacketIDs(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	used := map[uint16]bool{}
	for i := range 20 {
		qos := byte(1 + i%2)
		p.publish(e.topic("a"), "m", qos)
		m := c.message(e.topic("a"), "m", qos)
		if m.PacketID == 0 || used[m.PacketID] {
			e.Fatalf("packet identifier %d, in flight are %v", m.PacketID, used)
		}
		used[m.PacketID] = true
	}
}

func noPacketIDAtQoS0(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 0)
	want := raw(0x30, e.topic("a"), e.none(), []byte("payload"))
	for range 3 {
		c.send(&packet.Publish{Topic: e.topic("a"), Payload: []byte("payload")})
		if got := c.next(); !bytes.Equal(got.raw, want) {
			e.Fatalf("got % x, want % x", got.raw, want)
		}
	}
}

func acksCarryTheID(e *env) {
	c := e.join("c")
	for _, id := range []uint16{1, 0x0100, 0xFFFF} {
		c.publish(e.topic("a"), "m", 1, pid(id))
		c.publish(e.topic("a"), "m", 2, pid(id))
	}
	c.subscribe(e.topic("b"), 2)
	p := e.join("p")
	p.publish(e.topic("b"), "m", 2)
	c.take(e.topic("b"), "m", 2) // PUBREL carries the identifier of PUBREC
}

func subacksCarryTheID(e *env) {
	c := e.join("c")
	for _, id := range []uint16{1, 0x0100, 0xFFFF} {
		c.send(&packet.Subscribe{PacketID: id, Subscriptions: subs(0, e.topic("a"))})
		if a := want[*packet.Suback](c); a.PacketID != id {
			e.Errorf("SUBACK of %d for %d", a.PacketID, id)
		}
		c.send(&packet.Unsubscribe{PacketID: id, Filters: []string{e.topic("a")}})
		if a := want[*packet.Unsuback](c); a.PacketID != id {
			e.Errorf("UNSUBACK of %d for %d", a.PacketID, id)
		}
	}
}

// subs are subscriptions to filters with one QoS.
func subs(qos byte, filters ...string) (out []message.Subscription) {
	for _, f := range filters {
		out = append(out, message.Subscription{Filter: f, QoS: qos})
	}
	return out
}

// propertyLengthIsThere: absent properties are a length of 0, on both sides.
func propertyLengthIsThere(e *env) {
	e.refuses(raw(0x82, uint16(1), e.topic("a"), 0), packet.MalformedPacket)
	e.refuses(raw(0xA2, uint16(1), e.topic("a")), packet.MalformedPacket, packet.ProtocolError)
	c := e.join("c")
	c.send(&packet.Subscribe{PacketID: 7, Subscriptions: subs(0, e.topic("a"))})
	if got := c.next().raw; !bytes.Equal(got, raw(0x90, uint16(7), props(), 0)) {
		e.Errorf("SUBACK is % x", got)
	}
	c.send(&packet.Unsubscribe{PacketID: 8, Filters: []string{e.topic("a")}})
	if got := c.next().raw; !bytes.Equal(got, raw(0xB0, uint16(8), props(), 0)) {
		e.Errorf("UNSUBACK is % x", got)
	}
}
