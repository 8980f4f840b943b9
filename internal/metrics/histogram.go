package metrics

import (
	"slices"
	"sync/atomic"
	"time"
)

// Decades are the bounds, in microseconds, of VerneMQ's histograms.
func Decades() []int64 { return []int64{10, 100, 1000, 10_000, 100_000, 1_000_000} }

// Latencies are the bounds, in microseconds, of histograms that VerneMQ does
// not have: three for each factor of ten, from what memory to what a hanging
// disk takes.
func Latencies() []int64 {
	return []int64{
		10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
		1_000_000, 2_000_000, 5_000_000,
	}
}

// Sizes are the bounds of histograms that count things or bytes: powers of
// four up to 4 Mi.
func Sizes() []int64 {
	out := make([]int64, 0, 12)
	for n := int64(1); n <= 1<<22; n *= 4 {
		out = append(out, n)
	}
	return out
}

// Histogram counts values by size. A nil Histogram counts nothing.
type Histogram struct {
	bounds []int64
	counts []atomic.Uint64 // one more than bounds: the last has no bound
	sum    atomic.Int64
}

// Observe counts a value.
func (h *Histogram) Observe(v int64) {
	if h == nil {
		return
	}
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i].Add(1)
	h.sum.Add(v)
}

// Since counts the microseconds that have passed since t.
func (h *Histogram) Since(t time.Time) { h.Observe(time.Since(t).Microseconds()) }

// Distribution is what a Histogram has seen.
type Distribution struct {
	// Buckets are ordered by bound; each includes those before it. Values above
	// the last bound are in Count only.
	Buckets []Bucket
	Sum     int64
	Count   uint64
}

// Bucket counts the values up to a bound, included.
type Bucket struct {
	Bound int64
	Count uint64
}

func (h *Histogram) read() *Distribution {
	d := &Distribution{Buckets: make([]Bucket, len(h.bounds)), Sum: h.sum.Load()}
	for i := range h.counts {
		d.Count += h.counts[i].Load()
		if i < len(h.bounds) {
			d.Buckets[i] = Bucket{h.bounds[i], d.Count}
		}
	}
	return d
}

func (h *Histogram) reset() {
	for i := range h.counts {
		h.counts[i].Store(0)
	}
	h.sum.Store(0)
}

// plus adds distributions with the same bounds.
func (d *Distribution) plus(o *Distribution) *Distribution {
	out := &Distribution{Buckets: slices.Clone(d.Buckets), Sum: d.Sum + o.Sum, Count: d.Count + o.Count}
	for i := range out.Buckets {
		out.Buckets[i].Count += o.Buckets[i].Count
	}
	return out
}
