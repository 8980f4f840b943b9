// Package metrics counts. A package that has something to count asks a
// Registry for a counter under VerneMQ's name and increments it where the
// event happens; the exporters (command line, Prometheus, $SYS, Graphite) walk
// the Registry and know nothing of who counts.
package metrics

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Kind tells how a value behaves.
type Kind string

// The kinds of metric.
const (
	KindCounter Kind = "counter"
	KindGauge   Kind = "gauge"
)

// Label is one dimension of a metric, such as {"mqtt_version", "5"}.
type Label struct{ Name, Value string }

// Sample is one value at the time of a walk.
type Sample struct {
	Kind   Kind
	Name   string
	Help   string
	Labels []Label
	Value  int64
}

// Counter counts up. The zero value is ready to use. It fills a cache line of
// its own so that two cores that count different things do not disturb each
// other.
type Counter struct {
	v atomic.Uint64
	_ [56]byte
}

// Inc adds one.
func (c *Counter) Inc() { c.v.Add(1) }

// Add adds n.
func (c *Counter) Add(n int) { c.v.Add(uint64(n)) }

// Value returns the count since the start or the last Reset.
func (c *Counter) Value() uint64 { return c.v.Load() }

type entry struct {
	kind    Kind
	name    string
	help    string
	labels  []Label
	counter *Counter
	gauge   func() int64
}

func (e *entry) key() string {
	var b strings.Builder
	b.WriteString(e.name)
	for _, l := range e.labels {
		b.WriteString("\x00" + l.Name + "\x00" + l.Value)
	}
	return b.String()
}

// Registry holds the metrics of one broker. Its methods may be called at any
// time from any goroutine; on a nil Registry they hand out counters that
// nobody reads, so tests need none.
type Registry struct {
	mu      sync.Mutex
	entries map[string]*entry
}

// New returns an empty Registry.
func New() *Registry { return &Registry{entries: map[string]*entry{}} }

// Counter returns the counter of that name and labels, made at the first call.
func (r *Registry) Counter(name, help string, labels ...Label) *Counter {
	if r == nil {
		return &Counter{}
	}
	e := &entry{kind: KindCounter, name: name, help: help, labels: labels, counter: &Counter{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.entries[e.key()]; ok && old.counter != nil {
		return old.counter
	}
	r.entries[e.key()] = e
	return e.counter
}

// Gauge registers a value that read returns at each walk, replacing a former
// one of that name and labels.
func (r *Registry) Gauge(name, help string, read func() int64, labels ...Label) {
	if r == nil {
		return
	}
	e := &entry{kind: KindGauge, name: name, help: help, labels: labels, gauge: read}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries[e.key()] = e
}

// Samples returns all values, ordered by name and then by labels.
func (r *Registry) Samples() []Sample {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	entries := make([]*entry, 0, len(r.entries))
	for _, e := range r.entries {
		entries = append(entries, e)
	}
	r.mu.Unlock()
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.key(), b.key()) })
	out := make([]Sample, len(entries))
	for i, e := range entries { // gauges run outside the lock: they may take others
		out[i] = Sample{Kind: e.kind, Name: e.name, Help: e.help, Labels: e.labels}
		if e.counter != nil {
			out[i].Value = int64(e.counter.Value())
		} else {
			out[i].Value = e.gauge()
		}
	}
	return out
}

// Aggregate sums samples of equal names and drops the labels, as VerneMQ's
// metrics show does by default. The order is kept.
func Aggregate(samples []Sample) []Sample {
	var out []Sample
	for _, s := range samples {
		if n := len(out); n > 0 && out[n-1].Name == s.Name {
			out[n-1].Value += s.Value
			continue
		}
		s.Labels = nil
		out = append(out, s)
	}
	return out
}

// Reset zeroes the counters; gauges show what is, and stay.
func (r *Registry) Reset() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if e.counter != nil {
			e.counter.v.Store(0)
		}
	}
}
