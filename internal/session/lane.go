package session

import "sync"

// lane runs functions one after the other in a goroutine that exists only
// while there are any. It lets the reader go on while an operation that waits
// for the cluster keeps its place.
type lane struct {
	mu      sync.Mutex // guards what follows
	todo    []func()
	running bool
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

// len returns the number of functions that wait.
func (l *lane) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.todo)
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
		l.mu.Unlock()
		fn()
	}
}
