package message

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func samples() map[string]*Message {
	return map[string]*Message{
		"qos0": {ID: ID{Origin: 7, Incarnation: 1, Sequence: 1}, Topic: "a/b"},
		"full": {
			ID: ID{Origin: 0xfeed, Incarnation: 3, Sequence: 9}, Mountpoint: "mp", Topic: "t/é", Payload: []byte{0, 1, 2},
			QoS: 2, Retain: true, Publisher: "client", Expires: 1_700_000_000_000,
			Properties: &Properties{
				PayloadFormat: 1, HasFormat: true, HasCorrelation: true, ContentType: "text/plain", ResponseTopic: "r",
				CorrelationData: []byte("c"), User: []UserProperty{{"k", "v"}, {"k", "w"}},
			},
		},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".hex")
	if *update {
		if err := os.WriteFile(path, []byte(hex.EncodeToString(got)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: the record format has changed:\n got %x\nwant %x", name, got, want)
	}
}

func TestMessageFormat(t *testing.T) {
	for name, m := range samples() {
		b := m.AppendBinary(nil)
		golden(t, "message-v1-"+name, b)
		got, err := Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(m, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		for i := range b {
			if _, err := Decode(b[:i]); err == nil {
				t.Errorf("%s: the first %d bytes decode without error", name, i)
			}
		}
		if _, err := Decode(append(b, 0)); err == nil {
			t.Errorf("%s: a byte too many decodes without error", name)
		}
	}
}

func sampleRecord() *SessionRecord {
	return &SessionRecord{
		ID: SessionID{"mp", "c"}, Epoch: Epoch{Cluster: 5, Generation: 2, Index: 77}, Expiry: NeverExpires,
		UpperHalf: true, OfflineSince: 12345, Subscriptions: []Subscription{
			{Filter: "a/#", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2, Identifier: 300},
			{Filter: "$share/g/x", QoS: 1},
		},
	}
}

func TestSessionRecordFormat(t *testing.T) {
	s := sampleRecord()
	b := s.AppendBinary(nil)
	golden(t, "session-v1", b)
	got, err := DecodeSessionRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, got); d != "" {
		t.Error(d)
	}
	for i := range b {
		if _, err := DecodeSessionRecord(b[:i]); err == nil {
			t.Errorf("the first %d bytes decode without error", i)
		}
	}
}

func TestEpochCompare(t *testing.T) {
	own := ClusterID(1)
	for _, c := range []struct {
		a, b Epoch
		want int
	}{
		{Epoch{1, 0, 5}, Epoch{1, 0, 6}, -1},
		{Epoch{1, 1, 5}, Epoch{1, 0, 6}, 1},
		{Epoch{2, 9, 99}, Epoch{1, 0, 1}, -1},
		{Epoch{1, 0, 1}, Epoch{2, 9, 99}, 1},
		{Epoch{1, 0, 1}, Epoch{1, 0, 1}, 0},
	} {
		if got := c.a.Compare(c.b, own); got != c.want {
			t.Errorf("%v vs %v = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestNodeIDText(t *testing.T) {
	id := NodeID(0xabc)
	got, err := ParseNodeID(id.String())
	if err != nil || got != id {
		t.Fatalf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "abc", "zzzzzzzzzzzzzzzz", "00000000000000000"} {
		if _, err := ParseNodeID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestSessionKey(t *testing.T) {
	s := SessionID{"mp", "a/b"}
	got, err := ParseKey(s.Key())
	if err != nil || got != s {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := ParseKey("nosep"); err == nil {
		t.Error("a key without separator was accepted")
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range samples() {
		f.Add(m.AppendBinary(nil))
	}
	f.Add(sampleRecord().AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := Decode(b); err == nil {
			again, err := Decode(m.AppendBinary(nil))
			if err != nil || !cmp.Equal(m, again) {
				t.Fatalf("%v: %s", err, cmp.Diff(m, again))
			}
		}
		if s, err := DecodeSessionRecord(b); err == nil {
			again, err := DecodeSessionRecord(s.AppendBinary(nil))
			if err != nil || !cmp.Equal(s, again) {
				t.Fatalf("%v: %s", err, cmp.Diff(s, again))
			}
		}
	})
}
