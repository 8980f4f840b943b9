package topic

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// Store maps topic names to values and finds all names that match a filter:
// retained messages. It is safe for concurrent use.
//
// It is a set of tries over levels, chosen by the hash of all levels but the
// last: siblings stand together, and a filter whose only wildcard is a "+" in
// the last level needs one of them.
type Store[V any] struct {
	seed  maphash.Seed
	parts [shards]storePart[V]
	names atomic.Int64
}

type storePart[V any] struct {
	names atomic.Int64 // in root; changed under mu, read without
	mu    sync.RWMutex // guards root
	root  leaf[V]
}

// leaf is one level of the names below it, and the end of one perhaps.
type leaf[V any] struct {
	kids kids[leaf[V]]
	val  *named[V]
}

type named[V any] struct {
	name string
	v    V
}

// NewStore returns an empty store.
func NewStore[V any]() *Store[V] { return &Store[V]{seed: maphash.MakeSeed()} }

func (s *Store[V]) part(name string) *storePart[V] {
	return &s.parts[maphash.String(s.seed, parent(name))%shards]
}

// parent returns all levels of s but the last.
func parent(s string) string { return s[:strings.LastIndexByte(s, '/')+1] }

// Set stores v under name and returns whether the name is new.
func (s *Store[V]) Set(name string, v V) (added bool) {
	p := s.part(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &p.root
	for rest, more := name, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		next := l.kids.get(level)
		if next == nil {
			next = &leaf[V]{}
			l.kids.add(level, next)
		}
		l = next
	}
	if l.val != nil {
		l.val = &named[V]{l.val.name, v}
		return false
	}
	l.val = &named[V]{strings.Clone(name), v}
	p.names.Add(1)
	s.names.Add(1)
	return true
}

// Delete removes name and returns whether it was there.
func (s *Store[V]) Delete(name string) bool {
	p := s.part(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	// The branch to cut hangs on the last node that has something else.
	var (
		l, from = &p.root, &p.root
		cut     = firstLevel(name)
	)
	for rest, more := name, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if l.degree() > 1 {
			from, cut = l, level
		}
		if l = l.kids.get(level); l == nil {
			return false
		}
	}
	if l.val == nil {
		return false
	}
	l.val = nil
	if l.degree() == 0 {
		from.kids.remove(cut)
	}
	p.names.Add(-1)
	s.names.Add(-1)
	return true
}

func (l *leaf[V]) degree() int {
	d := l.kids.len()
	if l.val != nil {
		d++
	}
	return d
}

// Get returns the value of name.
func (s *Store[V]) Get(name string) (v V, ok bool) {
	p := s.part(name)
	p.mu.RLock()
	defer p.mu.RUnlock()
	l := &p.root
	for rest, more := name, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if l = l.kids.get(level); l == nil {
			return v, false
		}
	}
	if l.val == nil {
		return v, false
	}
	return l.val.v, true
}

// MatchFilter calls fn for every name that a valid filter, without its
// "$share/group/", matches, in no particular order, until fn returns false. fn
// runs under a read lock and must not call back into the store.
func (s *Store[V]) MatchFilter(filter string, fn func(name string, v V) bool) {
	if filter == "" {
		return
	}
	if !HasWildcard(parent(filter)) && !strings.HasSuffix(filter, "#") {
		s.part(filter).match(filter, fn)
		return
	}
	for i := range s.parts {
		if !s.parts[i].match(filter, fn) {
			return
		}
	}
}

func (p *storePart[V]) match(filter string, fn func(name string, v V) bool) bool {
	if p.names.Load() == 0 {
		return true
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	level, rest, more := strings.Cut(filter, "/")
	if level != "+" && level != "#" {
		return p.root.match(filter, true, fn)
	}
	// A filter that begins with a wildcard passes $-names by [MQTT-4.7.2-1].
	return p.root.kids.each(func(first string, l *leaf[V]) bool {
		switch {
		case strings.HasPrefix(first, "$"):
			return true
		case level == "#":
			return l.all(fn)
		}
		return l.match(rest, more, fn)
	})
}

// match emits the names at and below l that match filter, of which more says
// whether a level is left.
func (l *leaf[V]) match(filter string, more bool, fn func(name string, v V) bool) bool {
	for more {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		switch level {
		case "#":
			// l itself is the parent level, which "#" includes [MQTT-4.7.1-2].
			return l.all(fn)
		case "+":
			rest, left := filter, more
			return l.kids.each(func(_ string, c *leaf[V]) bool { return c.match(rest, left, fn) })
		}
		if l = l.kids.get(level); l == nil {
			return true
		}
	}
	return l.val == nil || fn(l.val.name, l.val.v)
}

// all emits the names at and below l.
func (l *leaf[V]) all(fn func(name string, v V) bool) bool {
	if l.val != nil && !fn(l.val.name, l.val.v) {
		return false
	}
	return l.kids.each(func(_ string, c *leaf[V]) bool { return c.all(fn) })
}

// Each calls fn for every name, $-names too, like MatchFilter.
func (s *Store[V]) Each(fn func(name string, v V) bool) {
	for i := range s.parts {
		if !s.parts[i].each(fn) {
			return
		}
	}
}

func (p *storePart[V]) each(fn func(name string, v V) bool) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.root.all(fn)
}

// Len returns the number of names.
func (s *Store[V]) Len() int { return int(s.names.Load()) }
