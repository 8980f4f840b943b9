package session

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRouter routes to the queues of one node; set fields replace a call.
type fakeRouter struct {
	queues    *queue.Manager
	publish   func(m *message.Message, o PublishOptions, done func(PublishResult))
	subscribe func(s Subject, subs []message.Subscription) ([]SubscribeResult, error)
	unsub     error
	// far is a destination on another node, which every message has.
	far func(m *message.Message, done func(error))

	mu       sync.Mutex
	subs     map[message.SessionID]map[string]message.Subscription
	retained map[string]*message.Message
}

func (r *fakeRouter) Publish(m *message.Message, o PublishOptions, done func(PublishResult)) {
	if r.publish != nil {
		r.publish(m, o, done)
		return
	}
	type hit struct {
		id  message.SessionID
		sub message.Subscription
	}
	var hits []hit
	r.mu.Lock()
	if m.Retain {
		r.retained[m.Topic] = m
	}
	for id, subs := range r.subs {
		for _, s := range subs {
			if id.Mountpoint == m.Mountpoint && topic.Match(s.Filter, m.Topic) && (!s.NoLocal || m.Publisher != id.ClientID) {
				hits = append(hits, hit{id, s})
			}
		}
	}
	r.mu.Unlock()
	left := int32(len(hits) + 1)
	if r.far != nil {
		left++
	}
	var failed atomic.Value
	end := func(err error) {
		if err != nil {
			failed.Store(err)
		}
		if atomic.AddInt32(&left, -1) == 0 {
			res := PublishResult{Matched: len(hits), Elsewhere: r.far != nil}
			if e := failed.Load(); e != nil {
				res.Err = e.(error)
			}
			done(res)
		}
	}
	for _, h := range hits {
		d := queue.Delivery{Message: m, QoS: h.sub.QoS, Retain: m.Retain && h.sub.RetainAsPublished, Resumed: o.Resumed, Waker: o.Waker}
		if h.sub.Identifier != 0 {
			d.SubscriptionIDs = []uint32{h.sub.Identifier}
		}
		r.queues.Deliver(h.id, d, func(err error) {
			if errors.Is(err, queue.ErrFull) || errors.Is(err, queue.ErrNoSession) {
				err = nil
			}
			end(err)
		})
	}
	if r.far != nil {
		r.far(m, end)
	}
	end(nil)
}

func (r *fakeRouter) Subscribe(_ context.Context, s Subject, subs []message.Subscription) ([]SubscribeResult, error) {
	if r.subscribe != nil {
		return r.subscribe(s, subs)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]SubscribeResult, len(subs))
	if r.subs[s.ID] == nil {
		r.subs[s.ID] = map[string]message.Subscription{}
	}
	for i, sub := range subs {
		_, out[i].Existed = r.subs[s.ID][sub.Filter]
		r.subs[s.ID][sub.Filter] = sub
	}
	return out, nil
}

func (r *fakeRouter) Unsubscribe(_ context.Context, s Subject, filters []string) ([]bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]bool, len(filters))
	for i, f := range filters {
		_, out[i] = r.subs[s.ID][f]
		delete(r.subs[s.ID], f)
	}
	return out, r.unsub
}

func (r *fakeRouter) Retained(_, filter string, fn func(*message.Message)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, m := range r.retained {
		if topic.Match(filter, name) {
			fn(m)
		}
	}
}

func (r *fakeRouter) Subscriptions(id message.SessionID) []message.Subscription {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []message.Subscription
	for _, s := range r.subs[id] {
		out = append(out, s)
	}
	return out
}

// fakeRegistrar is a cluster of one node.
type fakeRegistrar struct {
	router *fakeRouter
	err    error
	// registered is called at the end of Register.
	registered func()

	mu    sync.Mutex
	known map[message.SessionID]bool
	index uint64
	ends  []End
}

func (f *fakeRegistrar) Register(_ context.Context, r RegisterRequest) (Registration, error) {
	if f.registered != nil {
		defer f.registered()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return Registration{}, f.err
	}
	f.index++
	present := f.known[r.ID] && !r.CleanStart
	if !present {
		f.router.mu.Lock()
		delete(f.router.subs, r.ID)
		f.router.mu.Unlock()
	}
	f.known[r.ID] = true
	return Registration{Present: present, Epoch: message.Epoch{Cluster: 1, Index: f.index}}, nil
}

func (f *fakeRegistrar) Admit(bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *fakeRegistrar) expired(id message.SessionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, id)
}

func (f *fakeRegistrar) Ended(_ context.Context, e End) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends = append(f.ends, e)
	if e.Expiry == 0 && e.Epoch.Index == f.index {
		delete(f.known, e.ID)
	}
}

// node is one broker's session engine with fakes around it.
type node struct {
	t         testing.TB
	m         *Manager
	queues    *queue.Manager
	router    *fakeRouter
	registrar *fakeRegistrar
	registry  *metrics.Registry
	store     *msgstore.Store
	// tap stands between the queues and the store when not nil.
	tap  func(*msgstore.Store) queue.Store
	wrap func(net.Conn) net.Conn // of the server's ends
	// incarnation counts the starts, so that no message id is used twice.
	incarnation uint32
	set         *Settings
	info        ListenerInfo
	crashes     atomic.Int32
	wg          sync.WaitGroup
	sockets     bool
}

func defaults() *Settings {
	return &Settings{
		AllowAnonymous: true, ConnectTimeout: 5 * time.Second, MaxClientIDSize: 100, MaxInflight: 20, MaxOnline: 1000,
		MaxOffline: 1000, ReceiveMaxBroker: 65535, ReceiveMaxClient: 65535, PersistentExpiry: message.NeverExpires,
		MaxLastWillDelay: -1, TopicMaxDepth: 10, MaxPendingAcks: 1000, AuthMaxRounds: 10,
	}
}

type nodeOption func(*node)

func with(fn func(*Settings)) nodeOption { return func(n *node) { fn(n.set) } }

func durable(n *node) { n.openStore(vfs.NewMem()) }

func (n *node) openStore(fs vfs.FS) {
	n.openStoreWith(msgstore.Config{FS: fs, MinFreeBytes: -1})
}

func (n *node) openStoreWith(c msgstore.Config) {
	c.Dir = "store"
	s, err := msgstore.Open(c)
	if err != nil {
		n.t.Fatal(err)
	}
	n.store = s
}

func newNode(t testing.TB, opts ...nodeOption) *node {
	n := prepareNode(t, opts...)
	t.Cleanup(n.stop)
	return n
}

// prepareNode is newNode for callers that stop the node themselves.
func prepareNode(t testing.TB, opts ...nodeOption) *node {
	n := &node{t: t, set: defaults(), registry: metrics.New()}
	plugins := hook.New(hook.Options{})
	if err := plugins.Attach("permit", hook.Permit{}); err != nil {
		t.Fatal(err)
	}
	n.info = ListenerInfo{Name: "default", Type: "tcp", AllowedVersions: []byte{3, 4, 5, 131, 132}, Chain: plugins.Default()}
	for _, o := range opts {
		o(n)
	}
	n.start()
	return n
}

func (n *node) start() {
	cfg := queue.Config{
		Metrics:     n.registry,
		PublishWill: func(id message.SessionID, w queue.Will, done func(error)) { n.m.PublishWill(id, w, done) },
		Expired:     func(id message.SessionID, _ message.Epoch) { n.registrar.expired(id) },
	}
	if n.store != nil {
		cfg.Store = n.store
		if n.tap != nil {
			cfg.Store = n.tap(n.store)
		}
	}
	var err error
	if n.queues, err = queue.New(cfg); err != nil {
		n.t.Fatal(err)
	}
	if n.router == nil {
		n.router = &fakeRouter{subs: map[message.SessionID]map[string]message.Subscription{}, retained: map[string]*message.Message{}}
		n.registrar = &fakeRegistrar{router: n.router, known: map[message.SessionID]bool{}}
	}
	n.router.queues = n.queues
	var seq atomic.Uint64
	n.incarnation++
	incarnation := n.incarnation
	n.m = New(Config{
		Settings: func() *Settings { return n.set }, Queues: n.queues, Router: n.router, Registrar: n.registrar,
		NextID:  func() message.ID { return message.ID{Origin: 1, Incarnation: incarnation, Sequence: seq.Add(1)} },
		Crash:   func(any, []byte) { n.crashes.Add(1) },
		Metrics: n.registry,
	})
	n.queues.Start()
}

func (n *node) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.m.Shutdown(ctx, packet.ServerShuttingDown, ""); err != nil {
		n.t.Error(err)
	}
	n.wg.Wait()
	n.queues.Close()
	if n.store != nil {
		n.store.Close()
		n.store = nil
	}
}

// metric sums the samples of one name.
func (n *node) metric(name string) int64 {
	for _, s := range metrics.Aggregate(n.registry.Samples()) {
		if s.Name == name {
			return s.Value
		}
	}
	n.t.Errorf("no metric %s", name)
	return -1
}

// client is the other end, with this project's own codec.
type client struct {
	t       testing.TB
	nc      net.Conn
	version byte
	in      chan packet.Packet
}

// dial opens a connection whose packets arrive in c.in; the channel is closed
// with the connection.
func (n *node) dial(version byte) *client {
	c := &client{t: n.t, nc: n.pipe(), version: version, in: make(chan packet.Packet, 4096)}
	n.wg.Go(c.read)
	return c
}

// pipe opens a connection of which the other end is served.
func (n *node) pipe() net.Conn {
	here, there := net.Pipe()
	if n.sockets {
		here, there = n.socketPair()
	}
	if n.wrap != nil {
		there = n.wrap(there)
	}
	info := n.info
	n.wg.Go(func() { n.m.Serve(there, &info, nil) })
	n.t.Cleanup(func() { here.Close() })
	return here
}

// sockets makes the node's connections TCP, whose readers write directly.
func sockets(n *node) { n.sockets = true }

// socketPair returns the two ends of a connection over loopback.
func (n *node) socketPair() (client, server net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		n.t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		n.t.Fatal(err)
	}
	return client, server
}

func (c *client) read() {
	defer close(c.in)
	d := packet.Decoder{Version: c.version, Client: true}
	var buf []byte
	chunk := make([]byte, 4096)
	for {
		k, err := c.nc.Read(chunk)
		buf = append(buf, chunk[:k]...)
		for {
			p, used, derr := d.Decode(buf)
			if derr != nil {
				c.t.Errorf("server sent: %v", derr)
				return
			}
			if p == nil {
				break
			}
			if pub, ok := p.(*packet.Publish); ok {
				pub.Payload = append([]byte(nil), pub.Payload...)
			}
			buf = buf[used:]
			c.in <- p
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) && !os.IsTimeout(err) {
				c.t.Logf("client read: %v", err)
			}
			return
		}
	}
}

func (c *client) send(ps ...packet.Packet) {
	c.t.Helper()
	var b []byte
	for _, p := range ps {
		b = packet.Append(b, c.version, p)
	}
	_, _ = c.nc.Write(b) // what the server closed shows when reading
}

// recv returns the next packet, nil when the connection is closed.
func (c *client) recv() packet.Packet {
	c.t.Helper()
	select {
	case p := <-c.in:
		return p
	case <-time.After(time.Minute):
		c.t.Fatal("no packet came")
		return nil
	}
}

func expect[T packet.Packet](c *client) T {
	c.t.Helper()
	p := c.recv()
	v, ok := p.(T)
	if !ok {
		c.t.Fatalf("got %#v, want %T", p, v)
	}
	return v
}

func (c *client) closed() {
	c.t.Helper()
	if p := c.recv(); p != nil {
		c.t.Fatalf("got %#v, want the connection closed", p)
	}
}

// connect sends CONNECT and returns the answer.
func (c *client) connect(p *packet.Connect) *packet.Connack {
	c.t.Helper()
	p.Version = c.version
	if p.ReceiveMaximum == 0 {
		p.ReceiveMaximum = 65535
	}
	p.RequestProblem = true
	c.send(p)
	return expect[*packet.Connack](c)
}

// join dials and connects a client that must be accepted.
func (n *node) join(version byte, p *packet.Connect) *client {
	n.t.Helper()
	c := n.dial(version)
	if a := c.connect(p); a.Reason != packet.Success {
		n.t.Fatalf("CONNACK %v", a.Reason)
	}
	return c
}

func (c *client) subscribe(filter string, qos byte) *packet.Suback {
	c.t.Helper()
	c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: filter, QoS: qos}}})
	return expect[*packet.Suback](c)
}

func ackOf(kind packet.Type, id uint16) *packet.Ack { return &packet.Ack{Kind: kind, PacketID: id} }
