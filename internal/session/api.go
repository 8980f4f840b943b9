// Package session is the connection's state machine: it takes a network
// connection from CONNECT to its end, answers what the client asks, and keeps
// the order and the promises of MQTT 3.1, 3.1.1 and 5.0 towards it. What is
// shared by the cluster it asks for through Registrar and Router; what waits
// for the client is in package queue.
package session

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"time"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// Errors that Router and Registrar answer with; sessions turn them into
// reason codes.
var (
	// ErrNotReady: no quorum, and the client's settings do not allow the
	// operation during a netsplit.
	ErrNotReady = errors.New("cluster is not ready")
	// ErrTakenOver: a newer epoch owns the session.
	ErrTakenOver = errors.New("session is taken over")
	// ErrQuota: storage is full; the client may try again later.
	ErrQuota = errors.New("quota exceeded")
	// ErrShutdown: the manager takes no more connections.
	ErrShutdown = errors.New("shutting down")
)

// Router carries messages and keeps subscriptions. Implemented by
// router.Router.
type Router interface {
	// Publish calls done once, when every destination has the message.
	Publish(m *message.Message, o PublishOptions, done func(PublishResult))
	// Subscribe returns once a PUBLISH on any reachable member reaches the
	// session; the results are in the order of subs.
	Subscribe(ctx context.Context, s Subject, subs []message.Subscription) ([]SubscribeResult, error)
	// Unsubscribe tells of each filter whether it existed.
	Unsubscribe(ctx context.Context, s Subject, filters []string) ([]bool, error)
	// Retained calls fn with the retained messages that match filter.
	Retained(mountpoint, filter string, fn func(*message.Message))
	// Subscriptions lists those of a session.
	Subscriptions(id message.SessionID) []message.Subscription
}

// PublishOptions are the publisher's part in routing a message.
type PublishOptions struct {
	// AllowNetsplit accepts the message without quorum.
	AllowNetsplit bool
	// SharePolicy overrides shared_subscription_policy when not empty.
	SharePolicy string
	// Resumed tells that routing was interrupted before: destinations may know
	// the message id (queue.Delivery.Resumed).
	Resumed bool
	// Waker, if not nil, is told of the connections that have something to
	// write; it is not used after Publish has returned.
	Waker queue.Waker
}

// PublishResult is how routing a message ended.
type PublishResult struct {
	// Matched counts the destinations.
	Matched int
	// Elsewhere: another node was among them.
	Elsewhere bool
	Err       error
}

// Subject is the session that subscribes.
type Subject struct {
	ID    message.SessionID
	Epoch message.Epoch
	// Durable sessions' subscriptions are kept by the cluster.
	Durable bool
	// AllowNetsplit accepts the operation without quorum.
	AllowNetsplit bool
}

// SubscribeResult is the answer for one filter.
type SubscribeResult struct {
	// Existed: the filter replaced one of the session (retain handling 1).
	Existed bool
	Err     error
}

// Registrar makes this node the owner of a session. Implemented by
// cluster.Cluster.
type Registrar interface {
	Register(ctx context.Context, r RegisterRequest) (Registration, error)
	// Admit tells whether a client may share a session that is connected here
	// already: ErrNotReady without quorum, unless allowed.
	Admit(allowNetsplit bool) error
	// Ended tells that the last connection of a session has ended. It must not
	// block.
	Ended(ctx context.Context, e End)
}

// RegisterRequest is a client that has been authenticated.
type RegisterRequest struct {
	ID         message.SessionID
	CleanStart bool
	// Expiry is the session expiry interval in seconds; Durable is Expiry > 0.
	Expiry  uint32
	Durable bool
	// AllowNetsplit accepts the client without quorum.
	AllowNetsplit bool
	// Version is the protocol level, Peer the client's address.
	Version byte
	Peer    netip.AddrPort
}

// Registration is the cluster's answer to Register.
type Registration struct {
	// Present: the session existed (CONNACK session present).
	Present bool
	Epoch   message.Epoch
	// UpperHalf: outgoing packet ids come from 32768…65535.
	UpperHalf bool
	// Record has the session's subscriptions; may be nil.
	Record *message.SessionRecord
	// Held: other nodes still hold parts of the queue. The cluster imports
	// them with queue.Manager.Import and then calls queue.Manager.Release.
	Held bool
}

// End is the end of a connection.
type End struct {
	ID      message.SessionID
	Epoch   message.Epoch
	Durable bool
	// Expiry is the session expiry interval as of the end, in seconds.
	Expiry uint32
	At     time.Time
	Reason packet.Reason
}

// ListenerInfo is how a connection came in.
type ListenerInfo struct {
	// Name and Type are those of listener.<type>.<name>.
	Name, Type string
	Mountpoint string
	// AllowedVersions are the protocol levels taken here (3, 4, 5, 131, 132);
	// empty means 3 and 4 and their bridge variants.
	AllowedVersions []byte
	// Anonymous is allow_anonymous_override.
	Anonymous bool
	// Chain is asked for permission; nil refuses everybody unless anonymous
	// clients are allowed, and authorizes nothing.
	Chain *hook.Chain
	// Peer is the client's address, after PROXY protocol or X-Forwarded-For.
	Peer, Local netip.AddrPort
	Certificate *x509.Certificate
	// Identity replaces the user name of the CONNECT when HasIdentity
	// (use_identity_as_username).
	Identity    string
	HasIdentity bool
	// ForwardConnection hands Name, Type, Local and Certificate to hooks
	// (forward_connection_opts).
	ForwardConnection bool
	// MaxConnectionLifetime closes the connection after that time; 0 never.
	MaxConnectionLifetime time.Duration
	// WebSocket counts it in active_mqttws_connections.
	WebSocket bool
}

// DisconnectOptions is how a connection is to be ended by an administrator or
// by the cluster.
type DisconnectOptions struct {
	Reason packet.Reason
	// ServerReference tells MQTT 5 clients where to go (0x9C, 0x9D).
	ServerReference string
	// Cleanup ends the session too.
	Cleanup bool
	// Except leaves the connection of this epoch alone when not zero.
	Except message.Epoch
	// Only leaves the connections alone whose epoch it does not accept; nil
	// accepts all.
	Only func(message.Epoch) bool
}

// Info describes a session of this node: its queue, and its connection when it
// is online. Fields are those of session show.
type Info struct {
	ID           message.SessionID
	Online       bool
	State        string // online, offline, drain
	CleanSession bool
	// OfflineMessages and OnlineMessages wait in the queue.
	OfflineMessages, OnlineMessages int
	NumSessions                     int
	// Connections are those of an online session, the newest first, whose user
	// and so on stand below too.
	Connections    []Connection
	DeliverMode    string
	Plugin         bool
	QueueStartedAt time.Time
	OfflineSince   time.Time
	Expiry         uint32
	Epoch          message.Epoch

	User             string
	Peer             netip.AddrPort
	Protocol         int // 3, 4, 5, 131, 132
	WaitingAcks      int
	SessionStartedAt time.Time
	KeepAlive        time.Duration
	Listener         string
}

// Connection is one of the connections that share a session.
type Connection struct {
	User      string
	Peer      netip.AddrPort
	Protocol  int
	StartedAt time.Time
}
