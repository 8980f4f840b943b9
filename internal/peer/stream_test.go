package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/mqadmin/mqadmin/internal/message"
)

// countFSM counts the commands that it applied.
type countFSM struct{ n chan struct{} }

func (f countFSM) Apply(*raft.Log) any                 { f.n <- struct{}{}; return nil }
func (f countFSM) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("none") }
func (f countFSM) Restore(io.ReadCloser) error         { return nil }

// TestRaft elects a leader among three nodes, whose Raft addresses are host
// names or node ids, applies commands everywhere, and replaces a leader.
func TestRaft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		var servers []raft.Server
		var members []Member
		for n := 1; n <= 3; n++ {
			members = append(members, member(n))
			addr := raft.ServerAddress(nodeAddr(n))
			if n == 3 { // known by its id only
				addr = raft.ServerAddress(message.NodeID(n).String())
			}
			servers = append(servers, raft.Server{ID: raft.ServerID(message.NodeID(n).String()), Address: addr})
		}
		rafts := map[int]*raft.Raft{}
		applied := make(chan struct{}, 100)
		for n := 1; n <= 3; n++ {
			p := startPort(t, f, n, func(c *Config) { c.Receiver = newInbox() })
			p.SetMembers(members)
			layer := p.StreamLayer(string(servers[n-1].Address))
			if got := layer.Addr().String(); got != string(servers[n-1].Address) {
				t.Errorf("address %s", got)
			}
			c := raft.DefaultConfig()
			c.LocalID, c.LogOutput = servers[n-1].ID, io.Discard
			store := raft.NewInmemStore()
			r, err := raft.NewRaft(c, countFSM{applied}, store, store, raft.NewInmemSnapshotStore(),
				raft.NewNetworkTransport(layer, 3, 5*time.Second, io.Discard))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
				t.Fatal(err)
			}
			rafts[n] = r
		}
		lead := func() int {
			time.Sleep(10 * time.Second)
			for n, r := range rafts {
				if r.State() == raft.Leader {
					return n
				}
			}
			t.Fatal("no leader")
			return 0
		}
		first := lead()
		for i := range 10 {
			if err := rafts[first].Apply([]byte{byte(i)}, time.Second).Error(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if len(applied) != 30 {
			t.Errorf("applied %d times on three nodes", len(applied))
		}
		shutdown := func(n int) {
			if err := rafts[n].Shutdown().Error(); err != nil {
				t.Error(err)
			}
			delete(rafts, n)
		}
		shutdown(first)
		lead()
		for n := range rafts {
			shutdown(n)
		}
		time.Sleep(time.Minute) // raft leaves some timers
		synctest.Wait()
	})
}

func TestStreamLayerCanBeOpenedAgain(t *testing.T) {
	f := newFabric()
	one := startPort(t, f, 1, nil)
	first := one.StreamLayer("a:1")
	first.Close()
	if _, err := first.Accept(); err == nil {
		t.Error("accepted after Close")
	}
	two := startPort(t, f, 2, nil)
	one.SetMembers([]Member{member(1), member(2)})
	two.SetMembers([]Member{member(1), member(2)})
	again := one.StreamLayer("a:1")
	go func() {
		c, err := two.StreamLayer("").Dial(raft.ServerAddress(nodeAddr(1)), time.Second)
		if err == nil {
			io.WriteString(c, "x")
			c.Close()
		}
	}()
	c, err := again.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); string(b) != "x" || (err != nil && !errors.Is(err, io.ErrUnexpectedEOF)) {
		t.Errorf("%q, %v", b, err)
	}
	c.Close()
}

// whoami answers health checks with the caller's name in an error.
type whoami struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (whoami) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	a, ok := CallerFrom(ctx)
	return nil, grpcstatus.Error(codes.NotFound, fmt.Sprint(a.Identity.Name, a.Member, ok))
}

func serveCalls(t *testing.T, p *Port) {
	t.Helper()
	s := grpc.NewServer(grpc.Creds(ServerCredentials()))
	grpc_health_v1.RegisterHealthServer(s, whoami{})
	go s.Serve(p.GRPC()) //nolint:errcheck // ends with Stop
	t.Cleanup(s.Stop)
}

func ask(t *testing.T, c *grpc.ClientConn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(c).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	for grpcstatus.Code(err) == codes.Unavailable { // the connection ended just then
		_, err = grpc_health_v1.NewHealthClient(c).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	}
	return grpcstatus.Convert(err).Message()
}

// A caller that only wants to know who is there leaves no connection behind,
// on which the other side would wait.
func TestDiscoveryLeavesNothing(t *testing.T) {
	f := newFabric()
	two := startPort(t, f, 2, nil)
	serveCalls(t, two)
	one := startPort(t, f, 1, nil)
	for range 50 {
		c, _, err := one.DialAddress(t.Context(), nodeAddr(2))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for _, p := range []*Port{one, two} {
		if err := waitFor(t, func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.conns) == 0
		}); err != nil {
			t.Errorf("%s keeps connections: %v", p.Identity().Name, err)
		}
	}
}

func TestCalls(t *testing.T) {
	f := newFabric()
	two := startPort(t, f, 2, nil)
	serveCalls(t, two)
	one := startPort(t, f, 1, nil)
	if _, err := one.Conn(t.Context(), 2); !errors.Is(err, ErrUnknownNode) {
		t.Errorf("call to a stranger: %v", err)
	}
	c, id, err := one.DialAddress(t.Context(), nodeAddr(2))
	if err != nil {
		t.Fatal(err)
	}
	if id != two.Identity() {
		t.Errorf("found %+v", id)
	}
	if got := ask(t, c); got != "node1@testfalse true" {
		t.Errorf("before membership: %s", got)
	}
	c.Close()
	for _, p := range []*Port{one, two} {
		p.SetMembers([]Member{member(1), member(2)})
	}
	c, err = one.Conn(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := one.Conn(t.Context(), 2); again != c {
		t.Error("another connection for the same member")
	}
	if got := ask(t, c); got != "node1@testtrue true" {
		t.Errorf("as a member: %s", got)
	}
	two.Close() // and comes back
	two = startPort(t, f, 2, nil)
	two.SetMembers([]Member{member(1), member(2)})
	serveCalls(t, two)
	if got := ask(t, c); got != "node1@testtrue true" {
		t.Errorf("after a restart: %s", got)
	}
	one.SetMembers([]Member{member(1)})
	if _, err := one.Conn(t.Context(), 2); !errors.Is(err, ErrUnknownNode) {
		t.Errorf("call to a removed member: %v", err)
	}
}

// TestCallsToADeadNodeFail: a call that hangs on a node without power fails
// once the link knows, without pings of its own.
func TestCallsToADeadNodeFail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		two := startPort(t, f, 2, func(c *Config) { c.Receiver = newInbox() })
		s := grpc.NewServer(grpc.Creds(ServerCredentials()))
		grpc_health_v1.RegisterHealthServer(s, hanging{})
		go s.Serve(two.GRPC()) //nolint:errcheck // ends with Stop
		one := startPort(t, f, 1, func(c *Config) { c.Receiver = newInbox() })
		for _, p := range []*Port{one, two} {
			p.SetMembers([]Member{member(1), member(2)})
		}
		time.Sleep(time.Second)
		c, err := one.Conn(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 1)
		go func() {
			_, err := grpc_health_v1.NewHealthClient(c).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			failed <- err
		}()
		time.Sleep(time.Minute)
		began := time.Now()
		f.freeze()
		err = <-failed
		if grpcstatus.Code(err) != codes.Unavailable || time.Since(began) > 2*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		f.cut(true)
		s.Stop()
	})
}

// hanging answers when the caller has gone.
type hanging struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (hanging) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
