package bench

import (
	"math/bits"
	"time"
)

// histogram counts durations with an error of at most 1/64.
type histogram struct {
	count [64 << histogramBits]uint32
}

const histogramBits = 5

func (h *histogram) add(ns uint64) { h.count[bucket(ns)]++ }

// bucket keeps the highest histogramBits+1 bits of ns.
func bucket(ns uint64) int {
	shift := max(bits.Len64(ns)-histogramBits-1, 0)
	return shift<<histogramBits + int(ns>>shift)
}

// middle is the middle of a bucket, in nanoseconds.
func middle(b int) uint64 {
	if b < 2<<histogramBits {
		return uint64(b)
	}
	shift := b>>histogramBits - 1
	return uint64(b-shift<<histogramBits)<<shift + 1<<shift/2
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.count {
		h.count[i] += n
	}
}

func (h *histogram) quantile(q float64) time.Duration {
	var sum, seen uint64
	for _, n := range h.count {
		sum += uint64(n)
	}
	for b, n := range h.count {
		if seen += uint64(n); n > 0 && float64(seen) >= q*float64(sum) {
			return time.Duration(middle(b))
		}
	}
	return 0
}
