package conformance

import (
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// forwards publishes a message with properties, to subscribers now and later,
// who must get the same.
func forwards(e *env, set func(*message.Properties)) {
	e = e.again()
	want := &message.Properties{}
	set(want)
	now, later := e.join("now"), e.join("later", kept)
	now.subscribe(e.topic("a"), 2)
	later.subscribe(e.topic("a"), 2)
	later.bye()
	p := e.join("p")
	for qos := range byte(3) {
		p.publish(e.topic("a"), "m", qos, retain, func(p *packet.Publish) { p.Properties = want })
		m := now.take(e.topic("a"), "m", qos)
		if d := cmp.Diff(want, m.Properties); d != "" {
			e.Errorf("QoS %d: %s", qos, d)
		}
	}
	later = e.join("later", resume)
	for qos := byte(1); qos < 3; qos++ {
		if d := cmp.Diff(want, later.take(e.topic("a"), "m", qos).Properties); d != "" {
			e.Errorf("queued at QoS %d: %s", qos, d)
		}
	}
	retained := e.join("retained")
	retained.subscribe(e.topic("a"), 2)
	if d := cmp.Diff(want, retained.take(e.topic("a"), "m", 2).Properties); d != "" {
		e.Errorf("retained: %s", d)
	}
	p.clear(e.topic("a"))
}

func formatIsForwarded(e *env) {
	for format := range byte(2) {
		forwards(e, func(p *message.Properties) { p.HasFormat, p.PayloadFormat = true, format })
	}
	e.refuses(raw(0x30, e.topic("a"), props(propFormat, 2), []byte("m")), packet.ProtocolError, packet.MalformedPacket)
}

func correlationIsForwarded(e *env) {
	forwards(e, func(p *message.Properties) { p.HasCorrelation, p.CorrelationData = true, []byte{0, 0xFF, 0xC0} })
	forwards(e, func(p *message.Properties) { p.HasCorrelation = true })
}

func userPropertiesAreForwarded(e *env) {
	forwards(e, func(p *message.Properties) {
		p.User = []message.UserProperty{{Name: "n", Value: "v"}, {Name: "\u00e4", Value: "\u20ac"}, {Name: "", Value: ""}, {Name: "long", Value: long(2000)}}
	})
}

func userPropertiesInOrder(e *env) {
	forwards(e, func(p *message.Properties) {
		for _, n := range []string{"z", "a", "z", "m", "a", "z"} {
			p.User = append(p.User, message.UserProperty{Name: n, Value: string(rune('0' + len(p.User)))})
		}
	})
}

func messageExpiry(seconds uint32) func(*packet.Publish) {
	return func(p *packet.Publish) { p.Expiry, p.HasExpiry = seconds, true }
}

func expiredIsNotDelivered(e *env) {
	c := e.join("c", resume)
	c.subscribe(e.topic("a"), 2)
	c.bye()
	p := e.join("p")
	p.publish(e.topic("a"), "short", 1, messageExpiry(10))
	p.publish(e.topic("a"), "long", 1, messageExpiry(100))
	p.publish(e.topic("a"), "short too", 2, messageExpiry(10))
	p.publish(e.topic("a"), "for ever", 2)
	time.Sleep(11 * time.Second)
	c = e.join("c", resume)
	c.take(e.topic("a"), "long", 1)
	c.take(e.topic("a"), "for ever", 2)
	c.silent()
}

func expiryCountsDown(e *env) {
	c := e.join("c", resume)
	c.subscribe(e.topic("a"), 1)
	p := e.join("p")
	p.publish(e.topic("a"), "now", 1, messageExpiry(100))
	if m := c.take(e.topic("a"), "now", 1); m.Expiry != 100 {
		e.Errorf("delivered at once with an expiry of %d", m.Expiry)
	}
	p.publish(e.topic("a"), "kept", 1, messageExpiry(100), retain)
	c.take(e.topic("a"), "kept", 1)
	c.bye()
	p.publish(e.topic("a"), "queued", 1, messageExpiry(100))
	time.Sleep(40 * time.Second)
	c = e.join("c", resume)
	if m := c.take(e.topic("a"), "queued", 1); m.Expiry != 60 {
		e.Errorf("after 40 s in the queue the expiry is %d", m.Expiry)
	}
	c.subscribe(e.topic("a"), 1)
	if m := c.take(e.topic("a"), "kept", 1); m.Expiry != 60 {
		e.Errorf("40 s after it was retained the expiry is %d", m.Expiry)
	}
}

func expirySurvivesRestart(e *env) {
	c := e.join("c", resume)
	c.subscribe(e.topic("a"), 1)
	c.bye()
	p := e.join("p")
	p.publish(e.topic("a"), "short", 1, messageExpiry(10))
	p.publish(e.topic("a"), "long", 1, messageExpiry(100))
	e.stack.stop()
	time.Sleep(20 * time.Second)
	e.stack.start()
	c = e.join("c", resume)
	if m := c.take(e.topic("a"), "long", 1); m.Expiry != 80 {
		e.Errorf("after 20 s the expiry is %d", m.Expiry)
	}
	c.silent()
}

func alias(n uint16) func(*packet.Publish) { return func(p *packet.Publish) { p.TopicAlias = n } }

func aliasesEndWithConnection(e *env) {
	p := e.join("p", kept)
	p.publish(e.topic("a"), "m", 1, alias(1))
	p.publish("", "m", 1, alias(1))
	p.bye()
	p = e.join("p", resume)
	p.send(&packet.Publish{TopicAlias: 1, Payload: []byte("m")})
	p.refused(packet.ProtocolError, packet.TopicAliasInvalid)
}

func aliasZero(e *env) {
	e.refuses(raw(0x30, e.topic("a"), props(propAlias, uint16(0)), []byte("m")), packet.TopicAliasInvalid)
}

func aliasTooHigh(e *env) {
	if got := e.join("c").connack.TopicAliasMaximum; got != 10 {
		e.Fatalf("CONNACK tells %d", got)
	}
	for _, n := range []uint16{11, 0xFFFF} {
		c := e.join("c")
		c.send(&packet.Publish{Topic: e.topic("a"), TopicAlias: n})
		c.refused(packet.TopicAliasInvalid)
	}
}

func aliasesNotAllowed(e *env) {
	c := e.join("c")
	if c.connack.TopicAliasMaximum != 0 {
		e.Fatalf("CONNACK tells %d", c.connack.TopicAliasMaximum)
	}
	c.send(&packet.Publish{Topic: e.topic("a"), TopicAlias: 1})
	c.refused(packet.TopicAliasInvalid)
}

func aliasesAreTaken(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("#"), 2)
	p := e.join("p")
	name := func(n uint16) string { return e.topic(string(rune('a' + n))) }
	for n := range uint16(10) {
		p.publish(name(n), "named", byte(n%3), alias(n+1))
		c.take(name(n), "named", byte(n%3))
	}
	for n := range uint16(10) {
		p.publish("", "by alias", byte(n%3), alias(n+1))
		c.take(name(n), "by alias", byte(n%3))
	}
	q := e.join("q") // aliases are those of one connection
	q.send(&packet.Publish{TopicAlias: 1})
	q.refused(packet.ProtocolError, packet.TopicAliasInvalid)
}

func aliasIsReplaced(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("#"), 0)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 0, alias(1))
	p.publish(e.topic("b"), "2", 0, alias(1))
	p.publish("", "3", 0, alias(1))
	c.take(e.topic("a"), "1", 0)
	c.take(e.topic("b"), "2", 0)
	c.take(e.topic("b"), "3", 0)
}

func badPublishText(e *env, property int) {
	for _, texts := range []map[string]string{illFormed, withNul} {
		for _, bad := range texts {
			e.refuses(raw(0x30, e.topic("a"), props(property, bad), []byte("m")), packet.MalformedPacket)
		}
	}
}

func responseTopicWithWildcards(e *env) {
	for _, bad := range []string{"#", "a/+/b", "a/b#"} {
		e.refuses(raw(0x30, e.topic("a"), props(propResponseTopic, bad), []byte("m")), packet.ProtocolError, packet.TopicNameInvalid, packet.MalformedPacket)
	}
}

func nothingIsAdded(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	for qos := range byte(3) {
		p.publish(e.topic("a"), "m", qos)
		m := c.take(e.topic("a"), "m", qos)
		if m.HasExpiry || m.TopicAlias != 0 || len(m.SubscriptionIDs) > 0 || m.Properties != nil {
			e.Errorf("properties that nobody set: %s", describe(m))
		}
	}
}
