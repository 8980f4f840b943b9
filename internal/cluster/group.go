package cluster

import (
	"context"
	"sync"
)

// group is goroutines that are waited for. Unlike of a sync.WaitGroup, more may
// be asked for while somebody waits: connections that do not end in time end
// after the cluster has stopped.
type group struct {
	mu      sync.Mutex // guards what follows
	running int
	idle    chan struct{} // closed when none runs; nil while nobody waits
	closed  bool
}

// Go runs fn: on a goroutine, or, once the group is closed and what fn could do
// is over, at once.
func (g *group) Go(fn func()) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		fn()
		return
	}
	g.running++
	g.mu.Unlock()
	go func() {
		defer g.done()
		fn()
	}()
}

func (g *group) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running--; g.running == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// Wait returns when nothing runs, or ctx ends.
func (g *group) Wait(ctx context.Context) {
	g.mu.Lock()
	if g.running == 0 {
		g.mu.Unlock()
		return
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	idle := g.idle
	g.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// Close lets no more goroutines begin and waits for those that run.
func (g *group) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.Wait(context.Background())
}
