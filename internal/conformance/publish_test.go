package conformance

import (
	"slices"

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
