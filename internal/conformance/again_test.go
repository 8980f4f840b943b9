package conformance

import (
	"fmt"
	"time"

	"github.com/mqadmin/mqadmin/internal/packet"
)

// sentAgain: what is unacknowledged, in the order of the first time, then what
// was never sent, without DUP.
func sentAgain(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("#"), 2)
	p := e.join("p")
	var first []*packet.Publish
	for i := range 6 {
		qos := byte(1 + i%2)
		p.publish(e.topic("a"), fmt.Sprint(i), qos)
		first = append(first, c.message(e.topic("a"), fmt.Sprint(i), qos))
	}
	c.send(ack(packet.TypePuback, first[2].PacketID), ack(packet.TypePubrec, first[3].PacketID))
	c.ack(packet.TypePubrel, first[3].PacketID)
	c.silent()
	c.drop()
	p.publish(e.topic("a"), "6", 1)
	c = e.join("c", resume)
	for _, i := range []int{0, 1} {
		c.again(first[i])
	}
	rest := c.pass()
	released := false
	var got []*packet.Publish
	for _, r := range rest {
		if a, ok := r.(*packet.Ack); ok {
			released = a.Kind == packet.TypePubrel && a.PacketID == first[3].PacketID
			continue
		}
		got = append(got, r.(*packet.Publish))
	}
	if !released || len(got) != 3 {
		e.Fatalf("PUBREL again: %v, and %d messages", released, len(got))
	}
	for k, i := range []int{4, 5} {
		if m := got[k]; !m.Dup || m.PacketID != first[i].PacketID || string(m.Payload) != string(first[i].Payload) {
			e.Errorf("sent again as %s, first was %s", describe(m), describe(first[i]))
		}
	}
	if m := got[2]; m.Dup || string(m.Payload) != "6" {
		e.Errorf("what was never sent came as %s", describe(m))
	}
}

// again takes a message that is sent again.
func (c *client) again(first *packet.Publish) {
	c.t.Helper()
	m := c.message(first.Topic, string(first.Payload), first.QoS)
	if !m.Dup || m.PacketID != first.PacketID {
		c.t.Errorf("sent again as %s, first was %s", describe(m), describe(first))
	}
}

func notSentAgain(e *env) {
	c := e.join("c", resume)
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 1)
	p.publish(e.topic("a"), "2", 2)
	m1, m2 := c.message(e.topic("a"), "1", 1), c.message(e.topic("a"), "2", 2)
	time.Sleep(time.Minute)
	c.silent()
	c.send(ack(packet.TypePubrec, m2.PacketID))
	c.ack(packet.TypePubrel, m2.PacketID)
	time.Sleep(time.Minute)
	c.silent()
	c.send(ack(packet.TypePuback, m1.PacketID), ack(packet.TypePubcomp, m2.PacketID))
}

func sentAgainAfterRestart(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 1)
	p.publish(e.topic("a"), "2", 2)
	p.publish(e.topic("a"), "3", 2)
	m1, m2, m3 := c.message(e.topic("a"), "1", 1), c.message(e.topic("a"), "2", 2), c.message(e.topic("a"), "3", 2)
	c.send(ack(packet.TypePubrec, m3.PacketID))
	c.ack(packet.TypePubrel, m3.PacketID)
	e.stack.stop()
	e.stack.start()
	c = e.join("c", resume)
	if e.v > 3 && !c.connack.SessionPresent {
		e.Fatal("the session is gone")
	}
	c.again(m1)
	c.again(m2)
	c.ack(packet.TypePubrel, m3.PacketID)
	c.silent()
}

func refusalAcknowledges(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 1)
	p.publish(e.topic("a"), "2", 2)
	m1, m2 := c.message(e.topic("a"), "1", 1), c.message(e.topic("a"), "2", 2)
	c.send(&packet.Ack{Kind: packet.TypePuback, PacketID: m1.PacketID, Reason: packet.QuotaExceeded})
	c.send(&packet.Ack{Kind: packet.TypePubrec, PacketID: m2.PacketID, Reason: packet.ImplementationSpecificError})
	c.silent() // no PUBREL either
	c.drop()
	c = e.join("c", resume)
	c.silent()
	p.publish(e.topic("a"), "3", 2)
	c.take(e.topic("a"), "3", 2)
}

func acksInOrder(e *env, qos byte, kind packet.Type) {
	online, offline := e.join("online"), e.join("offline", kept)
	online.subscribe(e.topic("+"), 0)
	offline.subscribe(e.topic("even"), 2) // every other message goes to a disk first
	offline.bye()
	p := e.join("p")
	var all []packet.Packet
	for i := range 50 {
		all = append(all, &packet.Publish{Topic: e.topic([]string{"even", "odd", "nobody/here"}[i%3]), QoS: qos, PacketID: uint16(1000 - i)})
	}
	p.send(all...)
	for i := range 50 {
		p.ack(kind, uint16(1000-i))
	}
}

func pubrelsInOrder(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	var order []uint16
	for range 10 {
		p.publish(e.topic("a"), "m", 2)
		order = append(order, c.message(e.topic("a"), "m", 2).PacketID)
	}
	for i, j := 0, len(order)-1; i < j; i, j = i+2, j-2 {
		order[i], order[j] = order[j], order[i]
	}
	var all []packet.Packet
	for _, id := range order {
		all = append(all, ack(packet.TypePubrec, id))
	}
	c.send(all...)
	for _, id := range order {
		c.ack(packet.TypePubrel, id)
	}
}

func messagesInOrder(e *env) {
	c, slow := e.join("c"), e.join("slow", func(p *packet.Connect) { p.ReceiveMaximum = 2 })
	c.subscribe(e.topic("#"), 2)
	slow.subscribe(e.topic("#"), 2)
	p := e.join("p")
	const n = 60
	for i := range n {
		for qos := range byte(3) {
			p.send(&packet.Publish{Topic: e.topic("a"), Payload: fmt.Append(nil, i), QoS: qos, PacketID: uint16(qos) * uint16(i+1+int(qos)*n)})
		}
	}
	for _, c := range []*client{c, slow} {
		var next [3]int
		for next != [3]int{n, n, n} {
			m := want[*packet.Publish](c)
			if string(m.Payload) != fmt.Sprint(next[m.QoS]) {
				e.Fatalf("QoS %d: message %s, want %d", m.QoS, m.Payload, next[m.QoS])
			}
			next[m.QoS]++
			c.later(m)
		}
	}
}

// later acknowledges a message and goes on; what the broker answers to PUBREC is
// answered as it comes.
func (c *client) later(m *packet.Publish) {
	c.t.Helper()
	switch m.QoS {
	case 1:
		c.send(ack(packet.TypePuback, m.PacketID))
	case 2:
		c.settle(m)
	}
}

func queuedInOrder(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	c.bye()
	p := e.join("p")
	for i := range 400 {
		p.publish(e.topic("a"), fmt.Sprint(i), byte(1+i%2))
	}
	c = e.join("c", resume)
	for i := range 400 {
		if m := c.take(e.topic("a"), fmt.Sprint(i), byte(1+i%2)); m.Dup {
			e.Fatal("DUP though it was never sent")
		}
	}
	c.silent()
}

// idSpaces: the same identifiers in both directions at once are not the same.
func idSpaces(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("in"), 2)
	p := e.join("p")
	p.publish(e.topic("in"), "1", 1)
	p.publish(e.topic("in"), "2", 2)
	m1, m2 := c.message(e.topic("in"), "1", 1), c.message(e.topic("in"), "2", 2)
	for _, id := range []uint16{m1.PacketID, m2.PacketID} {
		c.publish(e.topic("out"), "m", 1, pid(id))
		c.publish(e.topic("out"), "m", 2, pid(id))
	}
	c.drop()
	c = e.join("c", resume)
	c.again(m1)
	c.again(m2)
	c.settle(m1)
	c.settle(m2)
	c.silent()
}

// unknownAcks: of something that was not sent; they are ignored.
func unknownAcks(e *env) {
	c := e.join("c")
	c.send(ack(packet.TypePuback, 9), ack(packet.TypePubcomp, 9))
	c.silent()
	c.send(ack(packet.TypePubrel, 9)) // is answered, so that the other side ends its flow
	if a := c.ack(packet.TypePubcomp, 9); e.five() && a.Reason != packet.PacketIdentifierNotFound {
		e.Errorf("reason %v", a.Reason)
	}
}

func unknownPubrec(e *env) {
	c := e.join("c")
	c.send(ack(packet.TypePubrec, 9))
	if e.five() {
		if a := c.ack(packet.TypePubrel, 9); a.Reason != packet.PacketIdentifierNotFound {
			e.Errorf("reason %v", a.Reason)
		}
		c.silent()
		return
	}
	c.closed()
}

// wrongAck: PUBREC for QoS 1 and PUBACK for QoS 2 acknowledge nothing.
func wrongAck(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 1)
	p.publish(e.topic("a"), "2", 2)
	m1, m2 := c.message(e.topic("a"), "1", 1), c.message(e.topic("a"), "2", 2)
	c.send(ack(packet.TypePuback, m2.PacketID), ack(packet.TypePubrec, m1.PacketID))
	c.send(&packet.Disconnect{})
	c.closedSoon()
	c = e.join("c", resume)
	c.again(m1)
	c.again(m2)
}

func offlineLimit(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 1)
	c.bye()
	p := e.join("p")
	for i := range 10 {
		p.publish(e.topic("a"), fmt.Sprint(i), 1)
	}
	c = e.join("c", resume)
	for i := range 5 {
		c.take(e.topic("a"), fmt.Sprint(i), 1)
	}
	c.silent()
}

func qos0IsNotQueued(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	c.bye()
	p := e.join("p")
	p.publish(e.topic("a"), "0", 0)
	p.publish(e.topic("a"), "1", 1)
	c = e.join("c", resume)
	c.take(e.topic("a"), "1", 1)
	c.silent()
}

func pubrelTwice(e *env) {
	c := e.join("c")
	c.publish(e.topic("a"), "m", 2, pid(3))
	c.send(ack(packet.TypePubrel, 3))
	if a := c.ack(packet.TypePubcomp, 3); e.five() && a.Reason != packet.PacketIdentifierNotFound {
		e.Errorf("reason %v", a.Reason)
	}
}

// qos2AcrossConnections: each packet of the flow on a connection of its own.
func qos2AcrossConnections(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	p := e.join("p", kept)
	m := &packet.Publish{Topic: e.topic("a"), Payload: []byte("m"), QoS: 2, PacketID: 8}
	p.send(m)
	p.ack(packet.TypePubrec, 8)
	p.drop()
	p = e.join("p", resume)
	m.Dup = true
	p.send(m)
	p.okay(p.ack(packet.TypePubrec, 8))
	p.drop()
	p = e.join("p", resume)
	p.send(ack(packet.TypePubrel, 8))
	p.okay(p.ack(packet.TypePubcomp, 8))
	p.drop()
	first := c.message(e.topic("a"), "m", 2)
	c.drop()
	c = e.join("c", resume)
	c.again(first)
	c.send(ack(packet.TypePubrec, first.PacketID))
	c.ack(packet.TypePubrel, first.PacketID)
	c.drop()
	c = e.join("c", resume)
	c.ack(packet.TypePubrel, first.PacketID)
	c.send(ack(packet.TypePubcomp, first.PacketID))
	c.silent()
}

func qos2AcrossRestart(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	p := e.join("p", kept)
	m := &packet.Publish{Topic: e.topic("a"), Payload: []byte("m"), QoS: 2, PacketID: 8}
	p.send(m)
	p.ack(packet.TypePubrec, 8)
	c.take(e.topic("a"), "m", 2)
	c.silent()
	e.stack.stop()
	e.stack.start()
	c, p = e.join("c", resume), e.join("p", resume)
	m.Dup = true
	p.send(m)
	p.okay(p.ack(packet.TypePubrec, 8))
	p.send(ack(packet.TypePubrel, 8))
	p.okay(p.ack(packet.TypePubcomp, 8))
	c.silent()
}

// redeliveryOrder: 50 in flight and queued, over and over.
func redeliveryOrder(e *env) {
	c := e.join("c", kept, func(p *packet.Connect) { p.ReceiveMaximum = 10 })
	c.subscribe(e.topic("a"), 1)
	p := e.join("p")
	for i := range 50 {
		p.publish(e.topic("a"), fmt.Sprint(i), 1)
	}
	for next := 0; next < 50; {
		c.drop()
		c = e.join("c", resume, func(p *packet.Connect) { p.ReceiveMaximum = 10 })
		for k := 0; k < 10 && next+k < 50; k++ {
			m := c.message(e.topic("a"), fmt.Sprint(next+k), 1)
			if k < 5 {
				c.send(ack(packet.TypePuback, m.PacketID))
			}
		}
		c.pass()
		next += 5
	}
}

func acksOutOfOrder(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 1)
	p := e.join("p")
	var ms []*packet.Publish
	for i := range 10 {
		p.publish(e.topic("a"), fmt.Sprint(i), 1)
		ms = append(ms, c.message(e.topic("a"), fmt.Sprint(i), 1))
	}
	for _, i := range []int{9, 3, 0, 7} {
		c.send(ack(packet.TypePuback, ms[i].PacketID))
	}
	c.silent()
	c.drop()
	c = e.join("c", resume)
	for _, i := range []int{1, 2, 4, 5, 6, 8} {
		c.again(ms[i])
		c.send(ack(packet.TypePuback, ms[i].PacketID))
	}
	c.silent()
}
