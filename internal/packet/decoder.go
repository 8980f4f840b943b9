package packet

// Decoder reads the packets of one connection from its bytes. The zero value
// is a server's before CONNECT. It is not safe for concurrent use.
type Decoder struct {
	// Version is set by the CONNECT that was decoded; a client sets it before
	// the first packet. While it is 0 only CONNECT is accepted [MQTT-3.1.0-1],
	// afterwards none [MQTT-3.1.0-2].
	Version byte
	// Client says that the peer is a server, so that CONNACK, SUBACK, … are
	// expected and CONNECT, SUBSCRIBE, … refused. A server leaves it false.
	Client bool
	// Reuse lets Decode return the same *Publish and *Ack each time; they are
	// then valid until the next Decode.
	Reuse bool
	// MaxSize bounds a packet with its fixed header, in bytes; 0 means the
	// protocol's own limit. It is checked before the packet is complete.
	MaxSize uint32
	// MaxLevels bounds the levels of topic names and filters; 0 means no limit.
	MaxLevels int

	bridge bool    // CONNECT had the bridge bit
	answer byte    // Error.Version of the CONNECT that is being decoded
	topic  string  // last short topic name decoded: publishers repeat themselves
	pub    Publish // returned again and again with Reuse
	ack    Ack
}

// header is a fixed header that has passed all checks that it allows.
type header struct {
	kind  Type
	flags byte
	size  int // of the fixed header itself
	body  int // the remaining length
}

// Size returns the length of the packet at the front of b, with its fixed
// header, as soon as that header is complete, else 0. It refuses what can be
// refused by then, so that no buffer is made for it.
func (d *Decoder) Size(b []byte) (int, error) {
	h, err := d.header(b)
	if err != nil {
		return 0, err
	}
	return h.size + h.body, nil
}

// Decode reads the packet at the front of b and returns it with the number of
// bytes that it took. When b holds only a part of it, all three are zero.
// Errors are *Error; after one the connection is to be closed. Only
// Publish.Payload aliases b.
func (d *Decoder) Decode(b []byte) (p Packet, n int, err error) {
	h, err := d.header(b)
	if err != nil {
		return nil, 0, err
	}
	n = h.size + h.body
	if h.size == 0 || len(b) < n {
		return nil, 0, nil
	}
	r := reader{b: b[h.size:n:n]}
	if h.kind == TypePublish { // kept apart from the rest for speed
		p = d.publish(&r, h.flags)
	} else {
		p = d.body(&r, h.kind)
	}
	r.end()
	if r.failed() {
		return nil, 0, d.refuse(h.kind, r.reason, r.msg)
	}
	if c, ok := p.(*Connect); ok {
		d.Version, d.bridge, d.answer = c.Version, c.Bridge, 0
	}
	return p, n, nil
}

// body decodes everything but PUBLISH. What it returns counts only if r has
// not failed.
func (d *Decoder) body(r *reader, t Type) Packet {
	switch t {
	case TypeConnect:
		return d.connect(r)
	case TypeConnack:
		return d.connack(r)
	case TypeSubscribe:
		return d.subscribe(r)
	case TypeSuback:
		return d.suback(r)
	case TypeUnsubscribe:
		return d.unsubscribe(r)
	case TypeUnsuback:
		return d.unsuback(r)
	case TypePingreq:
		return &Pingreq{}
	case TypePingresp:
		return &Pingresp{}
	case TypeDisconnect:
		return d.disconnect(r)
	case TypeAuth:
		return d.auth(r)
	default:
		return d.acknowledgement(r, t)
	}
}

// header reads and checks the fixed header. size is 0 while it is incomplete.
func (d *Decoder) header(b []byte) (header, error) {
	if len(b) == 0 {
		return header{}, nil
	}
	h := header{kind: Type(b[0] >> 4), flags: b[0] & 0x0F}
	if reason, msg := d.expected(h.kind, h.flags); msg != "" {
		return header{}, d.refuse(h.kind, reason, msg)
	}
	body, n, shortest := decodeVarint(b[1:])
	switch {
	case n < 0:
		return header{}, d.refuse(h.kind, MalformedPacket, "remaining length has more than four bytes")
	case n == 0:
		return header{}, nil
	case !shortest && d.Version == V5: // 3.x does not forbid it
		return header{}, d.refuse(h.kind, MalformedPacket, "remaining length is not in its shortest form")
	}
	h.size, h.body = 1+n, int(body)
	if d.MaxSize != 0 && uint64(h.size)+uint64(h.body) > uint64(d.MaxSize) {
		return header{}, d.refuse(h.kind, PacketTooLarge, "packet is larger than allowed")
	}
	if lo, hi := d.bodyBounds(h.kind); h.body < lo || h.body > hi {
		return header{}, d.refuse(h.kind, MalformedPacket, "remaining length is not one of this packet")
	}
	return h, nil
}

// Which side sends a packet type; the others travel both ways.
const (
	fromClient uint16 = 1<<TypeConnect | 1<<TypeSubscribe | 1<<TypeUnsubscribe | 1<<TypePingreq
	fromServer uint16 = 1<<TypeConnack | 1<<TypeSuback | 1<<TypeUnsuback | 1<<TypePingresp
)

// expected checks the first byte: type, direction, moment and flags.
func (d *Decoder) expected(t Type, flags byte) (Reason, string) {
	switch {
	case t == 0, t == TypeAuth && d.Version != 0 && d.Version < V5:
		return MalformedPacket, "packet type is reserved"
	case d.Version == 0 && (d.Client || t != TypeConnect):
		return ProtocolError, "first packet is not CONNECT" // [MQTT-3.1.0-1]
	case !d.Client && t == TypeConnect && d.Version != 0:
		return ProtocolError, "second CONNECT" // [MQTT-3.1.0-2]
	case !d.Client && fromServer>>t&1 != 0:
		return ProtocolError, "only servers send this packet"
	case d.Client && (fromClient>>t&1 != 0 || t == TypeDisconnect && d.Version < V5):
		return ProtocolError, "only clients send this packet"
	}
	return MalformedPacket, d.checkFlags(t, flags)
}

// checkFlags checks the flags of the fixed header (MQTT 5.0 §2.1.3) and
// returns what is wrong with them [MQTT-2.1.3-1].
func (d *Decoder) checkFlags(t Type, flags byte) string {
	switch t {
	case TypePublish:
		switch {
		case flags&0x06 == 0x06:
			return "QoS is 3" // [MQTT-3.3.1-4]
		case flags&0x0E == 0x08:
			return "DUP is set with QoS 0" // [MQTT-3.3.1-2]
		}
		return ""
	case TypePubrel, TypeSubscribe, TypeUnsubscribe:
		// [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]; MQTT 3.1 §3.6, 3.8
		// and 3.10 send these again with DUP.
		if flags == 0x02 || d.Version == V31 && flags == 0x0A {
			return ""
		}
	default:
		if flags == 0 {
			return ""
		}
	}
	return "reserved flags of the fixed header are set"
}

// bodyBounds returns the least and the greatest remaining length of a packet.
func (d *Decoder) bodyBounds(t Type) (lo, hi int) {
	v5 := d.Version == V5
	switch t {
	case TypeConnect:
		return 12, MaxRemaining
	case TypePingreq, TypePingresp:
		return 0, 0
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeConnack, TypeUnsuback:
		if !v5 {
			return 2, 2
		}
		return 2, MaxRemaining
	case TypeDisconnect:
		if !v5 {
			return 0, 0
		}
	case TypePublish, TypeSubscribe, TypeSuback, TypeUnsubscribe:
		return 2, MaxRemaining
	default: // AUTH may be empty
	}
	return 0, MaxRemaining
}

// refuse makes the error that ends the connection.
func (d *Decoder) refuse(t Type, reason Reason, msg string) error {
	e := &Error{Reason: reason, Msg: msg, Type: t, Version: d.answer}
	if d.Version == V5 {
		e.Version = V5
	}
	return e
}
