package broker

import (
	"sync"

	"github.com/mqadmin/mqadmin/internal/meta"
)

// gate stands between the metadata store and its observers. The store tells of
// changes from its first moment on, and the observers need the store to be
// made: what comes before they are attached is kept and told then, in order.
type gate struct {
	mu        sync.Mutex
	kept      []func(meta.Observer)
	observers []meta.Observer
}

func (g *gate) tell(fn func(meta.Observer)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.observers == nil {
		g.kept = append(g.kept, fn)
		return
	}
	for _, o := range g.observers {
		fn(o)
	}
}

// attach adds the observers; each change is told to them in that order.
func (g *gate) attach(observers ...meta.Observer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, fn := range g.kept {
		for _, o := range observers {
			fn(o)
		}
	}
	g.kept, g.observers = nil, observers
}

// Apply implements meta.Observer.
func (g *gate) Apply(index uint64, events []meta.Event) {
	g.tell(func(o meta.Observer) { o.Apply(index, events) })
}

// Reset implements meta.Observer.
func (g *gate) Reset(index uint64, v *meta.View) {
	g.tell(func(o meta.Observer) { o.Reset(index, v) })
}

// Quorum implements meta.Observer.
func (g *gate) Quorum(ok bool) {
	g.tell(func(o meta.Observer) { o.Quorum(ok) })
}
