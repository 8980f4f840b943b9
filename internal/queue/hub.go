package queue

import (
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// DeliverMode is how the connections of one session share its messages.
type DeliverMode byte

// The modes.
const (
	// Exclusive: a session has one connection, the next one takes it over.
	Exclusive DeliverMode = iota
	// Fanout: every connection gets each message.
	Fanout
	// Balance: one connection gets each message, in turn.
	Balance
)

// hub joins the connections of one session (allow_multiple_sessions). The
// first has the queue of the session itself; each further one a branch, a
// queue of its own with its own window and packet identifiers, on disk under a
// name that no client can have. When a connection ends, what only it has goes
// to the others; the last one leaves everything to the queue of the session.
// So there are branches only while there are connections, and after a crash.
type hub struct {
	main *Queue
	mode DeliverMode
	// change orders joining, leaving, and the moving of messages that follows.
	// It is taken before mu.
	change sync.Mutex

	mu      sync.Mutex // guards what follows; taken before Queue.commits
	members []*member  // the oldest first
	turn    int        // who is next in balance mode
	number  int        // of the branch made last
}

// member is the queue of one connection.
type member struct {
	q *Queue
	// since has, by older member, the sequence number from which on this one
	// was given the same messages.
	since map[*Queue]uint64
}

// branchMark separates the number of a branch from the client id. A client id
// has no NUL [MQTT-1.5.4-2].
const branchMark = "\x00"

func branchID(id message.SessionID, n int) message.SessionID {
	id.ClientID += branchMark + strconv.Itoa(n)
	return id
}

// sessionOf returns the session that a queue belongs to, and whether that is a
// branch.
func sessionOf(id message.SessionID) (message.SessionID, bool) {
	base, _, branch := strings.Cut(id.ClientID, branchMark)
	id.ClientID = base
	return id, branch
}

// session is the session that the queue belongs to.
func (q *Queue) session() message.SessionID {
	if h := q.hub.Load(); h != nil {
		return h.main.id
	}
	return q.id
}

// join opens a branch of q if r shares the session and another connection has
// its queue. Else q is free, or will be taken over.
func (m *Manager) join(q *Queue, r OpenRequest) (*Queue, error) {
	if r.Mode == Exclusive || !q.stored {
		if h := q.hub.Load(); h != nil {
			return nil, h.collapse(packet.SessionTakenOver)
		}
		return nil, nil
	}
	if b, err := m.share(q, r); b != nil || err != nil {
		return b, err
	}
	return nil, q.forgetInbound()
}

// share opens a branch for one more connection of a session. It returns nil
// when the session's own queue is free.
func (m *Manager) share(main *Queue, r OpenRequest) (*Queue, error) {
	main.mu.Lock()
	h := main.hub.Load()
	if h == nil && main.att != nil {
		h = &hub{main: main, mode: r.Mode, members: []*member{{q: main}}}
		main.hub.Store(h)
	}
	main.mu.Unlock()
	if h == nil {
		return nil, nil
	}
	h.change.Lock()
	defer h.change.Unlock()
	h.mu.Lock()
	free := len(h.members) == 0
	if free {
		h.members = []*member{{q: main}}
	}
	h.mu.Unlock()
	if free {
		return nil, nil
	}
	h.number++
	r.ID, r.Subscriptions = branchID(r.ID, h.number), nil
	b := m.make(r)
	b.hub.Store(h)
	if err := b.found(); err != nil {
		return nil, err
	}
	m.setup.Inc()
	return b, h.join(b)
}

// join makes b a member: from here on it gets messages.
func (h *hub) join(b *Queue) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := map[*Queue]uint64{}
	for _, o := range h.members {
		o.q.mu.Lock()
		err := o.q.bound()
		since[o.q] = o.q.next
		o.q.mu.Unlock()
		if err != nil {
			return err
		}
	}
	h.members = append(h.members, &member{q: b, since: since})
	return nil
}

// collector answers for all members once.
type collector struct {
	mu         sync.Mutex // guards what follows
	left       int
	took       bool
	soft, hard error
	done       func(error)
}

func (c *collector) answer(err error) {
	c.mu.Lock()
	switch {
	case err == nil:
		c.took = true
	case errors.Is(err, ErrFull), errors.Is(err, ErrOffline), errors.Is(err, ErrNoSession):
		c.soft = err
	default:
		c.hard = err
	}
	c.left--
	last := c.left == 0
	c.mu.Unlock()
	switch {
	case !last:
	case c.hard != nil || c.took:
		c.done(c.hard)
	default:
		c.done(c.soft)
	}
}

// deliver gives d to all members, or to one. The lock is held so that all get
// messages in one order.
func (h *hub) deliver(d Delivery, done func(error)) {
	h.mu.Lock()
	var to []*Queue
	switch {
	case len(h.members) == 0:
		to = []*Queue{h.main}
	case h.mode == Balance:
		to = []*Queue{h.choose()}
	default:
		for _, m := range h.members {
			to = append(to, m.q)
		}
	}
	c := &collector{left: len(to) + 1, done: done}
	for _, q := range to {
		q.Deliver(d, c.answer)
	}
	h.mu.Unlock()
	c.answer(ErrNoSession) // says nothing if anybody answered otherwise
}

// choose returns the next member in turn whose queue has room. h.mu is held.
func (h *hub) choose() *Queue {
	n := len(h.members)
	at := h.turn % n
	for i := range n {
		if k := (h.turn + i) % n; h.members[k].q.takes() {
			at = k
			break
		}
	}
	h.turn = (at + 1) % n
	return h.members[at].q
}

// takes reports whether a connection has the queue and its limit leaves room.
func (q *Queue) takes() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.att != nil && (q.opts.MaxOnline < 0 || q.waiting() < q.opts.MaxOnline)
}

// collapse ends all connections with reason and brings what their queues hold
// into the queue of the session.
func (h *hub) collapse(reason packet.Reason) error {
	h.change.Lock()
	defer h.change.Unlock()
	h.mu.Lock()
	members := h.members
	h.members = nil
	h.mu.Unlock()
	known := map[message.ID]struct{}{}
	for _, m := range members {
		m.q.mu.Lock()
		a := m.q.detach()
		m.q.mu.Unlock()
		if a != nil {
			a.consumer.Close(reason)
		}
	}
	if len(members) == 0 || len(members) == 1 && members[0].q == h.main {
		return nil
	}
	if err := h.main.know(known); err != nil {
		return err
	}
	for _, m := range members {
		if m.q != h.main {
			if err := h.main.absorb(m.q, known); err != nil {
				return err
			}
		}
	}
	return nil
}

// know adds the ids of the messages on disk to known.
func (q *Queue) know(known map[message.ID]struct{}) error {
	return q.walk(func(page []Stored) error {
		for _, s := range page {
			known[s.Message.ID] = struct{}{}
		}
		return nil
	})
}

// endBranches ends the connections beside the one that main has.
func (h *hub) endBranches(reason packet.Reason, how int) {
	for _, b := range h.take() {
		b.end(reason, how)
	}
}

// take removes all members and returns the branches among them.
func (h *hub) take() []*Queue {
	list := h.branches()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.members = nil
	return list
}

// branches returns the members that are not the session's own queue.
func (h *hub) branches() (list []*Queue) {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.members {
		if m.q != h.main {
			list = append(list, m.q)
		}
	}
	return list
}
