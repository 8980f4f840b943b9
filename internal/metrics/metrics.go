// Package metrics counts. A package that has something to count asks a
// Registry for a counter under VerneMQ's name and increments it where the
// event happens; the exporters (command line, Prometheus, $SYS, Graphite) walk
// the Registry and know nothing of who counts.
package metrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Kind tells how a value behaves.
type Kind string

// The kinds of metric.
const (
	KindCounter   Kind = "counter"
	KindGauge     Kind = "gauge"
	KindHistogram Kind = "histogram"
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
	// Distribution is the value of a histogram.
	Distribution *Distribution
}

// Counter counts up. The zero value is ready to use. It fills a cache line of
// its own so that two cores that count different things do not disturb each
// other.
type Counter struct {
	v atomic.Uint64
	_ [56]byte
}

// Value returns the count since the start or the last Reset.
func (c *Counter) Value() uint64 { return c.v.Load() }

type entry struct {
	kind      Kind
	name      string
	labels    []Label
	counter   *Counter
	histogram *Histogram
	read      func() int64 // of gauges, and of counters that others keep
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
	mu        sync.Mutex
	entries   map[string]*entry
	families  map[string]family
	conflicts []string
}

// family is what all metrics of one name have in common.
type family struct {
	kind Kind
	help string
}

// New returns an empty Registry.
func New() *Registry {
	return &Registry{entries: map[string]*entry{}, families: map[string]family{}}
}

// Counter returns the counter of that name and labels, made at the first call.
func (r *Registry) Counter(name, help string, labels ...Label) *Counter {
	if r == nil {
		return &Counter{}
	}
	return r.add(help, &entry{kind: KindCounter, name: name, labels: labels, counter: &Counter{}}, false).counter
}

// CounterFunc registers a counter that somebody else keeps: Reset leaves it.
func (r *Registry) CounterFunc(name, help string, read func() int64, labels ...Label) {
	if r != nil {
		r.add(help, &entry{kind: KindCounter, name: name, labels: labels, read: read}, true)
	}
}

// Gauge registers a value that read returns at each walk, replacing a former
// one of that name and labels.
func (r *Registry) Gauge(name, help string, read func() int64, labels ...Label) {
	if r != nil {
		r.add(help, &entry{kind: KindGauge, name: name, labels: labels, read: read}, true)
	}
}

// Histogram returns the histogram of that name and labels, made with these
// bounds, ascending, at the first call.
func (r *Registry) Histogram(name, help string, bounds []int64, labels ...Label) *Histogram {
	h := &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
	if r == nil {
		return h
	}
	return r.add(help, &entry{kind: KindHistogram, name: name, labels: labels, histogram: h}, false).histogram
}

// Remove forgets a metric of something that has gone, such as a node.
func (r *Registry) Remove(name string, labels ...Label) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.entries, (&entry{name: name, labels: labels}).key())
}

// add enters e, or returns the one that is there already. All metrics of one
// name have the first one's kind and help.
func (r *Registry) add(help string, e *entry, replace bool) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, known := r.families[e.name]
	if known && (f.kind != e.kind || f.help != help) {
		c := fmt.Sprintf("%s is a %s %q and a %s %q", e.name, f.kind, f.help, e.kind, help)
		if !slices.Contains(r.conflicts, c) {
			r.conflicts = append(r.conflicts, c)
		}
		if f.kind != e.kind {
			return e // counted, and shown nowhere
		}
	}
	if !known {
		r.families[e.name] = family{e.kind, help}
	}
	key := e.key()
	if old := r.entries[key]; old != nil && !replace && old.read == nil {
		return old
	}
	r.entries[key] = e
	return e
}

// Conflicts lists the metrics that two packages have registered as different
// things, which is a mistake; a test of the whole broker looks for them.
func (r *Registry) Conflicts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.conflicts)
}

// Samples returns all values, ordered by name and then by labels.
func (r *Registry) Samples() []Sample {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	keys := slices.Sorted(maps.Keys(r.entries))
	entries := make([]*entry, len(keys))
	out := make([]Sample, len(keys))
	for i, k := range keys {
		e := r.entries[k]
		entries[i] = e
		out[i] = Sample{Kind: e.kind, Name: e.name, Help: r.families[e.name].help, Labels: e.labels}
	}
	r.mu.Unlock()
	for i, e := range entries { // gauges run outside the lock: they may take others
		switch {
		case e.counter != nil:
			out[i].Value = int64(e.counter.Value())
		case e.histogram != nil:
			out[i].Distribution = e.histogram.read()
		default:
			out[i].Value = e.read()
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
			sum := &out[n-1]
			sum.Value += s.Value
			if s.Distribution != nil {
				sum.Distribution = sum.Distribution.plus(s.Distribution)
			}
			continue
		}
		s.Labels = nil
		out = append(out, s)
	}
	return out
}

// Reset zeroes the counters and histograms; gauges, and counters that others
// keep, stay.
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
		if e.histogram != nil {
			e.histogram.reset()
		}
	}
}
