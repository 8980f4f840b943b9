package conformance

import (
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

// willRows are the wills of §3.1.2.5 and what becomes of them.
var willRows = []row{
	{v5: "MQTT-3.1.2-7", run: willIsStored},
	{v31: "3.1-will", v311: "MQTT-3.1.2-8", v5: "MQTT-3.1.2-8", name: "broken connection", run: willIsStored},
	{v311: "MQTT-3.1.2-8", v5: "MQTT-3.1.2-8", name: "protocol error", run: willAfterProtocolError},
	{v311: "MQTT-3.1.2-8", v5: "MQTT-3.1.2-8", name: "keep alive", where: inBubble, run: keepAliveEnds},
	{v311: "MQTT-3.1.2-8", v5: "MQTT-3.1.2-8", name: "takeover", run: willAfterTakeover},
	{v5: "MQTT-3.1.2-8", name: "DISCONNECT 0x04", run: willAfterDisconnectWithWill},
	{v5: "MQTT-3.1.2-8", name: "delay", where: inBubble, run: willAfterItsDelay},
	{v5: "MQTT-3.1.2-8", name: "session ends before the delay", where: inBubble, run: willWhenTheSessionEnds},
	{v5: "MQTT-3.1.2-8", name: "a clean start within the delay", where: inBubble, run: willAtCleanStart},
	{v311: "MQTT-3.1.2-8", v5: "MQTT-3.1.2-8", name: "restart", where: inBubble, run: willAfterRestart},
	{v311: "MQTT-3.1.2-9", v5: "MQTT-3.1.2-9", run: willFieldsAreThere},
	{v31: "3.1-will-disconnect", v311: "MQTT-3.1.2-10", v5: "MQTT-3.1.2-10", run: willIsDropped},
	{v311: "MQTT-3.14.4-3", v5: "MQTT-3.14.4-3", run: willIsDropped},
	{v311: "MQTT-3.1.2-11", v5: "MQTT-3.1.2-11 MQTT-3.1.2-13", run: func(e *env) { willFlags(e, 0x0A, 0x12, 0x22, 0x2A) }},
	{v311: "MQTT-3.1.2-13", run: func(e *env) { willFlags(e, 0x0A, 0x12) }},
	{v311: "MQTT-3.1.2-15", run: func(e *env) { willFlags(e, 0x22) }},
	{v311: "MQTT-3.1.2-14", v5: "MQTT-3.1.2-12", run: willQoS},
	{v311: "MQTT-3.1.2-12", run: noWill},
	{v311: "MQTT-3.1.2-16", v5: "MQTT-3.1.2-14", run: func(e *env) { willRetain(e, false) }},
	{v311: "MQTT-3.1.2-17", v5: "MQTT-3.1.2-15", run: func(e *env) { willRetain(e, true) }},
	{v5: "MQTT-3.1.3-9", where: inBubble, run: noWillWithinItsDelay},
	{v5: "MQTT-3.1.3-10", run: willProperties},
	{v311: "MQTT-3.1.3-10", v5: "MQTT-3.1.3-11", run: func(e *env) {
		badConnects(e, func(bad string) []byte { return e.rawConnect(0x06, e.id("a"), e.none(), bad, "payload") })
	}},
	{rule: "will-null", run: willWithoutPayload},
	{rule: "will-expiry", only5: true, where: inBubble, run: willExpires},
	{rule: "will-delay-limit", only5: true, where: inBubble, set: func(s *session.Settings) { s.MaxLastWillDelay = 10 * time.Second }, run: func(e *env) {
		watch := e.watch()
		begin := time.Now()
		e.join("c", resume, e.will(2), delay(60)).drop()
		watch.take(e.topic("w"), "will", 2)
		if took := time.Since(begin); took != 10*time.Second {
			e.Errorf("the will came after %v", took)
		}
	}},
	{rule: "will-unauthorized", run: func(e *env) { e.dialAs("c", will("denied/w", "m", 0, false)).turnedAway(packet.NotAuthorized) }},
}

// watch joins a client that gets the wills of the test.
func (e *env) watch() *client {
	e.Helper()
	w := e.join("watch")
	w.subscribe(e.topic("w"), 2)
	return w
}

func (e *env) will(qos byte) option { return will(e.topic("w"), "will", qos, false) }

func delay(seconds uint32) option { return func(p *packet.Connect) { p.Will.Delay = seconds } }

func willIsStored(e *env) {
	watch := e.watch()
	for qos := range byte(3) {
		e.join("c", e.will(qos)).drop()
		watch.take(e.topic("w"), "will", qos)
	}
	watch.silent()
}

func willAfterProtocolError(e *env) {
	watch := e.watch()
	c := e.join("c", e.will(1))
	c.raw(0xF3, 0)
	c.refused()
	watch.take(e.topic("w"), "will", 1)
}

func willAfterTakeover(e *env) {
	watch := e.watch()
	c := e.join("c", e.will(1))
	e.join("c").silent()
	c.refused(packet.SessionTakenOver)
	watch.take(e.topic("w"), "will", 1)
}

func willAfterDisconnectWithWill(e *env) {
	watch := e.watch()
	for _, b := range [][]byte{{0xE0, 1, 4}, {0xE0, 2, 4, 0}, raw(0xE0, 0x04, props(propReasonString, "bye"))} {
		c := e.join("c", e.will(1))
		c.raw(b...)
		c.closed()
		watch.take(e.topic("w"), "will", 1)
	}
}

func willAfterItsDelay(e *env) {
	watch := e.watch()
	begin := time.Now()
	e.join("c", resume, e.will(1), delay(30)).drop()
	watch.take(e.topic("w"), "will", 1)
	if took := time.Since(begin); took != 30*time.Second {
		e.Errorf("the will came after %v", took)
	}
}

func willWhenTheSessionEnds(e *env) {
	watch := e.watch()
	for _, ends := range []uint32{0, 10} {
		begin := time.Now()
		e.join("c", resume, expiry(ends), e.will(1), delay(30)).drop()
		watch.take(e.topic("w"), "will", 1)
		if took := time.Since(begin); took != time.Duration(ends)*time.Second {
			e.Errorf("the session ended after %d s, its will came after %v", ends, took)
		}
	}
}

// willAtCleanStart: the session that had the will ends then.
func willAtCleanStart(e *env) {
	watch := e.watch()
	e.join("c", resume, e.will(1), delay(30)).drop()
	synctest.Wait()
	begin := time.Now()
	e.join("c").silent()
	watch.take(e.topic("w"), "will", 1)
	if took := time.Since(begin); took >= time.Second {
		e.Errorf("the will came after %v", took)
	}
}

// willAfterRestart: a stop ends connections without their DISCONNECT.
func willAfterRestart(e *env) {
	w := e.join("watch", kept)
	w.subscribe(e.topic("w"), 2)
	w.bye()
	c := e.join("c", e.will(2))
	e.stack.stop()
	c.refused(packet.ServerShuttingDown)
	e.stack.start()
	w = e.join("watch", resume)
	w.take(e.topic("w"), "will", 2)
	w.silent()
}

func willFieldsAreThere(e *env) {
	for _, payload := range [][]any{{e.id("a")}, {e.id("a"), e.none()}, {e.id("a"), e.none(), e.topic("w")}} {
		c := e.dial()
		c.raw(e.rawConnect(0x06, payload...)...)
		c.malformedConnect()
	}
	watch := e.watch()
	c := e.dial()
	c.raw(e.rawConnect(0x2E, e.id("a"), e.none(), e.topic("w"), "retained")...)
	c.accepted()
	c.drop()
	watch.take(e.topic("w"), "retained", 1)
	late := e.join("late")
	late.subscribe(e.topic("w"), 2)
	late.take(e.topic("w"), "retained", 1)
	late.publish(e.topic("w"), "", 1, retain)
}

func willIsDropped(e *env) {
	watch := e.watch()
	e.join("c", kept, e.will(1)).bye()
	e.join("c", resume).drop() // the former will is not this one's
	e.join("d", kept, e.will(1)).drop()
	watch.take(e.topic("w"), "will", 1)
	e.join("d", resume).drop() // it has been published
	e.join("d", resume).bye()
	watch.silent()
}

func willFlags(e *env, flags ...int) {
	for _, f := range flags {
		c := e.dial()
		c.raw(e.rawConnect(f, e.id("a"))...)
		c.malformedConnect()
	}
	c := e.dial() // fields without the flag
	c.raw(e.rawConnect(0x02, e.id("a"), e.none(), e.topic("w"), "payload")...)
	c.malformedConnect()
}

func willQoS(e *env) {
	c := e.dial()
	c.raw(e.rawConnect(0x1E, e.id("a"), e.none(), e.topic("w"), "payload")...)
	c.malformedConnect()
	for qos := range byte(3) {
		e.join("c", e.will(qos)).bye()
	}
}

func noWill(e *env) {
	watch := e.join("watch")
	watch.subscribe(e.topic("#"), 0)
	e.join("c").drop()
	e.join("c").bye()
	watch.silent()
}

func willRetain(e *env, retained bool) {
	watch := e.watch()
	p := e.join("p")
	p.publish(e.topic("w"), "before", 1, retain)
	watch.take(e.topic("w"), "before", 1)
	e.join("c", will(e.topic("w"), "will", 1, retained)).drop()
	watch.take(e.topic("w"), "will", 1)
	// Who is subscribed has the will before it is committed as retained; what is
	// acknowledged after it was committed after it.
	p.publish(e.topic("barrier"), "", 1, retain)
	late := e.join("late")
	late.subscribe(e.topic("w"), 1)
	if retained {
		late.take(e.topic("w"), "will", 1)
	} else {
		late.take(e.topic("w"), "before", 1)
	}
	p.publish(e.topic("w"), "", 1, retain)
}

func noWillWithinItsDelay(e *env) {
	watch := e.watch()
	e.join("c", resume, e.will(1), delay(30)).drop()
	time.Sleep(29 * time.Second)
	c := e.join("c", resume)
	time.Sleep(5 * time.Minute)
	watch.silent()
	c.silent()
}

// message properties that every field of fills.
func allProperties() *message.Properties {
	return &message.Properties{
		HasFormat: true, PayloadFormat: 1, HasCorrelation: true, CorrelationData: []byte{0, 1, 0xFF}, ContentType: "text/plain",
		ResponseTopic: "answers/here", User: []message.UserProperty{{Name: "b", Value: "1"}, {Name: "a", Value: "2"}, {Name: "b", Value: "0"}, {Name: "", Value: ""}},
	}
}

func willProperties(e *env) {
	watch := e.watch()
	e.join("c", e.will(1), func(p *packet.Connect) { p.Will.Properties = allProperties() }).drop()
	m := watch.take(e.topic("w"), "will", 1)
	if d := cmp.Diff(allProperties(), m.Properties); d != "" {
		e.Error(d)
	}
	if m.HasExpiry || m.TopicAlias != 0 || len(m.SubscriptionIDs) != 0 {
		e.Errorf("properties that nobody set: %s", describe(m))
	}
}

func willWithoutPayload(e *env) {
	watch := e.watch()
	p := e.join("p")
	p.publish(e.topic("w"), "kept", 1, retain)
	watch.take(e.topic("w"), "kept", 1)
	e.join("c", will(e.topic("w"), "", 1, false)).drop()
	watch.take(e.topic("w"), "", 1)
	e.join("c", will(e.topic("w"), "", 1, true)).drop() // removes the retained message
	watch.take(e.topic("w"), "", 1)
	late := e.join("late")
	late.subscribe(e.topic("w"), 1)
	late.silent()
}

// willExpires: the expiry of a will begins when it is published.
func willExpires(e *env) {
	w := e.join("watch", resume)
	w.subscribe(e.topic("w"), 1)
	w.drop()
	expires := func(p *packet.Connect) { p.Will.Expiry, p.Will.HasExpiry = 20, true }
	for _, away := range []time.Duration{35 * time.Second, 55 * time.Second} {
		e.join("c", resume, e.will(1), delay(30), expires).drop()
		time.Sleep(away)
		w = e.join("watch", resume)
		if away < 50*time.Second {
			if m := w.take(e.topic("w"), "will", 1); !m.HasExpiry || m.Expiry != 15 {
				e.Errorf("15 s are left, told are %d", m.Expiry)
			}
		}
		w.silent()
		w.drop()
	}
}
