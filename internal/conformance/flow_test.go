package conformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

// flowRows are the limits that the two sides tell each other: sizes, quotas,
// aliases, keep alive, problem and response information.
var flowRows = []row{
	{v5: "MQTT-3.1.2-24", name: "PUBLISH", run: publishFits},
	{v5: "MQTT-3.1.2-24", name: "CONNACK", where: inBubble, run: connackFits},
	{v5: "MQTT-3.1.2-24", name: "SUBACK", run: subackFits},
	{v5: "MQTT-3.1.2-25", run: tooLargeIsDone},
	{v5: "MQTT-3.1.2-26 MQTT-3.3.2-11", where: inBubble, set: brokerAliases(5), run: aliasesOfTheBroker},
	{v5: "MQTT-3.1.2-27", where: inBubble, set: brokerAliases(5), run: noAliasesOfTheBroker},
	{v5: "MQTT-3.1.2-28", run: noResponseInformation},
	{v5: "MQTT-3.1.2-29", where: inBubble, run: noProblemInformation},
	{v5: "MQTT-3.2.2-15", run: packetTooLarge},
	{v5: "MQTT-3.2.2-19", where: inBubble, run: connackFits},
	{v5: "MQTT-3.2.2-21", where: inBubble, set: func(s *session.Settings) { s.ServerKeepAlive = 20 }, run: serverKeepAlive},
	{v5: "MQTT-3.3.4-7", where: inBubble, set: func(s *session.Settings) { s.ReceiveMaxBroker = 3 }, run: receiveMaximumOfTheBroker},
	{v5: "MQTT-3.3.4-9 MQTT-4.9.0-1 MQTT-4.9.0-2", run: receiveMaximumOfTheClient},
	{v5: "MQTT-3.3.4-9", name: "over reconnections", run: receiveMaximumAgain},
	{v5: "MQTT-3.3.4-10 MQTT-4.9.0-3", run: onlyPublishIsHeldBack},

	{rule: "response-information", only5: true, where: inBubble, set: func(s *session.Settings) { s.ResponseInformation = "answers/%c" }, run: responseInformation},
	{rule: "receive-maximum-qos2", only5: true, run: quotaOfQoS2},
	{rule: "receive-maximum-refused", only5: true, run: quotaAfterRefusal},
	{rule: "receive-maximum-zero", only5: true, run: func(e *env) { connectProperty(e, propReceiveMax, uint16(0)) }},
	{rule: "maximum-packet-size-zero", only5: true, run: func(e *env) { connectProperty(e, propMaxPacket, uint32(0)) }},
	{rule: "property-twice", only5: true, run: propertyTwice},
	{rule: "property-unknown", only5: true, run: propertyUnknown},
	{rule: "property-range", only5: true, run: propertyOutOfRange},
	{rule: "max-inflight", where: inBubble, set: func(s *session.Settings) { s.MaxInflight = 3 }, run: inflightWindow},
	{rule: "packet-size-limit", run: sizeLimit},
	{rule: "length-not-believed", run: lengthIsNotBelieved},
	{rule: "connect-timeout", where: inBubble, run: connectTimeout},
	{rule: "slow-connect", where: inBubble, run: slowConnect},
	{rule: "byte-by-byte", run: byteByByte},
	{rule: "no-v5-in-v3", run: plainV3},
	{rule: "server-keep-alive-off", only5: true, where: inBubble, set: func(s *session.Settings) { s.ServerKeepAlive = 20 }, run: shortKeepAliveStays},
}

func maxPacket(n uint32) option { return func(p *packet.Connect) { p.MaximumPacketSize = n } }

// publishFits: messages up to the limit come, larger ones do not, and none is
// cut.
func publishFits(e *env) {
	c := e.join("c", maxPacket(100))
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	for qos := range byte(3) {
		for n := 60; n < 110; n++ {
			size := len(raw(0x30, e.topic("a"), props(), []byte(long(n))))
			if qos > 0 {
				size += 2
			}
			p.publish(e.topic("a"), long(n), qos)
			if size <= 100 {
				c.take(e.topic("a"), long(n), qos)
			}
		}
		c.silent()
	}
}

// connackFits: what is optional goes; what cannot go ends the connection.
func connackFits(e *env) {
	c := e.dialAs("c", maxPacket(5))
	if p := c.next(); p.Packet != nil && len(p.raw) > 5 {
		e.Errorf("CONNACK has %d bytes", len(p.raw))
	}
	for _, limit := range []uint32{0, 60} {
		c := e.dialAs("c", will("denied/w", "", 0, false), maxPacket(limit))
		p := c.next()
		k, ok := p.Packet.(*packet.Connack)
		if !ok || !k.Reason.Failed() || limit > 0 && len(p.raw) > int(limit) {
			e.Errorf("limit %d: %s", limit, show(p.Packet))
		}
		c.closed()
	}
	c = e.dialAs("", anonymous, maxPacket(8)) // the identifier is no option
	if p := c.next(); p.Packet != nil && len(p.raw) > 8 {
		e.Errorf("got %s", describe(p.Packet))
	}
}

func subackFits(e *env) {
	c := e.join("c", maxPacket(20))
	var filters []message.Subscription
	for i := range 30 {
		filters = append(filters, subs(0, e.topic(fmt.Sprint(i)))...)
	}
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: filters})
	if p := c.next(); p.Packet != nil && len(p.raw) > 20 {
		e.Errorf("got %s", describe(p.Packet))
	}
}

// tooLargeIsDone: the flow of the publisher ends, the window of the subscriber
// stays free, and what follows arrives.
func tooLargeIsDone(e *env) {
	c := e.join("c", kept, maxPacket(100), func(p *packet.Connect) { p.ReceiveMaximum = 1 })
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	for qos := range byte(3) {
		for range 5 {
			p.publish(e.topic("a"), long(200), qos)
		}
		p.publish(e.topic("a"), "small", qos)
		c.take(e.topic("a"), "small", qos)
	}
	c.bye()
	p.publish(e.topic("a"), long(200), 1)
	p.publish(e.topic("a"), "small", 1)
	c = e.join("c", resume, maxPacket(100))
	c.take(e.topic("a"), "small", 1)
	c.silent()
}

func brokerAliases(n int) func(*session.Settings) {
	return func(s *session.Settings) { s.TopicAliasMaxBroker = n }
}

// aliasesOfTheBroker: the client checks each alias against its maximum, and
// resolves it.
func aliasesOfTheBroker(e *env) {
	for _, most := range []uint16{1, 3, 65535} {
		c := e.join("c", func(p *packet.Connect) { p.TopicAliasMaximum = most })
		c.subscribe(e.topic("#"), 1)
		p := e.join("p")
		for i := range 40 {
			topic := e.topic(fmt.Sprint(i % 8))
			p.publish(topic, fmt.Sprint(i), byte(i%2))
			c.take(topic, fmt.Sprint(i), byte(i%2))
		}
	}
}

func noAliasesOfTheBroker(e *env) {
	c := e.join("c") // which reports any alias
	c.subscribe(e.topic("#"), 1)
	p := e.join("p")
	for i := range 20 {
		topic := e.topic(fmt.Sprint(i % 3))
		p.publish(topic, "m", 1)
		c.take(topic, "m", 1)
	}
}

func noResponseInformation(e *env) {
	if k := e.join("c").connack; k.ResponseInfo != "" {
		e.Errorf("got %s", describe(k))
	}
	c := e.dial()
	c.raw(raw(0x10, "MQTT", 5, 2, uint16(60), props(propResponseInfo, 0), e.id("d"))...)
	if k := c.accepted().connack; k.ResponseInfo != "" {
		e.Errorf("got %s", describe(k))
	}
}

func responseInformation(e *env) {
	c := e.join("c", func(p *packet.Connect) { p.RequestResponse = true })
	if got, want := c.connack.ResponseInfo, "answers/"+e.id("c"); got != want {
		e.Errorf("told %q, want %q", got, want)
	}
	if got := e.join("d").connack.ResponseInfo; got != "" {
		e.Errorf("told %q without being asked", got)
	}
}

func noProblemInformation(e *env) {
	c := e.join("c", func(p *packet.Connect) { p.RequestProblem = false })
	for qos := byte(1); qos < 3; qos++ {
		c.send(&packet.Publish{Topic: "denied/a", QoS: qos, PacketID: 1})
		if a := after[*packet.Ack](c); a.Reason != packet.NotAuthorized || a.ReasonString != "" || len(a.User) > 0 {
			e.Errorf("got %s", describe(a))
		}
	}
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: subs(0, "denied/x")})
	if a := want[*packet.Suback](c); a.ReasonString != "" || len(a.User) > 0 {
		e.Errorf("got %s", describe(a))
	}
	p := e.join("p")
	c.subscribe(e.topic("a"), 0)
	p.publish(e.topic("a"), "m", 0, func(p *packet.Publish) { p.Properties = allProperties() })
	if m := c.take(e.topic("a"), "m", 0); len(m.Properties.User) != 4 {
		e.Error("user properties of a message are no problem information")
	}
}

func packetTooLarge(e *env) {
	c := e.join("c")
	if got := c.connack.MaximumPacketSize; got == 0 || got > 110<<10 {
		e.Fatalf("CONNACK tells %d", got)
	}
	c.subscribe(e.topic("a"), 0)
	n := int(c.connack.MaximumPacketSize) - len(raw(0x30, e.topic("a"), props())) - 2 // the length takes three bytes
	c.publish(e.topic("a"), long(n), 0)
	c.take(e.topic("a"), long(n), 0)
	c.send(&packet.Publish{Topic: e.topic("a"), Payload: []byte(long(n + 1))})
	c.refused(packet.PacketTooLarge)
}

func serverKeepAlive(e *env) {
	for _, asked := range []uint16{0, 60} {
		c := e.join("c", keepAlive(asked))
		if k := c.connack; !k.HasServerKeepAlive || k.ServerKeepAlive != 20 {
			e.Fatalf("got %s", describe(k))
		}
		begin := time.Now()
		c.refused(packet.KeepAliveTimeout)
		if took := time.Since(begin); took != 30*time.Second {
			e.Errorf("closed after %v, want 30s", took)
		}
	}
}

func shortKeepAliveStays(e *env) {
	c := e.join("c", keepAlive(10))
	if c.connack.HasServerKeepAlive {
		e.Errorf("got %s", describe(c.connack))
	}
	begin := time.Now()
	c.refused(packet.KeepAliveTimeout)
	if took := time.Since(begin); took != 15*time.Second {
		e.Errorf("closed after %v, want 15s", took)
	}
}

// receiveMaximumOfTheBroker: QoS 2 flows that stay open take the quota.
func receiveMaximumOfTheBroker(e *env) {
	c := e.join("c")
	if c.connack.ReceiveMaximum != 3 {
		e.Fatalf("CONNACK tells %d", c.connack.ReceiveMaximum)
	}
	for id := uint16(1); id <= 3; id++ {
		c.send(&packet.Publish{Topic: e.topic("a"), QoS: 2, PacketID: id})
		c.ack(packet.TypePubrec, id)
	}
	c.publish(e.topic("a"), "m", 0) // takes none
	c.send(ack(packet.TypePubrel, 2))
	c.ack(packet.TypePubcomp, 2)
	c.send(&packet.Publish{Topic: e.topic("a"), QoS: 2, PacketID: 4})
	c.ack(packet.TypePubrec, 4)
	c.send(&packet.Publish{Topic: e.topic("a"), QoS: 1, PacketID: 5})
	c.refused(packet.ReceiveMaximumExceeded)
}

func receiveMax(n uint16) option { return func(p *packet.Connect) { p.ReceiveMaximum = n } }

func receiveMaximumOfTheClient(e *env) {
	for _, most := range []int{1, 2, 5} {
		c := e.join("c", receiveMax(uint16(most)))
		c.subscribe(e.topic("a"), 2)
		p := e.join("p")
		for i := range 12 {
			p.publish(e.topic("a"), fmt.Sprint(i), byte(1+i%2))
		}
		var open []*packet.Publish
		for i := range 12 {
			if len(open) == most {
				c.silent()
				c.settle(open[0])
				open = open[1:]
			}
			open = append(open, c.message(e.topic("a"), fmt.Sprint(i), byte(1+i%2)))
		}
		for _, m := range open {
			c.settle(m)
		}
		c.silent()
	}
}

// receiveMaximumAgain: of another connection too, and with a smaller one.
func receiveMaximumAgain(e *env) {
	c := e.join("c", kept, receiveMax(5))
	c.subscribe(e.topic("a"), 1)
	p := e.join("p")
	for i := range 10 {
		p.publish(e.topic("a"), fmt.Sprint(i), 1)
	}
	for i := range 5 {
		c.message(e.topic("a"), fmt.Sprint(i), 1)
	}
	c.drop()
	c = e.join("c", resume, receiveMax(2))
	for i := range 10 {
		if i == 0 {
			first := c.message(e.topic("a"), "0", 1)
			second := c.message(e.topic("a"), "1", 1)
			c.silent()
			c.settle(first)
			c.settle(second)
			continue
		}
		if i > 1 {
			c.take(e.topic("a"), fmt.Sprint(i), 1)
		}
	}
	c.silent()
}

func onlyPublishIsHeldBack(e *env) {
	c := e.join("c", receiveMax(1))
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 1)
	p.publish(e.topic("a"), "2", 1)
	m := c.message(e.topic("a"), "1", 1)
	c.silent()
	c.subscribe(e.topic("b"), 0)
	c.publish(e.topic("c"), "m", 1)
	c.publish(e.topic("c"), "m", 2)
	c.unsubscribe(e.topic("b"))
	c.settle(m)
	c.take(e.topic("a"), "2", 1)
}

// quotaOfQoS2: the quota is free with PUBCOMP, not with PUBREC.
func quotaOfQoS2(e *env) {
	c := e.join("c", receiveMax(1))
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 2)
	p.publish(e.topic("a"), "2", 2)
	m := c.message(e.topic("a"), "1", 2)
	c.send(ack(packet.TypePubrec, m.PacketID))
	c.ack(packet.TypePubrel, m.PacketID)
	c.silent()
	c.send(ack(packet.TypePubcomp, m.PacketID))
	c.take(e.topic("a"), "2", 2)
}

// quotaAfterRefusal: a PUBREC of 0x80 or more frees it.
func quotaAfterRefusal(e *env) {
	c := e.join("c", receiveMax(1))
	c.subscribe(e.topic("a"), 2)
	p := e.join("p")
	p.publish(e.topic("a"), "1", 2)
	p.publish(e.topic("a"), "2", 1)
	p.publish(e.topic("a"), "3", 2)
	m := c.message(e.topic("a"), "1", 2)
	c.send(&packet.Ack{Kind: packet.TypePubrec, PacketID: m.PacketID, Reason: packet.UnspecifiedError})
	m = c.message(e.topic("a"), "2", 1)
	c.send(&packet.Ack{Kind: packet.TypePuback, PacketID: m.PacketID, Reason: packet.UnspecifiedError})
	c.take(e.topic("a"), "3", 2)
}

func connectProperty(e *env, parts ...any) {
	c := e.dial()
	c.raw(raw(0x10, "MQTT", 5, 2, uint16(60), props(parts...), e.id("a"))...)
	c.malformedConnect()
}

func propertyTwice(e *env) {
	for _, p := range [][]any{
		{propSessionExpiry, uint32(1)},
		{propReceiveMax, uint16(1)},
		{propMaxPacket, uint32(100)},
		{propAliasMax, uint16(1)},
		{propResponseInfo, 1},
		{propProblemInfo, 1},
		{propAuthMethod, "m"},
	} {
		connectProperty(e, append(p, p...)...)
	}
	for _, p := range [][]any{
		{propFormat, 1},
		{propMessageExpiry, uint32(9)},
		{propAlias, uint16(1)},
		{propResponseTopic, "r"},
		{propCorrelation, "c"},
		{propContentType, "t"},
	} {
		e.refuses(raw(0x30, e.topic("a"), props(append(p, p...)...)), packet.ProtocolError, packet.MalformedPacket)
	}
	e.refuses(raw(0xE0, 0, props(propSessionExpiry, uint32(0), propSessionExpiry, uint32(0))), packet.ProtocolError, packet.MalformedPacket)
	c := e.join("c") // user properties do
	c.raw(raw(0x30, e.topic("a"), props(propUser, "n", "v", propUser, "n", "v"))...)
	c.silent()
}

func propertyUnknown(e *env) {
	for _, id := range []int{0x00, 0x04, 0x20, 0x2B, 0x7F, propServerKeepAlive, propAssignedID, propReasonString, propAlias} {
		connectProperty(e, id, uint32(0))
	}
	connectProperty(e, []byte{0x81, 0x01}, uint32(0))
	for _, p := range [][]any{{propSessionExpiry, uint32(1)}, {propReceiveMax, uint16(1)}, {propReasonString, "r"}, {propWillDelay, uint32(1)}} {
		e.refuses(raw(0x30, e.topic("a"), props(p...)), packet.MalformedPacket, packet.ProtocolError)
		e.refuses(raw(0x82, uint16(1), props(p...), e.topic("a"), 0), packet.MalformedPacket, packet.ProtocolError)
		e.refuses(raw(0xA2, uint16(1), props(p...), e.topic("a")), packet.MalformedPacket, packet.ProtocolError)
	}
	e.refuses(raw(0x30, e.topic("a"), []byte{0x7F}, []byte("short")), packet.MalformedPacket)
	e.refuses(raw(0x30, e.topic("a"), []byte{2, propMessageExpiry, 0}, []byte{0, 0, 0}), packet.MalformedPacket)
}

func propertyOutOfRange(e *env) {
	connectProperty(e, propProblemInfo, 2)
	connectProperty(e, propResponseInfo, 2)
	connectProperty(e, propAuthData, "data without method")
	e.refuses(raw(0x30, e.topic("a"), props(propFormat, 2)), packet.ProtocolError, packet.MalformedPacket)
}

// inflightWindow: max_inflight_messages for clients of 3.x, which cannot say.
func inflightWindow(e *env) {
	most := 3
	if e.five() {
		most = 10
	}
	c := e.join("c", receiveMax(10))
	c.subscribe(e.topic("a"), 1)
	p := e.join("p")
	for i := range 20 {
		p.publish(e.topic("a"), fmt.Sprint(i), 1)
	}
	var open []*packet.Publish
	for i := range most {
		open = append(open, c.message(e.topic("a"), fmt.Sprint(i), 1))
	}
	c.silent()
	for _, m := range open {
		c.settle(m)
	}
	for i := most; i < 20; i++ {
		c.take(e.topic("a"), fmt.Sprint(i), 1)
	}
}

func sizeLimit(e *env) {
	c := e.join("c")
	c.raw(0x30, 0xFF, 0xFF, 0xFF, 0x7F) // only the header: 256 MiB are to come
	c.refused(packet.PacketTooLarge)
	c = e.dial()
	c.raw(0x10, 0xFF, 0xFF, 0xFF, 0x7F)
	if p := c.next().Packet; p != nil {
		e.Errorf("got %s", describe(p))
	}
}

// lengthIsNotBelieved: fields that are longer than their packet.
func lengthIsNotBelieved(e *env) {
	e.refuses(raw(0x30, uint16(0xFFFF), []byte("short")), packet.MalformedPacket)
	e.refuses(raw(0x82, uint16(1), e.none(), uint16(0xFFFF), []byte("short"), 0), packet.MalformedPacket)
	e.refuses([]byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01})
}

func connectTimeout(e *env) {
	c := e.dial()
	begin := time.Now()
	c.closed()
	if took := time.Since(begin); took != 5*time.Second {
		e.Errorf("closed after %v", took)
	}
}

// slowConnect: bytes now and then do not extend the time that CONNECT has.
func slowConnect(e *env) {
	c := e.dial()
	begin := time.Now()
	for _, b := range e.rawConnect(2, e.id(strings.Repeat("a", 20))) {
		if _, err := c.nc.Write([]byte{b}); err != nil {
			break
		}
		time.Sleep(time.Second)
	}
	c.closed()
	if took := time.Since(begin); took > 6*time.Second {
		e.Errorf("closed after %v", took)
	}
}

func byteByByte(e *env) {
	c := e.dial()
	for _, b := range e.rawConnect(2, e.id("slow")) {
		c.raw(b)
	}
	c.accepted()
	c.subscribe(e.topic("a"), 1)
	for _, b := range raw(0x32, e.topic("a"), uint16(5), e.none(), []byte("payload")) {
		c.raw(b)
	}
	c.ack(packet.TypePuback, 5)
	c.take(e.topic("a"), "payload", 1)
}

// plainV3: clients of 3.x see nothing of MQTT 5, whatever the others send.
func plainV3(e *env) {
	p := newClient(e, e.nc(), packet.V5, e.patience())
	p.connect(e.id("p"))
	p.accepted()
	c := newClient(e, e.nc(), packet.V311, e.patience())
	c.connect(e.id("c"), kept)
	c.accepted()
	c.subscribe(e.topic("a"), 2)
	for qos := range byte(3) {
		p.publish(e.topic("a"), "m", qos, messageExpiry(100), func(p *packet.Publish) { p.Properties = allProperties() })
		want := raw(0x30|qos<<1, e.topic("a"), []byte("m"))
		got := c.next()
		m := got.Packet.(*packet.Publish)
		if qos > 0 {
			want = raw(0x30|qos<<1, e.topic("a"), m.PacketID, []byte("m"))
		}
		if string(got.raw) != string(want) {
			e.Errorf("got % x, want % x", got.raw, want)
		}
		c.settle(m)
	}
	other := newClient(e, e.nc(), packet.V5, e.patience())
	other.connect(e.id("c"))
	other.accepted()
	c.closed() // without DISCONNECT
}
