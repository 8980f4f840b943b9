package admin

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

var memberID = Identity{Name: "node n1", Role: pb.Role_ROLE_ADMIN}

// named is a member that knows its name.
type named struct {
	*fake
	name string
}

func (n named) Ping(context.Context) (Pong, error) { return Pong{Node: n.name}, nil }

func TestAnotherMemberAnswers(t *testing.T) {
	forever := func(ctx context.Context, _ string, p func(JoinProgress)) (JoinResult, error) {
		p(JoinProgress{Phase: JoinConnect})
		<-ctx.Done()
		return JoinResult{}, ctx.Err()
	}
	n2 := start(t, &fake{join: forever}, func(c *Config) { c.Node = named{&fake{}, "n2"} }, as(memberID))
	conn := start(t, &fake{}, func(c *Config) { c.Peers = fakePeers{"n2": n2, "n3": nil} }, as(adminID))
	ping := func(node string) (string, error) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), nodeKey, node)
		p, err := pb.NewNodeServiceClient(conn).PingNode(ctx, &pb.PingNodeRequest{})
		return p.GetNode(), err
	}
	for _, name := range []string{"n1", "n2"} {
		if got, err := ping(name); got != name || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := ping("n3"); status.Code(err) != codes.Unavailable || reasonOf(err) != "NODE_DOWN" {
		t.Errorf("a member that is away: %v", err)
	}
	if _, err := ping("n4"); status.Code(err) != codes.NotFound || reasonOf(err) != "NODE_UNKNOWN" {
		t.Errorf("no member: %v", err)
	}
	// A stream, that the caller ends.
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), nodeKey, "n2"))
	stream, err := pb.NewClusterServiceClient(conn).JoinCluster(ctx, &pb.JoinClusterRequest{DiscoveryNode: "x@h"})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || m.GetProgress().GetPhase() != pb.JoinPhase_JOIN_PHASE_CONNECT {
		t.Errorf("%v, %v", m, err)
	}
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	// An error of the other member comes back whole.
	ctx = metadata.AppendToOutgoingContext(t.Context(), nodeKey, "n2")
	stream, err = pb.NewClusterServiceClient(conn).JoinCluster(ctx, &pb.JoinClusterRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); reasonOf(err) != "MISSING_ARGUMENT" {
		t.Error(err)
	}
}

// TestTheFirstMemberComparesRoles: who may not call here may not call there.
func TestTheFirstMemberComparesRoles(t *testing.T) {
	n2 := start(t, &fake{}, nil, as(memberID))
	conn := start(t, &fake{}, func(c *Config) { c.Peers = fakePeers{"n2": n2} }, as(Identity{Name: "v", Role: pb.Role_ROLE_VIEWER}))
	ctx := metadata.AppendToOutgoingContext(t.Context(), nodeKey, "n2")
	if _, err := pb.NewMetricsServiceClient(conn).ResetMetrics(ctx, &pb.ResetMetricsRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Error(err)
	}
}
