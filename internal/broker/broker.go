// Package broker puts the house together: it is the only place that opens
// sockets, files and clocks, makes every part from the settings, starts them
// from the bottom up and closes them from the top down. It also holds the
// broker's command line.
package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/apikey"
	"github.com/mqadmin/mqadmin/internal/audit"
	"github.com/mqadmin/mqadmin/internal/cluster"
	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/daemon"
	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/listener"
	"github.com/mqadmin/mqadmin/internal/logging"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/router"
	"github.com/mqadmin/mqadmin/internal/session"
	"github.com/mqadmin/mqadmin/internal/trace"
	"github.com/mqadmin/mqadmin/internal/version"
)

// Options are what a Broker is made of.
type Options struct {
	Config *config.Config
	Logger *logging.Logger
	// Reread reads the configuration again for Reload; nil leaves it as it is.
	Reread func() (*config.Config, error)
	// System is what it takes from outside; nil for the operating system's.
	System *System
}

// Broker is one running node.
type Broker struct {
	cfg     *config.Config // of the start
	live    *live          // in force
	log     *logging.Logger
	reread  func() (*config.Config, error)
	sys     *System
	metrics *metrics.Registry
	id      *identity
	name    string
	address string // of the cluster port, as other nodes dial it

	store     *msgstore.Store
	port      *peer.Port
	meta      *meta.Store
	router    *router.Router
	queues    *queue.Manager
	sessions  *session.Manager
	cluster   *cluster.Cluster
	listeners *listener.Manager
	hooks     *hook.Registry
	chain     *hook.Chain // of listeners that choose no plugins
	news      *hook.News  // about queues
	host      *session.Host
	files     atomic.Pointer[watcher] // nil until listeners are open
	plugins   pluginSet
	secrets   []otherSecrets
	tracer    *trace.Tracer
	admin     *admin.Server
	keys      *apikey.Keyring
	audit     *audit.Log // nil: none is kept
	settings  settingsBox
	gate      gate

	clusterPorts []net.Listener
	closers      []func()
	left         chan struct{} // closed when the node has left its cluster
	leave        sync.Once
	stopped      chan struct{} // closed when an operator has stopped the node
	stop         sync.Once
	fatal        chan error
	started      time.Time
}

// New opens everything below the MQTT listeners: lock, stores, cluster port,
// metadata. What it opened is closed again when it fails.
func New(o Options) (_ *Broker, err error) {
	b := &Broker{
		cfg: o.Config, live: newLive(o.Config), log: o.Logger, reread: o.Reread, sys: o.System, metrics: metrics.New(), name: o.Config.String("nodename"),
		left: make(chan struct{}), stopped: make(chan struct{}), fatal: make(chan error, 1), started: time.Now(),
	}
	if b.sys == nil {
		b.sys = operatingSystem()
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	b.settings.store(sessionSettings(o.Config))
	registerRuntime(b.metrics, b.started)
	b.metrics.Gauge("log_syslog_dropped", "Log records dropped since the start because syslog did not take them in time.", b.log.SyslogDropped)
	for _, step := range []func() error{
		b.openData, b.openClusterPort, b.openMetadata, b.openAccess, b.openEngine, b.openPlugins,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// onClose adds what close undoes, last first.
func (b *Broker) onClose(fn func()) { b.closers = append(b.closers, fn) }

func (b *Broker) close() {
	for i := len(b.closers) - 1; i >= 0; i-- {
		b.closers[i]()
	}
	b.closers = nil
}

// fail ends the process with an error.
func (b *Broker) fail(err error) {
	select {
	case b.fatal <- err:
	default:
	}
}

// openData takes the data directory and opens the message store in it.
func (b *Broker) openData() (err error) {
	data := b.cfg.String("data_dir")
	lock, err := b.sys.LockDir(data)
	switch {
	case errors.Is(err, daemon.ErrLocked):
		return err
	case err != nil:
		return fmt.Errorf("data_dir = %s cannot be used: %w; name a directory that this user can write, with --data-dir or data_dir", data, err)
	}
	b.onClose(func() { _ = lock.Close() })
	if b.id, err = openIdentity(b.sys.Disk.FS(), data); err != nil {
		return err
	}
	mode, err := msgstore.ParseSyncMode(b.cfg.Enum("message_store.sync"))
	if err != nil {
		return err
	}
	b.store, err = msgstore.Open(msgstore.Config{
		Dir: b.cfg.String("message_store.directory"), FS: b.sys.Disk.FS(), CacheBytes: storeCache(b.cfg), Sync: mode,
		SyncInterval: b.cfg.Duration("message_store.sync_interval"), PendingBytes: pendingBytes(b.cfg.Bytes("message_store.max_pending_bytes")),
		MinFreeBytes: minFreeBytes(b.cfg.Bytes("message_store.min_free_space")),
		Logger:       b.log.With("part", "msgstore"), Metrics: b.metrics,
	})
	if err != nil {
		return err
	}
	b.onClose(func() {
		if err := b.store.Close(); err != nil {
			b.log.Error("the message store did not close cleanly", "error", err)
		}
	})
	return nil
}

// openEngine makes sessions, queues, routing and the cluster above the stores.
func (b *Broker) openEngine() (err error) {
	cfg := b.cfg
	b.openHooks()
	b.queues, err = queue.New(queue.Config{
		Store: b.store, Metrics: b.metrics, Logger: b.log.With("part", "queue"),
		Defaults: func() queue.Options { return queueOptions(b.settings.load()) },
		Expired: func(id message.SessionID, epoch message.Epoch) {
			b.news.SessionExpired(id, func() []message.Subscription { return b.router.Subscriptions(id) })
			b.cluster.Expired(id, epoch)
		},
		Redispatch: func(id message.SessionID, d queue.Delivery) {
			go b.router.Redispatch(id, d) // not on the queue's goroutine: it may hold its lock
		},
		Dropped: b.news.MessageDrop, Stored: b.news.OfflineMessage,
		PublishWill: func(id message.SessionID, w queue.Will, done func(error)) { b.sessions.PublishWill(id, w, done) },
	})
	if err != nil {
		return err
	}
	b.onClose(b.queues.Close)
	b.router = router.New(router.Config{
		Self: b.id.node, Queues: b.queues, Links: b.port, Metadata: b.meta,
		Settings: routerSettings(cfg), Separate: cfg.Enum("overlapping_subscriptions") == "separate",
		Metrics: b.metrics, Logger: b.log.With("part", "router"),
	})
	b.onClose(b.router.Close)
	ids := &messageIDs{node: b.id.node, incarnation: b.id.incarnation}
	b.sessions = session.New(session.Config{
		Settings: b.settings.load, Queues: b.queues, Router: b.router, Registrar: registrar{b}, NextID: ids.next,
		Crash: func(value any, stack []byte) { b.log.Crash("session", value, stack) }, News: b.news, Chain: b.chain,
		Metrics: b.metrics, Logger: b.log.With("part", "session"),
	})
	b.host = session.NewHost(b.sessions)
	b.tracer = trace.New(b.sessions)
	b.openListeners()
	b.cluster = cluster.New(cluster.Config{
		Self: b.id.node, Name: b.name, Address: b.address, Version: version.String(),
		Meta: b.meta, Port: b.port, Sessions: b.sessions, Queues: b.queues, Records: b.store, Router: b.router,
		Rerouter: b.router, Streams: b.router, Spool: spool{b.store}, Listeners: suspender{b.listeners},
		EnqueueTimeout: cfg.Duration("remote_enqueue_timeout"), JoinTimeout: cfg.Duration("max_joining_time"), QueueOptions: func() queue.Options { return queueOptions(b.settings.load()) }, DrainStep: cfg.Int("max_msgs_per_drain_step"), DownAfter: cfg.Duration("netsplit_grace"),
		OnLeft:  func() { b.leave.Do(func() { close(b.left) }) },
		Metrics: b.metrics, Logger: b.log.With("part", "cluster"),
	})
	b.port.SetReceiver(b.router)
	b.followSettings()
	b.gate.attach(b.cluster, b.router) // the router sends a session's messages here once the cluster expects them
	return nil
}

// registrar breaks the circle between sessions and cluster, which need each
// other: the cluster is there before the first connection.
type registrar struct{ b *Broker }

func (r registrar) Register(ctx context.Context, req session.RegisterRequest) (session.Registration, error) {
	return r.b.cluster.Register(ctx, req)
}

func (r registrar) Admit(allowNetsplit bool) error { return r.b.cluster.Admit(allowNetsplit) }

func (r registrar) Ended(ctx context.Context, e session.End) { r.b.cluster.Ended(ctx, e) }

// suspender is what leaving does to the MQTT listeners.
type suspender struct{ m *listener.Manager }

func (s suspender) Suspend() { s.m.SuspendAll() }

// shutdownReason tells MQTT 5 clients why they are disconnected at a stop.
const shutdownReason packet.Reason = 0x8B

// Run serves until ctx ends or the node has left its cluster, then drains and
// closes everything. serving is called once, with what an operator reads.
func (b *Broker) Run(ctx context.Context, serving func(string)) error {
	defer b.close()
	// What connections need to end well goes on until they have: their ends are
	// noted in the cluster, their wills are published.
	serve, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, serve := errgroup.WithContext(serve)
	group.Go(func() error { return b.port.Run(serve, b.clusterPorts...) })
	group.Go(func() error { return b.cluster.Run(serve) })
	group.Go(func() error { b.refreshRevoked(serve); return nil })
	group.Go(func() error { b.news.Run(serve); return nil })
	if b.sys.Tend != nil {
		group.Go(func() error { b.sys.Tend(serve); return nil })
	}
	b.plugins.start(serve, group)
	if err := b.serveInternal(serve, group); err != nil {
		return err
	}
	if err := b.serveAdmin(group); err != nil {
		return err
	}
	b.queues.Start()
	b.exportMetrics(serve, group)
	b.awaitQuorum(ctx)
	if err := b.startListeners(); err != nil {
		return err
	}
	if b.sys.Watch {
		b.watch(serve, group)
	}
	serving(b.servingText())
	var err error
	select {
	case <-ctx.Done():
	case <-serve.Done(): // a part has failed
	case <-b.stopped:
		b.log.Info("an operator stops this node")
	case <-b.left:
		b.log.Info("this node has left its cluster and stops")
	case err = <-b.fatal:
		b.log.Error("the broker cannot go on", "error", err)
	}
	b.drain()
	stop()
	if e := group.Wait(); err == nil && e != nil && !errors.Is(e, context.Canceled) {
		err = e
	}
	if b.hasLeft() {
		b.close()
		return b.setMetadataAside()
	}
	return err
}

// watch reads files again when they change.
func (b *Broker) watch(ctx context.Context, group *errgroup.Group) {
	b.files.Store(newWatcher(b.watched, b.log.With("part", "watch")))
	for _, s := range b.watched() { // changed after they were read and before they were watched
		s.reload()
	}
	group.Go(func() error { b.files.Load().run(ctx); return nil })
}

// awaitQuorum gives a fresh node, or one whose cluster is up, the moment that
// an election takes, so that its first clients find it ready.
func (b *Broker) awaitQuorum(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if st := b.meta.Status(); st.Quorum && !st.Provisional && b.router.Ready() {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	select {
	case <-b.cluster.Settled():
	case <-ctx.Done():
	}
}

func (b *Broker) servingText() string {
	text := fmt.Sprintf("broker serves: node %s, MQTT on %s", b.name, b.mqttAddresses())
	if !b.meta.Status().Quorum {
		text += "; no quorum yet: what the allow_..._during_netsplit settings permit is served"
	}
	return text
}

// drain ends connections and calls in the order in which clients notice least.
func (b *Broker) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.Duration("shutdown_timeout"))
	defer cancel()
	b.listeners.SuspendAll()
	if err := b.sessions.Shutdown(ctx, shutdownReason, ""); err != nil {
		b.log.Warn("some connections did not end in time", "error", err)
	}
	_ = b.listeners.Close(ctx)
	b.host.Close()
	b.cluster.Flush(ctx)
	if err := b.meta.Resign(ctx); err != nil && !b.hasLeft() {
		b.log.Warn("the other nodes wait for this one for a moment", "error", err)
	}
	b.admin.Shutdown(ctx)
}

func (b *Broker) hasLeft() bool {
	select {
	case <-b.left:
		return true
	default:
		return false
	}
}

// setMetadataAside makes the next start of a node that has left a fresh one.
func (b *Broker) setMetadataAside() error {
	data := b.cfg.String("data_dir")
	aside := filepath.Join(data, metaDir+".left-"+time.Now().UTC().Format("20060102T150405Z"))
	if err := b.sys.Disk.FS().Rename(filepath.Join(data, metaDir), aside); err != nil {
		return fmt.Errorf("setting the metadata of a node that has left aside: %w", err)
	}
	return nil
}

// Reload takes what can change while the broker runs from the configuration
// file, reads certificates, password and ACL files again, and reopens the logs.
func (b *Broker) Reload() {
	if err := errors.Join(b.log.Reopen(), b.reopenAudit()); err != nil {
		b.log.Error("log files could not be reopened", "error", err)
	}
	b.rereadFile()
	failed := b.reloadSecrets() != nil
	for _, p := range b.plugins.all() {
		failed = p.Reload() != nil || failed
	}
	if failed { // what and why is in the log already, once
		b.log.Warn("not every file could be loaded again; the former content of those stays in force")
		return
	}
	b.log.Info("files were loaded again")
}

// rereadFile applies every setting of the file that needs no restart.
func (b *Broker) rereadFile() {
	if b.reread == nil {
		return
	}
	next, err := b.reread()
	var restart []string
	if err == nil {
		restart, err = b.live.reread(next)
	}
	if err != nil {
		b.log.Error("the configuration cannot be read again; the former one stays in force", "error", err)
		return
	}
	if len(restart) > 0 {
		b.log.Warn("settings of the file differ from those in force and take effect only after a restart", "settings", strings.Join(restart, ", "))
	}
}
