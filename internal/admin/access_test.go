package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin/admintest"
	"github.com/mqadmin/mqadmin/internal/apikey"
	"github.com/mqadmin/mqadmin/internal/audit"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// memoryKeys is a store of keys of one process.
type memoryKeys struct {
	mu   sync.Mutex
	keys []apikey.Key
}

func (m *memoryKeys) find(h apikey.Hash, scope string) int {
	for i, k := range m.keys {
		if k.Hash == h && k.Scope == scope {
			return i
		}
	}
	return -1
}

func (m *memoryKeys) Key(h apikey.Hash, scope string) (apikey.Key, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.find(h, scope); i >= 0 {
		return m.keys[i], true
	}
	return apikey.Key{}, false
}

func (m *memoryKeys) Keys() []apikey.Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]apikey.Key(nil), m.keys...)
}

func (m *memoryKeys) Put(_ context.Context, k apikey.Key) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.find(k.Hash, k.Scope) >= 0 {
		return true, nil
	}
	m.keys = append(m.keys, k)
	return false, nil
}

func (m *memoryKeys) Drop(_ context.Context, h apikey.Hash, scope string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(h, scope)
	if i < 0 {
		return false, nil
	}
	m.keys = append(m.keys[:i], m.keys[i+1:]...)
	return true, nil
}

// tokenServer serves TLS on loopback and returns a func that connects to it
// with an API key, "" for none.
func tokenServer(t *testing.T, keys *apikey.Keyring, change func(*Config)) func(token string) *grpc.ClientConn {
	t.Helper()
	ca := admintest.New(t)
	certFile, keyFile := ca.Issue("broker", "")
	cfg, err := ServerTLS(certFile, keyFile, "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{members: func(context.Context) (View, error) { return View{}, nil }}
	c := Config{Cluster: f, Node: f, Sessions: f, Subscriptions: f, Retained: fakeRetained{}, Routes: fakeRoutes{}, Metrics: metrics.New(), Logger: discard(), Keys: keys}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, TLSTransport(cfg)) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(token string) *grpc.ClientConn {
		opts := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ca.Pool, ServerName: "localhost"}))}
		if token != "" {
			opts = append(opts, grpc.WithPerRPCCredentials(bearerToken(token)))
		}
		conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), opts...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
}

type bearerToken string

func (b bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "bearer " + string(b)}, nil
}
func (bearerToken) RequireTransportSecurity() bool { return true }

func TestAPIKeysOverTLS(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	keys := apikey.New(apikey.Config{Store: &memoryKeys{}, MaxFailures: 4, Now: func() time.Time { return now }})
	root, _, err := keys.Create(t.Context(), apikey.Request{})
	if err != nil {
		t.Fatal(err)
	}
	dial := tokenServer(t, keys, nil)
	api := pb.NewApiKeyServiceClient(dial(root))
	made, err := api.CreateApiKey(t.Context(), &pb.CreateApiKeyRequest{KeyRole: "viewer", ExpiresAt: timestamp(now.Add(time.Hour))})
	if err != nil {
		t.Fatal(err)
	}
	if by := made.GetKey().GetCreatedBy(); !strings.HasPrefix(by, "key ") {
		t.Errorf("made by %q", by)
	}
	metric, err := api.CreateApiKey(t.Context(), &pb.CreateApiKeyRequest{Scope: "metrics"})
	if err != nil {
		t.Fatal(err)
	}
	call := func(token string) (read, change error) {
		conn := dial(token)
		_, read = pb.NewNodeServiceClient(conn).PingNode(t.Context(), &pb.PingNodeRequest{})
		_, change = pb.NewMetricsServiceClient(conn).ResetMetrics(t.Context(), &pb.ResetMetricsRequest{})
		return read, change
	}
	for name, tc := range map[string]struct {
		token        string
		read, change codes.Code
	}{
		"admin":         {root, codes.OK, codes.OK},
		"viewer":        {made.GetSecret(), codes.OK, codes.PermissionDenied},
		"none":          {"", codes.Unauthenticated, codes.Unauthenticated},
		"another scope": {metric.GetSecret(), codes.Unauthenticated, codes.Unauthenticated}, // two failures
	} {
		read, change := call(tc.token)
		if status.Code(read) != tc.read || status.Code(change) != tc.change {
			t.Errorf("%s: %v, %v", name, read, change)
		}
	}
	list, err := api.ShowApiKeys(t.Context(), &pb.ShowApiKeysRequest{})
	if err != nil || len(list.GetKeys()) != 3 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := api.DeleteApiKey(t.Context(), &pb.DeleteApiKeyRequest{Key: metric.GetKey().GetId(), Scope: "metrics"}); err != nil {
		t.Error(err)
	}
	for want, req := range map[string]*pb.DeleteApiKeyRequest{"API_KEY_UNKNOWN": {Key: "x"}, "MISSING_ARGUMENT": {}} {
		if _, err := api.DeleteApiKey(t.Context(), req); reasonOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for want, req := range map[string]*pb.CreateApiKeyRequest{"API_KEY_EXISTS": {Secret: root}, "INVALID_ARGUMENT": {Scope: "x"}} {
		if _, err := api.CreateApiKey(t.Context(), req); reasonOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	now = now.Add(time.Hour)
	if read, _ := call(made.GetSecret()); status.Code(read) != codes.Unauthenticated || !strings.Contains(read.Error(), "has expired") {
		t.Errorf("an expired key: %v", read)
	}
	// The failures so far, and these, are all from one address.
	for range 4 {
		_, _ = call("wrong")
	}
	if read, _ := call(root); reasonOf(read) != "LOGIN_LIMITED" {
		t.Errorf("after many failures: %v", read)
	}
}

func TestReflectionAndHealth(t *testing.T) {
	keys := apikey.New(apikey.Config{Store: &memoryKeys{}})
	viewer, _, err := keys.Create(t.Context(), apikey.Request{Role: "viewer"})
	if err != nil {
		t.Fatal(err)
	}
	dial := tokenServer(t, keys, nil)
	// What grpcurl does: list the services, then ask for a method's file.
	stream, err := reflectpb.NewServerReflectionClient(dial(viewer)).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(r *reflectpb.ServerReflectionRequest) *reflectpb.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	var names []string
	list := ask(&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_ListServices{}})
	for _, s := range list.GetListServicesResponse().GetService() {
		if strings.HasPrefix(s.GetName(), "mqadmin.") {
			names = append(names, s.GetName())
		}
	}
	for _, want := range []string{"mqadmin.v1.ClusterService", "mqadmin.v1.ApiKeyService", "mqadmin.v1.AuditService"} {
		if !strings.Contains(strings.Join(names, " "), want) {
			t.Errorf("%s is missing in %q", want, names)
		}
	}
	file := ask(&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_FileContainingSymbol{
		FileContainingSymbol: "mqadmin.v1.ClusterService.ShowCluster",
	}})
	if len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("no descriptor: %v", file)
	}
	stranger, err := reflectpb.NewServerReflectionClient(dial("")).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("reflection for a stranger: %v", err)
	}
	resp, err := healthpb.NewHealthClient(dial("")).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", resp, err)
	}
}

// memoryAudit keeps entries, or fails.
type memoryAudit struct {
	mu      sync.Mutex
	entries []audit.Entry
	err     error
}

func (m *memoryAudit) Add(e audit.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = append(m.entries, e)
	return m.err
}

func (m *memoryAudit) Read(q audit.Query) ([]audit.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]audit.Entry(nil), m.entries[max(0, len(m.entries)-q.Limit):]...), nil
}

func TestWhatIsWrittenDown(t *testing.T) {
	kept := &memoryAudit{}
	keys := apikey.New(apikey.Config{Store: &memoryKeys{}})
	root, key, err := keys.Create(t.Context(), apikey.Request{})
	if err != nil {
		t.Fatal(err)
	}
	dial := tokenServer(t, keys, func(c *Config) { c.Audit = kept })
	conn := dial(root)
	secret := "a-secret-of-some-length"
	_, _ = pb.NewNodeServiceClient(conn).PingNode(t.Context(), &pb.PingNodeRequest{}) // reads are not
	_, _ = pb.NewApiKeyServiceClient(conn).CreateApiKey(t.Context(), &pb.CreateApiKeyRequest{Secret: secret, Scope: "metrics"})
	_, _ = pb.NewApiKeyServiceClient(conn).DeleteApiKey(t.Context(), &pb.DeleteApiKeyRequest{Key: secret})
	_, _ = pb.NewNodeServiceClient(dial("wrong")).PingNode(t.Context(), &pb.PingNodeRequest{})
	stream, err := pb.NewAuditServiceClient(conn).ShowAudit(t.Context(), &pb.ShowAuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	type line struct{ Caller, Method, Arguments, Code, Node string }
	var got []line
	for _, e := range resp.GetEntries() {
		got = append(got, line{e.GetCaller(), e.GetMethod(), strings.ReplaceAll(e.GetArguments(), " ", ""), e.GetCode(), e.GetNode()})
		if !strings.HasPrefix(e.GetRemote(), "127.0.0.1:") || e.GetTook().AsDuration() <= 0 || e.GetTime() == nil {
			t.Errorf("%v", e)
		}
	}
	who := "key " + key.ID()
	want := []line{
		{who, "ApiKeyService/CreateApiKey", `{"scope":"metrics","secret":"***"}`, "OK", "n1"},
		{who, "ApiKeyService/DeleteApiKey", `{"key":"***"}`, "NotFound", "n1"},
		{"", "NodeService/PingNode", `{}`, "Unauthenticated", "n1"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAnAuditLogThatFailsIsCounted(t *testing.T) {
	reg := metrics.New()
	conn := start(t, &fake{}, func(c *Config) {
		c.Audit, c.Registry = &memoryAudit{err: errors.New("disk full")}, reg
	}, as(adminID))
	if _, err := pb.NewMetricsServiceClient(conn).ResetMetrics(t.Context(), &pb.ResetMetricsRequest{}); err != nil {
		t.Error(err)
	}
	if n := reg.Counter("audit_failed", "").Value(); n != 1 {
		t.Errorf("counted %d", n)
	}
	stream, err := pb.NewAuditServiceClient(start(t, &fake{}, nil, as(adminID))).ShowAudit(t.Context(), &pb.ShowAuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); reasonOf(err) != "AUDIT_OFF" {
		t.Error(err)
	}
}

// TestManyCallsAtOnce: more calls and connections than there are places wait
// for their turn, and all are answered.
func TestManyCallsAtOnce(t *testing.T) {
	const calls, places = 10_000, 8
	var running, most int
	var mu sync.Mutex
	reg := metrics.New()
	f := &fake{members: func(context.Context) (View, error) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		defer func() { mu.Lock(); running--; mu.Unlock() }()
		return View{}, nil
	}}
	conn := start(t, f, func(c *Config) { c.MaxCalls, c.Registry = places, reg }, as(adminID))
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if _, err := pb.NewClusterServiceClient(conn).ShowCluster(t.Context(), &pb.ShowClusterRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most > places {
		t.Errorf("%d at once", most)
	}
	if n := reg.Counter("admin_calls", "").Value(); n != calls {
		t.Errorf("counted %d", n)
	}
}

func TestConnectionsWaitForAPlace(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reg := metrics.New()
	waited := reg.Counter("w", "")
	ll := limit(l, 1, waited)
	accepted := make(chan net.Conn)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ll.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 2 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-accepted
	select {
	case <-accepted:
		t.Error("two at once")
	default:
	}
	first.Close()
	first.Close() // gives one place back, not two
	second := <-accepted
	ll.Close() // while Accept waits for a place
	<-done
	second.Close()
	if waited.Value() == 0 {
		t.Error("not counted")
	}
}

func TestMetadataOfAStrangerIsNoIdentity(t *testing.T) {
	conn := start(t, &fake{}, nil, as(Identity{}))
	ctx := metadata.AppendToOutgoingContext(t.Context(), actorKey, "root", "authorization", "Bearer x")
	if _, err := pb.NewNodeServiceClient(conn).PingNode(ctx, &pb.PingNodeRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Error(err)
	}
}
