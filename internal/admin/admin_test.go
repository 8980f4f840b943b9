package admin

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a broker with one func per question; a nil one has a plain answer.
type fake struct {
	members    func(context.Context) (View, error)
	join       func(context.Context, string, func(JoinProgress)) (JoinResult, error)
	leave      func(context.Context, LeaveRequest, func(LeaveProgress)) (LeaveResult, error)
	disconnect func(context.Context, DisconnectRequest) (DisconnectResult, error)
	subs       func(context.Context, message.SessionID) ([]message.Subscription, error)
	msgs       func(context.Context, message.SessionID) ([]QueuedMessage, error)
	scope      func(Scope)
	locate     func(Scope) ([]string, bool)
	sessions   []*Session
	owner      func(message.SessionID) (string, bool)

	retained []*message.Message
	deleted  func(ctx context.Context, mountpoint, topic string) error
	routes   []Route

	subscribe   func(context.Context, message.SessionID, message.Subscription) (bool, error)
	unsubscribe func(context.Context, message.SessionID, string, bool) (bool, error)
	reauthorize func(context.Context, message.SessionID, string) ([]string, []string, error)
}

func (f *fake) Members(ctx context.Context) (View, error) { return f.members(ctx) }
func (f *fake) Join(ctx context.Context, d string, p func(JoinProgress)) (JoinResult, error) {
	return f.join(ctx, d, p)
}

func (f *fake) Leave(ctx context.Context, r LeaveRequest, p func(LeaveProgress)) (LeaveResult, error) {
	return f.leave(ctx, r, p)
}

func (f *fake) Status(context.Context) (Status, error) { return Status{Node: "n1", NumOnline: 3}, nil }
func (f *fake) Ping(context.Context) (Pong, error)     { return Pong{Node: "n1", Ready: true}, nil }
func (f *fake) Each(_ context.Context, s Scope, fn func(*Session) bool) error {
	if f.scope != nil {
		f.scope(s)
	}
	for _, sess := range f.sessions {
		if !fn(sess) {
			break
		}
	}
	return nil
}

func (f *fake) Locate(s Scope) ([]string, bool) {
	if f.locate == nil {
		return nil, false
	}
	return f.locate(s)
}

func (f *fake) Owner(id message.SessionID) (string, bool) {
	if f.owner == nil {
		return "n1", true
	}
	return f.owner(id)
}

func (f *fake) Subscribe(ctx context.Context, id message.SessionID, sub message.Subscription) (bool, error) {
	return f.subscribe(ctx, id, sub)
}

func (f *fake) Unsubscribe(ctx context.Context, id message.SessionID, filter string, tell bool) (bool, error) {
	return f.unsubscribe(ctx, id, filter, tell)
}

func (f *fake) Reauthorize(ctx context.Context, id message.SessionID, username string) ([]string, []string, error) {
	return f.reauthorize(ctx, id, username)
}

func (f *fake) Subscriptions(ctx context.Context, id message.SessionID) ([]message.Subscription, error) {
	if f.subs == nil {
		return nil, nil
	}
	return f.subs(ctx, id)
}

func (f *fake) Messages(ctx context.Context, id message.SessionID) ([]QueuedMessage, error) {
	if f.msgs == nil {
		return nil, nil
	}
	return f.msgs(ctx, id)
}

func (f *fake) Disconnect(ctx context.Context, r DisconnectRequest) (DisconnectResult, error) {
	return f.disconnect(ctx, r)
}

// as identifies every caller on a listener as id.
func as(id Identity) credentials.TransportCredentials {
	return handshake{proto: "test", server: func(c net.Conn) (net.Conn, Identity, error) { return c, id, nil }}
}

var adminID = Identity{Name: "tester", Role: pb.Role_ROLE_ADMIN}

// start serves f and returns a connection to it.
func start(t testing.TB, f *fake, change func(*Config), creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	cfg := Config{Cluster: f, Node: f, Sessions: f, Subscriptions: f, Retained: fakeRetained{f}, Routes: fakeRoutes{f}, Metrics: metrics.New(), Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := bufconn.Listen(1 << 16)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, creds) }()
	conn, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
	return conn
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newServer(t *testing.T, f *fake) *Server {
	t.Helper()
	s, err := New(Config{Cluster: f, Node: f, Sessions: f, Subscriptions: f, Retained: fakeRetained{f}, Routes: fakeRoutes{f}, Metrics: metrics.New(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

func TestEveryMethodHasARole(t *testing.T) {
	roles := methodRoles()
	if len(roles) < 9 {
		t.Errorf("only %d methods were found", len(roles))
	}
	for method, role := range roles {
		if role == pb.Role_ROLE_UNSPECIFIED {
			t.Errorf("%s has no role", method)
		}
		if strings.HasSuffix(method, "/ShowApiKeys") || strings.HasSuffix(method, "/ShowAudit") {
			continue // these tell who may do what, and what was done
		}
		if strings.Contains(method, "Show") && role != pb.Role_ROLE_VIEWER {
			t.Errorf("%s only reads and needs %s", method, role)
		}
	}
}

func TestEveryReasonHasACode(t *testing.T) {
	for n := range pb.ErrorReason_name {
		if _, ok := reasonCodes[Reason(n)]; !ok && n != 0 {
			t.Errorf("%s has no status code", Reason(n))
		}
	}
}

func TestRolesAreChecked(t *testing.T) {
	f := &fake{
		members: func(context.Context) (View, error) { return View{}, nil },
		disconnect: func(context.Context, DisconnectRequest) (DisconnectResult, error) {
			return DisconnectResult{}, nil
		},
		join: func(context.Context, string, func(JoinProgress)) (JoinResult, error) { return JoinResult{}, nil },
	}
	type allowed struct{ show, disconnect, join bool }
	for role, want := range map[pb.Role]allowed{
		pb.Role_ROLE_UNSPECIFIED: {},
		pb.Role_ROLE_VIEWER:      {show: true},
		pb.Role_ROLE_OPERATOR:    {show: true, disconnect: true},
		pb.Role_ROLE_ADMIN:       {true, true, true},
	} {
		conn := start(t, f, nil, as(Identity{Name: "x", Role: role}))
		check := func(what string, err error, want bool) {
			t.Helper()
			if (err == nil) != want {
				t.Errorf("%s as %s: %v", what, role, err)
			}
			if err != nil && (status.Code(err) != codes.PermissionDenied || reasonOf(err) != "ROLE_TOO_LOW") {
				t.Errorf("%s as %s: code %s, reason %s", what, role, status.Code(err), reasonOf(err))
			}
		}
		_, err := pb.NewClusterServiceClient(conn).ShowCluster(t.Context(), &pb.ShowClusterRequest{})
		check("show", err, want.show)
		_, err = pb.NewSessionServiceClient(conn).DisconnectSession(t.Context(), &pb.DisconnectSessionRequest{ClientId: "c"})
		check("disconnect", err, want.disconnect)
		stream, err := pb.NewClusterServiceClient(conn).JoinCluster(t.Context(), &pb.JoinClusterRequest{DiscoveryNode: "n"})
		if err == nil {
			_, err = stream.Recv()
		}
		check("join", err, want.join)
	}
}

func TestUnidentifiedCallersAreRefused(t *testing.T) {
	conn := start(t, &fake{}, nil, insecure.NewCredentials())
	_, err := pb.NewNodeServiceClient(conn).PingNode(t.Context(), &pb.PingNodeRequest{})
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v", err)
	}
}

func TestUnixSocketIdentifiesTheOwner(t *testing.T) {
	s := newServer(t, &fake{})
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := UnixTransport("")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, creds) }()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pb.NewNodeServiceClient(conn).PingNode(t.Context(), &pb.PingNodeRequest{}); err != nil {
		t.Error(err)
	}
	conn.Close()
	s.Shutdown(t.Context())
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Serve(l, creds); !errors.Is(err, ErrClosed) {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

func TestUnixIdentity(t *testing.T) {
	for _, tc := range []struct {
		uid, group int
		gids       []int
		want       pb.Role
	}{
		{uid: 0, group: -1, want: pb.Role_ROLE_ADMIN},
		{uid: 4711, group: -1, want: pb.Role_ROLE_ADMIN},
		{uid: 4712, group: -1, gids: []int{0}, want: pb.Role_ROLE_UNSPECIFIED},
		{uid: 4712, group: 99, gids: []int{99}, want: pb.Role_ROLE_ADMIN},
		{uid: 4712, group: 99, gids: []int{98}, want: pb.Role_ROLE_UNSPECIFIED},
	} {
		if got := unixIdentity(tc.uid, tc.gids, 4711, tc.group).Role; got != tc.want {
			t.Errorf("uid %d, group %d of %v: %s, want %s", tc.uid, tc.group, tc.gids, got, tc.want)
		}
	}
	if _, err := UnixTransport("no-such-group-4711"); err == nil {
		t.Error("an unknown group was accepted")
	}
}

var errLower = errors.New("from below")

func TestErrorsGetTheirStatus(t *testing.T) {
	for _, tc := range []struct {
		err    error
		code   codes.Code
		reason string
	}{
		{NewError(pb.ErrorReason_ERROR_REASON_NODE_UNKNOWN, "no member x", "node", "x"), codes.NotFound, "NODE_UNKNOWN"},
		{errors.Join(errLower), codes.Unavailable, "NO_QUORUM"},
		{context.DeadlineExceeded, codes.DeadlineExceeded, "TIMEOUT"},
		{errors.New("odd"), codes.Internal, "INTERNAL"},
		{status.Error(codes.Aborted, "of a peer"), codes.Aborted, ""},
	} {
		f := &fake{members: func(context.Context) (View, error) { return View{}, tc.err }}
		conn := start(t, f, func(c *Config) {
			c.Errors = []ErrorMapping{{errLower, pb.ErrorReason_ERROR_REASON_NO_QUORUM}}
		}, as(adminID))
		_, err := pb.NewClusterServiceClient(conn).ShowCluster(t.Context(), &pb.ShowClusterRequest{})
		if status.Code(err) != tc.code || reasonOf(err) != tc.reason {
			t.Errorf("%v: code %s, reason %q", tc.err, status.Code(err), reasonOf(err))
		}
	}
}

func TestPanicEndsOneCallOnly(t *testing.T) {
	var log bytes.Buffer
	f := &fake{members: func(context.Context) (View, error) { panic("boom") }}
	conn := start(t, f, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) }, as(adminID))
	_, err := pb.NewClusterServiceClient(conn).ShowCluster(t.Context(), &pb.ShowClusterRequest{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "boom") {
		t.Errorf("got %v", err)
	}
	if _, err := pb.NewNodeServiceClient(conn).PingNode(t.Context(), &pb.PingNodeRequest{}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "boom") {
		t.Errorf("the log does not tell: %s", &log)
	}
}

func TestMutatingCallsAreAudited(t *testing.T) {
	var log bytes.Buffer
	f := &fake{disconnect: func(context.Context, DisconnectRequest) (DisconnectResult, error) {
		return DisconnectResult{}, NewError(pb.ErrorReason_ERROR_REASON_NO_QUORUM, "no majority")
	}}
	conn := start(t, f, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) }, as(adminID))
	_, _ = pb.NewSessionServiceClient(conn).DisconnectSession(t.Context(), &pb.DisconnectSessionRequest{ClientId: "c1", Cleanup: true})
	_, _ = pb.NewNodeServiceClient(conn).PingNode(t.Context(), &pb.PingNodeRequest{})
	line := log.String()
	for _, want := range []string{"SessionService/DisconnectSession", "caller=tester", "c1", "code=Unavailable", `error="no majority"`} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	if strings.Contains(line, "PingNode") {
		t.Errorf("a call that only reads is in the audit log: %s", line)
	}
}

func TestLeaveDefaultsAndProgress(t *testing.T) {
	f := &fake{leave: func(_ context.Context, r LeaveRequest, p func(LeaveProgress)) (LeaveResult, error) {
		if r.SummaryInterval != defaultSummaryInterval || r.Timeout != defaultLeaveTimeout || !r.AcceptQuorumLoss {
			t.Errorf("got %+v", r)
		}
		p(LeaveProgress{Phase: LeaveMigrate, QueuesDone: 3, QueuesTotal: 10})
		return LeaveResult{Outcome: LeaveLeft, Members: []string{"n2"}}, nil
	}}
	conn := start(t, f, nil, as(adminID))
	stream, err := pb.NewClusterServiceClient(conn).LeaveCluster(t.Context(),
		&pb.LeaveClusterRequest{Node: "n1", AcceptRisks: []pb.Risk{pb.Risk_RISK_QUORUM_LOSS}})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil || first.GetProgress().GetPhase() != pb.LeavePhase_LEAVE_PHASE_MIGRATE || first.GetProgress().GetQueuesTotal() != 10 {
		t.Errorf("progress: %v, %v", first, err)
	}
	last, err := stream.Recv()
	if err != nil || last.GetResult().GetOutcome() != pb.LeaveOutcome_LEAVE_OUTCOME_LEFT {
		t.Errorf("result: %v, %v", last, err)
	}
}

func TestMissingArguments(t *testing.T) {
	conn := start(t, &fake{}, nil, as(adminID))
	_, err := pb.NewSessionServiceClient(conn).DisconnectSession(t.Context(), &pb.DisconnectSessionRequest{})
	if reasonOf(err) != "MISSING_ARGUMENT" {
		t.Error(err)
	}
	stream, err := pb.NewClusterServiceClient(conn).LeaveCluster(t.Context(), &pb.LeaveClusterRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if reasonOf(err) != "MISSING_ARGUMENT" {
		t.Error(err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration was accepted")
	}
}

// fakeRetained and fakeRoutes answer with what a fake has.
type (
	fakeRetained struct{ f *fake }
	fakeRoutes   struct{ f *fake }
)

func (r fakeRetained) Each(_ context.Context, mountpoint, topic string, fn func(*message.Message) bool) error {
	for _, m := range r.f.retained {
		if m.Mountpoint+"\x00"+m.Topic >= mountpoint+"\x00"+topic && !fn(m) {
			break
		}
	}
	return nil
}

func (r fakeRetained) Delete(ctx context.Context, mountpoint, topic string) error {
	return r.f.deleted(ctx, mountpoint, topic)
}

func (r fakeRetained) DeleteExpired(ctx context.Context, mountpoint, topic string, _ time.Time) (bool, error) {
	return topic != "replaced", r.f.deleted(ctx, mountpoint, topic)
}

func (r fakeRoutes) Each(_ context.Context, fn func(Route) bool) error {
	for _, rt := range r.f.routes {
		if !fn(rt) {
			break
		}
	}
	return nil
}
