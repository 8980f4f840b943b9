package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Config is what a Server is made of.
type Config struct {
	Cluster  Cluster
	Node     Node
	Sessions Sessions
	// Subscriptions change at the request of an operator.
	Subscriptions Subscriptions
	Retained      Retained
	Routes        Routes
	Metrics       Metrics
	Peers         Peers // nil: a node alone
	// Settings are shown and changed; nil: the calls about them are not served.
	Settings Settings
	// Keys are checked when callers send one; nil: there are none.
	Keys APIKeys
	// Audit gets an entry for every call that changes something or is refused,
	// and with AuditReads for all; nil: nobody keeps them.
	Audit      Audit
	AuditReads bool
	// What follows is about the broker itself, and as optional.
	Listeners    Listeners
	Plugins      Plugins
	Logs         Logs
	Certificates Certificates
	Traces       Traces
	// Errors maps sentinels of lower packages to reasons; optional.
	Errors []ErrorMapping
	// Identify recognises callers on servers that were not started with Serve,
	// see ServerOptions; optional.
	Identify func(context.Context) (Identity, bool)
	// Logger gets the audit lines; required.
	Logger *slog.Logger
	// Registry counts calls, refusals and failures; optional.
	Registry *metrics.Registry
	// MetricsNamespace goes before names in Prometheus' format.
	MetricsNamespace string
	// CallTimeout ends unary calls that came without a deadline; 60 s when 0.
	CallTimeout time.Duration
	// PeerTimeout is how long another member may be silent before the answer
	// goes out without it; 5 s when nil.
	PeerTimeout func() time.Duration
	// MaxCalls bounds the calls that run at once; further ones wait. 100 when 0.
	MaxCalls int
	// MaxConnections bounds the connections of one listener; 1000 when 0.
	MaxConnections int
}

// maxRequest is the longest request in bytes: a client id and a mountpoint of
// 64 KiB each, and filters, fit.
const maxRequest = 1 << 20

// Server answers mqadmin, on as many listeners as it is given.
type Server struct {
	cfg     Config
	roles   map[string]pb.Role
	calls   *metrics.Counter
	failed  *metrics.Counter
	refused *metrics.Counter
	unary   *metrics.Histogram
	streams *metrics.Histogram
	waited  *metrics.Counter
	crowded *metrics.Counter
	unkept  *metrics.Counter
	// slots bound the calls that run.
	slots chan struct{}

	mu      sync.Mutex // guards servers, closed
	servers []*grpc.Server
	closed  bool
}

// ErrClosed is returned by Serve after Close or Shutdown.
var ErrClosed = errors.New("admin server is closed")

// New checks cfg and returns a Server that does not listen yet.
func New(cfg Config) (*Server, error) {
	if cfg.Cluster == nil || cfg.Node == nil || cfg.Sessions == nil || cfg.Subscriptions == nil || cfg.Retained == nil || cfg.Routes == nil || cfg.Metrics == nil || cfg.Logger == nil {
		return nil, errors.New("admin: Cluster, Node, Sessions, Subscriptions, Retained, Routes, Metrics and Logger are required")
	}
	if cfg.CallTimeout == 0 {
		cfg.CallTimeout = time.Minute
	}
	if cfg.PeerTimeout == nil {
		cfg.PeerTimeout = func() time.Duration { return 5 * time.Second }
	}
	if cfg.MaxCalls == 0 {
		cfg.MaxCalls = 100
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 1000
	}
	s := &Server{
		cfg:     cfg,
		roles:   methodRoles(),
		slots:   make(chan struct{}, cfg.MaxCalls),
		waited:  cfg.Registry.Counter("admin_calls_waited", "Calls of the admin API that waited because admin.max_concurrent_calls were running."),
		crowded: cfg.Registry.Counter("admin_connections_waited", "Connections to the admin API that waited because there were admin.max_connections."),
		unkept:  cfg.Registry.Counter("audit_failed", "Calls of the admin API that could not be written to the audit log."),
		calls:   cfg.Registry.Counter("admin_calls", "Calls of the admin API."),
		failed:  cfg.Registry.Counter("admin_calls_failed", "Calls of the admin API that failed."),
		refused: cfg.Registry.Counter("admin_calls_refused", "Calls of the admin API that were refused for want of identity or role."),
	}
	took := func(kind string) *metrics.Histogram {
		return cfg.Registry.Histogram("admin_call_microseconds", "Calls of the admin API: those with one answer, and streams until their end.",
			metrics.Latencies(), metrics.Label{Name: "kind", Value: kind})
	}
	s.unary, s.streams = took("unary"), took("stream")
	return s, nil
}

// Serve answers calls on l until Close or Shutdown, when it returns nil, or
// until l fails. The transport decides who a caller is: UnixTransport
// or TLSTransport.
func (s *Server) Serve(l net.Listener, transport credentials.TransportCredentials) error {
	opts := append(s.ServerOptions(),
		grpc.Creds(transport),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxConcurrentStreams(uint32(s.cfg.MaxCalls)),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	g := grpc.NewServer(opts...)
	s.Register(g)
	reflection.Register(g)
	alive := health.NewServer()
	healthpb.RegisterHealthServer(g, alive)
	defer alive.Shutdown()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		l.Close()
		return ErrClosed
	}
	s.servers = append(s.servers, g)
	s.mu.Unlock()
	if err := g.Serve(limit(l, s.cfg.MaxConnections, s.crowded)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Register adds the services to a gRPC server that somebody else runs, made
// with ServerOptions.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	pb.RegisterClusterServiceServer(r, clusterService{s: s})
	pb.RegisterNodeServiceServer(r, nodeService{s: s})
	pb.RegisterSessionServiceServer(r, sessionService{s: s})
	pb.RegisterRetainServiceServer(r, retainService{s: s})
	pb.RegisterRouteServiceServer(r, routeService{s: s})
	pb.RegisterMetricsServiceServer(r, metricsService{s: s})
	if s.cfg.Settings != nil {
		pb.RegisterSettingServiceServer(r, settingService{s: s})
	}
	pb.RegisterApiKeyServiceServer(r, keyService{s: s})
	pb.RegisterAuditServiceServer(r, auditService{s: s})
	if s.cfg.Listeners != nil {
		pb.RegisterListenerServiceServer(r, listenerService{s: s})
	}
	if s.cfg.Plugins != nil {
		pb.RegisterPluginServiceServer(r, pluginService{s: s})
	}
	if s.cfg.Logs != nil {
		pb.RegisterLogServiceServer(r, logService{s: s})
	}
	if s.cfg.Certificates != nil {
		pb.RegisterTLSServiceServer(r, tlsService{s: s})
	}
	if s.cfg.Traces != nil {
		pb.RegisterTraceServiceServer(r, traceService{s: s})
	}
}

// ServerOptions returns the interceptors. They let calls of other services
// pass untouched.
func (s *Server) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(s.interceptUnary),
		grpc.ChainStreamInterceptor(s.interceptStream),
	}
}

// Shutdown stops accepting, waits for running calls until ctx ends, and then
// cuts them off.
func (s *Server) Shutdown(ctx context.Context) {
	var wg sync.WaitGroup
	for _, g := range s.take() {
		wg.Go(func() {
			stop := context.AfterFunc(ctx, g.Stop)
			defer stop()
			g.GracefulStop()
		})
	}
	wg.Wait()
}

// Close stops at once; running calls fail.
func (s *Server) Close() {
	for _, g := range s.take() {
		g.Stop()
	}
}

func (s *Server) take() []*grpc.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	servers := s.servers
	s.servers, s.closed = nil, true
	return servers
}
