package conformance

import "encoding/binary"

// raw is a packet of a first byte and a body of parts, with its length.
func raw(first byte, parts ...any) []byte {
	b := body(parts...)
	return append(binary.AppendUvarint([]byte{first}, uint64(len(b))), b...)
}

// body: an int is one byte, uint16 and uint32 are themselves, a string has its
// length in front, []byte is as it is.
func body(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case uint16:
			b = binary.BigEndian.AppendUint16(b, p)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		case string:
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
		case []byte:
			b = append(b, p...)
		default:
			panic("unknown part")
		}
	}
	return b
}

// props is a property block with its length.
func props(parts ...any) []byte {
	b := body(parts...)
	return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
}

// none is an empty property block in MQTT 5 and nothing in 3.x.
func (e *env) none() []byte {
	if e.five() {
		return props()
	}
	return nil
}

// rawConnect is a CONNECT of the test's version with these flags and payload,
// without properties.
func (e *env) rawConnect(flags int, payload ...any) []byte {
	name := "MQTT"
	if e.v == 3 {
		name = "MQIsdp"
	}
	return raw(0x10, append([]any{name, int(e.v), flags, uint16(60), e.none()}, payload...)...)
}

// Property identifiers (MQTT 5.0 §2.2.2.2), where bytes are written by hand.
const (
	propFormat          = 0x01
	propMessageExpiry   = 0x02
	propContentType     = 0x03
	propResponseTopic   = 0x08
	propCorrelation     = 0x09
	propSubscriptionID  = 0x0B
	propSessionExpiry   = 0x11
	propAssignedID      = 0x12
	propServerKeepAlive = 0x13
	propAuthMethod      = 0x15
	propAuthData        = 0x16
	propProblemInfo     = 0x17
	propWillDelay       = 0x18
	propResponseInfo    = 0x19
	propReasonString    = 0x1F
	propReceiveMax      = 0x21
	propAliasMax        = 0x22
	propAlias           = 0x23
	propUser            = 0x26
	propMaxPacket       = 0x27
)

// Text that is no valid UTF-8 for MQTT, and text with U+0000.
var (
	illFormed = map[string]string{
		"a surrogate": "a\xED\xA0\x80", "an overlong form": "a\xC0\xAF", "a lone continuation": "a\x80",
		"beyond U+10FFFF": "a\xF4\x90\x80\x80", "cut": "a\xE2\x82",
	}
	withNul = map[string]string{"NUL alone": "\x00", "NUL within": "a\x00b"}
)
