package topic

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// shards is the number of independently locked parts, a power of two.
const shards = 32

// Index maps filters to sets of (K, V) and finds all that match a name:
// subscriptions and routes. It is safe for concurrent use.
//
// Filters without wildcards stand in hash maps by the whole filter. Those with
// wildcards stand in tries over their levels, one trie per hash of the first
// level and one for filters that begin with a wildcard. So a match looks into
// three parts, each under its own read lock, and a part without wildcard
// filters is passed by without one.
type Index[K comparable, V any] struct {
	seed    maphash.Seed
	exact   [shards]exactShard[K, V]
	wild    [shards + 1]wildShard[K, V] // the last: filters that begin with a wildcard
	filters atomic.Int64
	entries atomic.Int64
}

type exactShard[K comparable, V any] struct {
	mu sync.RWMutex // guards m
	m  map[string]*entry[K, V]
}

type wildShard[K comparable, V any] struct {
	filters atomic.Int64 // in root; changed under mu, read without
	mu      sync.RWMutex // guards root
	root    node[K, V]
}

// node is one level of the filters below it.
type node[K comparable, V any] struct {
	kids kids[node[K, V]]
	plus *node[K, V]
	here *entry[K, V] // the filter that ends at this level
	hash *entry[K, V] // the filter that goes on with "#" and ends
}

// NewIndex returns an empty index.
func NewIndex[K comparable, V any]() *Index[K, V] {
	x := &Index[K, V]{seed: maphash.MakeSeed()}
	for i := range x.exact {
		x.exact[i].m = make(map[string]*entry[K, V])
	}
	return x
}

func (x *Index[K, V]) exactShard(filter string) *exactShard[K, V] {
	return &x.exact[maphash.String(x.seed, filter)%shards]
}

// wildShard returns the part for filters and names with this first level.
func (x *Index[K, V]) wildShard(first string) *wildShard[K, V] {
	if first == "+" || first == "#" {
		return &x.wild[shards]
	}
	return &x.wild[maphash.String(x.seed, first)%shards]
}

// Set stores v for k under a valid filter, replacing what k had there. first
// is true when the filter had no K before.
func (x *Index[K, V]) Set(filter string, k K, v V) (first bool) {
	var added bool
	if HasWildcard(filter) {
		first, added = x.wildShard(firstLevel(filter)).set(filter, k, v)
	} else {
		first, added = x.exactShard(filter).set(filter, k, v)
	}
	if first {
		x.filters.Add(1)
	}
	if added {
		x.entries.Add(1)
	}
	return first
}

func (s *exactShard[K, V]) set(filter string, k K, v V) (first, added bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[filter]
	if first = e == nil; first {
		e = &entry[K, V]{filter: strings.Clone(filter)}
		s.m[e.filter] = e
	}
	return first, e.set(k, v)
}

func (s *wildShard[K, V]) set(filter string, k K, v V) (first, added bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.root.make(filter)
	if first = *e == nil; first {
		*e = &entry[K, V]{filter: strings.Clone(filter)}
		s.filters.Add(1)
	}
	return first, (*e).set(k, v)
}

// Delete removes k from filter. last is true when the filter has no K left.
func (x *Index[K, V]) Delete(filter string, k K) (existed, last bool) {
	if HasWildcard(filter) {
		existed, last = x.wildShard(firstLevel(filter)).remove(filter, k)
	} else {
		existed, last = x.exactShard(filter).remove(filter, k)
	}
	if existed {
		x.entries.Add(-1)
	}
	if last {
		x.filters.Add(-1)
	}
	return existed, last
}

func (s *exactShard[K, V]) remove(filter string, k K) (existed, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.m[filter]
	if e == nil || !e.remove(k) {
		return false, false
	}
	if last = len(e.pairs) == 0; last {
		delete(s.m, filter)
	}
	return true, last
}

func (s *wildShard[K, V]) remove(filter string, k K) (existed, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.root.lookup(filter)
	if e == nil || !e.remove(k) {
		return false, false
	}
	if last = len(e.pairs) == 0; last {
		s.root.prune(filter)
		s.filters.Add(-1)
	}
	return true, last
}

// Match calls fn for every (filter, k) whose filter matches name, in no
// particular order. fn runs under a read lock and must not call back into the
// index. Match does not allocate.
func (x *Index[K, V]) Match(name string, fn func(k K, v V)) {
	if name == "" {
		return
	}
	x.exactShard(name).match(name, fn)
	x.wildShard(firstLevel(name)).match(name, fn)
	if name[0] != '$' { // [MQTT-4.7.2-1]
		x.wild[shards].match(name, fn)
	}
}

func (s *exactShard[K, V]) match(name string, fn func(k K, v V)) {
	s.mu.RLock()
	defer s.mu.RUnlock() // fn may panic
	s.m[name].emit(fn)
}

func (s *wildShard[K, V]) match(name string, fn func(k K, v V)) {
	if s.filters.Load() == 0 {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.root.match(name, true, fn)
}

// Get returns what k has under filter.
func (x *Index[K, V]) Get(filter string, k K) (v V, ok bool) {
	if HasWildcard(filter) {
		s := x.wildShard(firstLevel(filter))
		s.mu.RLock()
		defer s.mu.RUnlock()
		return s.root.lookup(filter).get(k)
	}
	s := x.exactShard(filter)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[filter].get(k)
}

func (e *entry[K, V]) get(k K) (v V, ok bool) {
	i := e.find(k)
	if i < 0 {
		return v, false
	}
	return e.pairs[i].v, true
}

// Each calls fn for every entry, in no particular order, until it returns
// false. fn runs under a read lock and must not call back into the index.
func (x *Index[K, V]) Each(fn func(filter string, k K, v V) bool) {
	for i := range x.exact {
		if !x.exact[i].each(fn) {
			return
		}
	}
	for i := range x.wild {
		if !x.wild[i].each(fn) {
			return
		}
	}
}

func (s *exactShard[K, V]) each(fn func(filter string, k K, v V) bool) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.m {
		if !e.each(fn) {
			return false
		}
	}
	return true
}

func (s *wildShard[K, V]) each(fn func(filter string, k K, v V) bool) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.root.each(fn)
}

// Len returns the number of filters.
func (x *Index[K, V]) Len() int { return int(x.filters.Load()) }

// Entries returns the number of (filter, k).
func (x *Index[K, V]) Entries() int { return int(x.entries.Load()) }

func firstLevel(s string) string {
	first, _, _ := strings.Cut(s, "/")
	return first
}
