package broker

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// headroom is the garbage that a small broker may have before the collector
// runs. Left alone it runs when the heap has doubled, which with few clients is
// every few megabytes.
const headroom = 32 << 20

// Garbage that is there when nothing happens any more is collected at once:
// otherwise a broker to which many clients have connected would keep it.
const (
	// quietCheck is how often trimming looks.
	quietCheck = time.Second
	// quietBytes is how much may be allocated in that time by a broker on which
	// nothing happens.
	quietBytes = 256 << 10
	// trimBytes is the least garbage that is worth a collection.
	trimBytes = 4 << 20
)

// heap is a reading of the runtime's counters.
type heap struct{ allocated, objects, live uint64 }

// readHeap reads them; it stops nothing.
func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(s)
	return heap{allocated: s[0].Value.Uint64(), objects: s[1].Value.Uint64(), live: s[2].Value.Uint64()}
}

// worthTrimming reports whether nothing has happened since the reading before,
// and what is garbage by now is enough to collect it.
func (h heap) worthTrimming(before heap) bool {
	quiet := h.allocated-before.allocated < quietBytes
	return quiet && h.objects > h.live+max(trimBytes, h.live/8)
}

// percent is the GOGC that leaves headroom: never less than Go's default.
func (h heap) percent() int {
	return max(100, int(headroom*100/max(h.live, headroom/10)))
}

// collector is the runtime's.
type collector interface {
	read() heap
	percent(int) // sets GOGC
	free()       // collects and gives memory back to the system
}

// tendMemory keeps headroom while the broker works, and gives memory back when
// it has become quiet, until ctx ends.
func tendMemory(ctx context.Context, c collector) {
	tick := time.NewTicker(quietCheck)
	defer tick.Stop()
	set := 100
	for before := c.read(); ; {
		if p := before.percent(); p > set+set/10 || p < set-set/10 {
			set = p // not for every little change: it stops the world for a moment
			c.percent(p)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := c.read()
		if now.worthTrimming(before) {
			c.free()
			now = c.read()
		}
		before = now
	}
}

// goCollector is Go's. An operator's GOGC stands.
type goCollector struct{ fixed bool }

func newCollector() goCollector { return goCollector{fixed: os.Getenv("GOGC") != ""} }

func (goCollector) read() heap { return readHeap() }

func (g goCollector) percent(p int) {
	if !g.fixed {
		debug.SetGCPercent(p)
	}
}

func (goCollector) free() { debug.FreeOSMemory() }
