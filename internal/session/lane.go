package session

import (
	"context"
	"sync"
)

// lane runs functions one after the other in a goroutine that exists only
// while there are any. It lets the reader go on while an operation that waits
// for the cluster keeps its place.
type lane struct {
	mu      sync.Mutex // guards what follows
	todo    []func()
	running bool
	room    chan struct{} // a token after each function taken; made for who waits
}

// do appends fn. spawn starts the goroutine.
func (l *lane) do(fn func(), spawn func(func())) {
	l.mu.Lock()
	l.todo = append(l.todo, fn)
	start := !l.running
	l.running = true
	l.mu.Unlock()
	if start {
		spawn(l.run)
	}
}

// wait returns when fewer than limit functions wait, or ctx has ended. Only
// one goroutine may wait.
func (l *lane) wait(ctx context.Context, limit int) {
	for {
		l.mu.Lock()
		if len(l.todo) < limit {
			l.mu.Unlock()
			return
		}
		if l.room == nil {
			l.room = make(chan struct{}, 1)
		}
		room := l.room
		l.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return
		}
	}
}

// len returns the number of functions that wait or run.
func (l *lane) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.todo)
	if l.running {
		n++
	}
	return n
}

func (l *lane) run() {
	for {
		l.mu.Lock()
		if len(l.todo) == 0 {
			l.todo, l.running = nil, false
			l.mu.Unlock()
			return
		}
		fn := l.todo[0]
		l.todo[0] = nil
		l.todo = l.todo[1:]
		if l.room != nil {
			select {
			case l.room <- struct{}{}:
			default:
			}
		}
		l.mu.Unlock()
		fn()
	}
}
