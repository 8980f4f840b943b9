package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// connection is a client after CONNACK. What it costs is the load generator's,
// not the broker's, but both share the machine: packets are encoded and read
// many at a time, without allocations.
type connection struct {
	net.Conn
	version byte
	in      []byte // read and not looked at
	buf     []byte
}

// login says how a client connects.
type login struct {
	address    string
	version    byte
	id         string
	persistent bool
	filter     string // subscribed to with qos, unless empty
	qos        byte
	buffer     int
}

// forever is the session expiry interval of persistent sessions.
const forever = 0xFFFFFFFF

// handshakeTime bounds connecting and subscribing.
const handshakeTime = 20 * time.Second

func dial(ctx context.Context, l login) (*connection, error) {
	d := net.Dialer{Timeout: handshakeTime}
	nc, err := d.DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: nc, version: l.version, buf: make([]byte, max(l.buffer, 256))}
	if err := c.handshake(l); err != nil {
		c.abort()
		return nil, fmt.Errorf("%s: %w", l.id, err)
	}
	return c, nil
}

// abort closes without a trace in the kernel's tables (TIME_WAIT), so that
// many thousand connections can follow.
func (c *connection) abort() {
	if tc, ok := c.Conn.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	c.Close()
}

func (c *connection) handshake(l login) error {
	c.SetDeadline(time.Now().Add(handshakeTime))
	defer c.SetDeadline(time.Time{})
	hello := &packet.Connect{
		Version: l.version, ClientID: l.id, CleanStart: !l.persistent, ReceiveMaximum: 65535, RequestProblem: true,
	}
	if l.persistent && l.version == packet.V5 {
		hello.SessionExpiry, hello.HasSessionExpiry = forever, true
	}
	if _, err := c.Write(packet.Append(nil, l.version, hello)); err != nil {
		return err
	}
	p, err := c.expect(byte(packet.TypeConnack))
	if err != nil {
		return err
	}
	if len(p) < 2 || p[1] != 0 {
		return fmt.Errorf("%w: CONNACK %x", errBehaviour, p)
	}
	if l.filter == "" {
		return nil
	}
	return c.subscribe(l.qos, l.filter)
}

// subscribe waits until the filters are granted.
func (c *connection) subscribe(qos byte, filters ...string) error {
	sub := &packet.Subscribe{PacketID: 1}
	for _, f := range filters {
		sub.Subscriptions = append(sub.Subscriptions, message.Subscription{Filter: f, QoS: qos})
	}
	if _, err := c.Write(packet.Append(nil, c.version, sub)); err != nil {
		return err
	}
	p, err := c.expect(byte(packet.TypeSuback))
	if err != nil {
		return err
	}
	if len(p) < 2+len(filters) {
		return fmt.Errorf("%w: SUBACK %x", errBehaviour, p)
	}
	for _, granted := range p[len(p)-len(filters):] {
		if granted != qos {
			return fmt.Errorf("%w: SUBACK %x", errBehaviour, p)
		}
	}
	return nil
}

// expect reads the next packet, which has to be of that type, and returns what
// follows its fixed header.
func (c *connection) expect(kind byte) ([]byte, error) {
	for {
		f, n, err := next(c.in, c.version)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			c.in = c.in[n:]
			if f.kind != kind {
				return nil, fmt.Errorf("%w: packet type %d instead of %d", errBehaviour, f.kind, kind)
			}
			return bytes.Clone(f.body), nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// message reads the next packet, a PUBLISH, and returns its payload and
// identifier.
func (c *connection) message() (payload []byte, pid uint16, err error) {
	for {
		f, n, err := next(c.in, c.version)
		switch {
		case err != nil:
			return nil, 0, err
		case n == 0:
			if err := c.fill(); err != nil {
				return nil, 0, err
			}
		case f.kind != byte(packet.TypePublish):
			return nil, 0, fmt.Errorf("%w: packet type %d instead of a message", errBehaviour, f.kind)
		default:
			c.in = c.in[n:]
			return f.body, f.pid, nil
		}
	}
}

// fill reads more bytes behind those that are there.
func (c *connection) fill() error {
	n := copy(c.buf, c.in)
	if n == len(c.buf) {
		c.buf = append(c.buf, make([]byte, len(c.buf))...)
	}
	m, err := c.Read(c.buf[n:])
	c.in = c.buf[:n+m]
	if m > 0 {
		return nil
	}
	return err
}

// frame is one packet, as far as a benchmark needs it.
type frame struct {
	kind byte
	qos  byte
	pid  uint16 // PUBLISH with QoS and acknowledgements
	body []byte // PUBLISH: the payload; else what follows the fixed header
}

// next reads the packet at the front of b and its length, 0 while b has only a
// part of it.
func next(b []byte, version byte) (f frame, n int, err error) {
	size, at := 0, 1
	for shift := 0; ; shift += 7 {
		if at >= len(b) {
			return frame{}, 0, nil
		}
		size |= int(b[at]&0x7F) << shift
		at++
		if b[at-1] < 0x80 {
			break
		}
		if shift == 21 {
			return frame{}, 0, fmt.Errorf("%w: remaining length %x", errBehaviour, b[:at])
		}
	}
	if n = at + size; len(b) < n {
		return frame{}, 0, nil
	}
	f = frame{kind: b[0] >> 4, qos: b[0] >> 1 & 3, body: b[at:n]}
	switch packet.Type(f.kind) {
	case packet.TypePublish:
		return f.publish(n, version)
	case packet.TypePuback, packet.TypePubrec, packet.TypePubrel, packet.TypePubcomp:
		if size < 2 || size > 2 && f.body[2] >= 0x80 {
			return frame{}, 0, fmt.Errorf("%w: acknowledgement %x", errBehaviour, b[:n])
		}
		f.pid = uint16(f.body[0])<<8 | uint16(f.body[1])
	default:
	}
	return f, n, nil
}

// publish steps over topic, packet identifier and properties.
func (f frame) publish(n int, version byte) (frame, int, error) {
	bad := func() error { return fmt.Errorf("%w: PUBLISH %x", errBehaviour, f.body[:min(len(f.body), 32)]) }
	if len(f.body) < 2 {
		return frame{}, 0, bad()
	}
	at := 2 + int(f.body[0])<<8 + int(f.body[1])
	if f.qos > 0 {
		if len(f.body) < at+2 {
			return frame{}, 0, bad()
		}
		f.pid = uint16(f.body[at])<<8 | uint16(f.body[at+1])
		at += 2
	}
	if version == packet.V5 { // properties of these messages fit one length byte
		if len(f.body) <= at || f.body[at] >= 0x80 {
			return frame{}, 0, bad()
		}
		at += 1 + int(f.body[at])
	}
	if len(f.body) != at+Payload {
		return frame{}, 0, bad()
	}
	f.body = f.body[at:]
	return f, n, nil
}

// appendAck appends an acknowledgement without a reason.
func appendAck(b []byte, kind packet.Type, pid uint16) []byte {
	return packet.AppendAck(b, packet.V311, kind, pid, packet.Success)
}
