// Package clitest fakes the broker's side of the admin API for the tests of
// the commands: one func per call, over a connection in memory.
package clitest

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// API answers calls with its funcs; one that is nil answers "unimplemented".
type API struct {
	// NodeFunc is told before every call which member --node names.
	NodeFunc           func(node string) error
	ShowClusterFunc    func(*pb.ShowClusterRequest) (*pb.ShowClusterResponse, error)
	JoinClusterFunc    func(*pb.JoinClusterRequest, func(*pb.JoinClusterResponse)) error
	LeaveClusterFunc   func(*pb.LeaveClusterRequest, func(*pb.LeaveClusterResponse)) error
	StatusFunc         func() (*pb.GetNodeStatusResponse, error)
	PingFunc           func() (*pb.PingNodeResponse, error)
	ShowSessionsFunc   func(*pb.ShowSessionsRequest, func(*pb.ShowSessionsResponse)) error
	DisconnectFunc     func(*pb.DisconnectSessionRequest) (*pb.DisconnectSessionResponse, error)
	DisconnectAllFunc  func(*pb.DisconnectSessionsRequest, func(*pb.DisconnectSessionsResponse)) error
	SubscribeFunc      func(*pb.SubscribeSessionRequest) (*pb.SubscribeSessionResponse, error)
	UnsubscribeFunc    func(*pb.UnsubscribeSessionRequest) error
	ReauthorizeFunc    func(*pb.ReauthorizeSessionRequest) (*pb.ReauthorizeSessionResponse, error)
	ShowRetainedFunc   func(*pb.ShowRetainedRequest, func(*pb.ShowRetainedResponse)) error
	DeleteRetainedFunc func(*pb.DeleteRetainedRequest) (*pb.DeleteRetainedResponse, error)
	DeleteExpiredFunc  func() (*pb.DeleteExpiredRetainedResponse, error)
	ShowRoutesFunc     func(*pb.ShowRoutesRequest, func(*pb.ShowRoutesResponse)) error
	ShowMetricsFunc    func(*pb.ShowMetricsRequest) (*pb.ShowMetricsResponse, error)
	ResetMetricsFunc   func() error
	BrokerAPI
	CreateAPIKeyFunc func(*pb.CreateApiKeyRequest) (*pb.CreateApiKeyResponse, error)
	DeleteAPIKeyFunc func(*pb.DeleteApiKeyRequest) error
	ShowAPIKeysFunc  func(*pb.ShowApiKeysRequest) (*pb.ShowApiKeysResponse, error)
	ShowAuditFunc    func(*pb.ShowAuditRequest, func(*pb.ShowAuditResponse)) error
}

func (a *API) node(ctx context.Context) error {
	if a.NodeFunc == nil {
		return nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	return a.NodeFunc(strings.Join(md.Get(command.NodeKey), ""))
}

type clusterServer struct {
	pb.UnimplementedClusterServiceServer
	api *API
}

func (s clusterServer) ShowCluster(ctx context.Context, r *pb.ShowClusterRequest) (*pb.ShowClusterResponse, error) {
	return unary(ctx, r, s.api.ShowClusterFunc, s.UnimplementedClusterServiceServer.ShowCluster)
}

func (s clusterServer) JoinCluster(r *pb.JoinClusterRequest, st grpc.ServerStreamingServer[pb.JoinClusterResponse]) error {
	return stream(r, st, s.api.JoinClusterFunc, s.UnimplementedClusterServiceServer.JoinCluster)
}

func (s clusterServer) LeaveCluster(r *pb.LeaveClusterRequest, st grpc.ServerStreamingServer[pb.LeaveClusterResponse]) error {
	return stream(r, st, s.api.LeaveClusterFunc, s.UnimplementedClusterServiceServer.LeaveCluster)
}

type nodeServer struct {
	pb.UnimplementedNodeServiceServer
	api *API
}

func (s nodeServer) GetNodeStatus(ctx context.Context, r *pb.GetNodeStatusRequest) (*pb.GetNodeStatusResponse, error) {
	if s.api.StatusFunc == nil {
		return s.UnimplementedNodeServiceServer.GetNodeStatus(ctx, r)
	}
	return s.api.StatusFunc()
}

func (s nodeServer) PingNode(ctx context.Context, r *pb.PingNodeRequest) (*pb.PingNodeResponse, error) {
	if s.api.PingFunc == nil {
		return s.UnimplementedNodeServiceServer.PingNode(ctx, r)
	}
	return s.api.PingFunc()
}

type sessionServer struct {
	pb.UnimplementedSessionServiceServer
	api *API
}

func (s sessionServer) ShowSessions(r *pb.ShowSessionsRequest, st grpc.ServerStreamingServer[pb.ShowSessionsResponse]) error {
	return stream(r, st, s.api.ShowSessionsFunc, s.UnimplementedSessionServiceServer.ShowSessions)
}

func (s sessionServer) DisconnectSession(ctx context.Context, r *pb.DisconnectSessionRequest) (*pb.DisconnectSessionResponse, error) {
	return unary(ctx, r, s.api.DisconnectFunc, s.UnimplementedSessionServiceServer.DisconnectSession)
}

func (s sessionServer) DisconnectSessions(r *pb.DisconnectSessionsRequest, st grpc.ServerStreamingServer[pb.DisconnectSessionsResponse]) error {
	return stream(r, st, s.api.DisconnectAllFunc, s.UnimplementedSessionServiceServer.DisconnectSessions)
}

func (s sessionServer) SubscribeSession(ctx context.Context, r *pb.SubscribeSessionRequest) (*pb.SubscribeSessionResponse, error) {
	return unary(ctx, r, s.api.SubscribeFunc, s.UnimplementedSessionServiceServer.SubscribeSession)
}

func (s sessionServer) UnsubscribeSession(ctx context.Context, r *pb.UnsubscribeSessionRequest) (*pb.UnsubscribeSessionResponse, error) {
	if s.api.UnsubscribeFunc == nil {
		return s.UnimplementedSessionServiceServer.UnsubscribeSession(ctx, r)
	}
	return &pb.UnsubscribeSessionResponse{}, s.api.UnsubscribeFunc(r)
}

func (s sessionServer) ReauthorizeSession(ctx context.Context, r *pb.ReauthorizeSessionRequest) (*pb.ReauthorizeSessionResponse, error) {
	return unary(ctx, r, s.api.ReauthorizeFunc, s.UnimplementedSessionServiceServer.ReauthorizeSession)
}

type retainServer struct {
	pb.UnimplementedRetainServiceServer
	api *API
}

func (s retainServer) ShowRetained(r *pb.ShowRetainedRequest, st grpc.ServerStreamingServer[pb.ShowRetainedResponse]) error {
	return stream(r, st, s.api.ShowRetainedFunc, s.UnimplementedRetainServiceServer.ShowRetained)
}

func (s retainServer) DeleteRetained(ctx context.Context, r *pb.DeleteRetainedRequest) (*pb.DeleteRetainedResponse, error) {
	return unary(ctx, r, s.api.DeleteRetainedFunc, s.UnimplementedRetainServiceServer.DeleteRetained)
}

func (s retainServer) DeleteExpiredRetained(ctx context.Context, r *pb.DeleteExpiredRetainedRequest) (*pb.DeleteExpiredRetainedResponse, error) {
	if s.api.DeleteExpiredFunc == nil {
		return s.UnimplementedRetainServiceServer.DeleteExpiredRetained(ctx, r)
	}
	return s.api.DeleteExpiredFunc()
}

type routeServer struct {
	pb.UnimplementedRouteServiceServer
	api *API
}

func (s routeServer) ShowRoutes(r *pb.ShowRoutesRequest, st grpc.ServerStreamingServer[pb.ShowRoutesResponse]) error {
	return stream(r, st, s.api.ShowRoutesFunc, s.UnimplementedRouteServiceServer.ShowRoutes)
}

type metricsServer struct {
	pb.UnimplementedMetricsServiceServer
	api *API
}

func (s metricsServer) ShowMetrics(ctx context.Context, r *pb.ShowMetricsRequest) (*pb.ShowMetricsResponse, error) {
	return unary(ctx, r, s.api.ShowMetricsFunc, s.UnimplementedMetricsServiceServer.ShowMetrics)
}

func (s metricsServer) ResetMetrics(ctx context.Context, r *pb.ResetMetricsRequest) (*pb.ResetMetricsResponse, error) {
	if s.api.ResetMetricsFunc == nil {
		return s.UnimplementedMetricsServiceServer.ResetMetrics(ctx, r)
	}
	return &pb.ResetMetricsResponse{}, s.api.ResetMetricsFunc()
}

type keyServer struct {
	pb.UnimplementedApiKeyServiceServer
	api *API
}

func (s keyServer) CreateApiKey(ctx context.Context, r *pb.CreateApiKeyRequest) (*pb.CreateApiKeyResponse, error) { //nolint:revive,staticcheck // the name is that of the generated code
	return unary(ctx, r, s.api.CreateAPIKeyFunc, s.UnimplementedApiKeyServiceServer.CreateApiKey)
}

func (s keyServer) DeleteApiKey(ctx context.Context, r *pb.DeleteApiKeyRequest) (*pb.DeleteApiKeyResponse, error) { //nolint:revive,staticcheck // the name is that of the generated code
	if s.api.DeleteAPIKeyFunc == nil {
		return s.UnimplementedApiKeyServiceServer.DeleteApiKey(ctx, r)
	}
	return &pb.DeleteApiKeyResponse{}, s.api.DeleteAPIKeyFunc(r)
}

func (s keyServer) ShowApiKeys(ctx context.Context, r *pb.ShowApiKeysRequest) (*pb.ShowApiKeysResponse, error) { //nolint:revive,staticcheck // the name is that of the generated code
	return unary(ctx, r, s.api.ShowAPIKeysFunc, s.UnimplementedApiKeyServiceServer.ShowApiKeys)
}

type auditServer struct {
	pb.UnimplementedAuditServiceServer
	api *API
}

func (s auditServer) ShowAudit(r *pb.ShowAuditRequest, st grpc.ServerStreamingServer[pb.ShowAuditResponse]) error {
	return stream(r, st, s.api.ShowAuditFunc, s.UnimplementedAuditServiceServer.ShowAudit)
}

// Factory returns a Factory whose connection leads to api, and its stdout and
// stderr.
func Factory(t *testing.T, api *API) (f *command.Factory, stdout, stderr *bytes.Buffer) {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	g := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := api.node(ctx); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := api.node(ss.Context()); err != nil {
				return err
			}
			return next(srv, ss)
		}))
	pb.RegisterClusterServiceServer(g, clusterServer{api: api})
	pb.RegisterNodeServiceServer(g, nodeServer{api: api})
	pb.RegisterSessionServiceServer(g, sessionServer{api: api})
	pb.RegisterRetainServiceServer(g, retainServer{api: api})
	pb.RegisterRouteServiceServer(g, routeServer{api: api})
	pb.RegisterMetricsServiceServer(g, metricsServer{api: api})
	api.BrokerAPI.register(g)
	pb.RegisterApiKeyServiceServer(g, keyServer{api: api})
	pb.RegisterAuditServiceServer(g, auditServer{api: api})
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///fake", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &command.Factory{
		Name:    "mqadmin",
		IO:      command.IO{In: strings.NewReader(""), Out: stdout, Err: stderr},
		Globals: command.Globals{Format: "human"},
		Getenv:  func(string) string { return "" },
		Dial:    func(context.Context) (grpc.ClientConnInterface, error) { return conn, nil },
		Close:   func() {},
	}, stdout, stderr
}

// Execute runs cmd with a command line, as the root would.
func Execute(t *testing.T, cmd *cobra.Command, args ...string) error {
	t.Helper()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(kv.Normalize(cmd, args))
	return cmd.ExecuteContext(t.Context())
}

// Golden compares got with testdata/name; UPDATE_GOLDEN=1 writes it.
func Golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s: %s", name, d)
	}
}
