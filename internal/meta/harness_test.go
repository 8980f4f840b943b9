package meta

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/mqadmin/mqadmin/internal/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is an Observer that keeps a copy of what it derived: routes.
type recorder struct {
	mu     sync.Mutex
	resets int
	events []Event
	quorum []bool
	routes map[string]bool
}

func routeName(mp, f string, n message.NodeID) string { return fmt.Sprint(mp, "|", f, "|", n) }

func (r *recorder) Apply(_ uint64, events []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, events...)
	for _, e := range events {
		if c, ok := e.(RouteChanged); ok {
			if k := routeName(c.Mountpoint, c.Filter, c.Node); c.Present {
				r.routes[k] = true
			} else {
				delete(r.routes, k)
			}
		}
	}
}

func (r *recorder) Reset(_ uint64, v *View) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resets++
	r.routes = map[string]bool{}
	v.Routes(func(c Route) bool {
		r.routes[routeName(c.Mountpoint, c.Filter, c.Node)] = true
		return true
	})
}

func (r *recorder) Quorum(ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quorum = append(r.quorum, ok)
}

func (r *recorder) hasRoute(f string, n message.NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.routes[routeName("", f, n)]
}

// network joins the nodes of a test in memory.
type network struct {
	t     *testing.T
	mu    sync.Mutex
	nodes map[message.NodeID]*testNode
}

type testNode struct {
	net         *network
	id          message.NodeID
	dir         string
	incarnation uint32
	trans       *raft.InmemTransport
	store       *Store
	rec         *recorder
	server      *grpc.Server
	lis         *bufconn.Listener
	conns       []*grpc.ClientConn
	removed     chan struct{}
	moved       string // another address, after a restart
	fatal       chan error
}

func newNetwork(t *testing.T) *network {
	return &network{t: t, nodes: map[message.NodeID]*testNode{}}
}

func (n *network) node(id message.NodeID) *testNode {
	tn := &testNode{net: n, id: id, dir: filepath.Join(n.t.TempDir(), id.String())}
	n.t.Cleanup(func() {
		if tn.store != nil {
			tn.stop()
		}
	})
	return tn
}

func (tn *testNode) address() string {
	if tn.moved != "" {
		return tn.moved
	}
	return fmt.Sprintf("node-%d:1", tn.id)
}

// start opens the node's store, with a larger incarnation each time.
func (tn *testNode) start(tune ...func(*Config)) *testNode {
	tn.net.t.Helper()
	tn.incarnation += 10
	tn.rec = &recorder{routes: map[string]bool{}}
	tn.removed, tn.fatal = make(chan struct{}, 1), make(chan error, 1)
	_, tn.trans = raft.NewInmemTransportWithTimeout(raft.ServerAddress(tn.address()), 500*time.Millisecond)
	cfg := Config{
		Dir: tn.dir, NodeID: tn.id, Name: fmt.Sprintf("n%d", tn.id), Address: tn.address(), Version: "test",
		Incarnation: tn.incarnation, Transport: tn.trans, Observer: tn.rec, SegmentBytes: 1 << 20,
		Dialer: DialerFunc(tn.dial), OnRemoved: func() { tn.removed <- struct{}{} }, OnFatal: func(err error) { tn.fatal <- err },
		NetsplitGrace: 10 * time.Second,
	}
	if os.Getenv("META_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("n", uint64(tn.id))
	}
	for _, f := range tune {
		f(&cfg)
	}
	tn.net.connect(tn)
	s, err := Open(cfg)
	if err != nil {
		tn.net.t.Fatalf("opening node %d: %v", tn.id, err)
	}
	tn.store = s
	tn.server, tn.lis = grpc.NewServer(), bufconn.Listen(1<<20)
	s.RegisterGRPC(tn.server)
	go func(l *bufconn.Listener) { _ = tn.server.Serve(l) }(tn.lis)
	tn.net.mu.Lock()
	tn.net.nodes[tn.id] = tn
	tn.net.mu.Unlock()
	return tn
}

func (n *network) connect(tn *testNode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.nodes {
		if o.id != tn.id {
			o.trans.Connect(raft.ServerAddress(tn.address()), tn.trans)
			tn.trans.Connect(raft.ServerAddress(o.address()), o.trans)
		}
	}
}

func (n *network) disconnect(tn *testNode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.nodes, tn.id)
	for _, o := range n.nodes {
		o.trans.Disconnect(raft.ServerAddress(tn.address()))
	}
	tn.trans.DisconnectAll()
}

func (tn *testNode) dial(_ context.Context, id message.NodeID) (grpc.ClientConnInterface, error) {
	tn.net.mu.Lock()
	defer tn.net.mu.Unlock()
	o := tn.net.nodes[id]
	if o == nil {
		return nil, fmt.Errorf("node %d is not there", id)
	}
	lis := o.lis
	c, err := grpc.NewClient("passthrough:///mem", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return lis.Dial() }))
	if err == nil {
		tn.conns = append(tn.conns, c)
	}
	return c, err
}

// crash ends the node as kill -9 would: nothing is handed over.
func (tn *testNode) crash() {
	tn.net.disconnect(tn)
	tn.store.cancel()
	tn.server.Stop()
	tn.store.wg.Wait()
	tn.store.prop.drain(ErrClosed)
	if err := tn.store.closeDisk(); err != nil {
		tn.net.t.Errorf("closing node %d: %v", tn.id, err)
	}
	tn.end()
}

// stop ends the node in good order.
func (tn *testNode) stop() {
	if err := tn.store.Close(); err != nil {
		tn.net.t.Errorf("closing node %d: %v", tn.id, err)
	}
	tn.net.disconnect(tn)
	tn.end()
}

func (tn *testNode) end() {
	tn.server.Stop()
	tn.net.mu.Lock()
	conns := tn.conns
	tn.conns = nil
	tn.net.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	_ = tn.lis.Close()
	tn.store = nil
}

// join brings the node into the cluster of another, as the cluster package
// does.
func (tn *testNode) join(t *testing.T, via *testNode) MergeResult {
	t.Helper()
	ctx := t.Context()
	if err := tn.store.PrepareJoin(ctx); err != nil {
		t.Fatal("prepare:", err)
	}
	conn, err := tn.dial(ctx, via.id)
	if err != nil {
		t.Fatal(err)
	}
	info, err := RequestAdd(ctx, conn, Member{ID: tn.id, Name: fmt.Sprintf("n%d", tn.id), Address: tn.address()})
	if err != nil {
		t.Fatal("add:", err)
	}
	if err := tn.store.CommitJoin(ctx, info); err != nil {
		t.Fatal("commit:", err)
	}
	r, err := tn.store.Merge(ctx)
	if err != nil {
		t.Fatal("merge:", err)
	}
	return r
}

// await waits until cond holds; it polls, because what it looks at is spread
// over nodes.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func cluster(t *testing.T, n int, tune ...func(*Config)) []*testNode {
	t.Helper()
	net := newNetwork(t)
	var out []*testNode
	for i := range n {
		tn := net.node(message.NodeID(i + 1)).start(tune...)
		out = append(out, tn)
		if i > 0 {
			tn.join(t, out[0])
		}
	}
	for _, tn := range out { // the leader's own configuration may not be committed yet
		await(t, "all vote", func() bool {
			st := tn.store.Status()
			return len(st.Voters) == min(n, MaxVoters) && st.Commit == st.LastIndex
		})
	}
	return out
}

func leaderOf(t *testing.T, nodes []*testNode) (lead *testNode) {
	t.Helper()
	await(t, "somebody leads", func() bool {
		for _, n := range nodes {
			if n.store != nil && n.store.leading.Load() != nil {
				lead = n
			}
		}
		return lead != nil
	})
	return lead
}

func sid(c string) message.SessionID { return message.SessionID{ClientID: c} }

func durable(c string) RegisterRequest {
	return RegisterRequest{ID: sid(c), Durable: true, Expiry: 3600}
}
