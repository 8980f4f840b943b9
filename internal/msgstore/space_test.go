package msgstore

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fill enqueues n messages of that size in one queue.
func fill(t testing.TB, s *Store, from, n uint64, size int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		b := s.NewBatch()
		b.Enqueue(sid("c"), i, msg(i, size), Entry{QoS: 1})
		s.Commit(b, nil)
	}
	commit(t, s, func(b *Batch) { b.PutMeta("k", nil) })
}

func drain(t testing.TB, s *Store, from, n uint64) {
	t.Helper()
	for i := from; i < from+n; i++ {
		b := s.NewBatch()
		b.Dequeue(sid("c"), i)
		s.Commit(b, nil)
	}
	commit(t, s, func(b *Batch) { b.PutMeta("k", nil) })
}

// The disk space of consumed messages comes back while the store is in use,
// without a restart.
func TestSpaceComesBack(t *testing.T) {
	for name, tc := range map[string]struct {
		n    uint64
		size int
		how  func(t testing.TB, s *Store, n uint64)
	}{
		"large, dequeued": {200, 256 << 10, func(t testing.TB, s *Store, n uint64) { drain(t, s, 0, n) }},
		"small, dequeued": {12_000, 1000, func(t testing.TB, s *Store, n uint64) { drain(t, s, 0, n) }},
		"session deleted": {200, 256 << 10, func(t testing.TB, s *Store, _ uint64) {
			commit(t, s, func(b *Batch) { b.DeleteSession(sid("c")) })
			waitPurged(t, s)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openMem(t)
			fill(t, s, 0, tc.n, tc.size)
			tables := func() uint64 { return s.in.db.Metrics().Table.Local.LiveSize }
			full := max(tables(), tc.n*uint64(tc.size)/4) // some may still be in memory tables
			tc.how(t, s, tc.n)
			// Some traffic goes on, as it does: a few messages in and out. Old
			// logs are kept for reuse; the rest must go.
			deadline := time.Now().Add(30 * time.Second)
			for seq := tc.n; tables() > full/8 || s.diskBytes() > (2*maxMemTables+2)*memTableBytes; seq += 10 {
				fill(t, s, seq, 10, 1000)
				drain(t, s, seq, 10)
				if time.Now().After(deadline) {
					t.Fatalf("%d MiB of %d MiB are still taken\n%s", s.diskBytes()>>20, full>>20, s.in.db.Metrics())
				}
			}
			t.Logf("%d MiB of tables shrank to %d KiB, %d MiB are taken", full>>20, tables()>>10, s.diskBytes()>>20)
			mustAudit(t, s)
		})
	}
}

// With sync = interval the log reaches the disk within the interval.
func TestSyncInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		c := testConfig(fs)
		c.Sync, c.SyncInterval = SyncInterval, 10*time.Second
		s := open(t, c)
		commit(t, s, func(b *Batch) { b.PutMeta("k", []byte("v")) })
		has := func(want bool) {
			t.Helper()
			c := testConfig(fs.CrashClone(vfs.CrashCloneCfg{}))
			after := open(t, c)
			if v, err := after.Meta("k"); (v != nil) != want || err != nil {
				t.Errorf("after a crash: %q %v", v, err)
			}
			closeStore(t, after)
		}
		has(false)
		time.Sleep(10*time.Second + time.Millisecond) // virtual
		synctest.Wait()
		has(true)
		closeStore(t, s)
	})
}

func TestSyncModeText(t *testing.T) {
	for _, m := range []SyncMode{SyncAlways, SyncInterval, SyncNever} {
		if got, err := ParseSyncMode(m.String()); got != m || err != nil {
			t.Errorf("%v: %v %v", m, got, err)
		}
	}
	if _, err := ParseSyncMode("sometimes"); err == nil {
		t.Error("an unknown mode was taken")
	}
}
