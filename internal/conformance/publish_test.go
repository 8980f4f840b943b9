package conformance

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

// publishRows are §3.3 apart from flow control.
var publishRows = []row{
	{v311: "MQTT-3.3.1-1", v5: "MQTT-3.3.1-1", run: dupWhenSentAgain},
	{v311: "MQTT-3.3.1-2", v5: "MQTT-3.3.1-2", run: noDupAtQoS0},
	{v311: "MQTT-3.3.1-3", v5: "MQTT-3.3.1-3", run: dupIsNotPassedOn},
	{v311: "MQTT-3.3.1-4", v5: "MQTT-3.3.1-4", run: qos3},
	{v31: "3.1-retain", v311: "MQTT-3.3.1-5 MQTT-3.3.1-6", v5: "MQTT-3.3.1-5", run: retainedReplaces},
	{v311: "MQTT-3.3.1-7", run: retainedQoS0Replaces},
	{v311: "MQTT-3.3.1-8", run: retainFlagOfNewSubscription},
	{v311: "MQTT-3.3.1-9", v5: "MQTT-3.3.1-12", run: retainFlagOfEstablished},
	{v311: "MQTT-3.3.1-10", v5: "MQTT-3.3.1-6", run: emptyRemovesRetained},
	{v311: "MQTT-3.3.1-11", v5: "MQTT-3.3.1-7", run: emptyIsNotRetained},
	{v311: "MQTT-3.3.1-12", v5: "MQTT-3.3.1-8", run: notRetainedChangesNothing},
	{v5: "MQTT-3.3.1-9", run: retainHandling0},
	{v5: "MQTT-3.3.1-10", run: retainHandling1},
	{v5: "MQTT-3.3.1-11", run: retainHandling2},
	{v5: "MQTT-3.3.1-13", run: retainAsPublished},
	{v311: "MQTT-3.3.2-1", v5: "MQTT-3.3.2-1", run: topicIsFirstAndText},
	{v311: "MQTT-3.3.2-2", v5: "MQTT-3.3.2-2", run: topicWithWildcards},
	{v311: "MQTT-4.7.1-1", v5: "MQTT-4.7.0-1", run: topicWithWildcards},
	{v311: "MQTT-3.3.2-3", v5: "MQTT-3.3.2-3", run: topicMatchesFilter},
	{v5: "MQTT-3.3.2-4", run: formatIsForwarded},
	{v5: "MQTT-3.3.2-5", where: inBubble, run: expiredIsNotDelivered},
	{v5: "MQTT-3.3.2-6", where: inBubble, run: expiryCountsDown},
	{v5: "MQTT-3.3.2-7", run: aliasesEndWithConnection},
	{v5: "MQTT-3.3.2-8", run: aliasZero},
	{v5: "MQTT-3.3.2-9 MQTT-3.2.2-17", run: aliasTooHigh},
	{v5: "MQTT-3.2.2-18", where: inBubble, run: aliasesNotAllowed},
	{v5: "MQTT-3.3.2-12", run: aliasesAreTaken},
	{v5: "MQTT-3.3.2-13", run: func(e *env) { badPublishText(e, propResponseTopic) }},
	{v5: "MQTT-3.3.2-14", run: responseTopicWithWildcards},
	{v5: "MQTT-3.3.2-15", run: func(e *env) { forwards(e, func(p *message.Properties) { p.ResponseTopic = "somewhere/else" }) }},
	{v5: "MQTT-3.3.2-16", run: correlationIsForwarded},
	{v5: "MQTT-3.3.2-17", run: userPropertiesAreForwarded},
	{v5: "MQTT-3.3.2-18", run: userPropertiesInOrder},
	{v5: "MQTT-3.3.2-19", run: func(e *env) { badPublishText(e, propContentType) }},
	{v5: "MQTT-3.3.2-20", run: func(e *env) { forwards(e, func(p *message.Properties) { p.ContentType = "application/\u00e4" }) }},
	{v311: "MQTT-3.3.4-1", v5: "MQTT-3.3.4-1", run: answersByQoS},
	{v311: "MQTT-3.3.5-1", v5: "MQTT-3.3.4-2", run: overlappingQoS},
	{v5: "MQTT-3.3.4-3 MQTT-3.3.4-4", run: overlappingIdentifiers},
	{v5: "MQTT-3.3.4-6", run: identifierFromClient},
	{v311: "MQTT-3.3.5-2", run: unauthorizedPublish},
	{v311: "MQTT-4.5.0-1", v5: "MQTT-4.5.0-1", run: everySessionGetsIt},

	{rule: "unauthorized-publish", run: unauthorizedPublish},
	{rule: "no-properties-added", only5: true, run: nothingIsAdded},
	{rule: "message-expiry-retained", only5: true, where: inBubble, run: retainedExpires},
	{rule: "message-expiry-restart", only5: true, where: inBubble, run: expirySurvivesRestart},
	{rule: "topic-alias-replaced", only5: true, run: aliasIsReplaced},
	{rule: "dollar-publish", run: publishToDollar},
	{rule: "large-payload", run: largePayload},
	{rule: "no-subscriber", only5: true, run: nobodySubscribes},
	{rule: "retained-qos", run: retainedKeepsQoS},
	{rule: "retained-wildcards", where: inBubble, run: retainedForWildcards},
	{rule: "retained-many", where: inBubble, set: func(s *session.Settings) { s.MaxOnline = 10 }, run: manyRetained},
}

func dupWhenSentAgain(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 1)
	p.publish(e.topic("a"), "2", 2)
	first := []*packet.Publish{c.message(e.topic("a"), "1", 1), c.message(e.topic("a"), "2", 2)}
	for range 3 {
		c.drop()
		c = e.join("c", resume)
		for _, was := range first {
			if was.Dup && was == first[0] {
				e.Error("DUP is set though it was sent for the first time")
			}
			m := c.message(e.topic("a"), string(was.Payload), was.QoS)
			if !m.Dup || m.PacketID != was.PacketID {
				e.Errorf("sent again as %s, first was %s", describe(m), describe(was))
			}
		}
	}
}

func noDupAtQoS0(e *env) {
	e.refuses(raw(0x38, e.topic("a"), e.none(), []byte("m")), packet.MalformedPacket)
	c := e.join("c")
	c.subscribe(e.topic("a"), 0)
	p := e.join("p")
	p.send(&packet.Publish{Topic: e.topic("a"), Payload: []byte("m"), QoS: 1, PacketID: 1, Dup: true})
	if m := c.message(e.topic("a"), "m", 0); m.Dup {
		e.Error("DUP at QoS 0")
	}
}

func dupIsNotPassedOn(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	for _, qos := range []byte{1, 2} {
		p.publish(e.topic("a"), "m", qos, func(p *packet.Publish) { p.Dup = true })
		if m := c.take(e.topic("a"), "m", qos); m.Dup {
			e.Errorf("QoS %d: DUP was passed on", qos)
		}
	}
}

func qos3(e *env) {
	e.refuses(raw(0x36, e.topic("a"), uint16(1), e.none(), []byte("m")), packet.MalformedPacket)
	e.refuses(raw(0x3E, e.topic("a"), uint16(1), e.none(), []byte("m")), packet.MalformedPacket)
}

// clear removes a retained message, so that topics of one test stay its own.
func (c *client) clear(topic string) {
	c.t.Helper()
	c.publish(topic, "", 1, retain)
}

func retainedReplaces(e *env) {
	p := e.join("p")
	for i, payload := range []string{"one", "two", "three"} {
		p.publish(e.topic("a"), payload, byte(i), retain)
		c := e.join("c")
		c.subscribe(e.topic("a"), 2)
		if m := c.take(e.topic("a"), payload, byte(i)); !m.Retain {
			e.Error("retain is not set")
		}
		c.silent()
	}
	p.clear(e.topic("a"))
}

func retainedQoS0Replaces(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "old", 2, retain)
	p.publish(e.topic("a"), "new", 0, retain)
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	c.take(e.topic("a"), "new", 0)
	c.silent()
	p.clear(e.topic("a"))
}

func retainFlagOfNewSubscription(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, retain)
	c := e.join("c")
	for _, filter := range []string{e.topic("a"), e.topic("+"), e.topic("#")} {
		c.subscribe(filter, 1)
		if m := c.take(e.topic("a"), "m", 1); !m.Retain {
			e.Errorf("%s: retain is not set", filter)
		}
	}
	p.clear(e.topic("a"))
}

func retainFlagOfEstablished(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	p := e.join("p")
	for _, payload := range []string{"m", ""} {
		p.publish(e.topic("a"), payload, 1, retain)
		if m := c.take(e.topic("a"), payload, 1); m.Retain {
			e.Error("retain is set for an established subscription")
		}
	}
}

func emptyRemovesRetained(e *env) {
	p := e.join("p")
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	p.publish(e.topic("a"), "m", 1, retain)
	c.take(e.topic("a"), "m", 1)
	p.publish(e.topic("a"), "", 1, retain)
	c.take(e.topic("a"), "", 1)
	late := e.join("late")
	late.subscribe(e.topic("a"), 1)
	late.silent()
}

func emptyIsNotRetained(e *env) {
	p := e.join("p")
	for qos := range byte(3) {
		p.publish(e.topic("a"), "", qos, retain)
	}
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	c.silent()
}

func notRetainedChangesNothing(e *env) {
	p := e.join("p")
	p.publish(e.topic("b"), "m", 1)
	p.publish(e.topic("a"), "kept", 1, retain)
	p.publish(e.topic("a"), "other", 1)
	p.publish(e.topic("a"), "", 1)
	c := e.join("c")
	c.subscribe(e.topic("#"), 1)
	c.take(e.topic("a"), "kept", 1)
	c.silent()
	p.clear(e.topic("a"))
}

func handling(h byte) func(*message.Subscription) {
	return func(s *message.Subscription) { s.RetainHandling = h }
}

func retainHandling0(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, retain)
	c := e.join("c")
	for range 3 {
		c.subscribe(e.topic("a"), 1, handling(0))
		c.take(e.topic("a"), "m", 1)
	}
	c.silent()
	p.clear(e.topic("a"))
}

func retainHandling1(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, retain)
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 1, handling(1))
	c.take(e.topic("a"), "m", 1)
	c.subscribe(e.topic("a"), 1, handling(1))
	c.silent()
	c.bye()
	c = e.join("c", resume) // it exists still
	c.subscribe(e.topic("a"), 0, handling(1))
	c.silent()
	c.unsubscribe(e.topic("a"))
	c.subscribe(e.topic("a"), 1, handling(1))
	c.take(e.topic("a"), "m", 1)
	c.subscribe(e.topic("+"), 1, handling(1)) // another filter is another subscription
	c.take(e.topic("a"), "m", 1)
	p.clear(e.topic("a"))
}

func retainHandling2(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, retain)
	c := e.join("c")
	c.subscribe(e.topic("a"), 1, handling(2))
	c.subscribe(e.topic("#"), 1, handling(2))
	c.silent()
	p.clear(e.topic("a"))
}

func asPublished(s *message.Subscription) { s.RetainAsPublished = true }

func retainAsPublished(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 1, asPublished)
	p := e.join("p")
	p.publish(e.topic("a"), "kept", 1, retain)
	if m := c.take(e.topic("a"), "kept", 1); !m.Retain {
		e.Error("the retain flag is lost")
	}
	p.publish(e.topic("a"), "not", 1)
	if m := c.take(e.topic("a"), "not", 1); m.Retain {
		e.Error("a retain flag that nobody set")
	}
	p.clear(e.topic("a"))
	if m := c.take(e.topic("a"), "", 1); !m.Retain {
		e.Error("the retain flag of an empty message is lost")
	}
}

func topicIsFirstAndText(e *env) {
	e.refuses(raw(0x30), packet.MalformedPacket)
	e.refuses(raw(0x30, uint16(200), []byte("a")), packet.MalformedPacket)
	e.refuses(raw(0x32, uint16(1), []byte("a")), packet.MalformedPacket)
	for _, bad := range illFormed {
		e.refuses(raw(0x30, bad, e.none(), []byte("m")), packet.MalformedPacket)
	}
}

func topicWithWildcards(e *env) {
	for _, name := range []string{"#", "+", "t/#", "t/+/a", "t/a#", "t/+a", "t/a+"} {
		e.refuses(raw(0x30, name, e.none(), []byte("m")), packet.TopicNameInvalid, packet.MalformedPacket)
		e.refuses(raw(0x32, name, uint16(1), e.none(), []byte("m")), packet.TopicNameInvalid, packet.MalformedPacket)
	}
}

func topicMatchesFilter(e *env) {
	p := e.join("p")
	for filter, topics := range map[string][]string{
		"a": {"a"}, "a/b": {"a/b"}, "+": {"a", "c"}, "a/+": {"a/b", "a/"}, "+/b": {"a/b"}, "a/#": {"a", "a/b", "a/b/c", "a/"},
		"+/+": {"a/b", "a/"}, "a/+/c": {"a/b/c", "a//c"}, "#": {"a", "c", "a/b", "a/", "a/b/c", "a//c"},
	} {
		c := e.join("c")
		c.subscribe(e.topic(filter), 0)
		for _, topic := range []string{"a", "c", "a/b", "a/", "a/b/c", "a//c"} {
			p.publish(e.topic(topic), topic, 1)
			// By a filter from the first level on "a/b/c" is matched by a/# as well.
			if slices.Contains(topics, topic) || filter == "a/#" && topic == "a//c" {
				c.take(e.topic(topic), topic, 0)
			}
		}
		c.silent()
	}
}

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

func retainedExpires(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, messageExpiry(10), retain)
	time.Sleep(11 * time.Second)
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	c.silent()
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

func answersByQoS(e *env) {
	c := e.join("c")
	c.send(&packet.Publish{Topic: e.topic("a")})
	c.silent()
	c.publish(e.topic("a"), "m", 1)
	c.publish(e.topic("a"), "m", 2)
	c.silent()
}

func overlappingQoS(e *env) {
	p := e.join("p")
	for _, granted := range [][]byte{{0, 1, 2}, {2, 1, 0}, {1, 0, 1}} {
		c := e.join("c")
		for i, filter := range []string{"a/b", "a/+", "#"} {
			c.subscribe(e.topic(filter), granted[i])
		}
		for qos := range byte(3) {
			p.publish(e.topic("a/b"), "m", qos)
			c.take(e.topic("a/b"), "m", min(qos, slices.Max(granted)))
		}
		c.silent() // one copy of each
	}
}

func overlappingIdentifiers(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a/b"), 0, identifier(1))
	c.subscribe(e.topic("a/+"), 2, identifier(268_435_455))
	c.subscribe(e.topic("+/b"), 1)
	c.subscribe(e.topic("#"), 1, identifier(1))
	c.subscribe(e.topic("x"), 1, identifier(7))
	p := e.join("p")
	p.publish(e.topic("a/b"), "m", 2)
	got := c.take(e.topic("a/b"), "m", 2).SubscriptionIDs
	slices.Sort(got)
	if d := cmp.Diff([]uint32{1, 268_435_455}, slices.Compact(got)); d != "" {
		e.Error(d)
	}
	p.publish(e.topic("+/b"[1:]), "m", 0)
	if got := c.take(e.topic("/b"), "m", 0).SubscriptionIDs; len(got) != 1 || got[0] != 1 {
		e.Errorf("identifiers %v", got)
	}
}

func identifierFromClient(e *env) {
	e.refuses(raw(0x30, e.topic("a"), props(propSubscriptionID, 1), []byte("m")), packet.ProtocolError)
}

// unauthorizedPublish: MQTT 5 tells, 3.1.1 acknowledges or closes.
func unauthorizedPublish(e *env) {
	for _, qos := range []byte{0, 1, 2} {
		c := e.join("c")
		c.send(&packet.Publish{Topic: "denied/a", QoS: qos, PacketID: 5 * uint16(min(qos, 1)), Payload: []byte("m")})
		if !e.five() {
			c.send(&packet.Pingreq{})
			if got := c.next().Packet; got != nil && got.Type() != packet.TypePuback && got.Type() != packet.TypePubrec {
				e.Errorf("QoS %d: %s", qos, describe(got))
			}
			continue
		}
		got := c.pass()
		if qos == 0 {
			if len(got) != 0 {
				e.Errorf("QoS 0: %s", describe(got[0]))
			}
			continue
		}
		if len(got) != 1 {
			e.Fatalf("QoS %d: %d answers", qos, len(got))
		}
		if a, ok := got[0].(*packet.Ack); !ok || a.PacketID != 5 || a.Reason != packet.NotAuthorized {
			e.Errorf("QoS %d: %s", qos, describe(got[0]))
		}
	}
}

func everySessionGetsIt(e *env) {
	var cs []*client
	for _, name := range []string{"a", "b", "c"} {
		c := e.join(name, kept)
		c.subscribe(e.topic("x"), 2)
		cs = append(cs, c)
	}
	cs[2].bye()
	e.join("p").publish(e.topic("x"), "m", 2)
	cs[2] = e.join("c", resume)
	for _, c := range cs {
		c.take(e.topic("x"), "m", 2)
		c.silent()
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

func publishToDollar(e *env) {
	c := e.join("c")
	for _, qos := range []byte{1, 2} {
		c.send(&packet.Publish{Topic: "$SYS/x", QoS: qos, PacketID: 3})
		a := after[*packet.Ack](c)
		if a.PacketID != 3 || e.five() && a.Reason != packet.NotAuthorized {
			e.Errorf("QoS %d: %s", qos, describe(a))
		}
	}
	c.silent()
}

func largePayload(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	for qos := range byte(3) {
		p.publish(e.topic("a"), long(90_000), qos)
		c.take(e.topic("a"), long(90_000), qos)
	}
}

func nobodySubscribes(e *env) {
	c := e.join("c")
	for qos, kind := range map[byte]packet.Type{1: packet.TypePuback, 2: packet.TypePubrec} {
		c.send(&packet.Publish{Topic: e.topic("a"), QoS: qos, PacketID: 1})
		if a := c.ack(kind, 1); a.Reason != packet.NoMatchingSubscribers && a.Reason != packet.Success {
			e.Errorf("QoS %d: %s", qos, describe(a))
		}
	}
}

func retainedKeepsQoS(e *env) {
	p := e.join("p")
	for published := range byte(3) {
		p.publish(e.topic("a"), "m", published, retain)
		for granted := range byte(3) {
			c := e.join("c")
			c.subscribe(e.topic("a"), granted)
			c.take(e.topic("a"), "m", min(published, granted))
		}
	}
	p.clear(e.topic("a"))
}

func retainedForWildcards(e *env) {
	topics := []string{"foo/bar/baz", "foo/bar", "foo", "/foo", "foo/", "$dollar/foo"}
	p := e.join("p")
	for _, t := range topics[:5] {
		p.publish(t, t, 0, retain)
	}
	for filter, want := range map[string][]string{
		"foo/bar/baz": {"foo/bar/baz"}, "foo/+/baz": {"foo/bar/baz"}, "foo/+/baz/#": {"foo/bar/baz"}, "foo/#": {"foo", "foo/", "foo/bar", "foo/bar/baz"},
		"#": {"/foo", "foo", "foo/", "foo/bar", "foo/bar/baz"}, "/#": {"/foo"}, "+/foo": {"/foo"}, "+": {"foo"}, "foo/+": {"foo/", "foo/bar"},
		"+/+/+": {"foo/bar/baz"}, "foo/foo/baz": nil, "+/bar/#": {"foo/bar", "foo/bar/baz"},
	} {
		c := e.join("c")
		c.subscribe(filter, 0)
		var got []string
		for _, m := range c.pass() {
			got = append(got, m.(*packet.Publish).Topic)
		}
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			e.Errorf("%s: %s", filter, d)
		}
	}
}

// manyRetained: more than the queue of a client may hold.
func manyRetained(e *env) {
	p := e.join("p")
	for i := range 50 {
		p.publish(e.topic(string(rune('A'+i))), "m", 1, retain)
	}
	c := e.join("c")
	c.subscribe(e.topic("#"), 1)
	for range 50 {
		c.settle(want[*packet.Publish](c))
	}
	c.silent()
}
