package conformance

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// client is the other end of a connection. It reads strictly: what the broker
// sends against the specification fails the test by itself.
type client struct {
	t        testing.TB
	nc       net.Conn
	version  byte
	in       chan received
	pending  []received // passed over while waiting for an acknowledgement
	patience time.Duration
	// subscribed: retained messages may be on their way behind a SUBACK.
	subscribed bool
	settled    func() // in virtual time: waits until nothing moves
	aliases    map[uint16]string
	aliasMax   atomic.Int32 // what CONNECT allowed
	id         string
	connack    *packet.Connack
}

// received is one packet with its bytes.
type received struct {
	packet.Packet
	raw []byte
}

// newClient reads nc until it ends; then c.in is closed.
func newClient(t testing.TB, nc net.Conn, version byte, patience time.Duration) *client {
	c := &client{t: t, nc: nc, version: version, in: make(chan received, 4096), patience: patience, aliases: map[uint16]string{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.read()
	}()
	t.Cleanup(func() {
		nc.Close()
		<-done
	})
	return c
}

func (c *client) read() {
	defer close(c.in)
	d := packet.Decoder{Version: c.version, Client: true}
	var buf []byte
	chunk := make([]byte, 4096)
	for {
		n, err := c.nc.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			p, used, derr := d.Decode(buf)
			if derr != nil {
				c.t.Errorf("the broker sent % x: %v", buf[:min(len(buf), 40)], derr)
				return
			}
			if p == nil {
				break
			}
			raw := append([]byte(nil), buf[:used]...)
			if pub, ok := p.(*packet.Publish); ok {
				pub.Payload = raw[used-len(pub.Payload):]
				c.resolve(pub)
			}
			buf = buf[used:]
			c.in <- received{p, raw}
		}
		if err != nil {
			if len(buf) > 0 {
				c.t.Errorf("the connection ended within a packet: % x", buf[:min(len(buf), 40)])
			}
			return
		}
	}
}

// resolve puts the topic in the place of an alias, which must be one that the
// client allowed and that was named before [MQTT-3.1.2-26] [MQTT-3.1.2-27].
func (c *client) resolve(p *packet.Publish) {
	n := p.TopicAlias
	if n == 0 {
		return
	}
	if n > uint16(c.aliasMax.Load()) {
		c.t.Errorf("the broker used topic alias %d", n)
	}
	if p.Topic != "" {
		c.aliases[n] = p.Topic
	}
	if p.Topic = c.aliases[n]; p.Topic == "" {
		c.t.Errorf("the broker used topic alias %d before it named it", n)
	}
	p.TopicAlias = 0
}

// raw writes bytes. That the broker has closed meanwhile shows when reading.
func (c *client) raw(b ...byte) { _, _ = c.nc.Write(b) }

// send writes packets in one piece.
func (c *client) send(ps ...packet.Packet) {
	var b []byte
	for _, p := range ps {
		b = packet.Append(b, c.version, p)
		c.subscribed = c.subscribed || p.Type() == packet.TypeSubscribe
	}
	c.raw(b...)
}

// next returns the next packet; its Packet is nil when the connection is closed.
func (c *client) next() received {
	c.t.Helper()
	if len(c.pending) > 0 {
		p := c.pending[0]
		c.pending = c.pending[1:]
		return p
	}
	return c.arrival()
}

// arrival waits for a packet.
func (c *client) arrival() received {
	c.t.Helper()
	timer := time.NewTimer(c.patience)
	defer timer.Stop()
	select {
	case p := <-c.in:
		return p
	case <-timer.C:
		c.t.Fatal("the broker sent nothing, and did not close")
		return received{}
	}
}

// want takes the next packet, which must be a T.
func want[T packet.Packet](c *client) T {
	c.t.Helper()
	p := c.next()
	v, ok := p.Packet.(T)
	if !ok {
		c.t.Fatalf("got %s, want %T", show(p.Packet), v)
	}
	return v
}

// after is want, but messages that come before it are for later.
func after[T packet.Packet](c *client) T {
	c.t.Helper()
	for {
		p := c.arrival()
		if v, ok := p.Packet.(T); ok {
			return v
		}
		if _, ok := p.Packet.(*packet.Publish); !ok {
			var v T
			c.t.Fatalf("got %s, want %T", show(p.Packet), v)
		}
		c.pending = append(c.pending, p)
	}
}

func show(p packet.Packet) string {
	if p == nil {
		return "the connection closed"
	}
	return describe(p)
}

// describe prints a packet.
func describe(p packet.Packet) string { return fmt.Sprintf("%v %+v", p.Type(), p) }

// ack takes that acknowledgement. Messages that come before it are for later.
func (c *client) ack(kind packet.Type, id uint16) *packet.Ack {
	c.t.Helper()
	a := after[*packet.Ack](c)
	if a.Kind != kind || a.PacketID != id {
		c.t.Fatalf("got %s, want %v of %d", describe(a), kind, id)
	}
	return a
}

// closed expects that the broker closes without another word.
func (c *client) closed() {
	c.t.Helper()
	if p := c.next(); p.Packet != nil {
		c.t.Fatalf("got %s, want the connection closed", describe(p.Packet))
	}
}

// refused expects the end of the connection: MQTT 5 clients are told a reason,
// one of those given if there are any.
func (c *client) refused(reasons ...packet.Reason) {
	c.t.Helper()
	if c.version == packet.V5 {
		d := want[*packet.Disconnect](c)
		c.oneOf(d.Reason, reasons...)
	}
	c.closed()
}

func (c *client) oneOf(got packet.Reason, reasons ...packet.Reason) {
	c.t.Helper()
	for _, r := range reasons {
		if r == got {
			return
		}
	}
	if len(reasons) > 0 || !got.Failed() {
		c.t.Fatalf("reason %v (0x%02X), want %v", got, byte(got), reasons)
	}
}

// silent expects that nothing is on its way. Two round trips: what the queue
// had when the first PINGREQ came is written before the second is answered.
func (c *client) silent() {
	c.t.Helper()
	if got := c.pass(); len(got) > 0 {
		c.t.Fatalf("got %s, want nothing", describe(got[0]))
	}
}

// pass is silent, but returns what came.
func (c *client) pass() (got []packet.Packet) {
	c.t.Helper()
	ask := []packet.Packet{&packet.Pingreq{}, &packet.Pingreq{}}
	if c.subscribed { // an UNSUBSCRIBE keeps its place behind all that
		c.subscribed = false
		ask = append([]packet.Packet{&packet.Unsubscribe{PacketID: 0x7779, Filters: []string{"t/nothing"}}}, ask...)
	}
	for _, question := range ask {
		answer := packet.TypePingresp
		if question.Type() == packet.TypeUnsubscribe {
			answer = packet.TypeUnsuback
		}
		c.send(question)
		for {
			p := c.next().Packet
			if p == nil {
				c.t.Fatal("the connection closed")
			}
			if p.Type() == answer {
				break
			}
			got = append(got, p)
		}
	}
	return got
}

// drop ends the connection as a broken network does. In virtual time the broker
// has noticed when it returns.
func (c *client) drop() {
	c.nc.Close()
	if c.settled != nil {
		c.settled()
	}
}

// bye ends the connection properly.
func (c *client) bye() {
	c.t.Helper()
	c.send(&packet.Disconnect{})
	c.closed()
}

// subscribe subscribes with that QoS and options, which must be granted.
func (c *client) subscribe(filter string, qos byte, options ...func(*message.Subscription)) {
	c.t.Helper()
	s := message.Subscription{Filter: filter, QoS: qos}
	for _, o := range options {
		o(&s)
	}
	c.send(&packet.Subscribe{PacketID: 0x7777, Subscriptions: []message.Subscription{s}})
	if a := after[*packet.Suback](c); a.PacketID != 0x7777 || len(a.Reasons) != 1 || a.Reasons[0] != packet.Reason(qos) {
		c.t.Fatalf("got %s, want QoS %d granted", describe(a), qos)
	}
}

// unsubscribe ends one subscription.
func (c *client) unsubscribe(filter string) {
	c.t.Helper()
	c.send(&packet.Unsubscribe{PacketID: 0x7778, Filters: []string{filter}})
	if a := after[*packet.Unsuback](c); a.PacketID != 0x7778 {
		c.t.Fatalf("got %s", describe(a))
	}
}

// publish publishes and completes the flow: when it returns every subscriber's
// queue has the message.
func (c *client) publish(topic, payload string, qos byte, options ...func(*packet.Publish)) {
	c.t.Helper()
	p := &packet.Publish{Topic: topic, Payload: []byte(payload), QoS: qos}
	if qos > 0 {
		p.PacketID = 0x6666
	}
	for _, o := range options {
		o(p)
	}
	c.send(p)
	switch qos {
	case 0:
		c.send(&packet.Pingreq{})
		after[*packet.Pingresp](c)
	case 1:
		c.okay(c.ack(packet.TypePuback, p.PacketID))
	default:
		c.okay(c.ack(packet.TypePubrec, p.PacketID))
		c.send(&packet.Ack{Kind: packet.TypePubrel, PacketID: p.PacketID})
		c.okay(c.ack(packet.TypePubcomp, p.PacketID))
	}
}

func (c *client) okay(a *packet.Ack) {
	c.t.Helper()
	if a.Reason.Failed() {
		c.t.Fatalf("refused: %s", describe(a))
	}
}

// take takes a message, which must be this one, and completes its flow.
func (c *client) take(topic, payload string, qos byte) *packet.Publish {
	c.t.Helper()
	p := c.message(topic, payload, qos)
	c.settle(p)
	return p
}

// message takes a message and acknowledges nothing.
func (c *client) message(topic, payload string, qos byte) *packet.Publish {
	c.t.Helper()
	p := want[*packet.Publish](c)
	if p.Topic != topic || string(p.Payload) != payload || p.QoS != qos {
		c.t.Fatalf("got %s, want %q with %q and QoS %d", describe(p), topic, payload, qos)
	}
	return p
}

// settle completes the flow of a message that was taken.
func (c *client) settle(p *packet.Publish) {
	c.t.Helper()
	switch p.QoS {
	case 1:
		c.send(ack(packet.TypePuback, p.PacketID))
	case 2:
		c.send(ack(packet.TypePubrec, p.PacketID))
		c.ack(packet.TypePubrel, p.PacketID)
		c.send(ack(packet.TypePubcomp, p.PacketID))
	}
}

func ack(kind packet.Type, id uint16) *packet.Ack { return &packet.Ack{Kind: kind, PacketID: id} }
