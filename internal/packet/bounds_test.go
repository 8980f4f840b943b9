package packet

import (
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestNoMemoryFromLength: a fixed header that promises 256 MiB takes nothing
// (mochi.md 7), with and without a limit.
func TestNoMemoryFromLength(t *testing.T) {
	promise := []byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0x00, 0x04, 'M', 'Q', 'T', 'T', 5, 2, 0, 0}
	for name, b := range map[string][]byte{
		"CONNECT":            promise,
		"string beyond body": raw(0x10, "MQTT", 4, 2, uint16(0), uint16(65535)),
		"property length":    connect5(2, []byte{0xFF, 0xFF, 0xFF, 0x7F}, "a"),
	} {
		if n := allocated(func() { _, _, _ = (&Decoder{}).Decode(b) }); n > 2048 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
	d := Decoder{}
	if n, err := d.Size(promise); n != MaxRemaining+5 || err != nil {
		t.Errorf("Size = %d, %v", n, err)
	}
	d.MaxSize = 65536
	var e *Error
	if _, err := d.Size(promise); !errors.As(err, &e) || e.Reason != PacketTooLarge {
		t.Errorf("Size with limit: %v", err)
	}
}

// allocated returns the heap bytes that fn takes: the least of several calls,
// because TotalAlloc counts what the runtime's own goroutines take meanwhile.
func allocated(fn func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fn()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

func TestMaxSize(t *testing.T) {
	b := raw(0x30, "a", 0, long[:1000])
	for _, tt := range []struct {
		max uint32
		ok  bool
	}{{0, true}, {uint32(len(b)), true}, {uint32(len(b)) - 1, false}} {
		d := Decoder{Version: V5, MaxSize: tt.max}
		// Four bytes tell all that is needed [MQTT-3.2.2-15].
		size, err := d.Size(b[:4])
		if (err == nil) != tt.ok || tt.ok && size != len(b) {
			t.Errorf("MaxSize %d: Size %d, %v", tt.max, size, err)
		}
		if e := refused(d, b[:4]); (e == nil) != tt.ok || e != nil && (e.Reason != PacketTooLarge || e.Version != V5) {
			t.Errorf("MaxSize %d: %v", tt.max, e)
		}
	}
	d := Decoder{Version: V5}
	if n, err := d.Size(b[:2]); n != 0 || err != nil {
		t.Errorf("half a header: %d, %v", n, err)
	}
}

// TestAmplification: a packet of many tiny items takes memory in proportion.
func TestAmplification(t *testing.T) {
	many := func(part []byte) []byte { return []byte(strings.Repeat(string(part), 20000)) }
	for name, b := range map[string][]byte{
		"filters":         raw(0x82, uint16(1), 0, many(body("a", 0))),
		"unsubscribe":     raw(0xA2, uint16(1), 0, many(body("a"))),
		"user properties": raw(0x30, "a", props(many(body(0x26, "", "")))),
	} {
		d := Decoder{Version: V5}
		n := allocated(func() { decode(t, d, b) })
		if limit := uint64(40 * len(b)); n > limit {
			t.Errorf("%s: %d bytes for a packet of %d", name, n, len(b))
		}
	}
}

// TestLinearCost: 65,535 slashes, once in a PUBLISH and in a SUBSCRIBE
// (mochi.md 8), and a packet of a million properties.
func TestLinearCost(t *testing.T) {
	deep := strings.Repeat("/", 65535)
	start := time.Now()
	decode(t, Decoder{Version: V5}, raw(0x30, deep, 0))
	decode(t, Decoder{Version: V5}, raw(0x82, uint16(1), 0, deep, 0))
	decode(t, Decoder{Version: V5}, raw(0x30, "a", props([]byte(strings.Repeat("\x26\x00\x00\x00\x00", 200_000)))))
	if d := time.Since(start); d > 3*time.Second {
		t.Fatalf("took %v", d)
	}
}

func TestPayloadAliases(t *testing.T) {
	b := raw(0x32, "topic", uint16(1), props(0x09, "correlation"), []byte("payload"))
	d := Decoder{Version: V5}
	p := decode(t, d, b).(*Publish)
	for i := range b {
		b[i] = 0xEE
	}
	if p.Topic != "topic" || string(p.Properties.CorrelationData) != "correlation" {
		t.Errorf("topic %q, correlation %q changed with the buffer", p.Topic, p.Properties.CorrelationData)
	}
	if p.Payload[0] != 0xEE || cap(p.Payload) != len(p.Payload) {
		t.Errorf("payload %q with room for %d is not a closed view of the buffer", p.Payload, cap(p.Payload))
	}
}

func TestAllocs(t *testing.T) {
	pub := raw(0x30, "sensors/7/temperature", long[:64])
	pub5 := raw(0x34, "sensors/7/temperature", uint16(7), 0, long[:64])
	ack := raw(0x40, uint16(7))
	ping := []byte{0xC0, 0}
	tests := []struct {
		name string
		want float64
		fn   func(d *Decoder)
	}{
		{"PUBLISH QoS 0, reused", 0, func(d *Decoder) { d.Version, d.Reuse = V311, true; _, _, _ = d.Decode(pub) }},
		{"PUBLISH QoS 2 v5, reused", 0, func(d *Decoder) { d.Version, d.Reuse = V5, true; _, _, _ = d.Decode(pub5) }},
		{"PUBLISH QoS 0, new topic", 1, func(d *Decoder) { d.Version, d.Reuse, d.topic = V311, true, ""; _, _, _ = d.Decode(pub) }},
		{"PUBLISH QoS 0, kept", 1, func(d *Decoder) { d.Version, d.Reuse = V311, false; _, _, _ = d.Decode(pub) }},
		{"PUBACK, reused", 0, func(d *Decoder) { d.Version, d.Reuse = V5, true; _, _, _ = d.Decode(ack) }},
		{"PUBACK, kept", 1, func(d *Decoder) { d.Version, d.Reuse = V5, false; _, _, _ = d.Decode(ack) }},
		{"PINGREQ", 0, func(d *Decoder) { d.Version = V5; _, _, _ = d.Decode(ping) }},
	}
	for _, tt := range tests {
		var d Decoder
		if n := testing.AllocsPerRun(100, func() { tt.fn(&d) }); n > tt.want {
			t.Errorf("%s: %v allocations, want %v", tt.name, n, tt.want)
		}
	}
}

func TestAppendAllocs(t *testing.T) {
	b := make([]byte, 0, 1024)
	p := &Publish{Topic: "sensors/7/temperature", QoS: 1, PacketID: 7, Payload: long[:64], HasExpiry: true, SubscriptionIDs: []uint32{1}}
	tmpl := NewTemplate(V5, p)
	tests := map[string]func(){
		"AppendPublish 3.1.1": func() { AppendPublish(b, V311, p) },
		"AppendPublish 5":     func() { AppendPublish(b, V5, p) },
		"Append PUBLISH":      func() { Append(b, V5, p) },
		"AppendAck":           func() { AppendAck(b, V5, TypePubrec, 7, Success) },
		"Append ack":          func() { Append(b, V5, &Ack{Kind: TypePuback, PacketID: 7}) },
		"Append PINGRESP":     func() { Append(b, V5, &Pingresp{}) },
		"Template":            func() { tmpl.Append(b, 7, false, 3) },
	}
	for name, fn := range tests {
		if n := testing.AllocsPerRun(100, fn); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, bt := range map[string]struct {
		version byte
		b       []byte
	}{
		"PUBLISH/3.1.1": {V311, raw(0x30, "sensors/7/temperature", long[:64])},
		"PUBLISH/5":     {V5, raw(0x32, "sensors/7/temperature", uint16(7), 0, long[:64])},
		"PUBLISH/props": {V5, raw(0x32, "sensors/7/temperature", uint16(7), props(0x26, "a", "b"), long[:64])},
		"PUBACK/3.1.1":  {V311, raw(0x40, uint16(7))},
	} {
		b.Run(name, func(b *testing.B) {
			d := Decoder{Version: bt.version, Reuse: true}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := d.Decode(bt.b); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	p := &Publish{Topic: "sensors/7/temperature", QoS: 1, PacketID: 7, Payload: long[:64]}
	buf := make([]byte, 0, 1024)
	tmpl := NewTemplate(V5, p)
	for name, fn := range map[string]func(){
		"PUBLISH":  func() { AppendPublish(buf, V5, p) },
		"Template": func() { tmpl.Append(buf, 7, false, 0) },
		"PUBACK":   func() { AppendAck(buf, V5, TypePuback, 7, Success) },
		"CONNACK":  func() { Append(buf, V5, &Connack{TopicAliasMaximum: 10}) },
		"SUBACK":   func() { Append(buf, V5, &Suback{PacketID: 1, Reasons: []Reason{0}}) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				fn()
			}
		})
	}
}
