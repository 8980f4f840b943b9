package topic

// Store maps topic names to values and finds all names that match a filter:
// retained messages. It is safe for concurrent use.
type Store[V any] struct{ _ [0]V }

// NewStore returns an empty store.
func NewStore[V any]() *Store[V] { return &Store[V]{} }

// Set stores v under name and returns whether the name is new.
func (s *Store[V]) Set(name string, v V) (added bool) { return false }

// Delete removes name and returns whether it was there.
func (s *Store[V]) Delete(name string) bool { return false }

// Get returns the value of name.
func (s *Store[V]) Get(name string) (v V, ok bool) { return v, false }

// MatchFilter calls fn for every name that a valid filter, without its
// "$share/group/", matches, in no particular order, until fn returns false. fn
// runs under a read lock and must not call back into the store.
func (s *Store[V]) MatchFilter(filter string, fn func(name string, v V) bool) {}

// Each calls fn for every name, $-names too, like MatchFilter.
func (s *Store[V]) Each(fn func(name string, v V) bool) {}

// Len returns the number of names.
func (s *Store[V]) Len() int { return 0 }
