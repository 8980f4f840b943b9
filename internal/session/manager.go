package session

import (
	"context"
	"log/slog"
	"net"
	"time"

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
	MaxMessageRate                                                int // PUBLISHes per second; 0 no limit
	MaxSubscriptions                                              int // max_subscriptions_per_client; 0 no limit
	MaxInflight                                                   int // max_inflight_messages, for 3.x
	ReceiveMaxClient, ReceiveMaxBroker                            int
	TopicAliasMaxClient, TopicAliasMaxBroker                      int
	MaxOnline, MaxOffline                                         int
	LIFO, UpgradeQoS, OverrideMaxOnline                           bool
	RetryInterval                                                 time.Duration
	PersistentExpiry                                              uint32        // seconds; message.NeverExpires
	MaxLastWillDelay                                              time.Duration // negative: as the client wishes
	TopicMaxDepth                                                 int
	SuppressWillOnTakeover                                        bool
	DisconnectUnauthorizedV3                                      bool   // disconnect_on_unauthorized_publish_v3
	AllowRegister, AllowPublish, AllowSubscribe, AllowUnsubscribe bool   // …_during_netsplit
	ServerKeepAlive                                               uint16 // largest keepalive told to MQTT 5 clients; 0 none
	MaxPendingAcks                                                int    // PUBLISHes of a 3.x client being routed at once
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
	// Crash is told of a panic in a connection, which is then closed.
	Crash   func(value any, stack []byte)
	Metrics *metrics.Registry
	Logger  *slog.Logger
}

// Manager runs the connections of a node. Its methods may be called from any
// goroutine.
type Manager struct{}

// New returns a Manager without connections.
func New(cfg Config) *Manager { return nil }

// Serve runs one connection until it ends and closes it.
func (m *Manager) Serve(conn net.Conn, l ListenerInfo) {}

// Disconnect ends the connection of a session, or with Cleanup the session. It
// reports whether there was a connection. The will is published as after any
// end that the client did not ask for.
func (m *Manager) Disconnect(id message.SessionID, o DisconnectOptions) bool { return false }

// Each calls fn with every session of the node, online and offline, until it
// returns false.
func (m *Manager) Each(fn func(Info) bool) {}

// Get describes a session.
func (m *Manager) Get(id message.SessionID) (Info, bool) { return Info{}, false }

// Connections returns the number of live connections.
func (m *Manager) Connections() int { return 0 }

// PublishWill publishes a will; it is what queue.Config.PublishWill calls.
func (m *Manager) PublishWill(id message.SessionID, w queue.Will, done func(error)) {}

// Shutdown refuses new connections, ends all with reason (MQTT 5 clients are
// told serverReference when it is not empty), and waits until they are gone or
// ctx ends.
func (m *Manager) Shutdown(ctx context.Context, reason packet.Reason, serverReference string) error {
	return nil
}
