package topic

// Index maps filters to sets of (K, V) and finds all that match a name:
// subscriptions and routes. It is safe for concurrent use.
type Index[K comparable, V any] struct{ _ [0]K }

// NewIndex returns an empty index.
func NewIndex[K comparable, V any]() *Index[K, V] { return &Index[K, V]{} }

// Set stores v for k under a valid filter, replacing what k had there. first
// is true when the filter had no K before.
func (x *Index[K, V]) Set(filter string, k K, v V) (first bool) { return false }

// Delete removes k from filter. last is true when the filter has no K left.
func (x *Index[K, V]) Delete(filter string, k K) (existed, last bool) { return false, false }

// Match calls fn for every (filter, k) whose filter matches name, in no
// particular order. fn runs under a read lock and must not call back into the
// index. Match does not allocate.
func (x *Index[K, V]) Match(name string, fn func(k K, v V)) {}

// Get returns what k has under filter.
func (x *Index[K, V]) Get(filter string, k K) (v V, ok bool) { return v, false }

// Each calls fn for every entry, in no particular order, until it returns
// false. fn runs under a read lock and must not call back into the index.
func (x *Index[K, V]) Each(fn func(filter string, k K, v V) bool) {}

// Len returns the number of filters.
func (x *Index[K, V]) Len() int { return 0 }

// Entries returns the number of (filter, k).
func (x *Index[K, V]) Entries() int { return 0 }
