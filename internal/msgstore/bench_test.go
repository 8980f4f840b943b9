package msgstore

import (
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// BenchmarkEnqueueDequeue is the life of a message that one durable session
// takes at once: two batches, on a real disk.
func BenchmarkEnqueueDequeue(b *testing.B) {
	for name, tc := range map[string]struct {
		mode SyncMode
		size int
		fs   vfs.FS
	}{
		"disk, embedded": {SyncAlways, 64, vfs.Default},
		"disk, shared":   {SyncAlways, 1024, vfs.Default},
		"memory, shared": {SyncAlways, 1024, vfs.NewMem()},
	} {
		b.Run(name, func(b *testing.B) {
			s := open(b, Config{Dir: b.TempDir(), FS: tc.fs, Sync: tc.mode})
			var left sync.WaitGroup
			left.Add(b.N)
			b.ReportAllocs()
			for i := range uint64(b.N) {
				x := s.NewBatch()
				x.Enqueue(sid("c"), i, msg(i, tc.size), Entry{QoS: 1})
				s.Commit(x, func(error) {
					y := s.NewBatch()
					y.Dequeue(sid("c"), i)
					s.Commit(y, func(error) { left.Done() })
				})
			}
			left.Wait()
			b.StopTimer()
			b.ReportMetric(float64(s.n.groups.Value())/float64(b.N), "groups/op")
			closeStore(b, s)
		})
	}
}

// BenchmarkFanOut is one message into a hundred durable sessions, a batch for
// each.
func BenchmarkFanOut(b *testing.B) {
	s := open(b, Config{Dir: b.TempDir()})
	for i := range uint64(b.N) {
		m := msg(i, 1024)
		for q := range 100 {
			x := s.NewBatch()
			x.Enqueue(sid(string(rune('A'+q))), i, m, Entry{QoS: 1})
			s.Commit(x, nil)
		}
	}
	commit(b, s, func(x *Batch) { x.PutMeta("k", nil) })
	b.StopTimer()
	closeStore(b, s)
}
