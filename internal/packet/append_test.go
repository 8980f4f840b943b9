package packet

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqadmin/mqadmin/internal/message"
)

// TestV3SeesNothingOfV5 encodes packets full of MQTT 5 for 3.x (mochi.md 19).
func TestV3SeesNothingOfV5(t *testing.T) {
	tests := []struct {
		p    Packet
		want []byte
	}{
		{&Connack{SessionPresent: true, ReasonString: "r", AssignedClientID: "x", User: user}, raw(0x20, 1, 0)},
		{&Connack{SessionPresent: true, Reason: NotAuthorized}, raw(0x20, 0, 5)},
		{&Connack{Reason: ClientIdentifierNotValid}, raw(0x20, 0, 2)},
		{&Connack{Reason: UnsupportedProtocolVersion}, raw(0x20, 0, 1)},
		{&Connack{Reason: BadUserNameOrPassword}, raw(0x20, 0, 4)},
		{&Connack{Reason: ConnectionRateExceeded}, raw(0x20, 0, 3)},
		{&Suback{PacketID: 1, Reasons: []Reason{0, 1, 2, 0x87, 0xA1}, ReasonString: "r"}, raw(0x90, uint16(1), 0, 1, 2, 0x80, 0x80)},
		{&Unsuback{PacketID: 1, Reasons: []Reason{0x11}, User: user}, raw(0xB0, uint16(1))},
		{&Ack{Kind: TypePuback, PacketID: 1, Reason: NoMatchingSubscribers, User: user}, raw(0x40, uint16(1))},
		{&Ack{Kind: TypePubrel, PacketID: 1, Reason: PacketIdentifierNotFound}, raw(0x62, uint16(1))},
		{&Disconnect{Reason: SessionTakenOver, ReasonString: "r"}, raw(0xE0)},
		{&Auth{Reason: ContinueAuthentication, Method: "m"}, nil},
		{&Publish{
			Topic: "a", QoS: 1, PacketID: 1, TopicAlias: 1, HasExpiry: true, Expiry: 1, SubscriptionIDs: []uint32{1},
			Properties: &message.Properties{User: user},
		}, raw(0x32, "a", uint16(1))},
	}
	for _, tt := range tests {
		if got := Append(nil, V311, tt.p); !bytes.Equal(got, tt.want) {
			t.Errorf("%v %+v: % x, want % x", tt.p.Type(), tt.p, got, tt.want)
		}
	}
	if got := Append(nil, V31, &Connack{SessionPresent: true}); !bytes.Equal(got, raw(0x20, 0, 0)) {
		t.Errorf("3.1 has no session present: % x", got)
	}
	for r := range 256 {
		if c := ConnackV3(Reason(r)); c > 5 || (c == 0) == Reason(r).Failed() {
			t.Errorf("ConnackV3(0x%02X) = %d", r, c)
		}
	}
}

// TestNothingAdded: what the publisher did not set is not sent (mochi.md 10),
// and no code that a packet does not have (mochi.md 13).
func TestNothingAdded(t *testing.T) {
	if got, want := Append(nil, V5, &Publish{Topic: "a"}), raw(0x30, "a", 0); !bytes.Equal(got, want) {
		t.Errorf("PUBLISH % x, want % x", got, want)
	}
	ack := &Ack{Kind: TypePuback, PacketID: 1, User: user}
	if got, want := Append(nil, V5, ack), raw(0x40, uint16(1), 0, props(userBytes)); !bytes.Equal(got, want) {
		t.Errorf("PUBACK % x, want % x", got, want)
	}
	// mochi leaves a reason below 0x80 out when there are no properties.
	ack = &Ack{Kind: TypePuback, PacketID: 1, Reason: NoMatchingSubscribers}
	if got, want := Append(nil, V5, ack), raw(0x40, uint16(1), 0x10); !bytes.Equal(got, want) {
		t.Errorf("PUBACK % x, want % x", got, want)
	}
}

func TestAppendLimit(t *testing.T) {
	long := strings.Repeat("r", 100)
	full := []Packet{
		&Connack{ReasonString: long, User: user}, &Ack{Kind: TypePubrec, PacketID: 1, ReasonString: long, User: user},
		&Suback{PacketID: 1, Reasons: []Reason{0}, ReasonString: long}, &Unsuback{PacketID: 1, Reasons: []Reason{0}, ReasonString: long},
		&Disconnect{ReasonString: long}, &Auth{Reason: ContinueAuthentication, Method: "m", ReasonString: long},
	}
	for _, p := range full {
		whole := Append(nil, V5, p)
		bare := Append(nil, V5, withoutProblem(p))
		for _, tt := range []struct {
			max     int
			problem bool
			want    []byte
		}{
			{0, true, whole},
			{len(whole), true, whole},
			{len(whole) - 1, true, bare}, // [MQTT-3.2.2-19]
			{len(bare), true, bare},
			{len(bare) - 1, true, nil}, // [MQTT-3.1.2-24]
			{0, false, bare},           // [MQTT-3.1.2-29]
		} {
			if !tt.problem && (p.Type() == TypeConnack || p.Type() == TypeDisconnect) {
				tt.want = whole // these two may tell all the same
			}
			got, ok := AppendLimit([]byte{}, V5, p, uint32(tt.max), tt.problem)
			if !bytes.Equal(got, tt.want) || ok != (tt.want != nil) {
				t.Errorf("%v within %d, problem information %v: %d bytes, %v", p.Type(), tt.max, tt.problem, len(got), ok)
			}
		}
	}
	p := &Publish{Topic: "a", Properties: &message.Properties{User: user}}
	whole := Append(nil, V5, p)
	if got, ok := AppendLimit(nil, V5, p, 0, false); !ok || !bytes.Equal(got, whole) {
		t.Errorf("PUBLISH lost its user properties: % x", got)
	}
	if got, ok := AppendLimit(nil, V5, p, uint32(len(whole)-1), true); ok || len(got) != 0 {
		t.Errorf("PUBLISH over the limit: % x, %v", got, ok)
	}
}

// TestLongStrings: what does not fit a two-byte length is cut, never written
// with a wrong length.
func TestLongStrings(t *testing.T) {
	s := strings.Repeat("é", 40000)
	for _, p := range []Packet{
		&Disconnect{Reason: AdministrativeAction, ReasonString: s},
		&Ack{Kind: TypePuback, PacketID: 1, ReasonString: s, User: []message.UserProperty{{Name: s, Value: s}}},
		&Connack{ReceiveMaximum: 65535, AssignedClientID: s, User: []message.UserProperty{{Name: s, Value: s}}},
	} {
		got := decode(t, Decoder{Version: V5, Client: true}, Append(nil, V5, p))
		if got.Type() != p.Type() {
			t.Errorf("%v", got)
		}
	}
	if c := clip(s); len(c) != 65534 || !utf8.ValidString(c) {
		t.Errorf("clip: %d bytes", len(c))
	}
}

func TestTemplate(t *testing.T) {
	for _, version := range []byte{V31, V311, V5} {
		for qos := range byte(3) {
			p := &Publish{
				Topic: "a/b", QoS: qos, Retain: true, Payload: []byte("hi"), HasExpiry: true, Expiry: 100,
				SubscriptionIDs: []uint32{200}, Properties: &message.Properties{User: user},
			}
			tmpl := NewTemplate(version, p)
			want := *p
			want.Expiry = 42
			if qos > 0 {
				want.PacketID, want.Dup = 513, true
			}
			b := tmpl.Append([]byte("before"), 513, true, 42)
			if exact := AppendPublish([]byte("before"), version, &want); !bytes.Equal(b, exact) {
				t.Errorf("version %d QoS %d: % x, want % x", version, qos, b, exact)
			}
			if tmpl.Size() != len(b)-6 || !tmpl.Fits(uint32(tmpl.Size())) || tmpl.Fits(uint32(tmpl.Size()-1)) || !tmpl.Fits(0) {
				t.Errorf("version %d QoS %d: size %d", version, qos, tmpl.Size())
			}
			if gathered := append(tmpl.AppendHead(nil, 513, true, 42), tmpl.Payload()...); !bytes.Equal(gathered, b[6:]) {
				t.Errorf("version %d QoS %d: gathered % x", version, qos, gathered)
			}
		}
	}
}

func TestReasons(t *testing.T) {
	if len(codes) != 43 {
		t.Errorf("%d codes", len(codes))
	}
	for i := 1; i < len(codes); i++ {
		if codes[i].Code <= codes[i-1].Code {
			t.Errorf("code 0x%02X out of order", codes[i].Code)
		}
	}
	for r, want := range map[Reason]string{
		Success: "success", PacketTooLarge: packets.ErrPacketTooLarge.Reason, WildcardSubNotSupported: "wildcard subscriptions not supported",
		0x42: "reason 0x42",
	} {
		if r.String() != want {
			t.Errorf("0x%02X: %q", byte(r), r)
		}
	}
	e := &Error{Reason: MalformedPacket, Msg: "m", Type: TypePublish}
	if diff := cmp.Diff("decoding PUBLISH: m (malformed packet)", e.Error()); diff != "" {
		t.Error(diff)
	}
}
