package packet

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mqadmin/mqadmin/internal/message"
)

// FuzzDecode: any bytes, in any version and direction, give a packet, an
// error, or a wish for more; never a panic, never memory out of proportion.
// What is accepted means the same after it has been encoded.
func FuzzDecode(f *testing.F) {
	for _, tt := range acceptTests {
		f.Add(tt.version, tt.client, tt.b)
	}
	for _, tt := range refuseTests {
		f.Add(tt.version, tt.client, tt.b)
	}
	f.Fuzz(func(t *testing.T, version byte, client bool, b []byte) {
		if version > V5 || version != 0 && version < V31 {
			return
		}
		d := Decoder{Version: version, Client: client, MaxSize: 1 << 20}
		p, n, err := d.Decode(b)
		checkDecoded(t, &d, b, p, n, err)
		if p == nil {
			return
		}
		version = encodeVersion(version, p)
		again := Append(nil, version, p)
		d = Decoder{Version: version, Client: client}
		if p.Type() == TypeConnect {
			d.Version = 0
		}
		q, n, err := d.Decode(again)
		if err != nil || n != len(again) {
			t.Fatalf("% x became % x: %v", b, again, err)
		}
		if diff := cmp.Diff(p, q); diff != "" {
			t.Fatalf("% x became % x: %s", b, again, diff)
		}
	})
}

func checkDecoded(t *testing.T, d *Decoder, b []byte, p Packet, n int, err error) {
	var e *Error
	size, sizeErr := d.Size(b)
	switch {
	case err != nil:
		if p != nil || n != 0 || !errors.As(err, &e) || !e.Reason.Failed() || e.Msg == "" {
			t.Fatalf("% x: %v, %d, %v", b, p, n, err)
		}
	case p == nil:
		if n != 0 || sizeErr != nil || size != 0 && size <= len(b) {
			t.Fatalf("% x is not incomplete: %d, size %d, %v", b, n, size, sizeErr)
		}
	case n < 2 || n > len(b) || p.Type() != Type(b[0]>>4):
		t.Fatalf("% x: %v of %d bytes", b, p.Type(), n)
	}
}

// FuzzStream: a connection's bytes in any pieces give the same packets.
func FuzzStream(f *testing.F) {
	stream := connect5(2, props(), "a")
	for _, tt := range acceptTests {
		if tt.version == V5 && !tt.client {
			stream = append(stream, tt.b...)
		}
	}
	f.Add(stream, uint8(7))
	f.Add(append(connect4(2, "a"), raw(0x30, "a", []byte("x"))...), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		whole, wholeErr := decodeAll(b, len(b))
		pieces, piecesErr := decodeAll(b, int(piece)+1)
		if diff := cmp.Diff(whole, pieces); diff != "" || (wholeErr == nil) != (piecesErr == nil) {
			t.Fatalf("in pieces: %s (%v, %v)", diff, wholeErr, piecesErr)
		}
	})
}

// decodeAll decodes b as it arrives in pieces, up to the first error.
func decodeAll(b []byte, piece int) (out []Packet, err error) {
	var d Decoder
	start := 0
	for end := 0; end < len(b); {
		end = min(end+piece, len(b))
		for {
			p, n, err := d.Decode(b[start:end:end])
			if err != nil {
				return out, err
			}
			if p == nil {
				break
			}
			out = append(out, p)
			start += n
		}
	}
	return out, nil
}

// Generators of valid packets.

func genString(max int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		r := rapid.RuneFrom([]rune("aZ0 /$é世\uFEFF\U0001F600\x01"))
		return rapid.StringOfN(r, 0, max, -1).Draw(t, "s")
	})
}

func genTopic() *rapid.Generator[string] {
	return genString(20).Filter(func(s string) bool { return s != "" })
}

func genBytes() *rapid.Generator[[]byte] {
	return rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 300), func(b []byte) []byte {
		if len(b) == 0 {
			return nil
		}
		return b
	})
}

func genUser() *rapid.Generator[[]message.UserProperty] {
	one := rapid.Custom(func(t *rapid.T) message.UserProperty {
		return message.UserProperty{Name: genString(9).Draw(t, "name"), Value: genString(9).Draw(t, "value")}
	})
	return rapid.Map(rapid.SliceOfN(one, 0, 4), func(u []message.UserProperty) []message.UserProperty {
		if len(u) == 0 {
			return nil
		}
		return u
	})
}

func genProperties(t *rapid.T) *message.Properties {
	p := &message.Properties{ContentType: genString(9).Draw(t, "ct"), User: genUser().Draw(t, "user")}
	if p.HasFormat = rapid.Bool().Draw(t, "format"); p.HasFormat {
		p.PayloadFormat = byte(rapid.IntRange(0, 1).Draw(t, "pf"))
	}
	if p.HasCorrelation = rapid.Bool().Draw(t, "correlation"); p.HasCorrelation {
		p.CorrelationData = genBytes().Draw(t, "cd")
	}
	if rapid.Bool().Draw(t, "response") {
		p.ResponseTopic = genTopic().Draw(t, "rt")
	}
	if !p.HasFormat && !p.HasCorrelation && p.ContentType == "" && p.ResponseTopic == "" && p.User == nil {
		return nil
	}
	return p
}

func genPublish(t *rapid.T, version byte) *Publish {
	p := &Publish{
		QoS: byte(rapid.IntRange(0, 2).Draw(t, "qos")), Retain: rapid.Bool().Draw(t, "retain"),
		Topic: genTopic().Draw(t, "topic"), Payload: genBytes().Draw(t, "payload"),
	}
	if p.QoS > 0 {
		p.Dup, p.PacketID = rapid.Bool().Draw(t, "dup"), rapid.Uint16Min(1).Draw(t, "id")
	}
	if version < V5 {
		return p
	}
	p.TopicAlias = rapid.Uint16().Draw(t, "alias")
	if p.HasExpiry = rapid.Bool().Draw(t, "expiry"); p.HasExpiry {
		p.Expiry = rapid.Uint32().Draw(t, "seconds")
	}
	if ids := rapid.SliceOfN(rapid.Uint32Range(1, MaxRemaining), 0, 3).Draw(t, "ids"); len(ids) > 0 {
		p.SubscriptionIDs = ids
	}
	p.Properties = genProperties(t)
	return p
}

func genConnect(t *rapid.T, version byte) *Connect {
	c := &Connect{
		Version: version, Bridge: version < V5 && rapid.Bool().Draw(t, "bridge"), ClientID: genString(30).Draw(t, "id"),
		CleanStart: rapid.Bool().Draw(t, "clean"), KeepAlive: rapid.Uint16().Draw(t, "keepalive"),
		ReceiveMaximum: 65535, RequestProblem: true,
	}
	if c.HasUsername = rapid.Bool().Draw(t, "hasUser"); c.HasUsername {
		c.Username = genString(9).Draw(t, "username")
	}
	if c.HasPassword = (c.HasUsername || version == V5) && rapid.Bool().Draw(t, "hasPassword"); c.HasPassword {
		c.Password = genBytes().Draw(t, "password")
	}
	if rapid.Bool().Draw(t, "will") {
		p := genPublish(t, version)
		c.Will = &Will{
			Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain,
			Expiry: p.Expiry, HasExpiry: p.HasExpiry, Properties: p.Properties,
		}
		if version == V5 {
			c.Will.Delay = rapid.Uint32().Draw(t, "delay")
		}
	}
	if version < V5 {
		return c
	}
	if c.HasSessionExpiry = rapid.Bool().Draw(t, "hasExpiry"); c.HasSessionExpiry {
		c.SessionExpiry = rapid.Uint32().Draw(t, "sessionExpiry")
	}
	if c.HasAuthMethod = rapid.Bool().Draw(t, "hasAuth"); c.HasAuthMethod {
		c.AuthMethod, c.AuthData = genString(9).Draw(t, "method"), genBytes().Draw(t, "data")
	}
	c.ReceiveMaximum, c.MaximumPacketSize = rapid.Uint16Min(1).Draw(t, "receive"), rapid.Uint32().Draw(t, "size")
	c.TopicAliasMaximum, c.User = rapid.Uint16().Draw(t, "aliases"), genUser().Draw(t, "user")
	c.RequestProblem, c.RequestResponse = rapid.Bool().Draw(t, "problem"), rapid.Bool().Draw(t, "response")
	return c
}

func genCold(t *rapid.T) Packet {
	why, user := genString(20).Draw(t, "why"), genUser().Draw(t, "user")
	id := rapid.Uint16Min(1).Draw(t, "id")
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		kind := rapid.SampledFrom([]Type{TypePuback, TypePubrec, TypePubrel, TypePubcomp}).Draw(t, "ack")
		return &Ack{Kind: kind, PacketID: id, ReasonString: why, User: user}
	case 1:
		codes := []Reason{GrantedQoS0, GrantedQoS2, NotAuthorized, WildcardSubNotSupported}
		return &Suback{PacketID: id, ReasonString: why, User: user, Reasons: rapid.SliceOfN(rapid.SampledFrom(codes), 1, 5).Draw(t, "reasons")}
	case 2:
		codes := []Reason{Success, NoSubscriptionExisted, TopicFilterInvalid}
		return &Unsuback{PacketID: id, ReasonString: why, User: user, Reasons: rapid.SliceOfN(rapid.SampledFrom(codes), 1, 5).Draw(t, "reasons")}
	case 3:
		return &Disconnect{Reason: SessionTakenOver, ReasonString: why, User: user, ServerReference: genString(9).Draw(t, "ref")}
	case 4:
		return &Auth{Reason: ContinueAuthentication, Method: genTopic().Draw(t, "method"), Data: genBytes().Draw(t, "data"), ReasonString: why, User: user}
	}
	return &Connack{
		Reason: Success, SessionPresent: rapid.Bool().Draw(t, "present"), ReceiveMaximum: rapid.Uint16Min(1).Draw(t, "receive"),
		AssignedClientID: genString(9).Draw(t, "assigned"), MaximumPacketSize: rapid.Uint32().Draw(t, "size"),
		TopicAliasMaximum: rapid.Uint16().Draw(t, "aliases"), NoShared: rapid.Bool().Draw(t, "shared"),
		ReasonString: why, User: user, ResponseInfo: genString(9).Draw(t, "info"), ServerReference: genString(9).Draw(t, "ref"),
	}
}

// TestRoundTrip: decode(encode(x)) == x for packets that were never bytes.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		version := rapid.SampledFrom([]byte{V31, V311, V5}).Draw(t, "version")
		d := Decoder{Version: version, Client: true}
		var p Packet
		switch rapid.IntRange(0, 2).Draw(t, "what") {
		case 0:
			p = genPublish(t, version)
		case 1:
			p, d = genConnect(t, version), Decoder{}
		case 2:
			p, d.Version, version = genCold(t), V5, V5
		}
		b := Append(nil, version, p)
		q, n, err := d.Decode(b)
		if err != nil || n != len(b) {
			t.Fatalf("% x: took %d: %v", b, n, err)
		}
		if diff := cmp.Diff(p, q); diff != "" {
			t.Fatal(diff)
		}
		if d.Version != version || !slices.Equal(b, Append(nil, version, q)) {
			t.Fatalf("encoded again % x, version %d", b, d.Version)
		}
	})
}
