package packet

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mochi-mqtt/server/v2/packets"
)

// mochiDecode decodes b, which must be valid, with mochi's decoder: a second
// opinion on the bytes that we read and write.
func mochiDecode(version byte, b []byte) (p packets.Packet, err error) {
	p.ProtocolVersion = version
	if err = p.FixedHeader.Decode(b[0]); err != nil {
		return p, err
	}
	r := bytes.NewReader(b[1:])
	if p.FixedHeader.Remaining, _, err = packets.DecodeLength(r); err != nil {
		return p, err
	}
	content := b[len(b)-r.Len():]
	switch Type(p.FixedHeader.Type) {
	case TypeConnect:
		err = p.ConnectDecode(content)
	case TypeConnack:
		err = p.ConnackDecode(content)
	case TypePublish:
		err = p.PublishDecode(content)
	case TypePuback:
		err = p.PubackDecode(content)
	case TypePubrec:
		err = p.PubrecDecode(content)
	case TypePubrel:
		err = p.PubrelDecode(content)
	case TypePubcomp:
		err = p.PubcompDecode(content)
	case TypeSubscribe:
		err = p.SubscribeDecode(content)
	case TypeSuback:
		err = p.SubackDecode(content)
	case TypeUnsubscribe:
		err = p.UnsubscribeDecode(content)
	case TypeUnsuback:
		err = p.UnsubackDecode(content)
	case TypeDisconnect:
		err = p.DisconnectDecode(content)
	case TypeAuth:
		err = p.AuthDecode(content)
	case TypePingreq, TypePingresp:
	}
	p.FixedHeader.Remaining = 0 // the same content has several encodings
	return p, err
}

var mochiOpts = cmp.Options{
	cmpopts.EquateEmpty(),
	// Present with the value that absence has as well.
	cmpopts.IgnoreFields(packets.Properties{}, "RequestProblemInfo", "RequestProblemInfoFlag", "RequestResponseInfo",
		"RetainAvailable", "RetainAvailableFlag", "WildcardSubAvailable", "WildcardSubAvailableFlag",
		"SubIDAvailable", "SubIDAvailableFlag", "SharedSubAvailable", "SharedSubAvailableFlag"),
}

// notMQTT are packets of mochi's table that it calls valid and that are not,
// each with the reason that we refuse it for.
var notMQTT = map[string]Reason{
	// MQTT 5's codes in a CONNACK of 3.1.1 (mochi.md 19).
	"CONNACK miscellaneous protocol violation": MalformedPacket,
	"CONNACK bad protocol version":             MalformedPacket,
	"CONNACK bad client id":                    MalformedPacket,
	"CONNACK server unavailable":               MalformedPacket,
	"CONNACK bad username or password":         MalformedPacket,
	"CONNACK not authorised":                   MalformedPacket,
	"PUBLISH dup":                              MalformedPacket, // [MQTT-3.3.1-2]
	"SUBACK invalid shared no local":           ProtocolError,   // [MQTT-3.9.3-2]
}

// TestMochiTable runs the packets that mochi's own tests call valid through
// our decoder, and what we encode of them through mochi's.
func TestMochiTable(t *testing.T) {
	done := 0
	for kind := packets.Connect; kind <= packets.Auth; kind++ {
		for _, c := range packets.TPacketData[kind] {
			if c.Packet == nil || len(c.RawBytes) == 0 || c.FailFirst != nil || c.Expect != nil || slices.Contains([]string{"decode", "encode", "validate"}, c.Group) {
				continue
			}
			name := fmt.Sprintf("%v %s", Type(kind), c.Desc)
			t.Run(name, func(t *testing.T) {
				checkAgainstMochi(t, name, c)
				done++
			})
		}
	}
	if done < 60 {
		t.Errorf("only %d packets of mochi's table were run", done)
	}
}

func checkAgainstMochi(t *testing.T, name string, c packets.TPacketCase) {
	version := c.Packet.ProtocolVersion
	if version == 0 {
		version = V311
	}
	var (
		p   Packet
		err error
	)
	for _, client := range []bool{false, true} {
		d := Decoder{Version: version, Client: client}
		if c.RawBytes[0]>>4 == packets.Connect {
			d = Decoder{}
		}
		if p, _, err = d.Decode(c.RawBytes); err == nil {
			break
		}
	}
	if want, listed := notMQTT[name]; listed {
		var e *Error
		if !errors.As(err, &e) || e.Reason != want {
			t.Fatalf("% x: %v, want reason 0x%02X", c.RawBytes, err, byte(want))
		}
		return
	}
	if err != nil || p == nil {
		t.Fatalf("% x: %v, %v", c.RawBytes, p, err)
	}
	theirs, err := mochiDecode(version, c.RawBytes)
	if err != nil {
		t.Fatalf("mochi does not read its own % x: %v", c.RawBytes, err)
	}
	b := Append(nil, version, p)
	again, err := mochiDecode(version, b)
	if err != nil {
		t.Fatalf("mochi does not read our % x: %v", b, err)
	}
	if diff := cmp.Diff(theirs, again, mochiOpts); diff != "" {
		t.Errorf("% x became % x: %s", c.RawBytes, b, diff)
	}
}

// TestMochiReadsOurs: every packet that we accept and encode, mochi reads as
// it reads the original; but for what it gets wrong.
func TestMochiReadsOurs(t *testing.T) {
	for _, tt := range acceptTests {
		version := encodeVersion(tt.version, tt.want)
		theirs, err := mochiDecode(version, tt.b)
		if err != nil {
			t.Logf("%s: mochi refuses it: %v", tt.name, err)
			continue
		}
		again, err := mochiDecode(version, Append(nil, version, tt.want))
		if err != nil {
			t.Errorf("%s: mochi refuses ours: %v", tt.name, err)
			continue
		}
		if tt.name == "DISCONNECT 0x04 in one byte" && theirs.ReasonCode != 0x04 { // mochi.md 11
			continue
		}
		if diff := cmp.Diff(theirs, again, mochiOpts, cmpopts.IgnoreFields(packets.Packet{}, "ReservedBit")); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}
