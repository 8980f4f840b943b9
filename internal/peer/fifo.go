package peer

// fifo is a queue that reuses its memory and gives it back when it has been
// much larger than it is.
type fifo[T any] struct {
	buf  []T
	head int
}

func (q *fifo[T]) len() int { return len(q.buf) - q.head }

// at returns the i-th element from the front; the pointer is good until the
// next push or pop.
func (q *fifo[T]) at(i int) *T { return &q.buf[q.head+i] }

func (q *fifo[T]) push(v T) {
	if q.head > 64 && q.head > len(q.buf)/2 {
		n := copy(q.buf, q.buf[q.head:])
		clear(q.buf[n:])
		q.buf, q.head = q.buf[:n], 0
	}
	q.buf = append(q.buf, v)
}

// maxIdle is how many elements of room an empty queue keeps.
const maxIdle = 1024

func (q *fifo[T]) pop() T {
	v := q.buf[q.head]
	var zero T
	q.buf[q.head] = zero
	q.head++
	if q.head == len(q.buf) {
		q.head = 0
		if cap(q.buf) > maxIdle {
			q.buf = nil
		} else {
			q.buf = q.buf[:0]
		}
	}
	return v
}
