package packet

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
)

// base is a CONNECT with nothing but its defaults.
func base(version byte, id string, change func(*Connect)) *Connect {
	c := &Connect{Version: version, ClientID: id, CleanStart: true, KeepAlive: 60, ReceiveMaximum: 65535, RequestProblem: true}
	if change != nil {
		change(c)
	}
	return c
}

var user = []message.UserProperty{{Name: "b", Value: "1"}, {Name: "a", Value: ""}, {Name: "b", Value: "1"}}

// userBytes are those of user, as properties.
var userBytes = body(0x26, "b", "1", 0x26, "a", "", 0x26, "b", "1")

var acceptTests = []struct {
	name    string
	version byte
	client  bool
	b       []byte
	want    Packet
}{
	{"3.1", 0, false, connect3(2, "a"), base(3, "a", nil)},
	{"3.1.1", 0, false, connect4(2, "a"), base(4, "a", nil)},
	{"5", 0, false, connect5(2, props(), "a"), base(5, "a", nil)},
	{"bridge 131", 0, false, raw(0x10, "MQIsdp", 131, 2, uint16(60), "a"), base(3, "a", func(c *Connect) { c.Bridge = true })},
	{"bridge 132", 0, false, raw(0x10, "MQTT", 132, 2, uint16(60), "a"), base(4, "a", func(c *Connect) { c.Bridge = true })},
	{"empty client id", 0, false, connect4(0, ""), base(4, "", func(c *Connect) { c.CleanStart = false })},
	{"empty client id v5", 0, false, connect5(2, props(), ""), base(5, "", nil)},
	{"3.1 reserved flag is unused", 0, false, connect3(3, "a"), base(3, "a", nil)},
	{"3.1 user name may be missing", 0, false, connect3(0xC2, "a"), base(3, "a", nil)},
	{"3.1 password may be missing", 0, false, connect3(0xC2, "a", "u"), base(3, "a", func(c *Connect) {
		c.HasUsername, c.Username = true, "u"
	})},
	{"remaining length not shortest, 3.1.1", 4, false, []byte{0xC0, 0x80, 0x00}, &Pingreq{}},
	{"user name and password", 0, false, connect4(0xC2, "a", "u", "p\x00"), base(4, "a", func(c *Connect) {
		c.HasUsername, c.Username, c.HasPassword, c.Password = true, "u", true, []byte("p\x00")
	})},
	{"empty password", 0, false, connect4(0xC2, "a", "u", ""), base(4, "a", func(c *Connect) {
		c.HasUsername, c.Username, c.HasPassword = true, "u", true
	})},
	{"v5 password without user name", 0, false, connect5(0x42, props(), "a", "p"), base(5, "a", func(c *Connect) {
		c.HasPassword, c.Password = true, []byte("p")
	})},
	{"MQTT-1.5.4-3 BOM is kept", 0, false, connect4(2, "\uFEFFa"), base(4, "\uFEFFa", nil)},
	{"will", 0, false, connect4(0x2E, "a", "t", "p"), base(4, "a", func(c *Connect) {
		c.Will = &Will{Topic: "t", Payload: []byte("p"), QoS: 1, Retain: true}
	})},
	{"empty will payload", 0, false, connect5(6, props(), "a", props(), "t", ""), base(5, "a", func(c *Connect) { // mochi.md 11
		c.Will = &Will{Topic: "t"}
	})},
	{"all will properties", 0, false, connect5(6, props(), "a", props(0x18, uint32(5), 0x01, 1, 0x02, uint32(0), 0x03, "ct",
		0x08, "r", 0x09, "c", userBytes), "t", "p"), base(5, "a", func(c *Connect) {
		c.Will = &Will{Topic: "t", Payload: []byte("p"), Delay: 5, HasExpiry: true, Properties: &message.Properties{
			HasFormat: true, PayloadFormat: 1, ContentType: "ct", ResponseTopic: "r", HasCorrelation: true,
			CorrelationData: []byte("c"), User: user,
		}}
	})},
	{"all CONNECT properties", 0, false, connect5(2, props(0x11, uint32(0xFFFFFFFF), 0x21, uint16(7), 0x27, uint32(1000),
		0x22, uint16(9), 0x19, 1, 0x17, 0, 0x15, "m", 0x16, "d", userBytes), "a"), base(5, "a", func(c *Connect) {
		c.SessionExpiry, c.HasSessionExpiry, c.ReceiveMaximum, c.MaximumPacketSize = 0xFFFFFFFF, true, 7, 1000
		c.TopicAliasMaximum, c.RequestResponse, c.RequestProblem = 9, true, false
		c.AuthMethod, c.HasAuthMethod, c.AuthData, c.User = "m", true, []byte("d"), user
	})},

	{"PUBLISH", 4, false, raw(0x30, "a/b", []byte("hi")), &Publish{Topic: "a/b", Payload: []byte("hi")}},
	{"PUBLISH without payload", 4, false, raw(0x31, "a"), &Publish{Topic: "a", Retain: true}},
	{"PUBLISH QoS 2 DUP", 3, false, raw(0x3C, "a", uint16(0xFFFF), 0), &Publish{
		Topic: "a", QoS: 2, Dup: true, PacketID: 0xFFFF, Payload: []byte{0},
	}},
	{"PUBLISH v5", 5, false, raw(0x32, "a", uint16(1), 0, []byte("hi")), &Publish{Topic: "a", QoS: 1, PacketID: 1, Payload: []byte("hi")}},
	{"PUBLISH alias only", 5, false, raw(0x30, "", props(0x23, uint16(3))), &Publish{TopicAlias: 3}},
	{"PUBLISH all properties", 5, true, raw(0x30, "a", props(0x01, 0, 0x02, uint32(9), 0x23, uint16(1), 0x08, "r", 0x09, "",
		0x0B, 0xFF, 0x7F, 0x0B, 1, 0x03, "ct", userBytes), []byte("hi")), &Publish{
		Topic: "a", Payload: []byte("hi"), HasExpiry: true, Expiry: 9, TopicAlias: 1, SubscriptionIDs: []uint32{16383, 1},
		Properties: &message.Properties{HasFormat: true, ResponseTopic: "r", HasCorrelation: true, ContentType: "ct", User: user},
	}},

	{"PUBACK", 4, false, raw(0x40, uint16(1)), &Ack{Kind: TypePuback, PacketID: 1}},
	{"PUBACK v5 short", 5, false, raw(0x40, uint16(1)), &Ack{Kind: TypePuback, PacketID: 1}},
	{"PUBREC reason alone", 5, false, raw(0x50, uint16(1), 0x97), &Ack{Kind: TypePubrec, PacketID: 1, Reason: QuotaExceeded}},
	{"PUBREL no properties", 5, false, raw(0x62, uint16(1), 0x92, 0), &Ack{Kind: TypePubrel, PacketID: 1, Reason: PacketIdentifierNotFound}},
	{"PUBREL again in 3.1", 3, false, raw(0x6A, uint16(1)), &Ack{Kind: TypePubrel, PacketID: 1}},
	{"PUBCOMP with properties", 5, true, raw(0x70, uint16(1), 0, props(0x1F, "why", userBytes)), &Ack{
		Kind: TypePubcomp, PacketID: 1, ReasonString: "why", User: user,
	}},

	{"SUBSCRIBE", 4, false, raw(0x82, uint16(1), "a", 0, "b/#", 2), &Subscribe{PacketID: 1, Subscriptions: []message.Subscription{
		{Filter: "a"}, {Filter: "b/#", QoS: 2},
	}}},
	{"SUBSCRIBE v5", 5, false, raw(0x82, uint16(1), props(0x0B, 0x80, 1, userBytes), "a", 0x2D, "$share/g/+", 0x01), &Subscribe{
		PacketID: 1, User: user, Subscriptions: []message.Subscription{
			{Filter: "a", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2, Identifier: 128},
			{Filter: "$share/g/+", QoS: 1, Identifier: 128},
		},
	}},
	{"UNSUBSCRIBE", 4, false, raw(0xA2, uint16(1), "a", "b"), &Unsubscribe{PacketID: 1, Filters: []string{"a", "b"}}},
	{"UNSUBSCRIBE v5", 5, false, raw(0xA2, uint16(1), props(userBytes), "a"), &Unsubscribe{PacketID: 1, Filters: []string{"a"}, User: user}},
	{"PINGREQ", 3, false, []byte{0xC0, 0x00}, &Pingreq{}},
	{"PINGRESP", 5, true, []byte{0xD0, 0x00}, &Pingresp{}},

	{"DISCONNECT", 4, false, []byte{0xE0, 0x00}, &Disconnect{}},
	{"DISCONNECT v5 short", 5, false, []byte{0xE0, 0x00}, &Disconnect{}},
	{"DISCONNECT 0x04 in one byte", 5, false, []byte{0xE0, 0x01, 0x04}, &Disconnect{Reason: DisconnectWithWill}}, // mochi.md 11
	{"DISCONNECT with session expiry", 5, false, raw(0xE0, 0x04, props(0x11, uint32(0), 0x1F, "r", userBytes)), &Disconnect{
		Reason: DisconnectWithWill, HasSessionExpiry: true, ReasonString: "r", User: user,
	}},
	{"DISCONNECT from server", 5, true, raw(0xE0, 0x9C, props(0x1C, "other", 0x1F, "r")), &Disconnect{
		Reason: UseAnotherServer, ServerReference: "other", ReasonString: "r",
	}},
	{"AUTH", 5, false, raw(0xF0, 0x18, props(0x15, "m", 0x16, "d", 0x1F, "r", userBytes)), &Auth{
		Reason: ContinueAuthentication, Method: "m", Data: []byte("d"), ReasonString: "r", User: user,
	}},
	{"AUTH Success short", 5, true, []byte{0xF0, 0x00}, &Auth{}},

	{"CONNACK", 4, true, raw(0x20, 1, 0), &Connack{SessionPresent: true, ReceiveMaximum: 65535}},
	{"CONNACK return code 4", 3, true, raw(0x20, 0, 4), &Connack{Reason: BadUserNameOrPassword, ReceiveMaximum: 65535}},
	{"CONNACK all properties", 5, true, raw(0x20, 0, 0, props(0x11, uint32(3), 0x21, uint16(5), 0x24, 1, 0x25, 0, 0x27, uint32(100),
		0x12, "id", 0x22, uint16(4), 0x1F, "r", userBytes, 0x28, 0, 0x29, 0, 0x2A, 0, 0x13, uint16(0), 0x1A, "ri", 0x1C, "sr",
		0x15, "m", 0x16, "d")), &Connack{
		SessionExpiry: 3, HasSessionExpiry: true, ReceiveMaximum: 5, HasMaximumQoS: true, MaximumQoS: 1, NoRetain: true,
		NoWildcard: true, NoSubscriptionID: true, NoShared: true, MaximumPacketSize: 100, AssignedClientID: "id",
		TopicAliasMaximum: 4, HasServerKeepAlive: true, ResponseInfo: "ri", ServerReference: "sr", ReasonString: "r",
		AuthMethod: "m", AuthData: []byte("d"), User: user,
	}},
	{"SUBACK", 4, true, raw(0x90, uint16(1), 0, 2, 0x80), &Suback{PacketID: 1, Reasons: []Reason{0, 2, 0x80}}},
	{"SUBACK v5", 5, true, raw(0x90, uint16(1), props(0x1F, "r", userBytes), 1, 0x87), &Suback{
		PacketID: 1, Reasons: []Reason{1, 0x87}, ReasonString: "r", User: user,
	}},
	{"UNSUBACK", 4, true, raw(0xB0, uint16(1)), &Unsuback{PacketID: 1}},
	{"UNSUBACK v5", 5, true, raw(0xB0, uint16(1), props(userBytes), 0, 0x11), &Unsuback{
		PacketID: 1, Reasons: []Reason{0, 0x11}, User: user,
	}},
}

// encodeVersion is the version to encode a test's packet in.
func encodeVersion(version byte, p Packet) byte {
	if c, ok := p.(*Connect); ok {
		return c.Version
	}
	return version
}

func TestAccept(t *testing.T) {
	for _, tt := range acceptTests {
		t.Run(tt.name, func(t *testing.T) {
			for _, reuse := range []bool{false, true} {
				d := Decoder{Version: tt.version, Client: tt.client, Reuse: reuse}
				if diff := cmp.Diff(tt.want, decode(t, d, tt.b)); diff != "" {
					t.Fatalf("reuse %v: %s", reuse, diff)
				}
			}
			for n := range tt.b {
				d := Decoder{Version: tt.version, Client: tt.client}
				if p, used, err := d.Decode(tt.b[:n:n]); p != nil || used != 0 || err != nil {
					t.Fatalf("%d bytes of %d: %v, %d, %v", n, len(tt.b), p, used, err)
				}
			}
			b := Append([]byte("x"), encodeVersion(tt.version, tt.want), tt.want)
			d := Decoder{Version: tt.version, Client: tt.client}
			if diff := cmp.Diff(tt.want, decode(t, d, b[1:])); diff != "" || b[0] != 'x' {
				t.Fatalf("encoded % x: %s", b, diff)
			}
		})
	}
}

// TestVersionFollowsConnect: one decoder, two packets in one buffer.
func TestVersionFollowsConnect(t *testing.T) {
	var d Decoder
	b := append(raw(0x10, "MQTT", 132, 2, uint16(60), "a"), raw(0x82, uint16(1), "a", 1, "$share/g/a", 1)...)
	_, n, err := d.Decode(b)
	if err != nil || d.Version != V311 {
		t.Fatalf("CONNECT: %v, version %d", err, d.Version)
	}
	p, m, err := d.Decode(b[n:])
	if err != nil || n+m != len(b) {
		t.Fatalf("SUBSCRIBE: %v, %d+%d of %d", err, n, m, len(b))
	}
	// A bridge wants retain flags as published and none of its own messages;
	// no local on a shared subscription does not exist.
	want := &Subscribe{PacketID: 1, Subscriptions: []message.Subscription{
		{Filter: "a", QoS: 1, RetainAsPublished: true, NoLocal: true},
		{Filter: "$share/g/a", QoS: 1, RetainAsPublished: true},
	}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Fatal(diff)
	}
}
