package packet

import (
	"testing"
)

// refuseTests are packets that end a connection. reply is Error.Version.
var refuseTests = []struct {
	name    string
	version byte
	client  bool
	b       []byte
	reason  Reason
	reply   byte
}{
	// Fixed header.
	{"type 0", 4, false, []byte{0x00, 0x00}, MalformedPacket, 0},
	{"MQTT-3.1.0-1 PUBLISH first", 0, false, raw(0x30, "a"), ProtocolError, 0},
	{"MQTT-3.1.0-1 only the first byte", 0, false, []byte{0xC0}, ProtocolError, 0},
	{"MQTT-3.1.0-2 second CONNECT", 5, false, connect5(2, props(), "a"), ProtocolError, 5},
	{"MQTT-3.1.0-2 second CONNECT v4", 4, false, connect4(2, "a"), ProtocolError, 0},
	{"AUTH in 3.1.1", 4, false, []byte{0xF0, 0x00}, MalformedPacket, 0},
	{"remaining length of five bytes", 5, false, []byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF}, MalformedPacket, 5},
	{"MQTT-1.5.5-1 remaining length not shortest", 5, false, []byte{0xC0, 0x80, 0x00}, MalformedPacket, 5},
	{"MQTT-2.1.3-1 CONNECT flags", 0, false, raw(0x11, "MQTT", 4, 2, uint16(0), "a"), MalformedPacket, 0},
	{"MQTT-2.1.3-1 PINGREQ flags", 5, false, []byte{0xC1, 0x00}, MalformedPacket, 5},
	{"MQTT-2.1.3-1 PUBACK flags", 5, false, raw(0x42, uint16(1)), MalformedPacket, 5},
	{"MQTT-3.6.1-1 PUBREL flags", 5, false, raw(0x60, uint16(1)), MalformedPacket, 5},
	{"MQTT-3.8.1-1 SUBSCRIBE flags", 5, false, raw(0x80, uint16(1), 0, "a", 0), MalformedPacket, 5},
	{"MQTT-3.10.1-1 UNSUBSCRIBE flags", 4, false, raw(0xA0, uint16(1), "a"), MalformedPacket, 0},
	{"MQTT-3.14.1-1 DISCONNECT flags", 5, false, []byte{0xE1, 0x00}, MalformedPacket, 5},
	{"MQTT-3.15.1-1 AUTH flags", 5, false, raw(0xF2, 0x18, props(0x15, "m")), MalformedPacket, 5},
	{"server gets CONNACK", 5, false, raw(0x20, 0, 0, 0), ProtocolError, 5},
	{"server gets SUBACK", 4, false, raw(0x90, uint16(1), 0), ProtocolError, 0},
	{"server gets PINGRESP", 4, false, []byte{0xD0, 0x00}, ProtocolError, 0},
	{"client gets SUBSCRIBE", 5, true, raw(0x82, uint16(1), 0, "a", 0), ProtocolError, 5},
	{"client gets DISCONNECT of 3.1.1", 4, true, []byte{0xE0, 0x00}, ProtocolError, 0},

	// CONNECT, mochi.md 19 and 21.
	{"MQTT-3.1.2-1 protocol name", 0, false, raw(0x10, "MQTX", 4, 2, uint16(0), "a"), UnsupportedProtocolVersion, 0},
	{"protocol name in lower case", 0, false, raw(0x10, "mqtt", 4, 2, uint16(0), "a"), UnsupportedProtocolVersion, 0},
	{"MQTT-3.1.2-2 level 6", 0, false, raw(0x10, "MQTT", 6, 2, uint16(0), 0, "a"), UnsupportedProtocolVersion, 4},
	{"MQTT-3.1.2-2 MQTT level 3", 0, false, raw(0x10, "MQTT", 3, 2, uint16(0), "a"), UnsupportedProtocolVersion, 4},
	{"MQTT-3.1.2-2 MQIsdp level 4", 0, false, raw(0x10, "MQIsdp", 4, 2, uint16(0), "a"), UnsupportedProtocolVersion, 4},
	{"bridge bit on level 5", 0, false, raw(0x10, "MQTT", 0x85, 2, uint16(0), 0, "a"), UnsupportedProtocolVersion, 4},
	{"MQTT-3.1.2-3 reserved flag", 0, false, connect4(3, "a"), MalformedPacket, 0},
	{"MQTT-3.1.2-3 reserved flag v5", 0, false, connect5(3, props(), "a"), MalformedPacket, 5},
	{"MQTT-3.1.2-11 will QoS without will", 0, false, connect4(0x0A, "a"), MalformedPacket, 0},
	{"MQTT-3.1.2-13 will retain without will", 0, false, connect5(0x22, props(), "a"), MalformedPacket, 5},
	{"MQTT-3.1.2-12 will QoS 3", 0, false, connect4(0x1E, "a", "t", "p"), MalformedPacket, 0},
	{"MQTT-3.1.2-22 password without user name", 0, false, connect4(0x42, "a", "p"), MalformedPacket, 0},
	{"MQTT-3.1.2-22 also in 3.1", 0, false, connect3(0x42, "a", "p"), MalformedPacket, 0},
	{"trailing bytes", 0, false, connect4(2, "a", 0), MalformedPacket, 0},
	{"trailing bytes v5", 0, false, connect5(2, props(), "a", "x"), MalformedPacket, 5},
	{"user name missing", 0, false, connect4(0x82, "a"), MalformedPacket, 0},
	{"password missing", 0, false, connect5(0xC2, props(), "a", "u"), MalformedPacket, 5},
	{"will payload missing", 0, false, connect4(0x06, "a", "t"), MalformedPacket, 0},
	{"client id longer than packet", 0, false, connect4(2, uint16(9), "a"), MalformedPacket, 0},
	{"MQTT-1.5.4-2 NUL in client id", 0, false, connect5(2, props(), "a\x00"), MalformedPacket, 5},
	{"MQTT-1.5.4-2 NUL in user name", 0, false, connect4(0x82, "a", "u\x00"), MalformedPacket, 0},
	{"MQTT-1.5.4-1 surrogate in user name", 0, false, connect5(0x82, props(), "a", "\xED\xA0\x80"), MalformedPacket, 5},
	{"MQTT-1.5.4-1 overlong", 0, false, connect4(2, "\xC0\xAF"), MalformedPacket, 0},
	{"NUL in will topic", 0, false, connect4(6, "a", "t\x00", "p"), MalformedPacket, 0},
	{"wildcard in will topic", 0, false, connect5(6, props(), "a", props(), "t/#", "p"), TopicNameInvalid, 5},
	{"empty will topic", 0, false, connect4(6, "a", "", "p"), TopicNameInvalid, 0},
	{"too short", 0, false, []byte{0x10, 0x02, 0x00, 0x00}, MalformedPacket, 0},

	// Properties, mochi.md 20.
	{"unknown property", 0, false, connect5(2, props(0x7F, 0), "a"), MalformedPacket, 5},
	{"identifier 0", 0, false, connect5(2, props(0x00, 0), "a"), MalformedPacket, 5},
	{"property of another packet", 0, false, connect5(2, props(0x01, 0), "a"), MalformedPacket, 5},
	{"session expiry twice", 0, false, connect5(2, props(0x11, uint32(1), 0x11, uint32(1)), "a"), ProtocolError, 5},
	{"receive maximum 0", 0, false, connect5(2, props(0x21, uint16(0)), "a"), ProtocolError, 5},
	{"maximum packet size 0", 0, false, connect5(2, props(0x27, uint32(0)), "a"), ProtocolError, 5},
	{"request problem information 2", 0, false, connect5(2, props(0x17, 2), "a"), ProtocolError, 5},
	{"request response information 2", 0, false, connect5(2, props(0x19, 2), "a"), ProtocolError, 5},
	{"auth data without method", 0, false, connect5(2, props(0x16, "d"), "a"), ProtocolError, 5},
	{"property length beyond packet", 0, false, connect5(2, []byte{0x7F}, "a"), MalformedPacket, 5},
	{"property cut by property length", 0, false, connect5(2, []byte{0x03, 0x11, 0x00, 0x00}, []byte{0x00, 0x01}, "a"), MalformedPacket, 5},
	{"property length not shortest", 0, false, connect5(2, []byte{0x80, 0x00}, "a"), MalformedPacket, 5},
	{"property length of five bytes", 0, false, connect5(2, []byte{0x80, 0x80, 0x80, 0x80, 0x01}, "a"), MalformedPacket, 5},
	{"user property without value", 0, false, connect5(2, props(0x26, "n"), "a"), MalformedPacket, 5},
	{"user property not UTF-8", 0, false, connect5(2, props(0x26, "n", "\xFF"), "a"), MalformedPacket, 5},
	{"will: property of CONNECT", 0, false, connect5(6, props(), "a", props(0x11, uint32(1)), "t", "p"), MalformedPacket, 5},
	{"will: delay twice", 0, false, connect5(6, props(), "a", props(0x18, uint32(1), 0x18, uint32(1)), "t", "p"), ProtocolError, 5},
	{"will: payload format 2", 0, false, connect5(6, props(), "a", props(0x01, 2), "t", "p"), ProtocolError, 5},
	{"will: response topic with wildcard", 0, false, connect5(6, props(), "a", props(0x08, "r/+"), "t", "p"), ProtocolError, 5},

	// PUBLISH.
	{"MQTT-3.3.1-4 QoS 3", 5, false, raw(0x36, "a", uint16(1), 0), MalformedPacket, 5},
	{"MQTT-3.3.1-2 DUP with QoS 0", 4, false, raw(0x38, "a"), MalformedPacket, 0},
	{"MQTT-2.2.1-3 packet id 0", 5, false, raw(0x32, "a", uint16(0), 0), ProtocolError, 5},
	{"packet id missing", 4, false, raw(0x32, "a"), MalformedPacket, 0},
	{"MQTT-3.3.2-2 wildcard", 5, false, raw(0x30, "a/+", 0), TopicNameInvalid, 5},
	{"MQTT-3.3.2-2 wildcard v4", 4, false, raw(0x30, "a#"), TopicNameInvalid, 0},
	{"MQTT-4.7.3-1 empty topic", 4, false, raw(0x30, ""), TopicNameInvalid, 0},
	{"neither topic nor alias", 5, false, raw(0x30, "", 0), ProtocolError, 5},
	{"MQTT-3.3.2-8 alias 0", 5, false, raw(0x30, "a", props(0x23, uint16(0))), TopicAliasInvalid, 5},
	{"alias twice", 5, false, raw(0x30, "a", props(0x23, uint16(1), 0x23, uint16(1))), ProtocolError, 5},
	{"MQTT-4.7.3-2 NUL in topic", 4, false, raw(0x30, "a\x00b"), MalformedPacket, 0},
	{"surrogate in topic", 5, false, raw(0x30, "\xED\xBF\xBF", 0), MalformedPacket, 5},
	{"topic longer than packet", 4, false, raw(0x30, uint16(3), []byte("ab")), MalformedPacket, 0},
	{"too many levels", 5, false, raw(0x30, "a/b/c/d/e", 0), TopicNameInvalid, 5},
	{"MQTT-3.3.4-6 subscription id from client", 5, false, raw(0x30, "a", props(0x0B, 1)), ProtocolError, 5},
	{"subscription id 0", 5, true, raw(0x30, "a", props(0x0B, 0)), ProtocolError, 5},
	{"properties missing", 5, false, raw(0x30, "a"), MalformedPacket, 5},
	{"payload format 2", 5, false, raw(0x30, "a", props(0x01, 2)), ProtocolError, 5},
	{"MQTT-3.3.2-14 response topic with wildcard", 5, false, raw(0x30, "a", props(0x08, "r/#")), ProtocolError, 5},
	{"content type twice", 5, false, raw(0x30, "a", props(0x03, "t", 0x03, "t")), ProtocolError, 5},

	// Acknowledgements, mochi.md 23.
	{"PUBACK packet id 0", 4, false, raw(0x40, uint16(0)), ProtocolError, 0},
	{"PUBACK trailing bytes v4", 4, false, raw(0x40, uint16(1), 0), MalformedPacket, 0},
	{"PUBACK too short", 5, false, raw(0x40, 1), MalformedPacket, 5},
	{"MQTT-3.4.2-1 PUBACK reason", 5, false, raw(0x40, uint16(1), 0x92), ProtocolError, 5},
	{"MQTT-3.5.2-1 PUBREC reason", 5, false, raw(0x50, uint16(1), 0x01), ProtocolError, 5},
	{"MQTT-3.6.2-1 PUBREL reason", 5, false, raw(0x62, uint16(1), 0x80), ProtocolError, 5},
	{"MQTT-3.7.2-1 PUBCOMP reason", 5, false, raw(0x70, uint16(1), 0x10), ProtocolError, 5},
	{"PUBACK bytes after properties", 5, false, raw(0x40, uint16(1), 0, props(), 0), MalformedPacket, 5},
	{"PUBACK reason string twice", 5, false, raw(0x40, uint16(1), 0, props(0x1F, "a", 0x1F, "b")), ProtocolError, 5},
	{"PUBACK property of another packet", 5, false, raw(0x40, uint16(1), 0, props(0x11, uint32(1))), MalformedPacket, 5},
	{"PINGREQ with content", 4, false, []byte{0xC0, 0x01, 0x00}, MalformedPacket, 0},
	{"PINGREQ with content, not yet here", 4, false, []byte{0xC0, 0x01}, MalformedPacket, 0},

	// SUBSCRIBE and UNSUBSCRIBE, mochi.md 1 and 22.
	{"no options byte", 5, false, []byte{0x82, 0x06, 0x00, 0x01, 0x00, 0x00, 0x01, 'a'}, MalformedPacket, 5},
	{"no options byte on the last of two", 5, false, raw(0x82, uint16(1), 0, "a", 0, "b"), MalformedPacket, 5},
	{"no QoS byte v4", 4, false, raw(0x82, uint16(1), "a"), MalformedPacket, 0},
	{"MQTT-3.8.3-2 no filter", 5, false, raw(0x82, uint16(1), 0), ProtocolError, 5},
	{"MQTT-3.8.3-3 no filter v4", 4, false, raw(0x82, uint16(1)), ProtocolError, 0},
	{"SUBSCRIBE packet id 0", 5, false, raw(0x82, uint16(0), 0, "a", 0), ProtocolError, 5},
	{"empty filter", 5, false, raw(0x82, uint16(1), 0, "", 0), TopicFilterInvalid, 5},
	{"MQTT-4.7.1-2 ab/+e", 5, false, raw(0x82, uint16(1), 0, "ab/+e", 0), TopicFilterInvalid, 5},
	{"MQTT-4.7.1-1 a/#/b", 4, false, raw(0x82, uint16(1), "a/#/b", 0), TopicFilterInvalid, 0},
	{"MQTT-4.8.2-1 empty group", 5, false, raw(0x82, uint16(1), 0, "$share//a", 0), TopicFilterInvalid, 5},
	{"MQTT-4.8.2-2 wildcard in group", 5, false, raw(0x82, uint16(1), 0, "$share/g+/a", 0), TopicFilterInvalid, 5},
	{"filter too deep", 5, false, raw(0x82, uint16(1), 0, "a/b/c/d/e", 0), TopicFilterInvalid, 5},
	{"NUL in filter", 4, false, raw(0x82, uint16(1), "a\x00", 0), MalformedPacket, 0},
	{"MQTT-3.8.3-5 reserved options", 5, false, raw(0x82, uint16(1), 0, "a", 0x40), MalformedPacket, 5},
	{"retain handling 3", 5, false, raw(0x82, uint16(1), 0, "a", 0x30), ProtocolError, 5},
	{"subscription QoS 3", 5, false, raw(0x82, uint16(1), 0, "a", 0x03), ProtocolError, 5},
	{"MQTT-3-8.3-4 QoS 3 in 3.1.1", 4, false, raw(0x82, uint16(1), "a", 3), ProtocolError, 0},
	{"MQTT-3-8.3-4 reserved bits in 3.1.1", 4, false, raw(0x82, uint16(1), "a", 0x04), MalformedPacket, 0},
	{"MQTT-3.8.3-4 no local and shared", 5, false, raw(0x82, uint16(1), 0, "$share/g/a", 0x04), ProtocolError, 5},
	{"subscription id 0 in SUBSCRIBE", 5, false, raw(0x82, uint16(1), props(0x0B, 0), "a", 0), ProtocolError, 5},
	{"subscription id twice", 5, false, raw(0x82, uint16(1), props(0x0B, 1, 0x0B, 2), "a", 0), ProtocolError, 5},
	{"subscription id of five bytes", 5, false, raw(0x82, uint16(1), props(0x0B, 0xFF, 0xFF, 0xFF, 0xFF, 1), "a", 0), MalformedPacket, 5},
	{"MQTT-3.10.3-2 no filter in UNSUBSCRIBE", 5, false, raw(0xA2, uint16(1), 0), ProtocolError, 5},
	{"UNSUBSCRIBE invalid filter", 4, false, raw(0xA2, uint16(1), "a+"), TopicFilterInvalid, 0},
	{"UNSUBSCRIBE trailing byte", 4, false, raw(0xA2, uint16(1), "a", 0), MalformedPacket, 0},
	{"UNSUBSCRIBE subscription id", 5, false, raw(0xA2, uint16(1), props(0x0B, 1), "a"), MalformedPacket, 5},

	// DISCONNECT and AUTH.
	{"DISCONNECT with content in 3.1.1", 4, false, raw(0xE0, 0), MalformedPacket, 0},
	{"MQTT-3.14.2-1 server's reason", 5, false, raw(0xE0, 0x8B), ProtocolError, 5},
	{"MQTT-3.14.2-1 unknown reason", 5, false, raw(0xE0, 0x05), ProtocolError, 5},
	{"server reference from client", 5, false, raw(0xE0, 0, props(0x1C, "s")), ProtocolError, 5},
	{"MQTT-3.14.2-2 session expiry from server", 5, true, raw(0xE0, 0, props(0x11, uint32(1))), ProtocolError, 5},
	{"DISCONNECT with will from server", 5, true, raw(0xE0, 0x04), ProtocolError, 5},
	{"DISCONNECT trailing byte", 5, false, raw(0xE0, 0, props(), 1), MalformedPacket, 5},
	{"MQTT-3.15.2-1 AUTH Success from client", 5, false, []byte{0xF0, 0x00}, ProtocolError, 5},
	{"AUTH without method", 5, false, raw(0xF0, 0x18, props()), ProtocolError, 5},
	{"AUTH without properties", 5, false, raw(0xF0, 0x18), ProtocolError, 5},
	{"AUTH ReAuthenticate from server", 5, true, raw(0xF0, 0x19, props(0x15, "m")), ProtocolError, 5},

	// What a server sends.
	{"MQTT-3.2.2-1 CONNACK flags", 5, true, raw(0x20, 2, 0, 0), MalformedPacket, 5},
	{"MQTT-3.2.2-6 session present with refusal", 4, true, raw(0x20, 1, 5), ProtocolError, 0},
	{"MQTT-3.2.2-8 CONNACK reason", 5, true, raw(0x20, 0, 0x8E, 0), ProtocolError, 5},
	{"CONNACK return code 6", 4, true, raw(0x20, 0, 6), MalformedPacket, 0},
	{"CONNACK maximum QoS 2", 5, true, raw(0x20, 0, 0, props(0x24, 2)), ProtocolError, 5},
	{"SUBACK code 3 in 3.1.1", 4, true, raw(0x90, uint16(1), 3), MalformedPacket, 0},
	{"SUBACK without codes", 5, true, raw(0x90, uint16(1), 0), MalformedPacket, 5},
	{"UNSUBACK reason", 5, true, raw(0xB0, uint16(1), 0, 1), ProtocolError, 5},
	{"UNSUBACK with content in 3.1.1", 4, true, raw(0xB0, uint16(1), 0), MalformedPacket, 0},
}

func TestRefuse(t *testing.T) {
	for _, tt := range refuseTests {
		t.Run(tt.name, func(t *testing.T) {
			d := Decoder{Version: tt.version, Client: tt.client, MaxLevels: 4}
			e := refused(d, tt.b)
			if e == nil {
				p, n, err := d.Decode(tt.b)
				t.Fatalf("Decode(% x) = %+v, %d, %v", tt.b, p, n, err)
			}
			if e.Reason != tt.reason || e.Version != tt.reply {
				t.Fatalf("%v, reason 0x%02X, version %d; want 0x%02X, %d", e, byte(e.Reason), e.Version, byte(tt.reason), tt.reply)
			}
			if e.Type != Type(tt.b[0]>>4) || e.Msg == "" {
				t.Fatalf("type %v, message %q", e.Type, e.Msg)
			}
		})
	}
}

// TestRefuseTruncated cuts every valid packet of acceptTests short and mends
// its remaining length: no read may go beyond, whatever the answer.
func TestRefuseTruncated(t *testing.T) {
	for _, tt := range acceptTests {
		_, n, _ := decodeVarint(tt.b[1:])
		content := tt.b[1+n:]
		for cut := range content {
			b := append(appendVarint([]byte{tt.b[0]}, cut), content[:cut:cut]...)
			d := Decoder{Version: tt.version, Client: tt.client}
			if p, n, err := d.Decode(b); err == nil && (p == nil || n != len(b)) {
				t.Fatalf("%s cut to %d: %v, %d", tt.name, cut, p, n)
			}
		}
	}
}
