package broker

import (
	"runtime"
	rtm "runtime/metrics"
	"slices"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// wordSize is what Erlang calls a word.
const wordSize = 8

// runtimeMetric is a figure of Go's runtime: the sum of some of its samples,
// less others, divided by per.
type runtimeMetric struct {
	kind       metrics.Kind
	name, help string
	plus       []string
	minus      []string
	per        int64
}

// runtimeMetrics are VerneMQ's names for what Go has too, and Go's own, named
// as Prometheus' client library for Go names them.
func runtimeMetrics() []runtimeMetric {
	const (
		total    = "/memory/classes/total:bytes"
		released = "/memory/classes/heap/released:bytes"
		objects  = "/memory/classes/heap/objects:bytes"
		unused   = "/memory/classes/heap/unused:bytes"
		stacks   = "/memory/classes/heap/stacks:bytes"
		threads  = "/memory/classes/os-stacks:bytes"
	)
	return []runtimeMetric{
		{metrics.KindCounter, "system_gc_count", "Garbage collections.", []string{"/gc/cycles/total:gc-cycles"}, nil, 1},
		{metrics.KindCounter, "system_words_reclaimed_by_gc", "Words of 8 bytes that the garbage collector has freed.", []string{"/gc/heap/frees:bytes"}, nil, wordSize},
		{metrics.KindGauge, "system_process_count", "Goroutines, which are to Go what processes are to Erlang.", []string{"/sched/goroutines:goroutines"}, nil, 1},
		{metrics.KindGauge, "system_run_queue", "Goroutines that wait for a processor.", []string{"/sched/goroutines/runnable:goroutines"}, nil, 1},
		{metrics.KindGauge, "vm_memory_total", "Bytes of memory that the broker has from the system.", []string{total}, []string{released}, 1},
		{metrics.KindGauge, "vm_memory_processes", "Bytes of heap and stacks, garbage and unused parts included.", []string{objects, unused, stacks, threads}, nil, 1},
		{metrics.KindGauge, "vm_memory_processes_used", "Bytes of objects in the heap, garbage included, and of stacks.", []string{objects, stacks, threads}, nil, 1},
		{metrics.KindGauge, "vm_memory_system", "Bytes of memory that are neither heap nor stacks in use: what the runtime keeps and what it needs itself.", []string{total}, []string{released, objects, unused, stacks, threads}, 1},

		{metrics.KindGauge, "go_gc_heap_live_bytes", "Bytes of the heap that the last garbage collection found in use.", []string{"/gc/heap/live:bytes"}, nil, 1},
		{metrics.KindGauge, "go_gc_heap_goal_bytes", "Bytes of the heap at which the next garbage collection ends.", []string{"/gc/heap/goal:bytes"}, nil, 1},
		{metrics.KindGauge, "go_gc_heap_objects_objects", "Objects in the heap, garbage included.", []string{"/gc/heap/objects:objects"}, nil, 1},
		{metrics.KindCounter, "go_gc_heap_allocs_bytes", "Bytes allocated in the heap since the start.", []string{"/gc/heap/allocs:bytes"}, nil, 1},
		{metrics.KindGauge, "go_memory_classes_heap_objects_bytes", "Bytes of objects in the heap, garbage included.", []string{objects}, nil, 1},
		{metrics.KindGauge, "go_memory_classes_heap_released_bytes", "Bytes of heap that were given back to the system.", []string{released}, nil, 1},
		{metrics.KindGauge, "go_memory_classes_heap_stacks_bytes", "Bytes of goroutine stacks.", []string{stacks}, nil, 1},
		{metrics.KindGauge, "go_sched_gomaxprocs_threads", "Processors that Go code may use at once.", []string{"/sched/gomaxprocs:threads"}, nil, 1},
		{metrics.KindGauge, "go_sched_threads_total_threads", "Threads of the process.", []string{"/sched/threads/total:threads"}, nil, 1},
	}
}

// registerRuntime registers what Go's runtime and the operating system tell
// about this process, which began at started. Metrics that the system does not
// offer are left out.
func registerRuntime(r *metrics.Registry, started time.Time) {
	for _, m := range runtimeMetrics() {
		read := func() int64 { return readRuntime(m.plus, m.minus) / m.per }
		if m.kind == metrics.KindCounter {
			r.CounterFunc(m.name, m.help, read)
		} else {
			r.Gauge(m.name, m.help, read)
		}
	}
	r.CounterFunc("system_wallclock", "Milliseconds since the start.", func() int64 { return time.Since(started).Milliseconds() })
	if _, ok := usage(); ok {
		registerUsage(r, started)
	}
	if _, _, ok := processIO(); ok {
		r.CounterFunc("system_io_in", "Bytes read from sockets and files.", func() int64 { in, _, _ := processIO(); return in })
		r.CounterFunc("system_io_out", "Bytes written to sockets and files.", func() int64 { _, out, _ := processIO(); return out })
	}
}

func registerUsage(r *metrics.Registry, started time.Time) {
	r.CounterFunc("system_runtime", "Milliseconds of processor time.", func() int64 { u, _ := usage(); return u.cpu.Milliseconds() })
	r.CounterFunc("system_context_switches", "Times that the system gave a processor to a thread of the broker.", func() int64 { u, _ := usage(); return u.switches })
	l := &load{at: started}
	r.Gauge("system_utilization", "Percent of the processors that Go code may use, lately.", func() int64 {
		u, _ := usage()
		return l.percent(time.Now(), u.cpu)
	})
}

// readRuntime sums samples of the runtime, and takes others away.
func readRuntime(plus, minus []string) int64 {
	s := make([]rtm.Sample, 0, len(plus)+len(minus))
	for _, n := range slices.Concat(plus, minus) {
		s = append(s, rtm.Sample{Name: n})
	}
	rtm.Read(s)
	var sum int64
	for i := range s {
		if s[i].Value.Kind() != rtm.KindUint64 {
			continue // a later Go may have dropped it
		}
		v := int64(s[i].Value.Uint64())
		if i >= len(plus) {
			v = -v
		}
		sum += v
	}
	return sum
}

// processUsage is what the process has used of its machine.
type processUsage struct {
	cpu      time.Duration
	switches int64
}

// load computes utilization over at least a second, so that exporters which
// read at the same time do not take each other's measure.
type load struct {
	mu   sync.Mutex
	at   time.Time
	cpu  time.Duration
	last int64
}

func (l *load) percent(now time.Time, cpu time.Duration) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if wall := now.Sub(l.at); wall >= time.Second {
		l.last = int64(100 * (cpu - l.cpu) / (wall * time.Duration(runtime.GOMAXPROCS(0))))
		l.at, l.cpu = now, cpu
	}
	return l.last
}
