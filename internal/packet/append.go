package packet

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqadmin/mqadmin/internal/message"
)

// Append encodes p for protocol version 3, 4 or 5 and appends it to b. What
// the version cannot express is left out: 3.x gets no properties and none of
// MQTT 5's codes, and no AUTH at all. A packet beyond the protocol's own
// limit, and one that needs a packet id and has none, appends nothing.
// Strings are cut at 65,535 bytes.
func Append(b []byte, version byte, p Packet) []byte {
	switch p := p.(type) {
	case *Publish:
		return AppendPublish(b, version, p)
	case *Ack:
		return appendAck(b, version, p)
	case *Pingreq:
		return append(b, byte(TypePingreq)<<4, 0)
	case *Pingresp:
		return append(b, byte(TypePingresp)<<4, 0)
	case *Connect:
		return appendConnect(b, p)
	case *Connack:
		return appendConnack(b, version, p)
	case *Suback:
		if version < V5 {
			return appendSubackV3(b, p)
		}
	case *Disconnect:
		if version < V5 {
			return append(b, byte(TypeDisconnect)<<4, 0)
		}
	case *Auth:
		if version < V5 {
			return b
		}
	}
	return appendCold(b, version, p)
}

// AppendLimit is Append within the client's maximum packet size (0: none) and
// its wish for problem information: reason string and user properties are
// dropped from acknowledgements and the like when they are unwanted
// [MQTT-3.1.2-29] or do not fit [MQTT-3.2.2-19] [MQTT-3.2.2-20]. It appends
// nothing and returns false when the packet is too large even so
// [MQTT-3.1.2-24].
func AppendLimit(b []byte, version byte, p Packet, maxSize uint32, problemInfo bool) ([]byte, bool) {
	if !problemInfo {
		switch p.(type) {
		case *Connack, *Disconnect: // these two may tell all the same
		default:
			p = withoutProblem(p)
		}
	}
	n := len(b)
	b = Append(b, version, p)
	if fits(len(b)-n, maxSize) {
		return b, len(b) > n
	}
	b = Append(b[:n], version, withoutProblem(p))
	if fits(len(b)-n, maxSize) {
		return b, len(b) > n
	}
	return b[:n], false
}

func fits(size int, maxSize uint32) bool { return maxSize == 0 || uint64(size) <= uint64(maxSize) }

// withoutProblem returns p without its reason string and user properties,
// which PUBLISH keeps because they are the publisher's [MQTT-3.3.2-17].
func withoutProblem(p Packet) Packet {
	switch p := p.(type) {
	case *Ack:
		c := *p
		c.ReasonString, c.User = "", nil
		return &c
	case *Connack:
		c := *p
		c.ReasonString, c.User = "", nil
		return &c
	case *Suback:
		c := *p
		c.ReasonString, c.User = "", nil
		return &c
	case *Unsuback:
		c := *p
		c.ReasonString, c.User = "", nil
		return &c
	case *Disconnect:
		c := *p
		c.ReasonString, c.User = "", nil
		return &c
	case *Auth:
		c := *p
		c.ReasonString, c.User = "", nil
		return &c
	}
	return p
}

// AppendAck encodes a PUBACK, PUBREC, PUBREL or PUBCOMP that carries no
// properties, without allocating, apart from growing b. Success is written in
// the short form of two bytes (MQTT 5.0 §3.4.2.1).
func AppendAck(b []byte, version byte, kind Type, id uint16, reason Reason) []byte {
	if version < V5 || reason == Success {
		return append(b, ackByte(kind), 2, byte(id>>8), byte(id))
	}
	return append(b, ackByte(kind), 3, byte(id>>8), byte(id), byte(reason))
}

// ackByte is the first byte of an acknowledgement [MQTT-3.6.1-1].
func ackByte(kind Type) byte {
	if kind == TypePubrel {
		return byte(kind)<<4 | 0x02
	}
	return byte(kind) << 4
}

func appendAck(b []byte, version byte, a *Ack) []byte {
	if version < V5 || a.ReasonString == "" && len(a.User) == 0 {
		return AppendAck(b, version, a.Kind, a.PacketID, a.Reason)
	}
	props := sizeUser(a.User)
	if a.ReasonString != "" {
		props += 1 + sizeString(a.ReasonString)
	}
	remaining := 3 + sizeVarint(props) + props
	if remaining > MaxRemaining {
		return b
	}
	b = appendVarint(append(b, ackByte(a.Kind)), remaining)
	b = binary.BigEndian.AppendUint16(b, a.PacketID)
	b = appendVarint(append(b, byte(a.Reason)), props)
	if a.ReasonString != "" {
		b = appendString(append(b, packets.PropReasonString), a.ReasonString)
	}
	return appendUser(b, a.User)
}

// The size… functions say how many bytes their append… twins write.

func sizeVarint(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

func appendVarint(b []byte, n int) []byte {
	for n > 0x7F {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// clip cuts s to what a length of two bytes can say, between characters.
func clip(s string) string {
	if len(s) <= 65535 {
		return s
	}
	n := 65535
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func sizeString(s string) int { return 2 + len(clip(s)) }

func appendString(b []byte, s string) []byte {
	s = clip(s)
	return append(append(b, byte(len(s)>>8), byte(len(s))), s...)
}

func sizeBinary(s []byte) int { return 2 + min(len(s), 65535) }

func appendBinary(b, s []byte) []byte {
	s = s[:min(len(s), 65535)]
	return append(append(b, byte(len(s)>>8), byte(len(s))), s...)
}

func sizeUser(user []message.UserProperty) (n int) {
	for i := range user {
		n += 1 + sizeString(user[i].Name) + sizeString(user[i].Value)
	}
	return n
}

// appendUser keeps the order [MQTT-3.3.2-18].
func appendUser(b []byte, user []message.UserProperty) []byte {
	for i := range user {
		b = appendString(append(b, packets.PropUser), user[i].Name)
		b = appendString(b, user[i].Value)
	}
	return b
}
