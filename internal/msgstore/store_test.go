package msgstore

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
)

// A queue gives back, page by page, what was enqueued, also after reopening.
func TestQueue(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, testConfig(fs))
	e := Entry{QoS: 2, Retain: true, State: Sent, PacketID: 7, SubscriptionIDs: []uint32{1, 300}, Group: "g", Filter: "a/#"}
	var want []Stored
	for i := range uint64(10) {
		st := Stored{Seq: i + 1, Entry: e, Message: msg(i, int(i)*40)} // some embedded, some shared
		want = append(want, st)
		commit(t, s, func(b *Batch) { b.Enqueue(sid("c"), st.Seq, st.Message, e) })
	}
	check := func(from uint64, limit int, want []Stored) {
		t.Helper()
		got, err := s.ReadQueue(sid("c"), from, limit)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	for range 2 {
		check(0, 4, want[:4])
		check(5, 3, want[4:7])
		check(8, 100, want[7:])
		first, next, n, err := s.Bounds(sid("c"))
		if first != 1 || next != 11 || n != 10 || err != nil {
			t.Errorf("bounds %d %d %d %v", first, next, n, err)
		}
		mustAudit(t, s)
		closeStore(t, s)
		s = open(t, testConfig(fs))
	}
	released := e
	released.State = Released
	commit(t, s, func(b *Batch) {
		b.Dequeue(sid("c"), 1)
		b.SetEntry(sid("c"), 2, released)
		b.SetEntry(sid("c"), 99, released)
		b.Dequeue(sid("c"), 99)
		b.Dequeue(sid("nobody"), 1)
	})
	want[1].Entry = released
	check(0, 100, want[1:])
	mustAudit(t, s)
	closeStore(t, s)
}

// After the last message is gone, the sequence goes on where it was.
func TestBoundsOfDrainedQueue(t *testing.T) {
	s := openMem(t)
	for i := range uint64(3) {
		commit(t, s, func(b *Batch) { b.Enqueue(sid("c"), 5+i, msg(i, 0), Entry{}) })
	}
	for i := range uint64(3) {
		commit(t, s, func(b *Batch) { b.Dequeue(sid("c"), 5+i) })
	}
	first, next, n, err := s.Bounds(sid("c"))
	if first != 8 || next != 8 || n != 0 || err != nil {
		t.Errorf("bounds %d %d %d %v", first, next, n, err)
	}
	if _, next, _, _ := s.Bounds(sid("nobody")); next != 0 {
		t.Errorf("a session without a queue has next %d", next)
	}
}

// A message is on disk once however many queues hold it, and is gone with the
// last of them; the order and the batching of the dequeues do not matter.
func TestMessageIsShared(t *testing.T) {
	const queues = 50
	s := openMem(t)
	m := msg(1, 4096)
	commit(t, s, func(b *Batch) {
		for i := range queues / 2 {
			b.Enqueue(sid(fmt.Sprint(i)), 1, m, Entry{QoS: 1})
		}
	})
	for i := queues / 2; i < queues; i++ {
		commit(t, s, func(b *Batch) { b.Enqueue(sid(fmt.Sprint(i)), 1, m, Entry{QoS: 1}) })
	}
	commit(t, s, func(b *Batch) { b.Enqueue(sid("0"), 2, m, Entry{QoS: 1}) }) // one session, two copies
	mustAudit(t, s)
	if n := countKind(t, s, keyMessage); n != 1 {
		t.Errorf("%d bodies on disk", n)
	}
	commit(t, s, func(b *Batch) { b.Dequeue(sid("0"), 2) })
	for i := range queues - 2 {
		commit(t, s, func(b *Batch) { b.Dequeue(sid(fmt.Sprint(i)), 1) })
	}
	if got := seqs(t, s, sid("49")); len(got) != 1 {
		t.Errorf("queue 49 has %v", got)
	}
	commit(t, s, func(b *Batch) {
		b.Dequeue(sid("48"), 1)
		b.Dequeue(sid("49"), 1)
	})
	mustAudit(t, s)
	if n := countKind(t, s, keyMessage) + countKind(t, s, keyRef) + countKind(t, s, keyQueue); n != 0 {
		t.Errorf("%d records left", n)
	}
}

func countKind(t testing.TB, s *Store, kind byte) int {
	t.Helper()
	n := 0
	if err := s.scan("test", kind, func([]byte, []byte) (bool, error) { n++; return true, nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// Operations of one batch see those before them.
func TestWithinOneBatch(t *testing.T) {
	s := openMem(t)
	a, b2 := msg(1, 1000), msg(2, 1000)
	commit(t, s, func(b *Batch) {
		b.Enqueue(sid("c"), 1, a, Entry{QoS: 1})
		b.Enqueue(sid("d"), 1, a, Entry{QoS: 1})
		b.SetEntry(sid("c"), 1, Entry{QoS: 1, State: Sent, PacketID: 3})
		b.Enqueue(sid("c"), 2, b2, Entry{})
		b.Dequeue(sid("c"), 2)
		b.Enqueue(sid("c"), 2, a, Entry{}) // replaced twice
		b.Enqueue(sid("c"), 2, b2, Entry{})
		b.Dequeue(sid("d"), 1)
		b.PutInbound(sid("c"), 9, Inbound{ID: a.ID})
	})
	mustAudit(t, s)
	got, _ := s.ReadQueue(sid("c"), 0, 10)
	if len(got) != 2 || got[0].Entry.PacketID != 3 || got[1].Message.ID != b2.ID {
		t.Errorf("%+v", got)
	}
	commit(t, s, func(b *Batch) {
		b.DeleteSession(sid("c"))
		b.Enqueue(sid("c"), 1, b2, Entry{QoS: 2})
	})
	got, _ = s.ReadQueue(sid("c"), 0, 10)
	if len(got) != 1 || got[0].Entry.QoS != 2 {
		t.Errorf("%+v", got)
	}
	if in, _ := s.Inbound(sid("c")); len(in) != 0 {
		t.Errorf("inbound ids of the former session: %v", in)
	}
	waitPurged(t, s)
	mustAudit(t, s)
}

// Session ids that are prefixes of one another have nothing in common.
func TestSessionsDoNotMix(t *testing.T) {
	s := openMem(t)
	ids := []message.SessionID{
		{ClientID: ""},
		{ClientID: "a"},
		{ClientID: "ab"},
		{ClientID: "a\xff"},
		{Mountpoint: "a"},
		{Mountpoint: "a", ClientID: "b"},
		{Mountpoint: "ab", ClientID: ""},
	}
	for i, id := range ids {
		commit(t, s, func(b *Batch) {
			b.Enqueue(id, uint64(i)+1, msg(uint64(i), 200), Entry{})
			b.PutInbound(id, uint16(i)+1, Inbound{ID: message.ID{Sequence: uint64(i)}})
			b.PutSession(&message.SessionRecord{ID: id, Expiry: uint32(i)})
			b.PutWill(id, []byte{byte(i)})
		})
	}
	for i, id := range ids {
		equal(t, seqs(t, s, id), uint64(i)+1)
		in, err := s.Inbound(id)
		if len(in) != 1 || in[uint16(i)+1].ID.Sequence != uint64(i) || err != nil {
			t.Errorf("%v: inbound %v %v", id, in, err)
		}
		if r, err := s.Session(id); err != nil || r == nil || r.Expiry != uint32(i) {
			t.Errorf("%v: %v %v", id, r, err)
		}
	}
	commit(t, s, func(b *Batch) { b.DeleteSession(ids[1]); b.DeleteInbound(ids[2], 3); b.DeleteWill(ids[2]) })
	waitPurged(t, s)
	mustAudit(t, s)
	if got := seqs(t, s, ids[1]); len(got) != 0 {
		t.Errorf("deleted session has %v", got)
	}
	n, wills := 0, 0
	_ = s.Sessions(func(r *message.SessionRecord) bool { n++; return r.ID != ids[1] })
	_ = s.Wills(func(message.SessionID, []byte) bool { wills++; return true })
	if n != len(ids)-1 || wills != len(ids)-1 {
		t.Errorf("%d sessions, %d wills", n, wills)
	}
	if r, err := s.Session(ids[1]); r != nil || err != nil {
		t.Errorf("deleted session: %v %v", r, err)
	}
}

// A deleted session's queue goes in the background, whatever its length, and
// leaves shared messages to those who still hold them.
func TestDeleteSessionPurges(t *testing.T) {
	s := openMem(t)
	const n = 3*purgeChunk + 17
	for i := range uint64(n) {
		b := s.NewBatch()
		b.Enqueue(sid("c"), i, msg(i, 200), Entry{})
		if i%100 == 0 {
			b.Enqueue(sid("d"), i, msg(i, 200), Entry{})
		}
		s.Commit(b, nil)
	}
	commit(t, s, func(b *Batch) { b.DeleteSession(sid("c")) })
	commit(t, s, func(b *Batch) { b.Enqueue(sid("c"), 1, msg(n, 10), Entry{}) })
	equal(t, seqs(t, s, sid("c")), 1)
	waitPurged(t, s)
	mustAudit(t, s)
	equal(t, seqs(t, s, sid("d")), 0, 100, 200, 300, 400, 500, 600, 700)
	if got := countKind(t, s, keyMessage); got != 8 {
		t.Errorf("%d messages left", got)
	}
	if got := s.n.purged.Value(); got != n {
		t.Errorf("%d counted as purged", got)
	}
}

func TestLogsAndMeta(t *testing.T) {
	s := openMem(t)
	for i := range uint64(10) {
		commit(t, s, func(b *Batch) {
			b.AppendLog("peer", i, []byte{byte(i)})
			b.AppendLog("peer2", i, []byte{9})
		})
	}
	commit(t, s, func(b *Batch) { b.TruncateLog("peer", 3); b.PutMeta("k", []byte("v")) })
	got, err := s.ReadLog("peer", 0, 3)
	if err != nil || len(got) != 3 || got[0].Seq != 4 || got[2].Data[0] != 6 {
		t.Errorf("%v %v", got, err)
	}
	if first, next, err := s.LogBounds("peer"); first != 4 || next != 10 || err != nil {
		t.Errorf("%d %d %v", first, next, err)
	}
	if got, _ := s.ReadLog("peer2", 8, 100); len(got) != 2 {
		t.Errorf("%v", got)
	}
	commit(t, s, func(b *Batch) { b.TruncateLog("peer2", 1<<64-1) })
	if first, next, _ := s.LogBounds("peer2"); first != 0 || next != 0 {
		t.Errorf("%d %d", first, next)
	}
	if v, err := s.Meta("k"); string(v) != "v" || err != nil {
		t.Errorf("%q %v", v, err)
	}
	commit(t, s, func(b *Batch) { b.PutMeta("k", nil) })
	if v, err := s.Meta("k"); v != nil || err != nil {
		t.Errorf("%q %v", v, err)
	}
	if err := commitErr(s, func(b *Batch) { b.AppendLog(string(make([]byte, 256)), 1, nil) }); err == nil {
		t.Error("a log name of 256 bytes was taken")
	}
}

// Dequeues far from the head still leave a head that is close to the truth.
func TestHeadCatchesUp(t *testing.T) {
	s := openMem(t)
	const n = 4 * probeAfter
	for i := range uint64(n) {
		b := s.NewBatch()
		b.Enqueue(sid("c"), 2*i, msg(i, 0), Entry{}) // gaps
		s.Commit(b, nil)
	}
	for i := range uint64(n - 1) {
		b := s.NewBatch()
		b.Dequeue(sid("c"), 2*i)
		s.Commit(b, nil)
	}
	commit(t, s, func(b *Batch) { b.Enqueue(sid("c"), 2*n, msg(n, 0), Entry{}) })
	mustAudit(t, s)
	equal(t, seqs(t, s, sid("c")), 2*n-2, 2*n)
	err := s.scan("test", keyHeader, func(_, v []byte) (bool, error) {
		if h, err := decodeHeader(v); err != nil || h.head < 2*(n-2*probeAfter) {
			t.Errorf("%+v %v", h, err)
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// One directory, one store.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	if _, err := Open(Config{Dir: dir}); err == nil {
		t.Error("the directory was opened twice")
	}
	closeStore(t, s)
	closeStore(t, open(t, Config{Dir: dir}))
}

func TestClosed(t *testing.T) {
	s := open(t, testConfig(vfs.NewMem()))
	n := 0
	for range 100 {
		b := s.NewBatch()
		b.PutMeta("k", []byte("v"))
		s.Commit(b, func(err error) {
			if err == nil {
				n++
			}
		})
	}
	closeStore(t, s)
	if n != 100 {
		t.Errorf("%d of 100 were made durable before Close returned", n)
	}
	if err := commitErr(s, func(b *Batch) { b.PutMeta("k", nil) }); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Meta("k"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// A newer format is refused, not misread.
func TestNewerFormat(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, testConfig(fs))
	if err := s.in.db.Set(appendName(nil, keyStore, storeFormat), []byte{formatStore + 1}, nil); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if _, err := Open(testConfig(fs)); !errors.Is(err, ErrFormat) {
		t.Errorf("%v", err)
	}
}
