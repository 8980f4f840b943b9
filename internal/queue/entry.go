package queue

import "github.com/mqadmin/mqadmin/internal/message"

// entry is one message in one queue's memory.
type entry struct {
	msg           *message.Message
	ids           []uint32
	group, filter string
	seq           uint64 // position in the store; 0 when it is not there
	order         uint64 // of its PUBREC among those of the session
	sentAt        int64  // Unix milliseconds
	pid           uint16 // 0 until it is in the window
	qos           byte
	retain        bool
	sent          bool // written to the client, perhaps by a former connection
	released      bool // PUBREC was received
	ready         bool // what must be on disk before the next packet is
	releasing     bool // its PUBREL waits to be written
	wired         bool // its PUBLISH was written on this connection
	gone          bool // acknowledged or removed
}

// packetOut is the next packet of an entry; it is skipped when the entry has
// moved on meanwhile.
type packetOut struct {
	e       *entry
	release bool
}

func (p packetOut) stale() bool { return p.e.gone || p.release != p.e.released }

// fifo is a queue that can be taken from at both ends.
type fifo[T any] struct {
	s    []T
	head int
}

func (f *fifo[T]) len() int { return len(f.s) - f.head }

func (f *fifo[T]) push(v T) {
	if f.head > 32 && f.head*2 > len(f.s) {
		n := copy(f.s, f.s[f.head:])
		clear(f.s[n:])
		f.s, f.head = f.s[:n], 0
	}
	f.s = append(f.s, v)
}

// front returns the oldest; the fifo must not be empty.
func (f *fifo[T]) front() T { return f.s[f.head] }

func (f *fifo[T]) popFront() T {
	var zero T
	v := f.s[f.head]
	f.s[f.head] = zero
	f.head++
	f.shrink()
	return v
}

func (f *fifo[T]) popBack() T {
	var zero T
	v := f.s[len(f.s)-1]
	f.s[len(f.s)-1] = zero
	f.s = f.s[:len(f.s)-1]
	f.shrink()
	return v
}

// keepCapacity is the room that an empty fifo keeps: enough for a trickle of
// messages, so that an idle session holds next to nothing.
const keepCapacity = 8

func (f *fifo[T]) shrink() {
	if f.len() > 0 {
		return
	}
	if cap(f.s) > keepCapacity {
		f.s = nil
	}
	f.s, f.head = f.s[:0], 0
}

func (f *fifo[T]) clear() { f.s, f.head = nil, 0 }

// all returns the values in order.
func (f *fifo[T]) all() []T { return f.s[f.head:] }

// keep removes the values for which ok is false.
func (f *fifo[T]) keep(ok func(T) bool) {
	kept := f.s[:0]
	for _, v := range f.all() {
		if ok(v) {
			kept = append(kept, v)
		}
	}
	clear(f.s[len(kept):])
	f.s, f.head = kept, 0
	f.shrink()
}
