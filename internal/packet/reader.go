package packet

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// reader consumes the body of one packet from the front. After the first
// failure every further read returns zero, so callers check once. It takes
// no memory for a length before the bytes are there.
type reader struct {
	b      []byte
	reason Reason
	msg    string // why it failed; "" while it has not
}

func (r *reader) fail(reason Reason, msg string) {
	if r.msg == "" {
		r.b, r.reason, r.msg = nil, reason, msg
	}
}

func (r *reader) failed() bool { return r.msg != "" }

func (r *reader) malformed(msg string) { r.fail(MalformedPacket, msg) }

func (r *reader) byte() byte {
	if len(r.b) < 1 {
		r.malformed("packet ends early")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint16() uint16 {
	if len(r.b) < 2 {
		r.malformed("packet ends early")
		return 0
	}
	v := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

func (r *reader) uint32() uint32 {
	if len(r.b) < 4 {
		r.malformed("packet ends early")
		return 0
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

// varint reads a variable byte integer of one to four bytes in its shortest
// form [MQTT-1.5.5-1].
func (r *reader) varint() uint32 {
	v, n, shortest := decodeVarint(r.b)
	switch {
	case n == 0:
		r.malformed("packet ends early")
		return 0
	case n < 0:
		r.malformed("variable byte integer is longer than four bytes")
		return 0
	case !shortest:
		r.malformed("variable byte integer is not in its shortest form")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// decodeVarint returns the value and its length: 0 when b ends before it
// does, -1 when it has more than four bytes.
func decodeVarint(b []byte) (v uint32, n int, shortest bool) {
	for i := range 4 {
		if i >= len(b) {
			return 0, 0, false
		}
		v |= uint32(b[i]&0x7F) << (7 * i)
		if b[i]&0x80 == 0 {
			return v, i + 1, i == 0 || b[i] != 0
		}
	}
	return 0, -1, false
}

// raw returns the next length-prefixed field without copying it.
func (r *reader) raw() []byte {
	n := int(r.uint16())
	if n > len(r.b) {
		r.malformed("field is longer than the packet")
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// checkString fails unless v is well-formed UTF-8 without surrogates
// [MQTT-1.5.4-1] and without U+0000 [MQTT-1.5.4-2]. U+FEFF is kept
// [MQTT-1.5.4-3].
func (r *reader) checkString(v []byte) {
	if !utf8.Valid(v) {
		r.malformed("string is not UTF-8")
	} else if bytes.IndexByte(v, 0) >= 0 {
		r.malformed("string contains U+0000")
	}
}

// utf8 returns the next string's bytes without copying them.
func (r *reader) utf8() []byte {
	v := r.raw()
	r.checkString(v)
	if r.failed() {
		return nil
	}
	return v
}

func (r *reader) string() string { return string(r.utf8()) }

// bytes returns a copy of the next binary field, nil when it is empty.
func (r *reader) bytes() []byte { return clone(r.raw()) }

func clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}

// packetID reads a packet identifier, which is never 0 [MQTT-2.2.1-3].
func (r *reader) packetID() uint16 {
	id := r.uint16()
	if id == 0 {
		r.fail(ProtocolError, "packet identifier is 0")
	}
	return id
}

// end fails when bytes are left.
func (r *reader) end() {
	if len(r.b) != 0 {
		r.malformed("bytes after the end of the packet's content")
	}
}
