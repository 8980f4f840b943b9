package conformance

import (
	"time"

	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

// qosRows are the acknowledgements of §3.4 to §3.7, the flows of §4.3, sending
// again (§4.4) and order (§4.6).
var qosRows = []row{
	{v5: "MQTT-3.4.2-1", name: "of the broker", run: pubackReasons},
	{v5: "MQTT-3.4.2-1", name: "of clients", run: func(e *env) { ackReasons(e, 0x40) }},
	{v5: "MQTT-3.5.2-1", name: "of the broker", run: pubackReasons},
	{v5: "MQTT-3.5.2-1", name: "of clients", run: func(e *env) { ackReasons(e, 0x50) }},
	{v5: "MQTT-3.6.2-1", name: "of the broker", run: pubrelReasons},
	{v5: "MQTT-3.6.2-1", name: "of clients", run: func(e *env) { ackReasons(e, 0x62) }},
	{v5: "MQTT-3.7.2-1", name: "of the broker", run: pubcompReasons},
	{v5: "MQTT-3.7.2-1", name: "of clients", run: func(e *env) { ackReasons(e, 0x70) }},
	{v5: "MQTT-3.4.2-2 MQTT-3.5.2-2", where: inBubble, run: acksFit},
	{v311: "MQTT-3.6.1-1", v5: "MQTT-3.6.1-1", run: func(e *env) { flagsOf(e, 0x60, raw(0, uint16(1))) }},
	{v311: "MQTT-4.3.1-1", v5: "MQTT-4.3.1-1", run: noPacketIDAtQoS0},
	{v311: "MQTT-4.3.2-1", v5: "MQTT-4.3.2-1 MQTT-4.3.3-1", run: brokersPacketIDs},
	{v5: "MQTT-4.3.2-2", run: func(e *env) { firstIsNoDup(e, 1) }},
	{v5: "MQTT-4.3.3-2", run: func(e *env) { firstIsNoDup(e, 2) }},
	{v31: "3.1-qos1", v311: "MQTT-4.3.2-1", v5: "MQTT-4.3.2-3", name: "unacknowledged until PUBACK", run: unacknowledgedQoS1},
	{v311: "MQTT-4.3.2-2", v5: "MQTT-4.3.2-4", name: "PUBACK when it is delivered", run: pubackWhenDelivered},
	{v311: "MQTT-4.3.2-2", v5: "MQTT-4.3.2-5", name: "a new message after PUBACK", run: func(e *env) { newAfterFlow(e, 1) }},
	{v31: "3.1-qos2", v311: "MQTT-4.3.3-1", v5: "MQTT-4.3.3-3", name: "unacknowledged until PUBREC", run: unacknowledgedQoS2},
	{v311: "MQTT-4.3.3-1", v5: "MQTT-4.3.3-4", name: "PUBREL after PUBREC", run: pubrelAfterPubrec},
	{v311: "MQTT-4.3.3-1", v5: "MQTT-4.3.3-5 MQTT-4.3.3-6", name: "PUBREL until PUBCOMP", run: pubrelUntilPubcomp},
	{v5: "MQTT-4.3.3-7", where: inBubble, run: sentDoesNotExpire},
	{v311: "MQTT-4.3.3-2", v5: "MQTT-4.3.3-8", name: "PUBREC when it is delivered", run: pubrecWhenDelivered},
	{v5: "MQTT-4.3.3-9", run: newAfterRefusal},
	{v311: "MQTT-4.3.3-2", v5: "MQTT-4.3.3-10", name: "no duplicates", run: noDuplicates},
	{v311: "MQTT-4.3.3-2", v5: "MQTT-4.3.3-11", name: "PUBCOMP after PUBREL", run: pubcompAfterPubrel},
	{v311: "MQTT-4.3.3-2", v5: "MQTT-4.3.3-12", name: "a new message after PUBCOMP", run: func(e *env) { newAfterFlow(e, 2) }},
	{v5: "MQTT-4.3.3-13", where: inBubble, run: flowGoesOnAfterExpiry},
	{v311: "MQTT-4.4.0-1", v5: "MQTT-4.4.0-1", name: "when the session goes on", where: inBubble, run: sentAgain},
	{v5: "MQTT-4.4.0-1", name: "at no other time", where: inBubble, set: func(s *session.Settings) { s.RetryInterval = 5 * time.Second }, run: notSentAgain},
	{v311: "MQTT-4.4.0-1", v5: "MQTT-4.4.0-1", name: "after a restart", where: inBubble, run: sentAgainAfterRestart},
	{v5: "MQTT-4.4.0-2", run: refusalAcknowledges},
	{v311: "MQTT-4.6.0-1", where: inBubble, run: sentAgain},
	{v311: "MQTT-4.6.0-2", v5: "MQTT-4.6.0-2", run: func(e *env) { acksInOrder(e, 1, packet.TypePuback) }},
	{v311: "MQTT-4.6.0-3", v5: "MQTT-4.6.0-3", run: func(e *env) { acksInOrder(e, 2, packet.TypePubrec) }},
	{v311: "MQTT-4.6.0-4", v5: "MQTT-4.6.0-4", run: pubrelsInOrder},
	{v311: "MQTT-4.6.0-5 MQTT-4.6.0-6", v5: "MQTT-4.6.0-5 MQTT-4.6.0-6", run: messagesInOrder},
	{v311: "MQTT-4.6.0-6", v5: "MQTT-4.6.0-5", name: "queued", where: inBubble, run: queuedInOrder},

	{rule: "id-spaces", run: idSpaces},
	{rule: "unknown-puback", run: unknownAcks},
	{rule: "unknown-pubrec", run: unknownPubrec},
	{rule: "wrong-ack", run: wrongAck},
	{rule: "offline-queue", where: inBubble, set: func(s *session.Settings) { s.MaxOffline = 5 }, run: offlineLimit},
	{rule: "qos0-offline", where: inBubble, run: qos0IsNotQueued},
	{rule: "pubrel-twice", run: pubrelTwice},
	{rule: "qos2-across-connections", run: qos2AcrossConnections},
	{rule: "qos2-restart", where: inBubble, run: qos2AcrossRestart},
	{rule: "redelivery-order", run: redeliveryOrder},
	{rule: "ack-out-of-order", run: acksOutOfOrder},
}

// pubackReasons: whatever the broker answers is decoded strictly, codes of
// other packets would fail.
func pubackReasons(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	for qos, kind := range map[byte]packet.Type{1: packet.TypePuback, 2: packet.TypePubrec} {
		for topic, want := range map[string]packet.Reason{e.topic("a"): packet.Success, e.topic("b"): packet.NoMatchingSubscribers, "denied/a": packet.NotAuthorized} {
			c.send(&packet.Publish{Topic: topic, QoS: qos, PacketID: 1})
			if a := c.ack(kind, 1); a.Reason != want {
				e.Errorf("QoS %d to %s: %v, want %v", qos, topic, a.Reason, want)
			}
			if qos == 2 {
				c.send(ack(packet.TypePubrel, 1))
				c.ack(packet.TypePubcomp, 1)
			}
		}
	}
}

// ackReasons: codes that the packet does not have end the connection.
func ackReasons(e *env, first byte) {
	for _, code := range []int{0x01, 0x02, 0x11, 0x18, 0x8E, 0xFF} {
		e.refuses(raw(first, uint16(1), code), packet.ProtocolError, packet.MalformedPacket)
	}
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	c.raw(raw(first, uint16(9), 0x00)...) // unknown, of a legal form
	c.raw(raw(first, uint16(9), 0x00, props(propReasonString, "r", propUser, "n", "v"))...)
	c.pass()
}

func pubrelReasons(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	e.join("p").publish(e.topic("a"), "m", 2)
	c.take(e.topic("a"), "m", 2)
	c.send(ack(packet.TypePubrec, 99))
	if a := c.ack(packet.TypePubrel, 99); a.Reason != packet.PacketIdentifierNotFound {
		e.Errorf("reason %v", a.Reason)
	}
}

func pubcompReasons(e *env) {
	c := e.join("c")
	c.publish(e.topic("a"), "m", 2)
	c.send(ack(packet.TypePubrel, 99))
	if a := c.ack(packet.TypePubcomp, 99); a.Reason != packet.PacketIdentifierNotFound {
		e.Errorf("reason %v", a.Reason)
	}
}

// acksFit: the reason string comes if there is room for it.
func acksFit(e *env) {
	for _, limit := range []uint32{0, 50} {
		c := e.join("c", func(p *packet.Connect) { p.MaximumPacketSize = limit })
		for qos := byte(1); qos < 3; qos++ {
			c.send(&packet.Publish{Topic: "denied/a", QoS: qos, PacketID: 1})
			got := c.next()
			a, ok := got.Packet.(*packet.Ack)
			if !ok || a.Reason != packet.NotAuthorized || a.ReasonString != "" != (limit == 0) || limit > 0 && len(got.raw) > int(limit) {
				e.Errorf("limit %d, QoS %d: % x", limit, qos, got.raw)
			}
		}
		c.silent()
	}
}

func firstIsNoDup(e *env, qos byte) {
	c := e.join("c")
	c.subscribe(e.topic("a"), qos)
	p := e.join("p")
	for range 3 {
		p.publish(e.topic("a"), "m", qos)
		if m := c.take(e.topic("a"), "m", qos); m.Dup || m.PacketID == 0 {
			e.Errorf("got %s", describe(m))
		}
	}
}

func unacknowledgedQoS1(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 1)
	e.join("p").publish(e.topic("a"), "m", 1)
	first := c.message(e.topic("a"), "m", 1)
	for range 3 {
		c.drop()
		c = e.join("c", resume)
		if m := c.message(e.topic("a"), "m", 1); !m.Dup || m.PacketID != first.PacketID {
			e.Errorf("got %s", describe(m))
		}
	}
	c.send(ack(packet.TypePuback, first.PacketID))
	c.silent()
	c.drop()
	c = e.join("c", resume)
	c.silent()
}

// pubackWhenDelivered: by then every subscriber's queue has the message.
func pubackWhenDelivered(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 1)
	c.bye()
	e.join("p").publish(e.topic("a"), "m", 1)
	c = e.join("c", resume)
	c.take(e.topic("a"), "m", 1)
}

func newAfterFlow(e *env, qos byte) {
	c := e.join("c")
	c.subscribe(e.topic("a"), qos)
	p := e.join("p")
	for _, dup := range []bool{false, true, false} {
		p.publish(e.topic("a"), "m", qos, pid(3), func(m *packet.Publish) { m.Dup = dup })
		c.take(e.topic("a"), "m", qos)
	}
	c.silent()
}

func unacknowledgedQoS2(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	e.join("p").publish(e.topic("a"), "m", 2)
	first := c.message(e.topic("a"), "m", 2)
	for range 3 {
		c.drop()
		c = e.join("c", resume)
		if m := c.message(e.topic("a"), "m", 2); !m.Dup || m.PacketID != first.PacketID {
			e.Errorf("got %s", describe(m))
		}
	}
	c.settle(first)
	c.silent()
}

func pubrelAfterPubrec(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	for range 3 {
		p.publish(e.topic("a"), "m", 2)
		m := c.message(e.topic("a"), "m", 2)
		c.silent() // no PUBREL before PUBREC
		c.send(ack(packet.TypePubrec, m.PacketID))
		c.ack(packet.TypePubrel, m.PacketID)
		c.send(ack(packet.TypePubcomp, m.PacketID))
	}
	c.silent()
}

func pubrelUntilPubcomp(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	e.join("p").publish(e.topic("a"), "m", 2)
	m := c.message(e.topic("a"), "m", 2)
	c.send(ack(packet.TypePubrec, m.PacketID))
	c.ack(packet.TypePubrel, m.PacketID)
	for range 3 {
		c.drop()
		c = e.join("c", resume)
		c.ack(packet.TypePubrel, m.PacketID)
		c.silent() // and no PUBLISH
	}
	c.send(ack(packet.TypePubcomp, m.PacketID))
	c.silent()
	c.drop()
	c = e.join("c", resume)
	c.silent()
}

func sentDoesNotExpire(e *env) {
	c := e.join("c", resume)
	c.subscribe(e.topic("a"), 2)
	e.join("p").publish(e.topic("a"), "m", 2, messageExpiry(10))
	first := c.message(e.topic("a"), "m", 2)
	time.Sleep(20 * time.Second)
	c.drop()
	c = e.join("c", resume)
	m := c.message(e.topic("a"), "m", 2)
	if !m.Dup || m.PacketID != first.PacketID {
		e.Errorf("got %s", describe(m))
	}
	c.settle(m)
	c.silent()
}

func pubrecWhenDelivered(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	c.bye()
	p := e.join("p")
	p.send(&packet.Publish{Topic: e.topic("a"), Payload: []byte("m"), QoS: 2, PacketID: 4})
	p.ack(packet.TypePubrec, 4) // and no PUBREL follows
	c = e.join("c", resume)
	c.take(e.topic("a"), "m", 2)
}

func newAfterRefusal(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	p.send(&packet.Publish{Topic: "denied/a", QoS: 2, PacketID: 4})
	if a := p.ack(packet.TypePubrec, 4); !a.Reason.Failed() {
		e.Fatalf("reason %v", a.Reason)
	}
	p.publish(e.topic("a"), "m", 2, pid(4))
	c.take(e.topic("a"), "m", 2)
}

func noDuplicates(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	p := e.join("p", kept)
	m := &packet.Publish{Topic: e.topic("a"), Payload: []byte("m"), QoS: 2, PacketID: 4}
	for i := range 3 {
		m.Dup = i > 0
		p.send(m)
		if a := p.ack(packet.TypePubrec, 4); a.Reason.Failed() {
			e.Errorf("the same PUBLISH again is answered with %v", a.Reason)
		}
	}
	c.take(e.topic("a"), "m", 2)
	p.drop()
	p = e.join("p", resume)
	p.send(m)
	p.okay(p.ack(packet.TypePubrec, 4))
	p.send(ack(packet.TypePubrel, 4))
	p.okay(p.ack(packet.TypePubcomp, 4))
	c.silent()
}

func pubcompAfterPubrel(e *env) {
	p := e.join("p")
	for id := uint16(1); id < 4; id++ {
		p.send(&packet.Publish{Topic: e.topic("a"), QoS: 2, PacketID: id})
		p.ack(packet.TypePubrec, id)
		p.silent() // no PUBCOMP before PUBREL
		p.send(ack(packet.TypePubrel, id))
		p.ack(packet.TypePubcomp, id)
	}
}

func flowGoesOnAfterExpiry(e *env) {
	p := e.join("p")
	c := e.join("c", resume)
	c.subscribe(e.topic("a"), 2)
	c.bye()
	p.send(&packet.Publish{Topic: e.topic("a"), QoS: 2, PacketID: 4, Expiry: 5, HasExpiry: true})
	p.okay(p.ack(packet.TypePubrec, 4))
	time.Sleep(10 * time.Second)
	p.send(ack(packet.TypePubrel, 4))
	p.okay(p.ack(packet.TypePubcomp, 4))
	c = e.join("c", resume)
	c.silent()
}
