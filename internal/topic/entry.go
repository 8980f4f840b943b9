package topic

// entryIndexed is the number of pairs from which an entry finds its keys
// through a map instead of looking at each.
const entryIndexed = 16

// entry is one filter with its set of (K, V): a slice, because matching walks
// it far more often than it changes.
type entry[K comparable, V any] struct {
	filter string
	pairs  []pair[K, V]
	at     map[K]int // position in pairs; nil while the entry is small
}

type pair[K comparable, V any] struct {
	k K
	v V
}

func (e *entry[K, V]) find(k K) int {
	if e == nil {
		return -1
	}
	if e.at != nil {
		if i, ok := e.at[k]; ok {
			return i
		}
		return -1
	}
	for i := range e.pairs {
		if e.pairs[i].k == k {
			return i
		}
	}
	return -1
}

// set returns whether k is new.
func (e *entry[K, V]) set(k K, v V) bool {
	if i := e.find(k); i >= 0 {
		e.pairs[i].v = v
		return false
	}
	e.pairs = append(e.pairs, pair[K, V]{k, v})
	switch {
	case e.at != nil:
		e.at[k] = len(e.pairs) - 1
	case len(e.pairs) > entryIndexed:
		e.at = make(map[K]int, 2*entryIndexed)
		for i := range e.pairs {
			e.at[e.pairs[i].k] = i
		}
	}
	return true
}

// remove returns whether k was there. The slice gives memory back when it is
// mostly empty.
func (e *entry[K, V]) remove(k K) bool {
	i := e.find(k)
	if i < 0 {
		return false
	}
	last := len(e.pairs) - 1
	if i != last {
		e.pairs[i] = e.pairs[last]
		if e.at != nil {
			e.at[e.pairs[i].k] = i
		}
	}
	e.pairs[last] = pair[K, V]{}
	e.pairs = e.pairs[:last]
	if e.at != nil {
		delete(e.at, k)
		if len(e.pairs) <= entryIndexed/2 {
			e.at = nil
		}
	}
	if cap(e.pairs) > 4*entryIndexed && len(e.pairs) < cap(e.pairs)/4 {
		e.pairs = append(make([]pair[K, V], 0, 2*len(e.pairs)), e.pairs...)
	}
	return true
}

func (e *entry[K, V]) emit(fn func(k K, v V)) {
	if e == nil {
		return
	}
	for i := range e.pairs {
		fn(e.pairs[i].k, e.pairs[i].v)
	}
}
