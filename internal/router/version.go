package router

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// version says at which metadata index the tables are. Who matches learns the
// very index whose tables it has seen: a node that owned a session before that
// index and one that owns it since then can tell whose a message is.
type version struct {
	mu    sync.Mutex    // serialises changes
	n     atomic.Uint64 // odd while the tables change
	index atomic.Uint64
}

// change runs fn, which takes the tables to index.
func (v *version) change(index uint64, fn func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.n.Add(1)
	defer v.n.Add(1) // fn may panic
	fn()
	v.index.Store(index)
}

// versionTries is how often a match is repeated because the tables changed
// meanwhile, until it keeps them from changing.
const versionTries = 8

// read runs fn, which only reads the tables, until they did not change during
// it, and returns their index.
func (v *version) read(fn func()) uint64 {
	for range versionTries {
		n := v.n.Load()
		if n&1 != 0 {
			runtime.Gosched()
			continue
		}
		fn()
		if index := v.index.Load(); v.n.Load() == n {
			return index
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	fn()
	return v.index.Load()
}

// barrier tells when all who were inside have left: two counters of which one
// takes those who enter while the other runs dry.
type barrier struct {
	turn   atomic.Uint32
	inside [2]atomic.Int64
	mu     sync.Mutex // one waits at a time
	waits  atomic.Bool
	left   chan struct{}
}

func (b *barrier) init() { b.left = make(chan struct{}, 1) }

// enter returns what leave needs.
func (b *barrier) enter() uint32 {
	turn := b.turn.Load() & 1
	b.inside[turn].Add(1)
	return turn
}

func (b *barrier) leave(turn uint32) {
	if b.inside[turn].Add(-1) == 0 && b.waits.Load() {
		select {
		case b.left <- struct{}{}:
		default:
		}
	}
}

// wait returns when everybody who was inside at its call has left. Twice,
// because one who enters may have read the turn before it changed last.
func (b *barrier) wait(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waits.Store(true)
	defer b.waits.Store(false)
	for range 2 {
		old := (b.turn.Add(1) - 1) & 1
		for b.inside[old].Load() != 0 {
			select {
			case <-b.left:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
