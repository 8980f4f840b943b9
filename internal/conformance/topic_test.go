package conformance

import (
	"strings"

	"github.com/mqadmin/mqadmin/internal/packet"
)

// topicRows are §4.7, topic names and filters, and §4.1, how long a session
// lasts.
var topicRows = []row{
	{v311: "MQTT-4.7.1-2", v5: "MQTT-4.7.1-1", run: multiLevelWildcard},
	{v311: "MQTT-4.7.1-3", v5: "MQTT-4.7.1-2", run: singleLevelWildcard},
	{v311: "MQTT-4.7.2-1", v5: "MQTT-4.7.2-1", where: inBubble, run: dollarTopics},
	{v311: "MQTT-4.7.3-1", v5: "MQTT-4.7.3-1", run: emptyTopics},
	{v311: "MQTT-4.7.3-2", v5: "MQTT-4.7.3-2", run: topicsWithNul},
	{v311: "MQTT-4.7.3-3", v5: "MQTT-4.7.3-3", where: inBubble, run: longTopics},
	{v311: "MQTT-4.7.3-4", v5: "MQTT-4.7.3-4", run: topicsAreNotNormalized},
	{v311: "MQTT-4.1.0-1 MQTT-4.1.0-2", v5: "MQTT-4.1.0-1", run: sessionIsKeptWhileConnected},
	{v5: "MQTT-4.1.0-2", name: "no expiry", run: sessionEndsWithConnection},
	{v5: "MQTT-4.1.0-2", name: "expiry", where: inBubble, run: keptUntilExpiry},
	{v311: "MQTT-7.1.1-1", v5: "MQTT-4.2.0-1", run: largePayload},

	{rule: "slashes", where: inBubble, run: emptyLevels},
	{rule: "topic-depth", where: inBubble, run: topicDepth},
}

func multiLevelWildcard(e *env) {
	for _, bad := range []string{"a/#/b", "#/a", "a#", "a/b#", "##", "a/##", "#a", "+#", "a/+#"} {
		e.refuses(raw(0x82, uint16(1), e.none(), e.topic(bad), 0), packet.TopicFilterInvalid, packet.MalformedPacket)
		e.refuses(raw(0xA2, uint16(1), e.none(), e.topic(bad)), packet.TopicFilterInvalid, packet.MalformedPacket)
	}
	c := e.join("c")
	for _, good := range []string{"#", "a/#", "+/#", "a/+/#", "/#"} {
		c.subscribe(e.topic(good), 0)
	}
}

func singleLevelWildcard(e *env) {
	for _, bad := range []string{"a+", "+a", "a/b+/c", "ab/+e", "++", "a/++/b"} {
		e.refuses(raw(0x82, uint16(1), e.none(), e.topic(bad), 0), packet.TopicFilterInvalid, packet.MalformedPacket)
		e.refuses(raw(0xA2, uint16(1), e.none(), e.topic(bad)), packet.TopicFilterInvalid, packet.MalformedPacket)
	}
	c := e.join("c")
	for _, good := range []string{"+", "+/a", "a/+/b", "+/+", "/+", "+/"} {
		c.subscribe(e.topic(good), 0)
	}
}

// dollarTopics: by wills that the broker publishes nobody can see them, so the
// broker's own message is one of the retained kind: none may come.
func dollarTopics(e *env) {
	c := e.join("c")
	for _, filter := range []string{"#", "+/#", "+/x", "+"} {
		c.subscribe(filter, 0)
	}
	p := e.join("p")
	for _, topic := range []string{"$SYS/x", "$x", "$x/x"} {
		p.send(&packet.Publish{Topic: topic, Payload: []byte("m"), Retain: true})
	}
	p.silent()
	c.silent()
	p.publish("a/x", "m", 0)
	c.take("a/x", "m", 0)
}

func emptyTopics(e *env) {
	e.refuses(raw(0x82, uint16(1), e.none(), "", 0), packet.TopicFilterInvalid, packet.MalformedPacket, packet.ProtocolError)
	e.refuses(raw(0xA2, uint16(1), e.none(), ""), packet.TopicFilterInvalid, packet.MalformedPacket, packet.ProtocolError)
	e.refuses(raw(0x30, "", e.none(), []byte("m")), packet.TopicNameInvalid, packet.MalformedPacket, packet.ProtocolError)
}

func topicsWithNul(e *env) {
	for _, bad := range withNul {
		e.refuses(raw(0x82, uint16(1), e.none(), e.topic(bad), 0), packet.MalformedPacket)
		e.refuses(raw(0x30, e.topic(bad), e.none(), []byte("m")), packet.MalformedPacket)
	}
}

// longTopics: as many bytes as the length can say.
func longTopics(e *env) {
	name := "t/" + long(65535-2)
	c := e.join("c")
	c.subscribe(name, 1)
	p := e.join("p")
	p.publish(name, "m", 1)
	c.take(name, "m", 1)
	slashes := strings.Repeat("/", 65535) // far too many levels: refused at once
	d := e.join("d")
	d.raw(raw(0x82, uint16(1), e.none(), slashes, 0)...)
	d.refused(packet.TopicFilterInvalid, packet.MalformedPacket)
}

func topicsAreNotNormalized(e *env) {
	names := []string{"a", "A", "\u00e4", "a\u0308", "a ", " a", "a/", "a//", "a/./b", "a/b", "a%2Fb", "\uFEFFa"}
	c := e.join("c")
	p := e.join("p")
	for _, n := range names {
		c.subscribe(e.topic(n), 0)
		for _, other := range names {
			p.publish(e.topic(other), other, 0)
		}
		c.take(e.topic(n), n, 0)
		c.silent()
		c.unsubscribe(e.topic(n))
	}
}

// sessionIsKeptWhileConnected: subscriptions, and what is in flight.
func sessionIsKeptWhileConnected(e *env) {
	c := e.join("c") // a clean session
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 2)
	m := c.message(e.topic("a"), "1", 2)
	for i := range 30 {
		p.publish(e.topic("a"), string(rune('A'+i)), 0)
		c.take(e.topic("a"), string(rune('A'+i)), 0)
	}
	c.settle(m)
	p.publish(e.topic("a"), "2", 2)
	c.take(e.topic("a"), "2", 2)
}

func sessionEndsWithConnection(e *env) {
	c := e.join("c", func(p *packet.Connect) { p.CleanStart = false })
	c.subscribe(e.topic("a"), 1)
	c.bye()
	e.join("p").publish(e.topic("a"), "m", 1)
	c = e.join("c", resume)
	if c.connack.SessionPresent {
		e.Error("a session without expiry has outlived its connection")
	}
	c.silent()
}

func emptyLevels(e *env) {
	p := e.join("p")
	for filter, topics := range map[string][]string{"/": {"/"}, "+/+": {"/", "/a", "a/"}, "/+": {"/", "/a"}, "+/": {"/", "a/"}, "//": {"//"}, "/#": {"/", "/a", "//"}} {
		c := e.join("c")
		c.subscribe(filter, 0)
		n := 0
		for _, t := range []string{"/", "/a", "a/", "//", "a"} {
			p.publish(t, t, 0)
		}
		for _, m := range c.pass() {
			if n >= len(topics) || m.(*packet.Publish).Topic != topics[n] {
				e.Errorf("%s: got %s, want %v", filter, describe(m), topics)
			}
			n++
		}
		if n != len(topics) {
			e.Errorf("%s: %d messages, want %v", filter, n, topics)
		}
	}
}

func topicDepth(e *env) {
	deep := strings.Repeat("a/", 9) + "a" // ten levels
	c := e.join("c")
	c.subscribe(deep, 0)
	c.publish(deep, "m", 0)
	c.take(deep, "m", 0)
	e.refuses(raw(0x82, uint16(1), e.none(), deep+"/a", 0), packet.TopicFilterInvalid)
	e.refuses(raw(0x30, deep+"/a", e.none(), []byte("m")), packet.TopicNameInvalid)
}
