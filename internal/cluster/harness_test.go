package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/router"
	"github.com/mqadmin/mqadmin/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a Cluster over real metadata and a real cluster port on loopback;
// sessions, queues and routing are fakes.
type node struct {
	*Cluster
	name     string
	meta     *meta.Store
	port     *peer.Port
	sessions *fakeSessions
	queues   *fakeQueues
	spool    *memorySpool
	left     chan struct{}
	stop     func()
}

type fakeSessions struct {
	queues *fakeQueues
	mu     sync.Mutex
	closed map[message.SessionID]packet.Reason
	infos  []session.Info
}

func (f *fakeSessions) Disconnect(id message.SessionID, o session.DisconnectOptions) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed[id] = o.Reason
	return true
}

func (f *fakeSessions) SetEpoch(id message.SessionID, e message.Epoch) {
	f.queues.mu.Lock()
	defer f.queues.mu.Unlock()
	if r := f.queues.records[id]; r != nil {
		r.Epoch = e
	}
}

func (f *fakeSessions) reason(id message.SessionID) packet.Reason {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed[id]
}

func (f *fakeSessions) Each(fn func(session.Info) bool) {
	for _, i := range f.infos {
		if !fn(i) {
			return
		}
	}
}
func (f *fakeSessions) Shutdown(context.Context, packet.Reason, string) error { return nil }
func (f *fakeSessions) Connections() int                                      { return 0 }

// fakeQueues keeps queues in memory and hands them over by Take and Import.
type fakeQueues struct {
	mu       sync.Mutex
	entries  map[message.SessionID][]queue.Stored
	records  map[message.SessionID]*message.SessionRecord
	released map[message.SessionID]int
	marks    map[queue.Mark]bool
	expected map[message.SessionID]bool
	inbound  map[uint16]msgstore.Inbound // of every session
	onImport func()
}

func newFakeQueues() *fakeQueues {
	return &fakeQueues{
		entries: map[message.SessionID][]queue.Stored{}, records: map[message.SessionID]*message.SessionRecord{},
		released: map[message.SessionID]int{}, marks: map[queue.Mark]bool{}, expected: map[message.SessionID]bool{},
	}
}

func (f *fakeQueues) Open(r queue.OpenRequest) (*queue.Queue, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.expected, r.ID)
	if _, ok := f.entries[r.ID]; !ok {
		f.entries[r.ID] = nil
	}
	f.records[r.ID] = &message.SessionRecord{ID: r.ID, Epoch: r.Epoch, Expiry: r.Expiry}
	return nil, true, nil
}

func (f *fakeQueues) Delete(id message.SessionID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.entries[id]
	delete(f.entries, id)
	delete(f.records, id)
	return ok
}
func (f *fakeQueues) Idle(message.SessionID, time.Time) {}

func (f *fakeQueues) DeleteIf(id message.SessionID, _ func(message.Epoch) bool) bool {
	return f.Delete(id)
}

func (f *fakeQueues) Moved(id message.SessionID, theirs func() bool) bool {
	return theirs() && f.Delete(id)
}

func (f *fakeQueues) Info(id message.SessionID) (queue.Info, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.entries[id]
	return queue.Info{ID: id, Durable: true, Pending: len(e)}, ok
}

func (f *fakeQueues) Each(fn func(queue.Info) bool) {
	f.mu.Lock()
	var ids []message.SessionID
	for id := range f.entries {
		ids = append(ids, id)
	}
	f.mu.Unlock()
	for _, id := range ids {
		if i, ok := f.Info(id); ok && !fn(i) {
			return
		}
	}
}

func (f *fakeQueues) Session(id message.SessionID) (*message.SessionRecord, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.records[id], nil
}

func (f *fakeQueues) Take(_ context.Context, id message.SessionID, from uint64, limit int, theirs func() bool) (queue.Handed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, ok := f.entries[id]
	if !ok {
		return queue.Handed{}, queue.ErrNoSession
	}
	if !theirs() {
		return queue.Handed{}, queue.ErrNotHanded
	}
	h := queue.Handed{Next: from}
	if from == 0 {
		h.Inbound = f.inbound
	}
	for _, e := range all {
		if e.Seq < from {
			continue
		}
		if len(h.Entries) == limit {
			h.More = true
			break
		}
		h.Entries = append(h.Entries, e)
		h.Next = e.Seq + 1
	}
	return h, nil
}

func (f *fakeQueues) Confirm(_ context.Context, id message.SessionID, upTo uint64, theirs func() bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !theirs() {
		return queue.ErrNotHanded
	}
	var rest []queue.Stored
	for _, e := range f.entries[id] {
		if e.Seq >= upTo {
			rest = append(rest, e)
		}
	}
	if _, ok := f.entries[id]; ok {
		f.entries[id] = rest
	}
	return nil
}

func (f *fakeQueues) Import(id message.SessionID, h queue.Handed, mark queue.Mark, done func(error)) {
	if f.onImport != nil {
		f.onImport()
	}
	f.mu.Lock()
	if h.Inbound != nil {
		f.inbound = h.Inbound
	}
	defer func() { f.mu.Unlock(); done(nil) }()
	if f.marks[mark] {
		return
	}
	f.marks[mark] = true
	f.entries[id] = append(f.entries[id], h.Entries...)
}
func (f *fakeQueues) ImportMark(message.SessionID, queue.Mark) (uint64, error) { return 0, nil }
func (f *fakeQueues) ForgetMark(message.SessionID, queue.Mark)                 {}
func (f *fakeQueues) Imported(message.SessionID)                               {}
func (f *fakeQueues) Release(id message.SessionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.released[id]++
}

func (f *fakeQueues) add(id message.SessionID, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries[id] = slices.Clip(f.entries[id])
	for i := range n {
		seq := uint64(len(f.entries[id]) + 1)
		f.entries[id] = append(f.entries[id], queue.Stored{Seq: seq, Message: &message.Message{Topic: fmt.Sprint("t", i), QoS: 1}})
	}
}

func (f *fakeQueues) len(id message.SessionID) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.entries[id])
}

func (f *fakeQueues) Expect(id message.SessionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expected[id] = true
}

func (f *fakeQueues) Unexpect(id message.SessionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.expected, id)
}

func (f *fakeQueues) Expected(id message.SessionID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.expected[id]
}

func (f *fakeQueues) Known(id message.SessionID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.entries[id]
	return ok
}

// fakeStreams notes the marks that other nodes were asked for and have sent.
type fakeStreams struct {
	n      *node
	mu     sync.Mutex
	passed map[message.NodeID]uint64
}

func (s *fakeStreams) Settle(ctx context.Context, index uint64) error {
	return s.n.meta.WaitApplied(ctx, index)
}

func (s *fakeStreams) Mark(ctx context.Context, to message.NodeID, index uint64) error {
	if err := s.Settle(ctx, index); err != nil {
		return err
	}
	sent := make(chan error, 1)
	s.n.port.Send(to, peer.Mark(index), func(_ peer.Code, err error) { sent <- err })
	return <-sent
}

func (s *fakeStreams) Passed(n message.NodeID) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passed[n]
}

func (s *fakeStreams) AwaitPassed(ctx context.Context, n message.NodeID, index uint64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.Passed(n) < index {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Receive implements peer.Receiver.
func (s *fakeStreams) Receive(from peer.Identity, f peer.Frame, done func(peer.Code)) {
	if f.IsMark() {
		s.mu.Lock()
		s.passed[from.Node] = max(s.passed[from.Node], f.Applied)
		s.mu.Unlock()
	}
	done(peer.CodeAccepted)
}

type fakeRouter struct{}

func (fakeRouter) Forget(message.SessionID) {}
func (fakeRouter) Reassert()                {}

// Reroute gives the message to the heirs of this node only.
func (n *node) Reroute(m *message.Message, heirs []router.Heir, done func(error)) {
	for _, h := range heirs {
		if h.Node == n.cfg.Self {
			n.queues.mu.Lock()
			n.queues.entries[h.Session] = append(n.queues.entries[h.Session], queue.Stored{Seq: 1000, Message: m})
			n.queues.mu.Unlock()
		}
	}
	done(nil)
}

// memorySpool is a spool in memory.
type memorySpool struct {
	mu      sync.Mutex
	records map[message.NodeID][]peer.Spooled
}

func (s *memorySpool) Append(n message.NodeID, seq uint64, frame []byte, done func(error)) {
	s.mu.Lock()
	s.records[n] = append(s.records[n], peer.Spooled{Seq: seq, Frame: frame})
	s.mu.Unlock()
	done(nil)
}

func (s *memorySpool) Read(n message.NodeID, from uint64, limit int) ([]peer.Spooled, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []peer.Spooled
	for _, r := range s.records[n] {
		if r.Seq >= from && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}

func (s *memorySpool) Truncate(n message.NodeID, upTo uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[n] = slices.DeleteFunc(s.records[n], func(r peer.Spooled) bool { return r.Seq <= upTo })
	return nil
}

func (s *memorySpool) len(n message.NodeID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records[n])
}

type fakeListeners struct{}

func (fakeListeners) Suspend() {}

// late tells a Cluster that is made after its metadata what the store tells.
type late struct {
	mu sync.Mutex
	c  *Cluster
}

func (l *late) get() *Cluster {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.c
}

func (l *late) Apply(i uint64, e []meta.Event) {
	if c := l.get(); c != nil {
		c.Apply(i, e)
	}
}

func (l *late) Reset(i uint64, v *meta.View) {
	if c := l.get(); c != nil {
		c.Reset(i, v)
	}
}

func (l *late) Quorum(ok bool) {
	if c := l.get(); c != nil {
		c.Quorum(ok)
	}
}

// start runs a node named name on a free port of loopback with that cookie.
func start(t *testing.T, name, cookie string) *node {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	id := message.NodeID(uint64(ln.Addr().(*net.TCPAddr).Port)<<20 | 1)
	n := &node{
		name: name, left: make(chan struct{}), queues: newFakeQueues(), spool: &memorySpool{records: map[message.NodeID][]peer.Spooled{}},
		sessions: &fakeSessions{closed: map[message.SessionID]packet.Reason{}},
	}
	n.sessions.queues = n.queues
	log, reg := slog.New(slog.DiscardHandler), metrics.New()
	var obs late
	var d net.Dialer
	n.port, err = peer.New(peer.Config{
		Identity: peer.Identity{Node: id, Name: name, Incarnation: 1, Version: "test", Address: address},
		Secret:   peer.NewSecret(cookie),
		Dial:     func(ctx context.Context, a string) (net.Conn, error) { return d.DialContext(ctx, "tcp", a) },
		OnLink: func(node message.NodeID, inc uint32, up bool) {
			if c := obs.get(); c != nil {
				c.OnLink(node, inc, up)
			}
		},
		Spool: n.spool, Logger: log, Metrics: reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	streams := &fakeStreams{n: n, passed: map[message.NodeID]uint64{}}
	n.port.SetReceiver(streams)
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: n.port.StreamLayer(address), MaxPool: 2, Timeout: 5 * time.Second, Logger: hclog.NewNullLogger(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.port.Run(ctx, ln) })
	n.meta, err = meta.Open(meta.Config{
		Dir: filepath.Join(t.TempDir(), "meta"), NodeID: id, Name: name, Address: address, Version: "test", Incarnation: 1,
		Transport: transport, Observer: &obs, Logger: log, Metrics: reg, NetsplitGrace: time.Second, SegmentBytes: 1 << 20,
		Caller: func(ctx context.Context) (message.NodeID, bool) {
			who, ok := peer.CallerFrom(ctx)
			return who.Identity.Node, ok
		},
		Dialer: meta.DialerFunc(func(ctx context.Context, node message.NodeID) (grpc.ClientConnInterface, error) {
			return n.port.Conn(ctx, node)
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Cluster = New(Config{
		Self: id, Name: name, Address: address, Version: "test", Meta: n.meta, Port: n.port, Sessions: n.sessions,
		Queues: n.queues, Records: n.queues, Router: fakeRouter{}, Rerouter: n, Streams: streams, Spool: n.spool, Listeners: fakeListeners{}, EnqueueTimeout: 5 * time.Second, JoinTimeout: 20 * time.Second,
		QueueOptions: func() queue.Options { return queue.Options{} }, DrainStep: 100, DownAfter: time.Second,
		OnLeft: sync.OnceFunc(func() { close(n.left) }), Metrics: reg, Logger: log,
	})
	obs.mu.Lock()
	obs.c = n.Cluster
	obs.mu.Unlock()
	srv := grpc.NewServer(grpc.Creds(peer.ServerCredentials()))
	n.meta.RegisterGRPC(srv)
	n.RegisterGRPC(srv)
	wg.Go(func() { _ = srv.Serve(n.port.GRPC()) })
	wg.Go(func() { _ = n.Run(ctx) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		srv.Stop()
		_ = n.meta.Close()
		_ = transport.Close()
		_ = n.port.Close()
		wg.Wait()
	})
	t.Cleanup(n.stop)
	await(t, "the node is settled", func() error {
		select {
		case <-n.Settled():
			return nil
		default:
			return errors.New("not settled")
		}
	})
	return n
}

func (n *node) discovery() string { return n.name + portOf(n.cfg.Address) }

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return ":" + port
}

func (n *node) join(t *testing.T, to *node) error {
	t.Helper()
	return n.Join(context.Background(), to.discovery(), func(Progress) {})
}

// await polls until ok is nil.
func await(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}
