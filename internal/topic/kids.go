package topic

import "strings"

// Between these sizes a node's children change from a slice, which is
// compact, to a map, which is fast, and back.
const (
	kidsGrow   = 12
	kidsShrink = 6
)

// kids are the children of one node by level. Most nodes of a topic tree have
// one child or few, so a map each would cost more than the topics.
type kids[N any] struct {
	few  []kid[N]
	many map[string]*N
}

type kid[N any] struct {
	level string
	node  *N
}

func (c *kids[N]) get(level string) *N {
	if c.many != nil {
		return c.many[level]
	}
	for i := range c.few {
		if c.few[i].level == level {
			return c.few[i].node
		}
	}
	return nil
}

func (c *kids[N]) len() int { return len(c.few) + len(c.many) }

// add stores n under level, which must be absent. It keeps a copy of level, so
// that a node does not hold on to the whole filter that made it.
func (c *kids[N]) add(level string, n *N) {
	level = strings.Clone(level)
	if c.many == nil && len(c.few) < kidsGrow {
		c.few = append(c.few, kid[N]{level, n})
		return
	}
	if c.many == nil {
		c.many = make(map[string]*N, 2*kidsGrow)
		for _, k := range c.few {
			c.many[k.level] = k.node
		}
		c.few = nil
	}
	c.many[level] = n
}

func (c *kids[N]) remove(level string) {
	if c.many == nil {
		for i := range c.few {
			if c.few[i].level == level {
				last := len(c.few) - 1
				c.few[i] = c.few[last]
				c.few[last] = kid[N]{}
				c.few = c.few[:last]
				break
			}
		}
		if len(c.few) == 0 {
			c.few = nil
		}
		return
	}
	delete(c.many, level)
	if len(c.many) > kidsShrink {
		return
	}
	c.few = make([]kid[N], 0, kidsGrow)
	for l, n := range c.many {
		c.few = append(c.few, kid[N]{l, n})
	}
	c.many = nil
}

// each calls fn for every child until it returns false.
func (c *kids[N]) each(fn func(level string, n *N) bool) bool {
	for i := range c.few {
		if !fn(c.few[i].level, c.few[i].node) {
			return false
		}
	}
	for l, n := range c.many {
		if !fn(l, n) {
			return false
		}
	}
	return true
}
