package peer

import (
	"context"
	"sync"

	"github.com/mqadmin/mqadmin/internal/message"
)

// notifier calls OnLink in the order of events, from one goroutine, so that a
// slow listener never holds a link up.
type notifier struct {
	fn   func(message.NodeID, uint32, bool)
	wake chan struct{}

	mu     sync.Mutex
	events []linkEvent
}

type linkEvent struct {
	node        message.NodeID
	incarnation uint32
	up          bool
}

func newNotifier(fn func(message.NodeID, uint32, bool)) *notifier {
	return &notifier{fn: fn, wake: make(chan struct{}, 1)}
}

func (n *notifier) add(e linkEvent) {
	if n.fn == nil {
		return
	}
	n.mu.Lock()
	n.events = append(n.events, e)
	n.mu.Unlock()
	signal(n.wake)
}

func (n *notifier) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		}
		n.mu.Lock()
		events := n.events
		n.events = nil
		n.mu.Unlock()
		for _, e := range events {
			n.fn(e.node, e.incarnation, e.up)
		}
	}
}

// signal wakes whoever waits on a channel of capacity one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
