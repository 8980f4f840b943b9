package conformance

import (
	"fmt"
	"testing/synctest"
	"time"

	"github.com/mqadmin/mqadmin/internal/packet"
)

// shareRows are §4.8, shared subscriptions.
var shareRows = []row{
	{v5: "MQTT-4.8.2-1", run: shareName},
	{v5: "MQTT-4.8.2-2", run: shareFilter},
	{v5: "MQTT-4.8.2-3", run: shareQoS},
	{v5: "MQTT-4.8.2-4", where: inBubble, run: shareCompletes},
	{v5: "MQTT-4.8.2-5", where: inBubble, run: shareEndsWithSession},
	{v5: "MQTT-4.8.2-6", where: inBubble, run: shareRefused},

	{rule: "share-one-each", run: shareOneEach},
	{rule: "share-two-groups", run: shareTwoGroups},
	{rule: "share-and-plain", run: shareAndPlain},
	{rule: "share-retained", run: shareNoRetained},
	{rule: "share-qos1-passed-on", where: inBubble, run: sharePassedOn},
	{rule: "share-unsubscribe", run: shareUnsubscribe},
	{rule: "share-offline", where: inBubble, run: shareOffline},
	{rule: "share-identifier", only5: true, run: shareIdentifier},
}

func (e *env) share(group, filter string) string { return "$share/" + group + "/" + e.topic(filter) }

func shareName(e *env) {
	for _, bad := range []string{"$share//" + e.topic("a"), "$share/", "$share/g"} {
		e.refuses(raw(0x82, uint16(1), e.none(), bad, 0), packet.TopicFilterInvalid, packet.MalformedPacket, packet.ProtocolError)
	}
	e.join("c").subscribe(e.share("g", "a"), 0)
}

func shareFilter(e *env) {
	for _, bad := range []string{"$share/+/" + e.topic("a"), "$share/#/" + e.topic("a"), "$share/a+b/" + e.topic("a"), "$share/g/", "$share/g/" + e.topic("#/a")} {
		e.refuses(raw(0x82, uint16(1), e.none(), bad, 0), packet.TopicFilterInvalid, packet.MalformedPacket, packet.ProtocolError)
	}
	e.join("c").subscribe(e.share("g", "+/#"), 0)
}

func shareQoS(e *env) {
	p := e.join("p")
	for granted := range byte(3) {
		c := e.join("c")
		c.subscribe(e.share("g", "a"), granted)
		for published := range byte(3) {
			p.publish(e.topic("a"), "m", published)
			c.take(e.topic("a"), "m", min(granted, published))
		}
	}
}

// pair is two members of a group; the first has been sent a QoS 2 message.
func (e *env) pair(expires uint32) (first, second *client, m *packet.Publish) {
	e.Helper()
	first, second = e.join("first", resume, expiry(expires)), e.join("second", resume)
	first.subscribe(e.share("g", "a"), 2)
	second.subscribe(e.share("g", "a"), 2)
	p := e.join("p")
	for i := range 4 {
		p.publish(e.topic("a"), fmt.Sprint(i), 2)
		synctest.Wait()
		if len(first.in) > 0 {
			return first, second, first.message(e.topic("a"), fmt.Sprint(i), 2)
		}
		second.take(e.topic("a"), fmt.Sprint(i), 2)
	}
	e.Fatal("the first member gets nothing")
	return
}

func shareCompletes(e *env) {
	first, second, m := e.pair(3600)
	first.drop()
	time.Sleep(time.Minute)
	second.silent()
	first = e.join("first", resume)
	first.again(m)
	first.settle(m)
	first.silent()
	second.silent()
}

func shareEndsWithSession(e *env) {
	first, second, _ := e.pair(10)
	first.drop()
	time.Sleep(time.Minute)
	second.silent()
	e.join("first", resume).silent()
}

func shareRefused(e *env) {
	first, second, m := e.pair(3600)
	first.send(&packet.Ack{Kind: packet.TypePubrec, PacketID: m.PacketID, Reason: packet.ImplementationSpecificError})
	first.silent()
	second.silent()
	first.drop()
	first = e.join("first", resume)
	first.silent()
	second.silent()
}

func shareOneEach(e *env) {
	var cs []*client
	for i := range 3 {
		c := e.join(fmt.Sprint("c", i))
		c.subscribe(e.share("g", "a"), 1)
		cs = append(cs, c)
	}
	p := e.join("p")
	for i := range 30 {
		p.publish(e.topic("a"), fmt.Sprint(i), 1)
	}
	seen := map[string]bool{}
	for i, c := range cs {
		got := c.pass()
		if len(got) == 0 {
			e.Errorf("member %d got nothing", i)
		}
		for _, m := range got {
			payload := string(m.(*packet.Publish).Payload)
			if seen[payload] {
				e.Errorf("message %s went to two members", payload)
			}
			seen[payload] = true
		}
	}
	if len(seen) != 30 {
		e.Errorf("%d of 30 messages arrived", len(seen))
	}
}

func shareTwoGroups(e *env) {
	a, b := e.join("a"), e.join("b")
	a.subscribe(e.share("one", "x"), 0)
	b.subscribe(e.share("two", "x"), 0)
	p := e.join("p")
	for range 3 {
		p.publish(e.topic("x"), "m", 0)
		a.take(e.topic("x"), "m", 0)
		b.take(e.topic("x"), "m", 0)
	}
}

// shareAndPlain: a client that has both gets one copy for each.
func shareAndPlain(e *env) {
	c, d := e.join("c"), e.join("d")
	c.subscribe(e.share("g", "x"), 0)
	d.subscribe(e.topic("x"), 0)
	p := e.join("p")
	p.publish(e.topic("x"), "m", 0)
	c.take(e.topic("x"), "m", 0)
	d.take(e.topic("x"), "m", 0)
	c.silent()
	d.silent()
}

func shareNoRetained(e *env) {
	p := e.join("p")
	p.publish(e.topic("x"), "kept", 1, retain)
	c := e.join("c")
	c.subscribe(e.share("g", "x"), 1)
	c.silent()
	p.clear(e.topic("x"))
}

// sharePassedOn: what a member has not been sent when its session ends goes to
// another one.
func sharePassedOn(e *env) {
	first := e.join("first", receiveMax(1))
	first.subscribe(e.share("g", "a"), 1)
	p := e.join("p")
	for i := range 40 {
		p.publish(e.topic("a"), fmt.Sprint(i), 1)
	}
	want[*packet.Publish](first)
	second := e.join("second")
	second.subscribe(e.share("g", "a"), 1)
	first.drop()
	got := 0
	for _, m := range second.pass() {
		second.settle(m.(*packet.Publish))
		got++
	}
	for more := true; more; {
		more = false
		for _, m := range second.pass() {
			second.settle(m.(*packet.Publish))
			got++
			more = true
		}
	}
	if got < 20 {
		e.Errorf("%d messages were passed on", got)
	}
}

func shareUnsubscribe(e *env) {
	a, b := e.join("a"), e.join("b")
	a.subscribe(e.share("g", "x"), 0)
	b.subscribe(e.share("g", "x"), 0)
	a.unsubscribe(e.share("g", "x"))
	p := e.join("p")
	for range 5 {
		p.publish(e.topic("x"), "m", 1)
		b.take(e.topic("x"), "m", 0)
	}
	a.silent()
}

// shareOffline: whoever is connected comes first; with nobody connected it waits.
func shareOffline(e *env) {
	a, b := e.join("a", kept), e.join("b", kept)
	a.subscribe(e.share("g", "x"), 1)
	b.subscribe(e.share("g", "x"), 1)
	a.drop()
	p := e.join("p")
	for i := range 6 {
		p.publish(e.topic("x"), fmt.Sprint(i), 1)
		b.take(e.topic("x"), fmt.Sprint(i), 1)
	}
	b.drop()
	for i := range 6 {
		p.publish(e.topic("x"), fmt.Sprint("later ", i), 1)
	}
	a, b = e.join("a", resume), e.join("b", resume)
	if n := len(a.pass()) + len(b.pass()); n != 6 {
		e.Errorf("%d of 6 messages waited", n)
	}
}

func shareIdentifier(e *env) {
	c := e.join("c")
	c.subscribe(e.share("g", "x"), 1, identifier(9))
	e.join("p").publish(e.topic("x"), "m", 1)
	if got := c.take(e.topic("x"), "m", 1).SubscriptionIDs; len(got) != 1 || got[0] != 9 {
		e.Errorf("identifiers %v", got)
	}
}
