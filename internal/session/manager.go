package session

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// Settings are what an operator can change at run time; each connection takes
// a copy at CONNECT. The names are VerneMQ's.
type Settings struct {
	AllowAnonymous                                                bool
	ConnectTimeout                                                time.Duration // mqtt_connect_timeout
	MaxClientIDSize                                               int
	MaxMessageSize                                                int // bytes of any packet's remaining length; 0 the protocol's limit
	MaxConnectSize                                                int // bytes of a CONNECT's remaining length; 0 as MaxMessageSize
	MaxMessageRate                                                int // PUBLISHes per second; 0 no limit
	MaxSubscriptions                                              int // max_subscriptions_per_client; 0 no limit
	MaxInflight                                                   int // max_inflight_messages, for 3.x
	ReceiveMaxClient, ReceiveMaxBroker                            int
	TopicAliasMaxClient, TopicAliasMaxBroker                      int
	MaxOnline, MaxOffline                                         int
	LIFO, UpgradeQoS, OverrideMaxOnline                           bool
	RetryInterval                                                 time.Duration
	Mode                                                          queue.DeliverMode // allow_multiple_sessions, queue_deliver_mode
	PersistentExpiry                                              uint32            // seconds; message.NeverExpires
	MaxLastWillDelay                                              time.Duration     // negative: as the client wishes
	TopicMaxDepth                                                 int
	SuppressWillOnTakeover                                        bool
	DisconnectUnauthorizedV3                                      bool     // disconnect_on_unauthorized_publish_v3
	AllowRegister, AllowPublish, AllowSubscribe, AllowUnsubscribe bool     // …_during_netsplit
	ServerKeepAlive                                               uint16   // largest keepalive told to MQTT 5 clients; 0 none
	MaxPendingAcks                                                int      // acknowledgements to a 3.x client that may wait at once
	ResponseInformation                                           string   // response_information, may hold %c, %u and %m
	AuthMethods                                                   []string // authentication_methods; others are refused with 0x8C
	AuthMaxRounds                                                 int      // authentication_max_rounds
}

// Config is what a Manager is made of.
type Config struct {
	// Settings returns the settings now in force; it is called per CONNECT.
	Settings  func() *Settings
	Queues    *queue.Manager
	Router    Router
	Registrar Registrar
	// NextID returns a new message id of this node's incarnation.
	NextID func() message.ID
	// Chain has the plugins of sessions without a connection.
	Chain *hook.Chain
	// News tells plugins of published wills; nil tells nobody.
	News *hook.News
	// Crash is told of a panic in a connection, which is then closed.
	Crash   func(value any, stack []byte)
	Metrics *metrics.Registry
	Logger  *slog.Logger
}

// Manager runs the connections of a node. Its methods may be called from any
// goroutine.
type Manager struct {
	tracing  atomic.Pointer[tracing]
	cfg      Config
	log      *slog.Logger
	count    counters
	slots    sync.Pool // *ackSlot
	hookPubs sync.Pool // *hook.Publish
	wg       sync.WaitGroup
	workers  workers

	mu      sync.Mutex // guards what follows
	conns   map[*conn]struct{}
	byID    map[message.SessionID]*conn // attached connections; conn.next leads to more of the session
	leaving map[message.SessionID]*conn // detached, their ends not yet told
	coming  map[message.SessionID]*conn // those that are being registered, under their idLock
	locks   map[message.SessionID]*idLock
	host    *Host // of plugins; nil without
	down    bool
	sockets [2]int // plain, websocket
}

// idLock keeps CONNECTs of one session one behind the other.
type idLock struct {
	held   chan struct{} // full while somebody has it: for as long as a cluster answers
	refs   int
	newest *conn // the last that came; it takes the session from all before
}

// New returns a Manager without connections.
func New(cfg Config) *Manager {
	m := &Manager{
		cfg: cfg, log: cfg.Logger, conns: map[*conn]struct{}{}, byID: map[message.SessionID]*conn{},
		leaving: map[message.SessionID]*conn{},
		coming:  map[message.SessionID]*conn{},
		locks:   map[message.SessionID]*idLock{},
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.cfg.Crash == nil {
		m.cfg.Crash = func(v any, stack []byte) { m.log.Error("connection panicked", "panic", v, "stack", string(stack)) }
	}
	m.slots.New = func() any {
		s := &ackSlot{}
		s.fn = s.routed
		return s
	}
	m.hookPubs.New = func() any { return &hook.Publish{} }
	m.count.register(cfg.Metrics)
	for i, name := range []string{"active_mqtt_connections", "active_mqttws_connections"} {
		help := [...]string{"Open connections over TCP, TLS and unix sockets.", "Open connections over WebSocket."}[i]
		cfg.Metrics.Gauge(name, help, func() int64 { return int64(m.open(i)) })
	}
	cfg.Metrics.Gauge("total_active_connections", "Open connections of all kinds.", func() int64 { return int64(m.Connections()) })
	return m
}

func (m *Manager) open(i int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sockets[i]
}

// Serve has a connection until its end, closes it and calls ended, unless that is
// nil. For sockets it returns at once, for others (TLS, WebSocket) at the end.
func (m *Manager) Serve(nc net.Conn, l *ListenerInfo, ended func()) {
	c := m.admit(nc, l, ended)
	_, socket := nc.(syscall.Conn)
	switch {
	case c == nil:
	case c.in.raw != nil:
		go c.await()
	case socket:
		go c.turn()
	default:
		c.turn()
	}
}

// admit takes a connection into the table; nil while the manager shuts down.
func (m *Manager) admit(nc net.Conn, l *ListenerInfo, ended func()) *conn {
	m.count.socketOpen.Inc()
	c := newConn(m, nc, l, ended)
	m.mu.Lock()
	down := m.down
	if !down {
		m.conns[c] = struct{}{}
		m.sockets[l.kind()]++
		m.wg.Add(1)
	}
	m.mu.Unlock()
	if !down {
		nc.SetReadDeadline(time.Now().Add(c.set.ConnectTimeout))
		return c
	}
	c.cancel()
	nc.Close()
	m.count.socketClose.Inc()
	c.gone()
	return nil
}

// dismiss takes a connection that has ended out of the table.
func (m *Manager) dismiss(c *conn) {
	m.mu.Lock()
	delete(m.conns, c)
	m.sockets[c.l.kind()]--
	m.mu.Unlock()
	m.count.socketClose.Inc()
	c.gone()
	m.wg.Done()
}

// kind is the index into Manager.sockets.
func (l *ListenerInfo) kind() int {
	if l.WebSocket {
		return 1
	}
	return 0
}

// guard keeps a panic of one connection from the others.
func (m *Manager) guard(c *conn, fn func()) {
	defer func() {
		if v := recover(); v != nil {
			m.cfg.Crash(v, debug.Stack())
			c.terminate(ending{reason: packet.UnspecifiedError, tell: true})
		}
	}()
	fn()
}

// lock orders what concerns one session; the result unlocks. c is the
// connection that asks, nil for a plugin. The result is nil when a newer
// CONNECT has come meanwhile: c would be taken over at once, so it does
// not even begin. Without that, clients that give up and come again faster
// than sessions can be registered would wait here in ever greater numbers.
func (m *Manager) lock(id message.SessionID, c *conn) func() {
	m.mu.Lock()
	l := m.locks[id]
	if l == nil {
		l = &idLock{held: make(chan struct{}, 1)}
		m.locks[id] = l
	}
	l.refs++
	if c != nil {
		l.newest = c
	}
	m.mu.Unlock()
	l.held <- struct{}{}
	unlock := func() {
		<-l.held
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.refs--; l.refs == 0 {
			delete(m.locks, id)
		}
	}
	m.mu.Lock()
	superseded := c != nil && l.newest != c
	m.mu.Unlock()
	if superseded {
		unlock()
		return nil
	}
	return unlock
}

// Disconnect ends the connection of a session, or with Cleanup the session. It
// reports whether there was a connection. The will is published as after any
// end that the client did not ask for. When it returns the connection handles
// no more packets; with another reason than 0x8E it has also left its queue.
func (m *Manager) Disconnect(id message.SessionID, o DisconnectOptions) bool {
	if o.Reason == packet.SessionTakenOver {
		m.contest(id)
	}
	if p := m.hosted(id); p != nil && (o.Except.IsZero() || p.epoch != o.Except) && (o.Only == nil || o.Only(p.epoch)) {
		p.Close(o.Reason)
	}
	list := m.all(id)
	if o.Only != nil {
		list = slices.DeleteFunc(list, func(c *conn) bool { return !o.Only(*c.epoch.Load()) })
	}
	if len(list) > 0 && !o.Except.IsZero() && *list[0].epoch.Load() == o.Except {
		return false
	}
	for _, c := range list {
		c.terminate(ending{
			reason: o.Reason, tell: true, reference: o.ServerReference, cleanup: o.Cleanup,
			takeover: o.Reason == packet.SessionTakenOver,
		})
	}
	for _, c := range list {
		if o.Reason != packet.SessionTakenOver {
			<-c.finished // an administrator sees it offline afterwards
		} // a takeover is told from inside the metadata store, which must not wait
	}
	if o.Cleanup {
		m.cfg.Queues.Delete(id)
	}
	return len(list) > 0
}

// SetEpoch takes the new epoch of a session that the cluster has registered
// again on behalf of this node: after a join, and when a registration that was
// made without quorum is committed.
func (m *Manager) SetEpoch(id message.SessionID, e message.Epoch) {
	for _, c := range m.all(id) {
		c.epoch.Store(&e)
	}
	m.cfg.Queues.SetEpoch(id, e)
}

// Each calls fn with every session of the node, online and offline, until it
// returns false.
func (m *Manager) Each(fn func(Info) bool) {
	m.cfg.Queues.Each(func(q queue.Info) bool { return fn(m.info(q)) })
}

// Get describes a session.
func (m *Manager) Get(id message.SessionID) (Info, bool) {
	q, ok := m.cfg.Queues.Info(id)
	if !ok {
		return Info{}, false
	}
	return m.info(q), true
}

func (m *Manager) info(q queue.Info) Info {
	i := Info{
		ID: q.ID, State: string(q.State), Online: q.State != queue.Offline, CleanSession: !q.Durable, DeliverMode: "fanout",
		QueueStartedAt: q.StartedAt, OfflineSince: q.OfflineSince, Expiry: q.Expiry, Epoch: q.Epoch, WaitingAcks: q.Inflight,
	}
	if i.Online {
		i.OnlineMessages = q.Pending
	} else {
		i.OfflineMessages = q.Pending + q.Inflight
	}
	i.Plugin = m.hosted(q.ID) != nil
	if m.cfg.Settings().Mode == queue.Balance {
		i.DeliverMode = "balance"
	}
	list := m.all(q.ID)
	i.NumSessions = len(list)
	for _, c := range list {
		i.Connections = append(i.Connections, Connection{
			User: c.client.Username, Peer: c.l.Peer, Protocol: c.level(), StartedAt: c.startedAt,
		})
	}
	if len(list) > 0 {
		c := list[0]
		i.User, i.Peer, i.Protocol = c.client.Username, c.l.Peer, c.level()
		i.SessionStartedAt, i.KeepAlive, i.Listener = c.startedAt, c.keepAlive, c.l.Name
	}
	return i
}

// Connections returns the number of live connections.
func (m *Manager) Connections() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns)
}

// PublishWill publishes a will; it is what queue.Config.PublishWill calls.
func (m *Manager) PublishWill(id message.SessionID, w queue.Will, done func(error)) {
	msg := *w.Message
	msg.ID = m.cfg.NextID()
	if w.HasExpiry {
		msg.Expires = expires(w.Expiry)
	}
	o := PublishOptions{AllowNetsplit: w.AllowNetsplit, SharePolicy: w.SharePolicy}
	m.cfg.News.WillPublished(id, &msg)
	m.cfg.Router.Publish(&msg, o, func(r PublishResult) { done(r.Err) })
}

// expires turns a message expiry interval into the moment that it ends.
func expires(seconds uint32) int64 {
	return time.Now().Add(time.Duration(seconds) * time.Second).UnixMilli()
}

// Shutdown refuses new connections, ends all with reason (MQTT 5 clients are
// told serverReference when it is not empty), and waits until they are gone or
// ctx ends.
func (m *Manager) Shutdown(ctx context.Context, reason packet.Reason, serverReference string) error {
	m.mu.Lock()
	m.down = true
	conns := make([]*conn, 0, len(m.conns))
	for c := range m.conns {
		conns = append(conns, c)
	}
	m.mu.Unlock()
	m.workers.close()
	for _, c := range conns {
		c.terminate(ending{reason: reason, tell: true, reference: serverReference})
	}
	done := make(chan struct{})
	go func() {
		m.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing %d connections: %w", m.Connections(), ctx.Err())
	}
}
