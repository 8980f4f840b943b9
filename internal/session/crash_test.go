package session

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

var crashSeeds = flag.Uint64("seeds", 40, "crashes to try")

// tapStore shows the test every batch, right before it goes to the disk and
// right after it is there, before anybody knows.
type tapStore struct {
	*msgstore.Store
	tap *crash
}

func (s tapStore) Commit(b *msgstore.Batch, done func(error)) {
	n := int(s.tap.batches.Add(1))
	s.tap.at(n, false)
	s.Store.Commit(b, func(err error) {
		s.tap.at(n, true)
		done(err)
	})
}

// crash is a node whose power is cut at a chosen moment: what it writes to
// clients from then on is lost, and so is what was not on disk.
type crash struct {
	fs      *vfs.MemFS
	batches atomic.Int64 // given to the store
	when    atomic.Pointer[func(batch int, after bool) bool]
	cut     atomic.Bool
	once    sync.Once
	image   *vfs.MemFS
	done    chan struct{} // closed when image is there
}

func (c *crash) at(n int, after bool) {
	if when := c.when.Load(); when != nil && (*when)(n, after) {
		c.now()
	}
}

// now crashes.
func (c *crash) now() {
	c.once.Do(func() {
		c.cut.Store(true) // first the wire, then the disk
		c.image = c.fs.CrashClone(vfs.CrashCloneCfg{})
		close(c.done)
	})
}

func (c *crash) set(when func(batch int, after bool) bool) { c.when.Store(&when) }

// cutConn loses what is written after the crash.
type cutConn struct {
	net.Conn
	c *crash
}

func (c cutConn) Write(b []byte) (int, error) {
	if c.c.cut.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// newCrash makes a node that crashes, and what it leaves behind.
func newCrash(t *testing.T) (*node, *crash) {
	c := &crash{fs: vfs.NewCrashableMem(), done: make(chan struct{})}
	n := newNode(t, func(n *node) {
		n.openStore(c.fs)
		n.tap = func(s *msgstore.Store) queue.Store { return tapStore{s, c} }
		n.wrap = func(nc net.Conn) net.Conn { return cutConn{nc, c} }
	})
	return n, c
}

// restart makes a node from the image of the disk. Sessions and subscriptions
// are in the metadata, which has survived.
func (c *crash) restart(n *node) *node {
	n.stop()
	return newNode(n.t, func(next *node) {
		next.openStore(c.image)
		next.incarnation = n.incarnation
		n.router.mu.Lock()
		defer n.router.mu.Unlock()
		n.registrar.mu.Lock()
		defer n.registrar.mu.Unlock()
		next.router = &fakeRouter{subs: n.router.subs, retained: n.router.retained}
		next.registrar = &fakeRegistrar{router: next.router, known: n.registrar.known, index: n.registrar.index}
	})
}

// sender publishes QoS 2 messages as a client must that survives the broker's
// crash (MQTT 5.0 §4.3.3, §4.4).
type sender struct {
	id       string
	version  byte
	payloads []string
	next     int // of payloads
	window   int
	open     []*sending // in the order of their PUBLISHes
	last     uint16
}

type sending struct {
	pid      uint16
	payload  string
	received bool // PUBREC came
}

// run publishes until everything is complete or the connection ends.
func (s *sender) run(n *node, c *client) {
	for _, o := range s.open {
		if o.received {
			c.send(ackOf(packet.TypePubrel, o.pid))
		} else {
			c.send(&packet.Publish{Topic: "t", QoS: 2, PacketID: o.pid, Payload: []byte(o.payload), Dup: true})
		}
	}
	for {
		for len(s.open) < s.window && s.next < len(s.payloads) {
			s.last++
			o := &sending{pid: s.last, payload: s.payloads[s.next]}
			s.next++
			s.open = append(s.open, o)
			c.send(&packet.Publish{Topic: "t", QoS: 2, PacketID: o.pid, Payload: []byte(o.payload)})
		}
		if len(s.open) == 0 {
			return
		}
		switch p := c.recv().(type) {
		case nil:
			return
		case *packet.Ack:
			s.ack(n, c, p)
		case *packet.Disconnect:
		default:
			n.t.Errorf("%s got %#v", s.id, p)
		}
	}
}

func (s *sender) ack(n *node, c *client, p *packet.Ack) {
	i := slices.IndexFunc(s.open, func(o *sending) bool { return o.pid == p.PacketID })
	switch {
	case i < 0 || p.Reason.Failed() && (p.Kind != packet.TypePubcomp || p.Reason != packet.PacketIdentifierNotFound):
		n.t.Errorf("%s got %+v", s.id, p) // 0x92 is ordinary after a crash, MQTT 5.0 §3.7.2.1
	case p.Kind == packet.TypePubrec:
		s.open[i].received = true
		c.send(ackOf(packet.TypePubrel, p.PacketID))
	case p.Kind == packet.TypePubcomp:
		s.open = slices.Delete(s.open, i, i+1)
	}
}

// receiver takes QoS 2 messages as a client must that survives the broker's
// crash.
type receiver struct {
	id      string
	version byte
	mu      sync.Mutex
	got     []string
	have    map[uint16]bool // received and not released
	known   []uint16        // of them, in the order of their PUBRECs
	all     int             // messages that will come
	slow    int             // PUBRECs are held back until so many wait, and go out in reverse
	late    []uint16
	history []string
	changed chan struct{}
}

func (r *receiver) note(what string, pid uint16) {
	r.history = append(r.history, fmt.Sprint(what, " ", pid))
}

func newReceiver(id string, version byte) *receiver {
	return &receiver{id: id, version: version, have: map[uint16]bool{}, changed: make(chan struct{}, 1)}
}

// publish takes a PUBLISH.
func (r *receiver) publish(p *packet.Publish) {
	r.note("PUBLISH", p.PacketID)
	r.known = slices.DeleteFunc(r.known, func(k uint16) bool { return k == p.PacketID }) // that PUBREC was lost
	if !r.have[p.PacketID] {
		r.have[p.PacketID] = true
		r.got = append(r.got, string(p.Payload))
	}
}

// pubrec answers it.
func (r *receiver) pubrec(c *client, pid uint16) {
	r.note("PUBREC", pid)
	r.known = append(r.known, pid)
	c.send(ackOf(packet.TypePubrec, pid))
}

func (r *receiver) run(n *node, c *client) {
	for {
		p := c.recv()
		if p == nil {
			break
		}
		r.mu.Lock()
		switch p := p.(type) {
		case *packet.Publish:
			r.publish(p)
			if r.late = append(r.late, p.PacketID); len(r.late) < r.slow && len(r.got) < r.all {
				break
			}
			for _, pid := range slices.Backward(r.late) {
				r.pubrec(c, pid)
			}
			r.late = nil
		case *packet.Ack:
			r.released(n, p)
			c.send(ackOf(packet.TypePubcomp, p.PacketID))
		}
		r.mu.Unlock()
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
	r.mu.Lock()
	r.late = nil
	r.note("cut", 0)
	r.mu.Unlock()
}

// released takes a PUBREL, which must come in the order of the PUBRECs
// [MQTT-4.6.0-4]. Those whose PUBCOMP a crash has lost come again.
func (r *receiver) released(n *node, p *packet.Ack) {
	if p.Kind != packet.TypePubrel {
		n.t.Errorf("%s got %+v", r.id, p)
		return
	}
	r.note("PUBREL", p.PacketID)
	delete(r.have, p.PacketID)
	switch i := slices.Index(r.known, p.PacketID); {
	case i > 0:
		n.t.Errorf("%s got PUBREL %d, the PUBRECs were %v: %v", r.id, p.PacketID, r.known, r.history)
		r.known = slices.Delete(r.known, i, i+1)
	case i == 0:
		r.known = r.known[1:]
	}
}

// connack connects; nil when the crash came first.
func connack(c *client, id string, clean bool) *packet.Connack {
	p := &packet.Connect{
		Version: c.version, ClientID: id, CleanStart: clean && c.version == 5, ReceiveMaximum: 20, RequestProblem: true,
		SessionExpiry: message.NeverExpires, HasSessionExpiry: c.version == 5,
	}
	c.send(p)
	a, _ := c.recv().(*packet.Connack)
	return a
}

// await waits until everything that r received is complete and it has n
// messages.
func (r *receiver) await(t *testing.T, n int) []string {
	t.Helper()
	for {
		r.mu.Lock()
		got, open := slices.Clone(r.got), len(r.have)
		r.mu.Unlock()
		if len(got) >= n && open == 0 {
			return got
		}
		select {
		case <-r.changed:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s has %d of %d messages, %d not complete: the protocol does not go on", r.id, len(got), n, open)
		}
	}
}

// finish lets both ends reconnect to the node that came after the crash, and
// checks that every message has arrived once, in order.
func finish(t *testing.T, n *node, s *sender, rs ...*receiver) {
	t.Helper()
	for _, r := range rs {
		c := n.dial(r.version)
		if a := connack(c, r.id, false); a == nil || !a.SessionPresent {
			t.Fatalf("%s: CONNACK %+v", r.id, a)
		}
		n.wg.Go(func() { r.run(n, c) })
	}
	pub := n.dial(s.version)
	if a := connack(pub, s.id, false); a == nil || !a.SessionPresent {
		t.Fatalf("%s: CONNACK %+v", s.id, a)
	}
	s.run(n, pub)
	if len(s.open) > 0 {
		t.Fatalf("%d messages are not complete", len(s.open))
	}
	for _, r := range rs {
		if diff := cmp.Diff(s.payloads, r.await(t, len(s.payloads))); diff != "" {
			t.Fatalf("%s: %s", r.id, diff)
		}
	}
	// Nothing is left of the flows.
	await(t, func() error {
		for _, r := range rs {
			if i, _ := n.queues.Info(message.SessionID{ClientID: r.id}); i.Pending > 0 || i.Inflight > 0 {
				return fmt.Errorf("%+v", i)
			}
		}
		if k := n.queues.Get(message.SessionID{ClientID: s.id}).Inbound(); k > 0 {
			return fmt.Errorf("%d identifiers of the publisher are left", k)
		}
		return nil
	})
	err := n.store.Settled(func(id message.ID, destination string) bool {
		t.Errorf("it is still noted that %q has %v", destination, id)
		return true
	})
	if err != nil {
		t.Error(err)
	}
}

// await polls until ok returns nil.
func await(t *testing.T, ok func() error) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
}

// TestCrashAtWritePoints cuts the power right before and right after each
// durable write of one QoS 2 message, and checks what was on the wire by then.
func TestCrashAtWritePoints(t *testing.T) {
	points := []struct {
		name string
		// batch counts from the PUBLISH of the message on, see the comment below.
		batch int
		// wire is what must not have been written before the batch is on disk.
		wire string
	}{
		{"1 inbound record before the message leaves", 1, "routed"},
		{"2 all destinations before PUBREC", 2, "PUBREC"},
		{"3 outbound record before PUBLISH", 3, "PUBLISH"},
		{"4 PUBREC before PUBREL", 4, "PUBREL"},
		{"5 inbound record deleted before PUBCOMP", 5, "PUBCOMP"},
	}
	for _, p := range points {
		for _, after := range []bool{false, true} {
			for _, version := range []byte{4, 5} {
				t.Run(fmt.Sprintf("%s/after=%v/v%d", p.name, after, version), func(t *testing.T) {
					crashAtPoint(t, p.batch, after, p.wire, version)
				})
			}
		}
	}
}

// crashAtPoint drives one message through a full window, so that each write is
// a batch of its own: 1 inbound record, 2 the message in the queue, 3 its
// packet identifier (once the message in front of it is complete), 4 PUBREC,
// 5 the inbound record deleted.
func crashAtPoint(t *testing.T, batch int, after bool, wire string, version byte) {
	n, c := newCrash(t)
	n.set.MaxInflight, n.set.ReceiveMaxClient = 1, 1
	r := newReceiver("r", version)
	sub := n.dial(version)
	connack(sub, r.id, true)
	sub.subscribe("t", 2)
	s := &sender{id: "s", version: version, payloads: []string{"first", "second"}, next: 2}
	pub := n.dial(version)
	connack(pub, s.id, true)

	// The first message fills the window up to its PUBREC.
	publish := func(pid uint16) {
		o := &sending{pid: pid, payload: s.payloads[pid-1]}
		s.open, s.last = append(s.open, o), pid
		pub.send(&packet.Publish{Topic: "t", QoS: 2, PacketID: pid, Payload: []byte(o.payload)})
	}
	publish(1)
	s.ack(n, pub, expect[*packet.Ack](pub))
	s.ack(n, pub, expect[*packet.Ack](pub))
	first := expect[*packet.Publish](sub)
	r.publish(first)
	r.pubrec(sub, first.PacketID)
	r.released(n, expect[*packet.Ack](sub))

	// PUBCOMP of the first is a batch too, and lets the second in.
	settled := int(c.batches.Load())
	var seen sync.Map
	n.router.far = func(_ *message.Message, done func(error)) {
		if !c.cut.Load() {
			seen.Store("routed", true)
		}
		done(nil)
	}
	at := map[int]int{1: 1, 2: 2, 3: 4, 4: 5, 5: 6}[batch]
	c.set(func(b int, done bool) bool { return b == settled+at && done == after })
	step := func(what string, do func()) bool {
		select {
		case <-c.done:
			return false
		default:
			do()
		}
		select {
		case <-c.done:
			return false
		default:
			seen.Store(what, true)
			return true
		}
	}
	got := func(cl *client) packet.Packet { // nil when the crash came first
		select {
		case p := <-cl.in:
			return p
		case <-c.done:
			return nil
		}
	}
	_ = step("PUBREC", func() {
		publish(2)
		if p, ok := got(pub).(*packet.Ack); ok { // PUBREC; PUBREL waits for step 5
			s.open[0].received = p.Kind == packet.TypePubrec
		}
	}) && step("PUBLISH", func() {
		sub.send(ackOf(packet.TypePubcomp, first.PacketID))
		if p, ok := got(sub).(*packet.Publish); ok {
			r.publish(p)
		}
	}) && step("PUBREL", func() {
		r.pubrec(sub, slices.Collect(maps.Keys(r.have))[0])
		if p, ok := got(sub).(*packet.Ack); ok {
			r.released(n, p)
		}
	}) && step("PUBCOMP", func() {
		pub.send(ackOf(packet.TypePubrel, 2))
		if p, ok := got(pub).(*packet.Ack); ok {
			s.ack(n, pub, p)
		}
	})
	<-c.done
	next := c.restart(n)
	if _, ok := seen.Load(wire); ok {
		t.Errorf("%s came before batch %d was on disk", wire, at)
	}
	finish(t, next, s, r)
}

// TestCrashQoS2 cuts the power before or after a random batch while many
// messages are on their way, some of them to a node that does not answer.
func TestCrashQoS2(t *testing.T) {
	for seed := range *crashSeeds {
		synctest.Test(t, func(t *testing.T) { crashQoS2(t, rand.New(rand.NewPCG(seed, 3))) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func crashQoS2(t *testing.T, rng *rand.Rand) {
	const messages = 25
	n, c := newCrash(t)
	version := []byte{4, 5}[rng.IntN(2)]
	var rs []*receiver
	for i := range 2 {
		r := newReceiver(fmt.Sprint("r", i), version)
		r.slow, r.all = rng.IntN(4), messages
		cl := n.dial(version)
		connack(cl, r.id, true)
		cl.subscribe("t", 2)
		if i == 0 || rng.IntN(2) == 0 {
			n.wg.Go(func() { r.run(n, cl) })
		} else {
			cl.nc.Close() // offline
		}
		rs = append(rs, r)
	}
	if rng.IntN(2) == 0 {
		silent := uint64(1 + rng.IntN(messages))
		n.router.far = func(m *message.Message, done func(error)) {
			if m.ID.Sequence < silent {
				done(nil)
			}
		}
	}
	s := &sender{id: "s", version: version, payloads: numbered(messages), window: 1 + rng.IntN(8)}
	pub := n.dial(version)
	connack(pub, s.id, true)
	start, at, after := int(c.batches.Load()), rng.IntN(100), rng.IntN(2) == 0
	c.set(func(b int, done bool) bool { return b >= start+at && done == after })
	published := make(chan struct{})
	go func() {
		defer close(published)
		s.run(n, pub)
	}()
	select {
	case <-c.done:
	case <-time.After(time.Second): // all is complete, or waits for the silent node
		c.now()
	}
	next := c.restart(n)
	<-published
	finish(t, next, s, rs...)
	next.stop()
}
