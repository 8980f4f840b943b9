package msgstore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
)

// golden compares a record with the one that was written when its format was
// fixed: what is on disk must stay readable.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".hex")
	if *update {
		if err := os.WriteFile(path, []byte(hex.EncodeToString(got)+"\n"), 0o600); err != nil {
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

// readGolden returns a record of a former format, which nothing writes any
// more.
func readGolden(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sampleRecords() map[string]record {
	body := msg(9, 4).AppendBinary(nil)
	return map[string]record{
		"plain": {body: body, size: len(body)},
		"full": {
			entry: Entry{
				QoS: 2, Retain: true, State: Released, PacketID: 65535,
				SubscriptionIDs: []uint32{1, 268435455}, Group: "g", Filter: "a/#",
			},
			body: body, size: len(body),
		},
		"shared": {
			entry:  Entry{QoS: 1, State: Sent, PacketID: 1},
			shared: true, id: message.ID{Origin: 0xfeed, Incarnation: 3, Sequence: 9}, size: 70000,
		},
	}
}

func TestRecordFormat(t *testing.T) {
	for name, r := range sampleRecords() {
		b := r.appendBinary(nil)
		golden(t, "record-v2-"+name, b)
		if d := cmp.Diff(r, decodeV1(t, name), cmp.AllowUnexported(record{})); d != "" {
			t.Errorf("%s of the first format: %s", name, d)
		}
		if r.entry.State == Released {
			r.entry.Order = 77
			b = r.appendBinary(nil)
			golden(t, "record-v2-order", b)
		}
		got, err := decodeRecord(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(r, got, cmp.AllowUnexported(record{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if !r.shared {
			continue
		}
		for i := range b {
			if _, err := decodeRecord(b[:i]); err == nil {
				t.Errorf("%s: the first %d bytes decode without error", name, i)
			}
		}
		if _, err := decodeRecord(append(b, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: a byte too many: %v", name, err)
		}
	}
	if _, err := decodeRecord([]byte{formatRecord + 1, 0, 0}); !errors.Is(err, ErrFormat) {
		t.Errorf("newer format: %v", err)
	}
}

func decodeV1(t *testing.T, name string) record {
	t.Helper()
	r, err := decodeRecord(readGolden(t, "record-v1-"+name))
	if err != nil {
		t.Errorf("%s of the first format: %v", name, err)
	}
	return r
}

func TestInboundFormat(t *testing.T) {
	id := message.ID{Origin: 0xfeed, Incarnation: 3, Sequence: 9}
	for name, in := range map[string]Inbound{
		"inbound-v2-arrived": {ID: id, Settling: true},
		"inbound-v2-routed":  {ID: id, Routed: true},
	} {
		b := appendInbound(nil, in.flags(), in.ID)
		golden(t, name, b)
		got, err := decodeInbound(b)
		if err != nil || got != in {
			t.Errorf("%s: %+v %v", name, got, err)
		}
		for i := range b {
			if _, err := decodeInbound(b[:i]); i != message.IDSize && err == nil {
				t.Errorf("%s: the first %d bytes decode without error", name, i)
			}
		}
	}
	if got, err := decodeInbound(readGolden(t, "inbound-v1")); err != nil || got != (Inbound{ID: id}) {
		t.Errorf("the first format: %+v %v", got, err)
	}
	if _, err := decodeInbound(append([]byte{formatInbound + 1, 0}, make([]byte, message.IDSize)...)); !errors.Is(err, ErrFormat) {
		t.Errorf("newer format: %v", err)
	}
	if _, err := decodeInbound(append([]byte{formatInbound, 4}, make([]byte, message.IDSize)...)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("unknown flag: %v", err)
	}
}

func TestHeaderFormat(t *testing.T) {
	h := header{queue: 300, head: 5, next: 1 << 40, count: 7, bytes: 99999}
	b := h.appendBinary(nil)
	golden(t, "header-v1", b)
	got, err := decodeHeader(b)
	if err != nil || got != h {
		t.Errorf("%+v %v", got, err)
	}
	for i := range b {
		if _, err := decodeHeader(b[:i]); err == nil {
			t.Errorf("the first %d bytes decode without error", i)
		}
	}
}

func TestKeyFormat(t *testing.T) {
	id := message.ID{Origin: 0xfeed, Incarnation: 3, Sequence: 9}
	s := message.SessionID{Mountpoint: "mp", ClientID: "c"}
	keys := [][]byte{
		appendName(nil, keyStore, storeFormat),
		appendSessionKey(nil, keyHeader, s),
		appendInboundKey(nil, 300, 7),
		appendName(nil, keyMeta, "k"),
		appendLogKey(nil, "spool", 5),
		appendMessageKey(nil, id),
		appendQueueKey(nil, 300, 5),
		appendRefKey(nil, id, 300, 5),
		appendSessionKey(nil, keySession, s),
		appendSessionKey(nil, keyWill, s),
		appendQueueRange(nil, keyPurge, 300),
	}
	var all []byte
	for i, k := range keys {
		all = append(append(all, byte(len(k))), k...)
		if i > 0 && bytes.Compare(keys[i-1], k) >= 0 {
			t.Errorf("key %x is not above %x", k, keys[i-1])
		}
	}
	golden(t, "keys-v1", all)
	golden(t, "keys-settled", appendSettledKey(nil, id, "destination"))
	if got, err := parseSessionKey(keys[1]); got != s || err != nil {
		t.Errorf("%v %v", got, err)
	}
	if after([]byte{1, 0xff})[0] != 2 || after([]byte{0xff}) != nil {
		t.Error("after is wrong at 0xff")
	}
}

// Records from a damaged disk are refused, never misread into something that
// encodes differently, and cost no more memory than their size.
func FuzzRecord(f *testing.F) {
	for _, r := range sampleRecords() {
		f.Add(r.appendBinary(nil))
	}
	h := header{queue: 300, head: 5, next: 6, count: 1, bytes: 9}
	f.Add(h.appendBinary(nil))
	f.Add(appendInbound(nil, inboundRouted, message.ID{Origin: 1, Sequence: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRecord(b); err == nil {
			encoded := r.appendBinary(nil)
			again, err := decodeRecord(encoded)
			if err != nil || len(encoded) > len(b) {
				t.Fatalf("%d bytes became %d: %v", len(b), len(encoded), err)
			}
			if len(r.entry.SubscriptionIDs) == 0 {
				r.entry.SubscriptionIDs = nil
			}
			if d := cmp.Diff(r, again, cmp.AllowUnexported(record{})); d != "" {
				t.Fatal(d)
			}
			_, _ = r.message()
		}
		if in, err := decodeInbound(b); err == nil {
			if again, err := decodeInbound(appendInbound(nil, in.flags(), in.ID)); err != nil || again != in {
				t.Fatalf("%+v %+v %v", in, again, err)
			}
		}
		if h, err := decodeHeader(b); err == nil {
			if again, err := decodeHeader(h.appendBinary(nil)); err != nil || again != h {
				t.Fatalf("%+v %+v %v", h, again, err)
			}
		}
	})
}

// A damaged record fails the batch that needs it and no other.
func TestCorruptRecord(t *testing.T) {
	s := openMem(t)
	commit(t, s, func(b *Batch) {
		b.Enqueue(sid("c"), 1, msg(1, 0), Entry{})
		b.Enqueue(sid("d"), 1, msg(2, 500), Entry{})
	})
	key := appendQueueKey(nil, 1, 1)
	if err := s.in.db.Set(key, []byte{formatRecord, 0xff, 0xff}, nil); err != nil {
		t.Fatal(err)
	}
	if err := commitErr(s, func(b *Batch) { b.Dequeue(sid("d"), 1); b.Dequeue(sid("c"), 1) }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if _, err := s.ReadQueue(sid("c"), 0, 10); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
	equal(t, seqs(t, s, sid("d")), 1) // the batch failed whole
	commit(t, s, func(b *Batch) { b.Dequeue(sid("d"), 1) })
	equal(t, seqs(t, s, sid("d")))
	commit(t, s, func(b *Batch) { b.DeleteSession(sid("c")) })
	waitPurged(t, s)
	mustAudit(t, s)
}
