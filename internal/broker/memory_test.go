package broker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

const mib = 1 << 20

// fakeCollector allocates rate bytes between two looks.
type fakeCollector struct {
	heap
	rate     uint64
	freed    int
	percents []int
}

func (f *fakeCollector) read() heap {
	f.allocated += f.rate
	return f.heap
}

func (f *fakeCollector) percent(p int) { f.percents = append(f.percents, p) }

func (f *fakeCollector) free() {
	f.freed++
	f.objects = f.live
}

// tend runs tendMemory for ten looks.
func tend(t *testing.T, f *fakeCollector) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go tendMemory(ctx, f)
		time.Sleep(10*quietCheck + quietCheck/2)
		synctest.Wait()
	})
}

func TestMemoryIsTrimmedWhenItIsQuiet(t *testing.T) {
	for name, c := range map[string]struct {
		rate, objects uint64
		want          int
	}{
		"quiet, much garbage":        {rate: 1 << 10, objects: 200 * mib, want: 1},
		"quiet, little garbage":      {rate: 1 << 10, objects: 102 * mib},
		"quiet, less than an eighth": {rate: 1 << 10, objects: 111 * mib},
		"busy":                       {rate: mib, objects: 200 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeCollector{heap: heap{objects: c.objects, live: 100 * mib}, rate: c.rate}
			tend(t, f)
			if f.freed != c.want {
				t.Errorf("trimmed %d times instead of %d", f.freed, c.want)
			}
		})
	}
}

func TestCollectorKeepsHeadroom(t *testing.T) {
	for live, want := range map[uint64]int{
		1 * mib: 1000, 8 * mib: 400, 32 * mib: 0, 500 * mib: 0, // 0: the default stays
	} {
		f := &fakeCollector{heap: heap{objects: live, live: live}, rate: mib}
		tend(t, f)
		got := 0
		if len(f.percents) > 0 {
			got = f.percents[0]
		}
		if got != want || len(f.percents) > 1 {
			t.Errorf("%d MiB live: GOGC was set to %v, want %d once", live/mib, f.percents, want)
		}
	}
}

func TestReadHeap(t *testing.T) {
	g := newCollector()
	before := g.read()
	if before.objects == 0 || before.allocated < before.objects/2 {
		t.Errorf("reading %+v", before)
	}
	g.free()
	if after := g.read(); after.live == 0 || after.allocated < before.allocated {
		t.Errorf("readings %+v and %+v", before, after)
	}
}
