package conformance

import (
	"bytes"
	"time"

	"github.com/mqadmin/mqadmin/internal/packet"
)

// connectRows are §3.1 apart from the will, and §3.2.
var connectRows = []row{
	{v311: "MQTT-3.1.0-1", v5: "MQTT-3.1.0-1", run: connectComesFirst},
	{v31: "3.1-connect-once", v311: "MQTT-3.1.0-2", v5: "MQTT-3.1.0-2", run: secondConnect},
	{v31: "3.1-name", v311: "MQTT-3.1.2-1", v5: "MQTT-3.1.2-1", run: protocolName},
	{v31: "3.1-level", v311: "MQTT-3.1.2-2", v5: "MQTT-3.1.2-2", run: protocolLevel},
	{v311: "MQTT-3.1.2-3", v5: "MQTT-3.1.2-3", run: reservedConnectFlag},
	{v31: "3.1-clean-session", v311: "MQTT-3.1.2-6 MQTT-3.1.4-3", v5: "MQTT-3.1.2-4 MQTT-3.1.4-4", run: cleanStartDiscards},
	{v311: "MQTT-3.1.2-6", name: "ends with the connection", run: cleanSessionEnds},
	{v311: "MQTT-3.1.2-4", v5: "MQTT-3.1.2-5", run: sessionIsResumed},
	{v311: "MQTT-3.1.2-4", v5: "MQTT-3.1.2-6", name: "there is none", run: sessionIsMade},
	{v311: "MQTT-3.1.2-5", v5: "MQTT-3.1.2-23", run: keptWhileAway},
	{v5: "MQTT-3.1.2-23", name: "until the interval has passed", where: inBubble, run: keptUntilExpiry},
	{v5: "MQTT-3.1.2-23", name: "for ever", where: inBubble, run: keptForEver},
	{v311: "MQTT-3.1.2-7", run: retainedOutlivesItsSession},
	{v311: "MQTT-3.1.2-18 MQTT-3.1.2-19 MQTT-3.1.2-20 MQTT-3.1.2-21", v5: "MQTT-3.1.2-16 MQTT-3.1.2-17 MQTT-3.1.2-18 MQTT-3.1.2-19", run: credentialsAsFlagged},
	{v311: "MQTT-3.1.2-22", run: passwordNeedsUser},
	{v311: "MQTT-3.1.3-1", v5: "MQTT-3.1.3-1", run: payloadInOrder},
	{v311: "MQTT-3.1.3-2", v5: "MQTT-3.1.3-2", run: clientIDNamesTheSession},
	{v311: "MQTT-3.1.3-3", v5: "MQTT-3.1.3-3", run: clientIDMissing},
	{v311: "MQTT-3.1.3-4", v5: "MQTT-3.1.3-4", run: func(e *env) { badConnects(e, func(bad string) []byte { return e.rawConnect(2, bad) }) }},
	{v311: "MQTT-3.1.3-5", v5: "MQTT-3.1.3-5", run: clientIDsToBeTaken},
	{v311: "MQTT-3.1.3-6", run: emptyIDOfV311},
	{v311: "MQTT-3.1.3-7 MQTT-3.1.3-8", run: emptyIDNeedsCleanSession},
	{v5: "MQTT-3.1.3-6 MQTT-3.1.3-7 MQTT-3.2.2-16", run: emptyIDIsAssigned},
	{v31: "3.1-empty-id", run: func(e *env) { e.dialAs("", anonymous).turnedAway(packet.ClientIdentifierNotValid) }},
	{v31: "3.1-long-id", run: func(e *env) { e.join(long(30)) }},
	{v311: "MQTT-3.1.3-9", v5: "MQTT-3.1.3-8", run: func(e *env) { e.dialAs(long(200)).turnedAway(packet.ClientIdentifierNotValid) }},
	{v311: "MQTT-3.1.3-11", v5: "MQTT-3.1.3-12", run: func(e *env) {
		badConnects(e, func(bad string) []byte { return e.rawConnect(0x82, e.id("a"), bad) })
	}},
	{v311: "MQTT-3.1.4-1 MQTT-4.8.0-1", v5: "MQTT-3.1.4-1", run: malformedConnects},
	{v311: "MQTT-3.2.2-5", v5: "MQTT-3.1.4-2", run: wrongCredentials},
	{v31: "3.1-takeover", v311: "MQTT-3.1.4-2", v5: "MQTT-3.1.4-3", run: takeover},
	{v31: "3.1-connack", v311: "MQTT-3.1.4-4", v5: "MQTT-3.1.4-5", run: connackOfSuccess},
	{v311: "MQTT-3.1.4-5", v5: "MQTT-3.1.4-6", run: nothingAfterRefusal},
	{v311: "MQTT-3.2.0-1", v5: "MQTT-3.2.0-1", run: connackComesFirst},
	{v5: "MQTT-3.2.0-2", run: oneConnack},
	{v5: "MQTT-3.2.2-1", run: connackFlags},
	{v311: "MQTT-3.2.2-1", v5: "MQTT-3.2.2-2", run: cleanStartDiscards},
	{v311: "MQTT-3.2.2-2", v5: "MQTT-3.2.2-3", run: sessionIsResumed},
	{v311: "MQTT-3.2.2-3", v5: "MQTT-3.2.2-3", name: "there is none", run: sessionIsMade},
	{v311: "MQTT-3.2.2-4", v5: "MQTT-3.2.2-6", run: noSessionPresentWithRefusal},
	{v5: "MQTT-3.2.2-7 MQTT-3.2.2-8", run: wrongCredentials},
	{v311: "MQTT-3.2.2-6", name: "a CONNECT without a fitting code", run: func(e *env) {
		c := e.dial()
		c.raw(e.rawConnect(0x03, e.id("a"))...)
		c.closed()
	}},
	{v311: "MQTT-3.1.2-24", v5: "MQTT-3.1.2-22", name: "silence", where: inBubble, run: keepAliveEnds},
	{v311: "MQTT-3.1.2-24", v5: "MQTT-3.1.2-22", name: "any packet counts", where: inBubble, run: keepAliveIsRenewed},
	{v311: "MQTT-3.1.2-24", v5: "MQTT-3.1.2-22", name: "0 is off", where: inBubble, run: keepAliveOff},
	{v5: "MQTT-3.2.2-22", where: inBubble, run: keepAliveEnds},
	{v31: "3.1-keep-alive", where: inBubble, run: keepAliveEnds},
	{v31: "bridge-levels", run: bridgeLevels},
	{v31: "3.1-session-present", run: noSessionPresentInV31},
	{v31: "3.1-shortened", run: flagsWithoutFields},
}

func anonymous(p *packet.Connect) { p.ClientID = "" }

func connectComesFirst(e *env) {
	for _, b := range [][]byte{
		raw(0x30, e.topic("a"), e.none()), raw(0x82, uint16(1), e.none(), e.topic("a"), 0), raw(0xC0), raw(0xE0), raw(0x40, uint16(1)),
		raw(0xA2, uint16(1), e.none(), e.topic("a")), raw(0x62, uint16(1)), raw(0x20, 0, 0), raw(0xF0),
		{0x00, 0x00},
		{0x30},
	} {
		c := e.dial()
		c.raw(b...)
		c.closed()
	}
}

func secondConnect(e *env) {
	c := e.join("c")
	c.connect(e.id("c"))
	c.refused(packet.ProtocolError)
}

func protocolName(e *env) {
	for _, name := range []string{"", "M", "MQT", "mqtt", "MQTTT", "MQIsdP", "HTTP", "\x00MQT"} {
		c := e.dial()
		c.raw(raw(0x10, name, int(e.v), 2, uint16(60), e.none(), e.id("a"))...)
		c.malformedConnect()
	}
}

func protocolLevel(e *env) {
	for _, level := range []int{0, 1, 2, 6, 7, 127, 128, 133, 255} {
		c := newClient(e, e.nc(), packet.V311, e.patience()) // the answer is one of 3.1.1
		c.raw(raw(0x10, "MQTT", level, 2, uint16(60), e.none(), e.id("a"))...)
		got := c.next()
		if !bytes.Equal(got.raw, []byte{0x20, 2, 0, 1}) {
			e.Errorf("level %d: got % x, want a CONNACK with 1", level, got.raw)
		}
		c.closed()
	}
}

func reservedConnectFlag(e *env) {
	c := e.dial()
	c.raw(e.rawConnect(0x03, e.id("a"))...)
	c.malformedConnect()
}

// cleanStartDiscards: a session that was there is gone with its subscriptions
// and messages.
func cleanStartDiscards(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 1)
	c.bye()
	p := e.join("p")
	p.publish(e.topic("a"), "old", 1)
	c = e.join("c")
	if c.connack.SessionPresent {
		e.Error("session present after a clean start")
	}
	c.silent()
	p.publish(e.topic("a"), "new", 1)
	c.silent()
}

func cleanSessionEnds(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	c.bye()
	if c = e.join("c", resume); c.connack.SessionPresent {
		e.Error("a clean session has outlived its connection")
	}
	e.join("p").publish(e.topic("a"), "m", 1)
	c.silent()
}

func sessionIsResumed(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 1)
	c.drop()
	if c = e.join("c", resume); !c.connack.SessionPresent {
		e.Fatal("the session was not resumed")
	}
	e.join("p").publish(e.topic("a"), "m", 1)
	c.take(e.topic("a"), "m", 1)
}

func sessionIsMade(e *env) {
	c := e.join("c", resume)
	if c.connack.SessionPresent {
		e.Fatal("session present, but there was none")
	}
	c.subscribe(e.topic("a"), 1)
	c.bye()
	if c = e.join("c", resume); !c.connack.SessionPresent {
		e.Error("the session that was made is not there")
	}
}

// keptWhileAway: what arrives at QoS 1 and 2 meanwhile is kept, in order.
func keptWhileAway(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("#"), 2)
	c.bye()
	p := e.join("p")
	p.publish(e.topic("a"), "1", 1)
	p.publish(e.topic("b"), "2", 2)
	p.publish(e.topic("a"), "3", 1)
	c = e.join("c", resume)
	c.take(e.topic("a"), "1", 1)
	c.take(e.topic("b"), "2", 2)
	c.take(e.topic("a"), "3", 1)
	c.silent()
}

func keptUntilExpiry(e *env) {
	for _, away := range []time.Duration{29 * time.Second, 31 * time.Second} {
		c := e.join("c", resume, expiry(30))
		c.drop()
		time.Sleep(away)
		c = e.join("c", resume)
		if got, want := c.connack.SessionPresent, away < 30*time.Second; got != want {
			e.Errorf("away for %v: session present is %v", away, got)
		}
		c.send(&packet.Disconnect{HasSessionExpiry: true})
		c.closed()
	}
}

func keptForEver(e *env) {
	c := e.join("c", resume, expiry(0xFFFFFFFF))
	c.subscribe(e.topic("a"), 1)
	c.drop()
	time.Sleep(10 * time.Minute)
	if c = e.join("c", resume); !c.connack.SessionPresent {
		e.Error("a session that never expires has expired")
	}
}

func retainedOutlivesItsSession(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, retain)
	p.bye()
	e.join("p").bye()
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	c.take(e.topic("a"), "m", 1)
	c.publish(e.topic("a"), "", 1, retain)
}

// credentialsAsFlagged: fields without a flag are bytes too many, flags without
// a field bytes too few; with both they are what the client says.
func credentialsAsFlagged(e *env) {
	for name, b := range map[string][]byte{
		"user name without its flag": e.rawConnect(0x02, e.id("a"), "user"),
		"password without its flag":  e.rawConnect(0x82, e.id("a"), "user", "password"),
		"no user name":               e.rawConnect(0x82, e.id("a")),
		"no password":                e.rawConnect(0xC2, e.id("a"), "user"),
	} {
		c := e.dial()
		c.raw(b...)
		p := c.next()
		if k, ok := p.Packet.(*packet.Connack); ok && !k.Reason.Failed() {
			e.Errorf("%s: accepted", name)
		}
	}
	c := newClient(e, e.dialTo(theBroker(e).guarded), e.v, e.patience())
	c.raw(e.rawConnect(0xC2, e.id("a"), userName, password)...)
	c.accepted()
}

func passwordNeedsUser(e *env) {
	c := e.dial()
	c.raw(e.rawConnect(0x42, e.id("a"), "password")...)
	c.closed()
}

// payloadInOrder fills every field with something else, so that any other order
// would be seen.
func payloadInOrder(e *env) {
	watch := e.join("w")
	watch.subscribe(e.topic("will"), 2)
	c := newClient(e, e.dialTo(theBroker(e).guarded), e.v, e.patience())
	c.raw(e.rawConnect(0xD6, e.id("c"), e.none(), e.topic("will"), "payload", userName, password)...)
	c.accepted()
	c.drop()
	watch.take(e.topic("will"), "payload", 2)
	c = e.dial()
	c.raw(e.rawConnect(0x06, e.topic("will/#"), e.none(), e.topic("c"), "payload")...) // an identifier like a filter
	c.accepted()
	c = e.dial()
	c.raw(e.rawConnect(0x06, e.id("c"), e.none(), e.topic("#"), "payload")...) // a topic that is none
	c.next()
	c.closedSoon()
}

// closedSoon takes what comes until the connection is closed.
func (c *client) closedSoon() {
	c.t.Helper()
	for c.next().Packet != nil {
	}
}

func clientIDNamesTheSession(e *env) {
	for _, name := range []string{"a", "A", "a "} {
		c := e.join(name, kept)
		c.subscribe(e.topic(name), 1)
		c.bye()
	}
	p := e.join("p")
	for _, name := range []string{"a", "A", "a "} {
		p.publish(e.topic(name), name, 1)
	}
	for _, name := range []string{"a", "A", "a "} {
		c := e.join(name, resume)
		c.take(e.topic(name), name, 1)
		c.silent()
	}
}

func clientIDMissing(e *env) {
	c := e.dial()
	c.raw(e.rawConnect(0x02)...)
	c.malformedConnect()
}

// badConnects sends CONNECTs with text that is none.
func badConnects(e *env, connect func(bad string) []byte) {
	for _, texts := range []map[string]string{illFormed, withNul} {
		for _, bad := range texts {
			c := e.dial()
			c.raw(connect(bad)...)
			c.malformedConnect()
		}
	}
}

func clientIDsToBeTaken(e *env) {
	for _, id := range []string{"0", "z", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"} {
		c := e.dial()
		c.connect(id)
		c.accepted()
	}
}

func emptyIDOfV311(e *env) {
	a, b := e.join("", anonymous), e.join("", anonymous)
	a.subscribe(e.topic("a"), 0)
	b.subscribe(e.topic("b"), 0)
	a.publish(e.topic("b"), "m", 0)
	b.take(e.topic("b"), "m", 0)
	a.silent() // still there: the two are two
}

func emptyIDNeedsCleanSession(e *env) {
	c := e.dialAs("", anonymous, resume)
	if got := c.next(); !bytes.Equal(got.raw, []byte{0x20, 2, 0, 2}) {
		e.Fatalf("got % x, want a CONNACK with 2", got.raw)
	}
	c.closed()
}

func emptyIDIsAssigned(e *env) {
	a := e.join("", anonymous, resume)
	b := e.join("", anonymous, resume)
	if a.connack.AssignedClientID == "" || a.connack.AssignedClientID == b.connack.AssignedClientID {
		e.Fatalf("assigned %q and %q", a.connack.AssignedClientID, b.connack.AssignedClientID)
	}
	a.subscribe(e.topic("a"), 1)
	a.drop()
	again := e.dial()
	again.connect(a.connack.AssignedClientID, resume)
	if !again.accepted().connack.SessionPresent {
		e.Error("the session of the assigned identifier was not resumed")
	}
	b.silent()
	if c := e.join("c"); c.connack.AssignedClientID != "" {
		e.Error("an identifier was assigned to a client that has one")
	}
}

// malformedConnects breaks CONNECT in the ways that have no statement of their
// own.
func malformedConnects(e *env) {
	for name, b := range map[string][]byte{
		"empty":                     {0x10, 0x00},
		"a byte too many":           e.rawConnect(0x02, e.id("a"), 0),
		"client id too long":        e.rawConnect(0x02, uint16(99), []byte("a")),
		"ends in the name":          raw(0x10, uint16(4), []byte("MQ")),
		"ends before keep alive":    raw(0x10, "MQTT", int(e.v), 2, 0),
		"will QoS 3":                e.rawConnect(0x1E, e.id("a"), e.none(), e.topic("w"), "p"),
		"will topic with wildcards": e.rawConnect(0x06, e.id("a"), e.none(), e.topic("#"), "p"),
		"will topic empty":          e.rawConnect(0x06, e.id("a"), e.none(), "", "p"),
	} {
		c := e.dial()
		c.raw(b...)
		if p := c.next().Packet; p != nil {
			k, ok := p.(*packet.Connack)
			if !ok || !e.five() || !k.Reason.Failed() {
				e.Errorf("%s: got %s", name, describe(p))
				continue
			}
			c.closed()
		}
	}
}

func wrongCredentials(e *env) {
	for name, b := range map[string][]byte{
		"wrong password": e.rawConnect(0xC2, e.id("a"), userName, "wrong"),
		"unknown user":   e.rawConnect(0xC2, e.id("a"), "nobody", password),
		"no user":        e.rawConnect(0x02, e.id("a")),
	} {
		c := newClient(e, e.dialTo(theBroker(e).guarded), e.v, e.patience())
		c.raw(b...)
		k := want[*packet.Connack](c)
		if k.Reason != packet.NotAuthorized && k.Reason != packet.BadUserNameOrPassword {
			e.Errorf("%s: reason %v", name, k.Reason)
		}
		c.closed()
	}
}

func takeover(e *env) {
	old := e.join("c")
	old.subscribe(e.topic("a"), 1)
	next := e.join("c")
	old.refused(packet.SessionTakenOver)
	next.silent()
	e.join("p").publish(e.topic("a"), "m", 1)
	next.silent() // it began anew
}

func connackOfSuccess(e *env) {
	for _, options := range [][]option{nil, {resume}, {keepAlive(10)}, {will(e.topic("w"), "", 0, false)}} {
		e.join("c", options...)
	}
}

func nothingAfterRefusal(e *env) {
	watch := e.join("w")
	watch.subscribe(e.topic("a"), 0)
	c := newClient(e, e.dialTo(theBroker(e).guarded), e.v, e.patience())
	b := e.rawConnect(0x02, e.id("a"))
	c.raw(append(b, raw(0x31, e.topic("a"), e.none(), []byte("m"))...)...)
	c.turnedAway()
	watch.silent()
	watch.subscribe(e.topic("+"), 0)
	watch.silent()
}

// connackComesFirst: even with messages that wait.
func connackComesFirst(e *env) {
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 1)
	c.bye()
	p := e.join("p")
	for range 20 {
		p.publish(e.topic("a"), "m", 1)
	}
	c = e.join("c", resume) // which takes the CONNACK first
	c.take(e.topic("a"), "m", 1)
}

func oneConnack(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	c.publish(e.topic("a"), "m", 1)
	c.take(e.topic("a"), "m", 1)
	c.silent()
	c.connect(e.id("c"))
	c.refused(packet.ProtocolError)
}

func connackFlags(e *env) {
	c := e.dialAs("c", kept)
	if got := c.next().raw; got[2] != 0 {
		e.Errorf("acknowledge flags are %02x", got[2])
	}
	c.bye()
	c = e.dialAs("c", resume)
	if got := c.next().raw; got[2] != 1 {
		e.Errorf("acknowledge flags are %02x", got[2])
	}
}

func noSessionPresentWithRefusal(e *env) {
	e.join("c", kept).bye()
	c := newClient(e, e.dialTo(theBroker(e).guarded), e.v, e.patience())
	c.connect(e.id("c"), resume)
	k := want[*packet.Connack](c)
	if k.SessionPresent || !k.Reason.Failed() {
		e.Errorf("got %s", describe(k))
	}
	c.closed()
}

func keepAliveEnds(e *env) {
	watch := e.join("w")
	watch.subscribe(e.topic("w"), 0)
	c := e.join("c", keepAlive(10), will(e.topic("w"), "gone", 0, false))
	begin := time.Now()
	c.refused(packet.KeepAliveTimeout)
	if took := time.Since(begin); took != 15*time.Second {
		e.Errorf("closed after %v, want 15s", took)
	}
	watch.take(e.topic("w"), "gone", 0)
}

func keepAliveIsRenewed(e *env) {
	c := e.join("c", keepAlive(10))
	c.subscribe(e.topic("a"), 2)
	for _, p := range []packet.Packet{
		&packet.Publish{Topic: e.topic("b")}, &packet.Pingreq{}, &packet.Subscribe{PacketID: 1, Subscriptions: subs(0, e.topic("c"))},
		ack(packet.TypePubcomp, 9),
	} {
		time.Sleep(14 * time.Second)
		c.send(p)
	}
	want[*packet.Pingresp](c)
	want[*packet.Suback](c)
	time.Sleep(14 * time.Second)
	c.silent()
}

func keepAliveOff(e *env) {
	c := e.join("c", keepAlive(0))
	time.Sleep(10 * time.Minute)
	c.silent()
}

// bridgeLevels: 131 and 132 are MQTT 3.1 and 3.1.1 of a bridge: retain flags as
// published, none of its own messages back, and otherwise the same.
func bridgeLevels(e *env) {
	for level, name := range map[byte]string{131: "MQIsdp", 132: "MQTT"} {
		c := newClient(e, e.nc(), level&0x7F, e.patience())
		c.raw(raw(0x10, name, int(level), 2, uint16(60), e.id("bridge"+name))...)
		c.accepted()
		c.subscribe(e.topic("a"), 1)
		c.publish(e.topic("a"), "own", 1)
		c.silent()
		p := e.join("p")
		p.publish(e.topic("a"), "kept", 1, retain)
		if m := c.take(e.topic("a"), "kept", 1); !m.Retain {
			e.Errorf("level %d: the retain flag is lost", level)
		}
		p.publish(e.topic("a"), "", 1, retain)
		if m := c.take(e.topic("a"), "", 1); !m.Retain {
			e.Errorf("level %d: the retain flag is lost", level)
		}
	}
}

// noSessionPresentInV31: the byte is reserved there.
func noSessionPresentInV31(e *env) {
	e.join("c", kept).bye()
	c := e.dialAs("c", resume)
	if got := c.next().raw; !bytes.Equal(got, []byte{0x20, 2, 0, 0}) {
		e.Errorf("CONNACK is % x", got)
	}
}

// flagsWithoutFields: in 3.1 the remaining length goes before the flags of user
// name and password.
func flagsWithoutFields(e *env) {
	c := e.dial()
	c.raw(e.rawConnect(0xC2, e.id("c"))...)
	c.accepted()
}
