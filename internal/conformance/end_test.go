package conformance

import (
	"time"

	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

// endRows are DISCONNECT (§3.14) and the handling of errors (§4.13).
var endRows = []row{
	{v5: "MQTT-3.14.0-1", run: noDisconnectBeforeConnack},
	{v311: "MQTT-3.14.1-1", v5: "MQTT-3.14.1-1", run: disconnectFlags},
	{v5: "MQTT-3.14.2-1", name: "of clients", run: disconnectReasons},
	{v5: "MQTT-3.14.2-1", name: "of the broker", run: brokersDisconnects},
	{v5: "MQTT-3.14.2-2", run: noExpiryFromTheBroker},
	{v5: "MQTT-3.14.2-3", run: disconnectFits},
	{v5: "MQTT-3.14.4-1", name: "of the broker", run: brokersDisconnects},
	{v311: "MQTT-3.14.4-2", v5: "MQTT-3.14.4-1", name: "of clients", run: nothingAfterDisconnect},
	{v5: "MQTT-3.14.4-2", run: brokersDisconnects},
	{v311: "MQTT-4.8.0-1", v5: "MQTT-4.13.1-1", name: "malformed packets", run: malformedPackets},
	{v311: "MQTT-4.8.0-1", v5: "MQTT-4.13.1-1", name: "packets of servers", run: packetsOfServers},
	{v5: "MQTT-4.13.2-1", name: "CONNACK", run: wrongCredentials},
	{v5: "MQTT-4.13.2-1", name: "DISCONNECT", run: brokersDisconnects},

	{rule: "expiry-at-disconnect", only5: true, where: inBubble, run: expiryAtDisconnect},
	{rule: "expiry-at-disconnect-zero", only5: true, run: expiryFromZero},
	{rule: "disconnect-trailing-bytes", run: trailingBytes},
	{rule: "disconnect-server-reference", only5: true, run: func(e *env) {
		e.refuses(raw(0xE0, 0, props(0x1C, "other")), packet.ProtocolError, packet.MalformedPacket)
	}},
	{rule: "takeover-keeps-queue", run: takeoverKeepsQueue},
	{rule: "takeover-clean", run: takeoverByCleanStart},
	{rule: "takeover-many", run: takeoverMany},
	{rule: "reconnect-at-once", run: reconnectsAtOnce},
	{rule: "expiry-told", only5: true, run: expiryIsTheClients},
	{rule: "expiry-while-connected", only5: true, where: inBubble, run: noExpiryWhileConnected},
	{rule: "shutdown", where: inBubble, run: shutdownTells},
	{rule: "lifetime-others", run: othersGoOn},
	{rule: "message-rate", where: inBubble, set: func(s *session.Settings) { s.MaxMessageRate = 10 }, run: messageRate},
}

func noDisconnectBeforeConnack(e *env) {
	for _, b := range [][]byte{
		{0xC0, 0},
		raw(0x30, e.topic("a"), props()), e.rawConnect(3, e.id("a")), e.rawConnect(0x1E, e.id("a")),
		{0x10, 0xFF, 0xFF, 0xFF, 0x7F},
		raw(0xE0), raw(0xF0),
	} {
		c := e.dial()
		c.raw(b...)
		for p := c.next().Packet; p != nil; p = c.next().Packet {
			if p.Type() == packet.TypeDisconnect {
				e.Errorf("% x: got %s", b, describe(p))
			}
		}
	}
}

func disconnectFlags(e *env) {
	for flags := byte(1); flags < 16; flags++ {
		e.refuses(raw(0xE0|flags), packet.MalformedPacket)
	}
}

func disconnectReasons(e *env) {
	for _, code := range []int{0x01, 0x02, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x9C, 0xA2, 0xFF} {
		e.refuses(raw(0xE0, code), packet.ProtocolError, packet.MalformedPacket)
	}
	for _, code := range []int{0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99} {
		c := e.join("c")
		c.raw(raw(0xE0, code, props(propReasonString, "r", propUser, "n", "v"))...)
		c.closed()
	}
}

// brokersDisconnects: for each way in which the broker ends a connection there
// is one DISCONNECT of a reason that it has, then the end.
func brokersDisconnects(e *env) {
	for reason, b := range map[packet.Reason][]byte{
		packet.MalformedPacket: {0xC1, 0}, packet.ProtocolError: e.rawConnect(2, e.id("c")), packet.TopicNameInvalid: raw(0x30, e.topic("#"), props()),
		packet.TopicFilterInvalid: raw(0x82, uint16(1), props(), e.topic("#a"), 0), packet.TopicAliasInvalid: raw(0x30, e.topic("a"), props(propAlias, uint16(0))),
		packet.PacketTooLarge: {0x30, 0xFF, 0xFF, 0xFF, 0x7F},
	} {
		c := e.join("c")
		c.raw(b...)
		c.refused(reason)
	}
	c := e.join("c")
	e.join("c").silent()
	c.refused(packet.SessionTakenOver)
}

func noExpiryFromTheBroker(e *env) {
	c := e.join("c", kept) // a session with an expiry
	c.raw(0xC1, 0)
	if d := want[*packet.Disconnect](c); d.HasSessionExpiry {
		e.Errorf("got %s", describe(d))
	}
	c.closed()
}

func disconnectFits(e *env) {
	for _, limit := range []uint32{0, 30} {
		c := e.join("c", maxPacket(limit))
		c.raw(0xC1, 0)
		p := c.next()
		d, ok := p.Packet.(*packet.Disconnect)
		if !ok || d.Reason != packet.MalformedPacket || d.ReasonString != "" != (limit == 0) || limit > 0 && len(p.raw) > int(limit) {
			e.Errorf("limit %d: % x", limit, p.raw)
		}
		c.closed()
	}
}

func nothingAfterDisconnect(e *env) {
	watch := e.join("watch")
	watch.subscribe(e.topic("a"), 0)
	c := e.join("c")
	c.send(&packet.Disconnect{}, &packet.Publish{Topic: e.topic("a")}, &packet.Pingreq{})
	c.closed()
	watch.silent()
}

// malformedPackets are those that have no statement of their own.
func malformedPackets(e *env) {
	for _, b := range [][]byte{
		{0x00, 0x00},
		{0xC0, 1, 0},
		{0x30, 0xFF, 0xFF, 0xFF, 0xFF},
		{0x40, 1, 0},
		{0x62, 0},
		raw(0x34, e.topic("a"), []byte{0}),
		{0x82, 0},
		{0xA2, 0},
		raw(0x32, e.topic("a")),
	} {
		e.refuses(b, packet.MalformedPacket, packet.ProtocolError)
	}
}

func packetsOfServers(e *env) {
	for _, b := range [][]byte{raw(0x20, 0, 0, e.none()), raw(0x90, uint16(1), e.none(), 0), raw(0xB0, uint16(1), e.none()), raw(0xD0)} {
		e.refuses(b, packet.ProtocolError, packet.MalformedPacket)
	}
}

func expiryAtDisconnect(e *env) {
	for _, away := range []time.Duration{9 * time.Second, 11 * time.Second} {
		c := e.join("c", resume)
		c.send(&packet.Disconnect{HasSessionExpiry: true, SessionExpiry: 10})
		c.closed()
		time.Sleep(away)
		c = e.join("c", resume)
		if got, want := c.connack.SessionPresent, away < 10*time.Second; got != want {
			e.Errorf("away for %v: session present is %v", away, got)
		}
		c.send(&packet.Disconnect{HasSessionExpiry: true})
		c.closed()
		if e.join("c", resume).connack.SessionPresent {
			e.Error("an expiry of 0 at DISCONNECT did not end the session")
		}
	}
}

func expiryFromZero(e *env) {
	e.refuses(raw(0xE0, 0, props(propSessionExpiry, uint32(10))), packet.ProtocolError)
	c := e.join("c")
	c.raw(raw(0xE0, 0, props(propSessionExpiry, uint32(0)))...) // says nothing new
	c.closed()
}

func trailingBytes(e *env) {
	all := [][]byte{{0xC0, 1, 0}, raw(0x82, uint16(1), e.none(), e.topic("a"), 0, 0), raw(0xA2, uint16(1), e.none(), e.topic("a"), 0)}
	if e.five() {
		all = append(all, raw(0xE0, 0, props(), 0), raw(0x40, uint16(1), 0, props(), 0))
	} else {
		all = append(all, raw(0xE0, 0), raw(0x40, uint16(1), 0), raw(0x62, uint16(1), 0))
	}
	for _, b := range all {
		e.refuses(b)
	}
}

func takeoverKeepsQueue(e *env) {
	old := e.join("c", kept)
	old.subscribe(e.topic("a"), 1)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 1)
	m := old.message(e.topic("a"), "1", 1)
	next := e.join("c", resume)
	old.refused(packet.SessionTakenOver)
	if !next.connack.SessionPresent {
		e.Error("session present is 0")
	}
	next.again(m)
	p.publish(e.topic("a"), "2", 1)
	next.take(e.topic("a"), "2", 1)
}

func takeoverByCleanStart(e *env) {
	old := e.join("c", kept)
	old.subscribe(e.topic("a"), 1)
	next := e.join("c")
	old.refused(packet.SessionTakenOver)
	if next.connack.SessionPresent {
		e.Error("session present is 1")
	}
	e.join("p").publish(e.topic("a"), "m", 1)
	next.silent()
}

// takeoverMany: one client id, twenty connections one after the other; the last
// one stays.
func takeoverMany(e *env) {
	var cs []*client
	for range 20 {
		cs = append(cs, e.join("c", resume))
	}
	for _, c := range cs[:19] {
		c.refused(packet.SessionTakenOver)
	}
	cs[19].silent()
}

// reconnectsAtOnce: the end of a clean session, which is told after its socket
// has closed, does not end its successor.
func reconnectsAtOnce(e *env) {
	p := e.join("p")
	for range 100 {
		c := e.join("c")
		c.subscribe(e.topic("a"), 1)
		p.publish(e.topic("a"), "m", 1)
		c.take(e.topic("a"), "m", 1)
		c.bye()
	}
}

// expiryIsTheClients: CONNACK tells only another one.
func expiryIsTheClients(e *env) {
	for _, asked := range []uint32{0, 1, 3600, 0xFFFFFFFF} {
		if k := e.join("c", expiry(asked)).connack; k.HasSessionExpiry && k.SessionExpiry != asked {
			e.Errorf("asked for %d, got %d", asked, k.SessionExpiry)
		}
	}
}

func noExpiryWhileConnected(e *env) {
	c := e.join("c", resume, expiry(5))
	c.subscribe(e.topic("a"), 1)
	time.Sleep(time.Minute)
	e.join("p").publish(e.topic("a"), "m", 1)
	c.take(e.topic("a"), "m", 1)
	c.drop()
	c = e.join("c", resume, expiry(5))
	if !c.connack.SessionPresent {
		e.Error("the session has expired while its client was connected")
	}
}

func shutdownTells(e *env) {
	c := e.join("c")
	e.stack.stop()
	c.refused(packet.ServerShuttingDown)
}

// othersGoOn: what breaks one connection is nobody else's.
func othersGoOn(e *env) {
	c := e.join("good")
	c.subscribe(e.topic("a"), 1)
	p := e.join("p")
	for _, b := range [][]byte{{0xC1, 0}, {0x82, 5, 0, 1, 0, 1, 'a'}, {0x30, 0xFF, 0xFF, 0xFF, 0xFF}, {0x10, 0}} {
		bad := e.join("bad")
		bad.raw(b...)
		bad.closedSoon()
		p.publish(e.topic("a"), "m", 1)
		c.take(e.topic("a"), "m", 1)
	}
}

func messageRate(e *env) {
	c := e.join("c")
	begin := time.Now()
	for range 30 {
		c.publish(e.topic("a"), "m", 1)
	}
	if took := time.Since(begin); took < 2*time.Second || took > 4*time.Second {
		e.Errorf("30 messages at 10 a second took %v", took)
	}
}
