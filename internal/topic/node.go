package topic

import "strings"

// make returns the place of filter's entry, creating the nodes on the way.
func (n *node[K, V]) make(filter string) **entry[K, V] {
	for {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			return &n.hash
		}
		next := n.child(level)
		if next == nil {
			next = &node[K, V]{}
			if level == "+" {
				n.plus = next
			} else {
				n.kids.add(level, next)
			}
		}
		n = next
		if !more {
			return &n.here
		}
		filter = rest
	}
}

// child returns the node for one level of a filter, nil if there is none.
func (n *node[K, V]) child(level string) *node[K, V] {
	if level == "+" {
		return n.plus
	}
	return n.kids.get(level)
}

// lookup returns filter's entry, nil if there is none.
func (n *node[K, V]) lookup(filter string) *entry[K, V] {
	for {
		level, rest, more := strings.Cut(filter, "/")
		if level == "#" {
			return n.hash
		}
		if n = n.child(level); n == nil {
			return nil
		}
		if !more {
			return n.here
		}
		filter = rest
	}
}

// prune removes filter's entry, which must be there, and the branch that only
// it needed: the branch hangs on the last node of the path that has something
// else, so one walk down finds where to cut.
func (n *node[K, V]) prune(filter string) {
	var (
		from  = n
		level = firstLevel(filter)
	)
	for {
		l, rest, more := strings.Cut(filter, "/")
		if l == "#" {
			n.hash = nil
			break
		}
		if n.degree() > 1 {
			from, level = n, l
		}
		n = n.child(l)
		if !more {
			n.here = nil
			break
		}
		filter = rest
	}
	if n.degree() > 0 {
		return
	}
	if level == "+" {
		from.plus = nil
	} else if level != "#" {
		from.kids.remove(level)
	}
}

// degree counts what keeps a node alive.
func (n *node[K, V]) degree() int {
	d := n.kids.len()
	if n.plus != nil {
		d++
	}
	if n.here != nil {
		d++
	}
	if n.hash != nil {
		d++
	}
	return d
}

// match emits all filters below n that match name, of which more says whether
// a level (possibly empty) is left.
func (n *node[K, V]) match(name string, more bool, fn func(k K, v V)) {
	for {
		// "a/#" matches "a" too, so it is emitted whether or not a level
		// follows [MQTT-4.7.1-2].
		n.hash.emit(fn)
		if !more {
			n.here.emit(fn)
			return
		}
		var level string
		level, name, more = strings.Cut(name, "/")
		next := n.kids.get(level)
		if n.plus != nil {
			if next == nil {
				next = n.plus
			} else {
				n.plus.match(name, more, fn)
			}
		}
		if next == nil {
			return
		}
		n = next
	}
}

// each calls fn for the entries of n and below until it returns false.
func (n *node[K, V]) each(fn func(filter string, k K, v V) bool) bool {
	if !n.here.each(fn) || !n.hash.each(fn) || n.plus != nil && !n.plus.each(fn) {
		return false
	}
	return n.kids.each(func(_ string, c *node[K, V]) bool { return c.each(fn) })
}

func (e *entry[K, V]) each(fn func(filter string, k K, v V) bool) bool {
	if e == nil {
		return true
	}
	for i := range e.pairs {
		if !fn(e.filter, e.pairs[i].k, e.pairs[i].v) {
			return false
		}
	}
	return true
}
