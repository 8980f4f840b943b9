package conformance

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/mqadmin/mqadmin/internal/cluster"
	"github.com/mqadmin/mqadmin/internal/hook"
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

// stack is the broker from the session engine down, composed as
// internal/broker does, for virtual time: connections are pipes, messages lie
// on a disk in memory. It lives inside one synctest bubble.
type stack struct {
	t        testing.TB
	settings session.Settings
	fs       vfs.FS
	dir      string // of the metadata
	starts   uint32
	running  bool

	registry *metrics.Registry
	store    *msgstore.Store
	meta     *meta.Store
	queues   *queue.Manager
	router   *router.Router
	sessions *session.Manager
	cluster  *cluster.Cluster
	port     *peer.Port
	info     session.ListenerInfo
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	transport *raft.InmemTransport
	observer  *late
}

// secret is stretched once: that costs time on purpose.
var secret = sync.OnceValue(func() peer.Secret { return peer.NewSecret("conformance") })

const self = message.NodeID(1)

// defaults are the broker's own, without authentication.
func defaults() session.Settings {
	return session.Settings{
		AllowAnonymous: true, ConnectTimeout: 5 * time.Second, MaxClientIDSize: 100, MaxInflight: 20, MaxOnline: 1000,
		MaxOffline: 1000, ReceiveMaxBroker: 65535, ReceiveMaxClient: 65535, PersistentExpiry: message.NeverExpires,
		MaxLastWillDelay: -1, TopicMaxDepth: 10, MaxPendingAcks: 1000, AuthMaxRounds: 10,
	}
}

// late passes on what the metadata store tells once there is somebody to hear it.
type late struct {
	mu        sync.Mutex
	kept      []func(meta.Observer)
	observers []meta.Observer
}

func (l *late) tell(fn func(meta.Observer)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.observers == nil {
		l.kept = append(l.kept, fn)
	}
	for _, o := range l.observers {
		fn(o)
	}
}

func (l *late) attach(os ...meta.Observer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fn := range l.kept {
		for _, o := range os {
			fn(o)
		}
	}
	l.observers = os
}

func (l *late) Apply(i uint64, e []meta.Event) { l.tell(func(o meta.Observer) { o.Apply(i, e) }) }
func (l *late) Reset(i uint64, v *meta.View)   { l.tell(func(o meta.Observer) { o.Reset(i, v) }) }
func (l *late) Quorum(ok bool)                 { l.tell(func(o meta.Observer) { o.Quorum(ok) }) }

type noListeners struct{}

func (noListeners) Suspend() {}

type noSpool struct{}

func (noSpool) Append(_ message.NodeID, _ uint64, _ []byte, done func(error)) { done(nil) }
func (noSpool) Read(message.NodeID, uint64, int) ([]peer.Spooled, error)      { return nil, nil }
func (noSpool) Truncate(message.NodeID, uint64) error                         { return nil }

// start opens everything; after stop it may be called again, for a restart.
func (s *stack) start() {
	s.starts++
	s.registry = metrics.New()
	s.openStores()
	s.openEngine()
	s.observer.attach(s.cluster, s.router)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wg.Go(func() { _ = s.cluster.Run(ctx) })
	s.queues.Start()
	<-s.cluster.Settled()
	synctest.Wait()
	if !s.router.Ready() {
		s.t.Fatal("the routing tables are not loaded")
	}
	s.running = true
}

func (s *stack) must(err error) {
	if err != nil {
		s.t.Helper()
		s.t.Fatal(err)
	}
}

func (s *stack) openStores() {
	log := slog.New(slog.DiscardHandler)
	var err error
	s.store, err = msgstore.Open(msgstore.Config{Dir: "store", FS: s.fs, MinFreeBytes: -1, Metrics: s.registry, Logger: log})
	s.must(err)
	s.port, err = peer.New(peer.Config{
		Identity: peer.Identity{Node: self, Name: "n", Incarnation: s.starts, Version: "test", Address: "n:1"}, Secret: secret(),
		Dial:   func(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed },
		OnLink: func(message.NodeID, uint32, bool) {}, Spool: noSpool{}, Logger: log, Metrics: s.registry,
	})
	s.must(err)
	_, s.transport = raft.NewInmemTransport("n:1")
	s.observer = &late{}
	s.meta, err = meta.Open(meta.Config{
		Dir: s.dir, NodeID: self, Name: "n", Address: "n:1", Version: "test", Incarnation: s.starts, Transport: s.transport,
		Observer: s.observer, Logger: log, Metrics: s.registry, SegmentBytes: 1 << 16,
		Dialer: meta.DialerFunc(func(context.Context, message.NodeID) (grpc.ClientConnInterface, error) { return nil, net.ErrClosed }),
	})
	s.must(err)
}

func (s *stack) openEngine() {
	log := slog.New(slog.DiscardHandler)
	var err error
	s.queues, err = queue.New(queue.Config{
		Store: s.store, Metrics: s.registry, Logger: log,
		Expired:     func(id message.SessionID, e message.Epoch) { s.cluster.Expired(id, e) },
		Redispatch:  func(id message.SessionID, d queue.Delivery) { go s.router.Redispatch(id, d) },
		PublishWill: func(id message.SessionID, w queue.Will, done func(error)) { s.sessions.PublishWill(id, w, done) },
	})
	s.must(err)
	s.router = router.New(router.Config{
		Self: self, Queues: s.queues, Links: s.port, Metadata: s.meta, Settings: router.Settings{EnqueueTimeout: time.Second}, Metrics: s.registry, Logger: log,
	})
	var seq atomic.Uint64
	incarnation := s.starts
	s.sessions = session.New(session.Config{
		Settings: func() *session.Settings { return &s.settings }, Queues: s.queues, Router: s.router, Registrar: registrar{s},
		NextID:  func() message.ID { return message.ID{Origin: self, Incarnation: incarnation, Sequence: seq.Add(1)} },
		Crash:   func(v any, stack []byte) { s.t.Errorf("a connection panicked: %v\n%s", v, stack) },
		Metrics: s.registry, Logger: log,
	})
	s.cluster = cluster.New(cluster.Config{
		Self: self, Name: "n", Address: "n:1", Version: "test", Meta: s.meta, Port: s.port, Sessions: s.sessions, Queues: s.queues,
		Records: s.store, Router: s.router, Rerouter: s.router, Streams: s.router, Spool: noSpool{}, Listeners: noListeners{}, EnqueueTimeout: time.Second,
		JoinTimeout: time.Second, QueueOptions: func() queue.Options { return queue.Options{} }, DrainStep: 100, DownAfter: time.Second,
		OnLeft: func() {}, Metrics: s.registry, Logger: log,
	})
	plugins := hook.New(hook.Options{})
	s.must(plugins.Attach("gatekeeper", gatekeeper{}))
	s.info = session.ListenerInfo{Name: "default", Type: "tcp", AllowedVersions: []byte{3, 4, 5, 131, 132}, Chain: plugins.Default()}
}

// gatekeeper allows everything but topics below "denied/", with a reason in
// words that are long.
type gatekeeper struct{ hook.Permit }

func (gatekeeper) decide(topic string) hook.Result {
	if strings.HasPrefix(topic, "denied/") {
		return hook.Result{Verdict: hook.Refuse, Reason: packet.NotAuthorized, Text: long(200)}
	}
	return hook.Allow()
}

// AuthOnPublish implements hook.AuthOnPublish.
func (g gatekeeper) AuthOnPublish(_ context.Context, p *hook.Publish) (*hook.PublishModifiers, hook.Result) {
	return nil, g.decide(p.Topic)
}

// AuthOnSubscribe implements hook.AuthOnSubscribe.
func (g gatekeeper) AuthOnSubscribe(_ context.Context, s *hook.Subscribe) (*hook.SubscribeModifiers, hook.Result) {
	return nil, g.decide(s.Subscriptions[0].Filter)
}

// stop ends all connections and closes everything, from the top down.
func (s *stack) stop() {
	if !s.running {
		return
	}
	s.running = false
	ctx, end := context.WithTimeout(context.Background(), time.Minute)
	defer end()
	s.must(s.sessions.Shutdown(ctx, packet.ServerShuttingDown, ""))
	s.cluster.Flush(ctx)
	s.cancel()
	s.wg.Wait()
	s.router.Close()
	s.queues.Close()
	s.must(s.meta.Close())
	s.must(s.transport.Close())
	s.must(s.port.Close())
	s.must(s.store.Close())
}

// dial opens a connection.
func (s *stack) dial() net.Conn {
	here, there := net.Pipe()
	s.wg.Go(func() { s.sessions.Serve(there, &s.info, nil) })
	return here
}

// registrar breaks the circle between sessions and cluster.
type registrar struct{ s *stack }

// Register implements session.Registrar.
func (r registrar) Register(ctx context.Context, q session.RegisterRequest) (session.Registration, error) {
	return r.s.cluster.Register(ctx, q)
}

// Admit implements session.Registrar.
func (r registrar) Admit(allowNetsplit bool) error { return r.s.cluster.Admit(allowNetsplit) }

// Ended implements session.Registrar.
func (r registrar) Ended(ctx context.Context, e session.End) { r.s.cluster.Ended(ctx, e) }
