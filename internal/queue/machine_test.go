package queue

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// machine lets anything happen to one session's queue, and checks it against
// what its client may expect: no message lost but those that a limit dropped,
// QoS 2 once and QoS 1 at least once, first deliveries in order, never more
// in flight than the window.
type machine struct {
	*rig
	o Options
	a *Attachment
	k *consumer
	// turned: the type of the queue has changed, first deliveries have no
	// order any more.
	turned bool
	// restarted: DUP also marks what was perhaps not written before.
	restarted bool
	// unread: since a restart the queue has not been read, and takes what is in
	// flight for waiting.
	unread bool

	mu   sync.Mutex
	live map[uint64]byte // QoS of the messages that the queue must still deliver, by number

	seen, received map[uint64]bool // written to the client; PUBREC was given
	last           [3]uint64       // number delivered last, by QoS
	pubs           map[uint16]Out  // unacknowledged on this connection
	rels           map[uint16]bool // PUBRELs to answer on this connection
	owner          map[uint16]uint64
}

func newMachine(t *rapid.T) *machine {
	limit := func(name string) int {
		return rapid.SampledFrom([]int{-1, -1, 0, 1, 3, 10}).Draw(t, name)
	}
	m := &machine{
		live: map[uint64]byte{}, seen: map[uint64]bool{}, received: map[uint64]bool{}, owner: map[uint16]uint64{},
		o: Options{
			MaxInflight: rapid.IntRange(0, 5).Draw(t, "window"), MaxOnline: limit("online"), MaxOffline: limit("offline"),
			LIFO: rapid.Bool().Draw(t, "lifo"), OverrideMaxOnline: rapid.Bool().Draw(t, "override"),
		},
	}
	m.rig = &rig{
		t: t, registry: metrics.New(), headPage: rapid.IntRange(1, 8).Draw(t, "page"), dropped: m.drop,
		defaults: func() Options { return m.o },
	}
	if rapid.Bool().Draw(t, "disk") {
		m.fs = vfs.NewMem()
	}
	m.start()
	m.open(m.o, false)
	m.idle()
	return m
}

// drop is told by the queue of each message over a limit.
func (m *machine) drop(_ message.SessionID, msg *message.Message, _ byte, _ string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, msg.ID.Sequence)
}

func (m *machine) waits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.live)
}

// idle forgets what belongs to the connection.
func (m *machine) idle() {
	m.a, m.pubs, m.rels = nil, map[uint16]Out{}, map[uint16]bool{}
}

func (m *machine) detach() {
	if m.a == nil {
		return
	}
	m.a.Detach(DetachOptions{Expiry: message.NeverExpires})
	m.idle()
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, qos := range m.live {
		if qos == 0 {
			delete(m.live, n)
		}
	}
}

func (m *machine) attachAgain() {
	old := m.a
	m.detach()
	m.a, m.k = m.attach(m.o)
	m.unread = false
	if old != nil {
		if err := old.Puback(1); !errors.Is(err, ErrDetached) || len(old.Pull(nil, 9)) > 0 {
			m.t.Fatalf("the former connection can still do something: %v", err)
		}
	}
}

func (m *machine) deliverOne(t *rapid.T) {
	qos := byte(rapid.IntRange(0, 2).Draw(t, "qos"))
	limit := m.o.MaxOffline
	if m.a != nil {
		limit = m.o.MaxOnline
	}
	i, _ := m.m.Info(sid)
	m.mu.Lock()
	if qos > 0 || m.a != nil {
		m.live[m.seq+1] = qos
	}
	m.mu.Unlock()
	before := m.metric("queue_message_drop")
	_, err := m.deliver(qos)
	if err != nil && !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	drops := m.metric("queue_message_drop") - before
	if i2, _ := m.m.Info(sid); m.unread && i2.Inflight > 0 { // it was read to see whether it is full
		i, m.unread = i2, false
		if err == nil && drops == 0 { // the new one is among them
			i.Pending--
		}
	}
	full := limit >= 0 && i.Pending >= limit && (qos > 0 || m.a != nil)
	if refuses := full && (!m.o.LIFO || limit == 0); errors.Is(err, ErrFull) != refuses {
		t.Fatalf("%v with %d waiting and a limit of %d", err, i.Pending, limit)
	}
	if (drops == 1) != full {
		t.Fatalf("%d dropped with %d waiting and a limit of %d", drops, i.Pending, limit)
	}
}

func (m *machine) pull(n int) {
	if m.a == nil {
		return
	}
	for _, p := range m.a.Pull(nil, n) {
		if p.Release {
			if !m.received[m.owner[p.PacketID]] {
				m.t.Fatalf("PUBREL %d before PUBREC", p.PacketID)
			}
			m.rels[p.PacketID] = true
			continue
		}
		m.publish(p)
	}
	if open := len(m.pubs) + len(m.rels); m.o.MaxInflight > 0 && open > m.o.MaxInflight {
		m.t.Fatalf("%d in flight with a window of %d", open, m.o.MaxInflight)
	}
}

func (m *machine) publish(p Out) {
	n := p.Message.ID.Sequence
	m.mu.Lock()
	_, expected := m.live[n]
	m.mu.Unlock()
	switch {
	case !expected:
		m.t.Fatalf("message %d was dropped or completed before", n)
	case m.received[n]:
		m.t.Fatalf("message %d again after its PUBREC", n)
	case m.seen[n] && !p.Dup && p.QoS > 0 || p.Dup && !m.seen[n] && !m.restarted:
		m.t.Fatalf("message %d: sent before %v, DUP %v", n, m.seen[n], p.Dup)
	case !m.seen[n] && !m.o.LIFO && !m.turned && n < m.last[p.QoS]:
		m.t.Fatalf("message %d after %d", n, m.last[p.QoS])
	}
	if p.QoS == 0 {
		m.complete(n)
	} else {
		if was, used := m.pubs[p.PacketID]; used && was.Message.ID != p.Message.ID {
			m.t.Fatalf("packet identifier %d of %d and %d", p.PacketID, was.Message.ID.Sequence, n)
		}
		m.pubs[p.PacketID], m.owner[p.PacketID] = p, n
	}
	if !m.seen[n] {
		m.last[p.QoS] = n
	}
	m.seen[n] = true
}

func (m *machine) complete(n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, n)
}

// pick returns one of the packet identifiers in a map, in a way that rapid can
// repeat.
func pick[V any](t *rapid.T, of map[uint16]V) uint16 {
	ids := make([]uint16, 0, len(of))
	for id := range of {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return rapid.SampledFrom(ids).Draw(t, "id")
}

// ackPublish answers PUBACK or PUBREC, in any order.
func (m *machine) ackPublish(pid uint16) {
	p := m.pubs[pid]
	delete(m.pubs, pid)
	if p.QoS == 1 {
		if err := m.a.Pubrec(pid, false); !errors.Is(err, ErrUnknownPacketID) {
			m.t.Fatalf("PUBREC of a QoS 1 message: %v", err)
		}
		m.must(m.a.Puback(pid))
		m.complete(p.Message.ID.Sequence)
		return
	}
	if err := m.a.Puback(pid); !errors.Is(err, ErrUnknownPacketID) {
		m.t.Fatalf("PUBACK of a QoS 2 message: %v", err)
	}
	if err := m.a.Pubcomp(pid); !errors.Is(err, ErrUnknownPacketID) {
		m.t.Fatalf("PUBCOMP before PUBREC: %v", err)
	}
	m.must(m.a.Pubrec(pid, false))
	m.received[p.Message.ID.Sequence] = true
}

func (m *machine) ackRelease(pid uint16) {
	delete(m.rels, pid)
	m.must(m.a.Pubcomp(pid))
	m.complete(m.owner[pid])
}

func (m *machine) restart() {
	if m.fs == nil || m.turned { // what a lifo queue had in flight lies anywhere
		return
	}
	m.detach()
	m.stop()
	m.start()
	m.restarted, m.unread = true, true
}

// check compares the queue's own account with the model. What is over
// max_online_messages is dropped when it is read, so it may be fewer.
func (m *machine) check(*rapid.T) {
	i, ok := m.m.Info(sid)
	if !ok {
		m.t.Fatal("the session is gone")
	}
	if n := m.waits(); i.Pending+i.Inflight > n || m.o.MaxOnline < 0 && i.Pending+i.Inflight != n {
		m.t.Fatalf("%d wait and %d are in flight of %d", i.Pending, i.Inflight, n)
	}
	if m.o.MaxInflight > 0 && m.a != nil && i.Inflight > m.o.MaxInflight {
		m.t.Fatalf("%d in flight with a window of %d", i.Inflight, m.o.MaxInflight)
	}
}

// drainAll takes everything; a wake-up that never comes is a stalled session.
func (m *machine) drainAll() {
	m.attachAgain()
	for m.waits() > 0 {
		m.pull(4)
		if len(m.pubs) == 0 && len(m.rels) == 0 {
			select {
			case <-m.k.woken:
				continue
			case <-time.After(10 * time.Second):
				i, _ := m.m.Info(sid)
				m.t.Fatalf("stalled with %d messages: %+v", m.waits(), i)
			}
		}
		for pid := range m.pubs {
			m.ackPublish(pid)
		}
		for pid := range m.rels {
			m.ackRelease(pid)
		}
	}
}

func TestStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		defer m.stop()
		t.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"deliver": m.deliverOne,
			"again":   m.deliverOne, // the most frequent
			"attach":  func(*rapid.T) { m.attachAgain() },
			"turn": func(t *rapid.T) {
				if !m.restarted && rapid.IntRange(0, 4).Draw(t, "really") == 0 {
					m.o.LIFO, m.turned = !m.o.LIFO, true
					m.attachAgain()
				}
			},
			"detach": func(*rapid.T) { m.detach() },
			"pull":   func(t *rapid.T) { m.pull(rapid.IntRange(1, 4).Draw(t, "n")) },
			"ack": func(t *rapid.T) {
				if len(m.pubs) > 0 {
					m.ackPublish(pick(t, m.pubs))
				}
			},
			"pubcomp": func(t *rapid.T) {
				if len(m.rels) > 0 {
					m.ackRelease(pick(t, m.rels))
				}
			},
			"restart": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "really") == 0 {
					m.restart()
				}
			},
		})
		m.drainAll()
		m.check(t)
	})
}
