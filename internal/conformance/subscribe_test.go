package conformance

import (
	"bytes"
	"fmt"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

// subscribeRows are §3.8 to §3.12: SUBSCRIBE, UNSUBSCRIBE and PINGREQ.
var subscribeRows = []row{
	{v311: "MQTT-3.8.1-1", v5: "MQTT-3.8.1-1", run: func(e *env) { flagsOf(e, 0x80, raw(0, uint16(1), e.none(), e.topic("a"), 0)) }},
	{v311: "MQTT-3.8.3-1", v5: "MQTT-3.8.3-1", run: func(e *env) {
		badFilters(e, func(bad string) []byte { return raw(0x82, uint16(1), e.none(), bad, 0) })
	}},
	{v311: "MQTT-3.8.3-3", v5: "MQTT-3.8.3-2", run: noFilters},
	{v5: "MQTT-3.8.3-3", run: noLocal},
	{v5: "MQTT-3.8.3-4", run: noLocalShared},
	{v311: "MQTT-3.8.3-4", v5: "MQTT-3.8.3-5", run: reservedOptions},
	{v31: "3.1-subscribe", v311: "MQTT-3.8.4-1 MQTT-3.8.4-2", v5: "MQTT-3.8.4-1 MQTT-3.8.4-2", run: subackAnswers},
	{v311: "MQTT-3.8.4-3", v5: "MQTT-3.8.4-3", run: subscriptionIsReplaced},
	{v311: "MQTT-3.8.4-3", v5: "MQTT-3.8.4-4", name: "retained again, nothing lost", run: replacingLosesNothing},
	{v311: "MQTT-3.8.4-4", v5: "MQTT-3.8.4-5", run: manyFilters},
	{v311: "MQTT-3.8.4-5", v5: "MQTT-3.8.4-6", run: oneReasonEach},
	{v5: "MQTT-3.8.4-7", run: oneReasonEach},
	{v311: "MQTT-3.8.4-6", v5: "MQTT-3.8.4-8", run: lowerQoS},
	{v5: "MQTT-3.9.2-1", where: inBubble, run: largeSuback},
	{v311: "MQTT-3.9.3-1", v5: "MQTT-3.9.3-1", run: reasonsInOrder},
	{v311: "MQTT-3.9.3-2", v5: "MQTT-3.9.3-2", run: reasonsInOrder},
	{v311: "MQTT-3.10.1-1", v5: "MQTT-3.10.1-1", run: func(e *env) { flagsOf(e, 0xA0, raw(0, uint16(1), e.none(), e.topic("a"))) }},
	{v311: "MQTT-3.10.3-1", v5: "MQTT-3.10.3-1", run: func(e *env) {
		badFilters(e, func(bad string) []byte { return raw(0xA2, uint16(1), e.none(), bad) })
	}},
	{v311: "MQTT-3.10.3-2", v5: "MQTT-3.10.3-2", run: func(e *env) {
		e.refuses(raw(0xA2, uint16(1), e.none()), packet.ProtocolError, packet.MalformedPacket)
	}},
	{v311: "MQTT-3.10.4-1", v5: "MQTT-3.10.4-1", run: unsubscribeCompares},
	{v31: "3.1-unsubscribe", v311: "MQTT-3.10.4-2", v5: "MQTT-3.10.4-2", run: nothingAfterUnsubscribe},
	{v311: "MQTT-3.10.4-3", v5: "MQTT-3.10.4-3", run: begunIsCompleted},
	{v311: "MQTT-3.10.4-4", v5: "MQTT-3.10.4-4", run: subacksCarryTheID},
	{v311: "MQTT-3.10.4-5", v5: "MQTT-3.10.4-5", run: unsubackAlways},
	{v311: "MQTT-3.10.4-6", v5: "MQTT-3.10.4-6", run: manyUnsubscribes},
	{v5: "MQTT-3.11.3-1 MQTT-3.11.3-2", run: manyUnsubscribes},
	{v31: "3.1-ping", v311: "MQTT-3.12.4-1", v5: "MQTT-3.12.4-1", run: pingIsAnswered},

	{rule: "subscription-limit", where: inBubble, set: func(s *session.Settings) { s.MaxSubscriptions = 2 }, run: subscriptionLimit},
	{rule: "subscribe-cut", run: cutSubscribe},
	{rule: "many-filters", run: hundredFilters},
	{rule: "identifier-replaced", only5: true, run: identifierIsReplaced},
	{rule: "identifier-zero", only5: true, run: identifierZero},
	{rule: "identifier-retained", only5: true, run: identifierOnRetained},
	{rule: "no-local-overlap", only5: true, run: noLocalOverlap},
	{rule: "subscribe-same-filter-twice", run: sameFilterTwice},
}

// flagsOf sends a packet with every wrong value of its flags, and the right one.
func flagsOf(e *env, first byte, b []byte) {
	for flags := range byte(16) {
		if flags == 2 {
			continue
		}
		bad := bytes.Clone(b)
		bad[0] = first | flags
		e.refuses(bad, packet.MalformedPacket)
	}
	good := bytes.Clone(b)
	good[0] = first | 2
	c := e.join("c")
	c.raw(good...)
	if p := c.next().Packet; p == nil {
		e.Error("the right flags ended the connection")
	}
}

func badFilters(e *env, packet func(string) []byte) {
	for _, texts := range []map[string]string{illFormed, withNul} {
		for _, bad := range texts {
			e.refuses(packet(bad))
		}
	}
}

func noFilters(e *env) {
	e.refuses(raw(0x82, uint16(1), e.none()), packet.ProtocolError, packet.MalformedPacket)
	e.refuses(raw(0x82, uint16(1), e.none(), e.topic("a")), packet.MalformedPacket)
}

func notMine(s *message.Subscription) { s.NoLocal = true }

func noLocal(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 1, notMine)
	for qos := range byte(3) {
		c.publish(e.topic("a"), "own", qos)
	}
	c.silent()
	e.join("p").publish(e.topic("a"), "other", 1)
	c.take(e.topic("a"), "other", 1)
}

func noLocalOverlap(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 1, notMine)
	c.subscribe(e.topic("+"), 1)
	c.publish(e.topic("a"), "own", 1)
	c.take(e.topic("a"), "own", 1) // by the other subscription
	c.silent()
}

func noLocalShared(e *env) {
	e.refuses(raw(0x82, uint16(1), props(), "$share/g/"+e.topic("a"), 0x05), packet.ProtocolError)
}

func reservedOptions(e *env) {
	bad := []int{0x03, 0x40, 0x80, 0xC1}
	if e.five() {
		bad = append(bad, 0x30) // retain handling 3
	} else {
		bad = append(bad, 0x04, 0x08, 0x10, 0x20)
	}
	for _, o := range bad {
		e.refuses(raw(0x82, uint16(1), e.none(), e.topic("a"), o), packet.MalformedPacket, packet.ProtocolError)
		e.refuses(raw(0x82, uint16(1), e.none(), e.topic("ok"), 0, e.topic("a"), o), packet.MalformedPacket, packet.ProtocolError)
	}
}

func subackAnswers(e *env) {
	c := e.join("c")
	for id := uint16(1); id < 4; id++ {
		c.send(&packet.Subscribe{PacketID: id, Subscriptions: subs(byte(id-1), e.topic("a"))})
		a := want[*packet.Suback](c)
		if d := cmp.Diff([]packet.Reason{packet.Reason(id - 1)}, a.Reasons); a.PacketID != id || d != "" {
			e.Error(a.PacketID, d)
		}
	}
}

func subscriptionIsReplaced(e *env) {
	c := e.join("c")
	p := e.join("p")
	for _, granted := range []byte{2, 0, 1} {
		c.subscribe(e.topic("+"), granted)
		p.publish(e.topic("a"), "m", 2)
		c.take(e.topic("a"), "m", granted)
		c.silent()
	}
	c.unsubscribe(e.topic("+"))
	p.publish(e.topic("a"), "m", 2)
	c.silent()
}

// replacingLosesNothing subscribes again and again while somebody publishes.
func replacingLosesNothing(e *env) {
	p := e.join("p")
	p.publish(e.topic("kept"), "retained", 1, retain)
	c := e.join("c")
	c.subscribe(e.topic("#"), 1)
	c.take(e.topic("kept"), "retained", 1)
	const messages, times = 200, 20
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range messages {
			p.send(&packet.Publish{Topic: e.topic("a"), Payload: fmt.Append(nil, i), QoS: 1, PacketID: uint16(i + 1)})
		}
	}()
	for i := range times {
		c.send(&packet.Subscribe{PacketID: uint16(i + 1), Subscriptions: subs(1, e.topic("#"))})
	}
	next, subacks, retained := 0, 0, 0
	for next < messages || subacks < times || retained < times {
		switch m := c.next().Packet.(type) {
		case *packet.Suback:
			subacks++
		case *packet.Publish:
			c.settle(m)
			switch {
			case m.Topic == e.topic("kept"):
				retained++
			case string(m.Payload) != fmt.Sprint(next):
				e.Fatalf("message %s, want %d", m.Payload, next)
			default:
				next++
			}
		default:
			e.Fatalf("got %s", show(m))
		}
	}
	<-done
	for i := range messages {
		p.ack(packet.TypePuback, uint16(i+1))
	}
	p.clear(e.topic("kept"))
}

func manyFilters(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "retained", 1, retain)
	c := e.join("c")
	c.send(&packet.Subscribe{PacketID: 9, Subscriptions: append(subs(1, e.topic("a"), e.topic("b")), subs(2, e.topic("+/x"), "denied/x", e.topic("c"))...)})
	a := want[*packet.Suback](c)
	refusal := packet.UnspecifiedError
	if e.five() {
		refusal = packet.NotAuthorized
	}
	if d := cmp.Diff([]packet.Reason{1, 1, 2, refusal, 2}, a.Reasons); d != "" {
		e.Fatal(d)
	}
	c.take(e.topic("a"), "retained", 1)
	for _, topic := range []string{"a", "b", "a/x", "c"} {
		p.publish(e.topic(topic), topic, 1)
		c.take(e.topic(topic), topic, 1)
	}
	c.silent()
	p.clear(e.topic("a"))
}

func oneReasonEach(e *env) {
	c := e.join("c")
	for n := 1; n <= 4; n++ {
		var filters []message.Subscription
		for i := range n {
			filters = append(filters, subs(byte(i%3), e.topic(fmt.Sprint(i)))...)
		}
		c.send(&packet.Subscribe{PacketID: 1, Subscriptions: filters})
		a := want[*packet.Suback](c)
		if len(a.Reasons) != n {
			e.Fatalf("%d reasons for %d filters", len(a.Reasons), n)
		}
		for i, r := range a.Reasons {
			if r != packet.Reason(i%3) {
				e.Errorf("reason %v for QoS %d", r, i%3)
			}
		}
	}
}

func lowerQoS(e *env) {
	p := e.join("p")
	for granted := range byte(3) {
		c := e.join("c")
		c.subscribe(e.topic("a"), granted)
		for published := range byte(3) {
			p.publish(e.topic("a"), "m", published)
			c.take(e.topic("a"), "m", min(granted, published))
		}
	}
}

// largeSuback: the reason string comes if there is room for it.
func largeSuback(e *env) {
	for _, limit := range []uint32{0, 50} {
		c := e.join("c", func(p *packet.Connect) { p.MaximumPacketSize = limit })
		c.send(&packet.Subscribe{PacketID: 1, Subscriptions: subs(0, "denied/x")})
		got := c.next()
		a, ok := got.Packet.(*packet.Suback)
		if !ok || a.Reasons[0] != packet.NotAuthorized || a.ReasonString != "" != (limit == 0) || limit > 0 && len(got.raw) > int(limit) {
			e.Errorf("limit %d: % x", limit, got.raw)
		}
	}
}

func reasonsInOrder(e *env) {
	c := e.join("c")
	qos := []byte{2, 0, 1, 1, 0, 2}
	var filters []message.Subscription
	for i, q := range qos {
		filters = append(filters, subs(q, e.topic(fmt.Sprint(i)))...)
	}
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: filters})
	p := c.next()
	if !bytes.HasSuffix(p.raw, qos) {
		e.Errorf("SUBACK is % x", p.raw)
	}
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: subs(1, "denied/x")})
	p = c.next()
	last := p.raw[len(p.raw)-1]
	if want := byte(0x80); !e.five() && last != want || e.five() && last != 0x87 {
		e.Errorf("SUBACK is % x", p.raw)
	}
}

func unsubscribeCompares(e *env) {
	c := e.join("c")
	p := e.join("p")
	c.subscribe(e.topic("a/+"), 1)
	for _, other := range []string{"a/b", "a/#", "A/+", "a/+/", "#"} {
		c.unsubscribe(e.topic(other))
	}
	p.publish(e.topic("a/b"), "m", 1)
	c.take(e.topic("a/b"), "m", 1)
	c.subscribe(e.topic("a/b"), 1)
	c.unsubscribe(e.topic("a/+"))
	p.publish(e.topic("a/b"), "still", 1)
	c.take(e.topic("a/b"), "still", 1)
	c.unsubscribe(e.topic("a/b"))
	p.publish(e.topic("a/b"), "m", 1)
	c.silent()
}

func nothingAfterUnsubscribe(e *env) {
	c := e.join("c")
	p := e.join("p")
	for qos := range byte(3) {
		c.subscribe(e.topic("a"), qos)
		p.publish(e.topic("a"), "m", qos)
		c.take(e.topic("a"), "m", qos)
		c.unsubscribe(e.topic("a"))
		p.publish(e.topic("a"), "m", qos)
		c.silent()
	}
}

func begunIsCompleted(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 1)
	p.publish(e.topic("a"), "2", 2)
	m1, m2 := c.message(e.topic("a"), "1", 1), c.message(e.topic("a"), "2", 2)
	c.unsubscribe(e.topic("a"))
	c.send(ack(packet.TypePubrec, m2.PacketID))
	c.ack(packet.TypePubrel, m2.PacketID)
	c.drop()
	c = e.join("c", resume)
	if again := c.message(e.topic("a"), "1", 1); again.PacketID != m1.PacketID || !again.Dup {
		e.Errorf("sent again as %s", describe(again))
	}
	c.ack(packet.TypePubrel, m2.PacketID)
	c.send(ack(packet.TypePuback, m1.PacketID), ack(packet.TypePubcomp, m2.PacketID))
	c.silent()
}

func unsubackAlways(e *env) {
	c := e.join("c")
	c.send(&packet.Unsubscribe{PacketID: 77, Filters: []string{e.topic("never")}})
	a := want[*packet.Unsuback](c)
	if a.PacketID != 77 || e.five() && a.Reasons[0] != packet.NoSubscriptionExisted {
		e.Errorf("got %s", describe(a))
	}
}

func manyUnsubscribes(e *env) {
	c := e.join("c")
	for _, f := range []string{"a", "b", "c"} {
		c.subscribe(e.topic(f), 1)
	}
	c.send(&packet.Unsubscribe{PacketID: 5, Filters: []string{e.topic("a"), e.topic("x"), e.topic("b"), e.topic("a")}})
	a := want[*packet.Unsuback](c)
	if e.five() {
		none := packet.NoSubscriptionExisted
		if d := cmp.Diff([]packet.Reason{0, none, 0, none}, a.Reasons); d != "" {
			e.Error(d)
		}
	}
	p := e.join("p")
	for _, f := range []string{"a", "b", "c"} {
		p.publish(e.topic(f), "m", 1)
	}
	c.take(e.topic("c"), "m", 1)
	c.silent()
}

func pingIsAnswered(e *env) {
	c := e.join("c")
	for range 10 {
		c.raw(0xC0, 0)
	}
	for range 10 {
		if got := c.next().raw; !bytes.Equal(got, []byte{0xD0, 0}) {
			e.Fatalf("got % x", got)
		}
	}
	c.silent()
}

func subscriptionLimit(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 0)
	c.subscribe(e.topic("b"), 0)
	c.subscribe(e.topic("a"), 1) // replaces
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: subs(0, e.topic("c"))})
	want5 := packet.UnspecifiedError
	if e.five() {
		want5 = packet.QuotaExceeded
	}
	if a := want[*packet.Suback](c); a.Reasons[0] != want5 {
		e.Errorf("got %s", describe(a))
	}
	c.unsubscribe(e.topic("a"))
	c.subscribe(e.topic("c"), 0)
}

// cutSubscribe: packets that end where something is missing.
func cutSubscribe(e *env) {
	whole := raw(0x82, uint16(1), e.none(), e.topic("a"), 1, e.topic("b"), 1)
	first := len(raw(0x82, uint16(1), e.none(), e.topic("a"), 1))
	for n := 3; n < len(whole); n++ {
		if n == first {
			continue // is a whole one with one filter
		}
		cut := bytes.Clone(whole[:n])
		cut[1] = byte(n - 2)
		e.refuses(cut)
	}
}

func hundredFilters(e *env) {
	c := e.join("c")
	var filters []message.Subscription
	for i := range 100 {
		filters = append(filters, subs(1, e.topic(fmt.Sprint(i)))...)
	}
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: filters})
	if a := want[*packet.Suback](c); len(a.Reasons) != 100 {
		e.Fatalf("%d reasons", len(a.Reasons))
	}
	e.join("p").publish(e.topic("99"), "m", 1)
	c.take(e.topic("99"), "m", 1)
}

func identifierIsReplaced(e *env) {
	c := e.join("c")
	p := e.join("p")
	for _, id := range []uint32{1, 2, 0} {
		c.subscribe(e.topic("a"), 1, identifier(id))
		p.publish(e.topic("a"), "m", 1)
		got := c.take(e.topic("a"), "m", 1).SubscriptionIDs
		if id == 0 && len(got) != 0 || id > 0 && (len(got) != 1 || got[0] != id) {
			e.Errorf("identifiers %v, want %d", got, id)
		}
	}
}

func identifierZero(e *env) {
	e.refuses(raw(0x82, uint16(1), props(propSubscriptionID, 0), e.topic("a"), 0), packet.ProtocolError)
	e.refuses(raw(0x82, uint16(1), props(propSubscriptionID, 1, propSubscriptionID, 2), e.topic("a"), 0), packet.ProtocolError)
}

func identifierOnRetained(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, retain)
	c := e.join("c")
	c.subscribe(e.topic("a"), 1, identifier(5))
	if got := c.take(e.topic("a"), "m", 1).SubscriptionIDs; len(got) != 1 || got[0] != 5 {
		e.Errorf("identifiers %v", got)
	}
	p.clear(e.topic("a"))
}

func sameFilterTwice(e *env) {
	c := e.join("c")
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: append(subs(0, e.topic("a")), subs(1, e.topic("a"))...)})
	if d := cmp.Diff([]packet.Reason{0, 1}, want[*packet.Suback](c).Reasons); d != "" {
		e.Error(d)
	}
	e.join("p").publish(e.topic("a"), "m", 2)
	c.take(e.topic("a"), "m", 1)
	c.silent()
}
