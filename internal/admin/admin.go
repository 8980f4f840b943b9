// Package admin is the broker's side of mqadmin: the gRPC services of
// api/mqadmin/v1 behind one chain of interceptors (who is it, may it, write it
// down, how long). It holds no rules about clusters or sessions; it asks the
// small interfaces below, which the composition root implements, and puts their
// answers on the wire.
package admin

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/mqadmin/mqadmin/internal/apikey"
	"github.com/mqadmin/mqadmin/internal/audit"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Cluster is the set of members. Implementations return *Error where the
// caller can do something about it; other errors are shown as they are.
type Cluster interface {
	// Members returns the cluster as this node sees it, members ordered by
	// name. It also answers without quorum.
	Members(ctx context.Context) (View, error)
	// Join makes this node a member of the cluster of discovery, which is
	// name@host or name@host:port as the operator typed it. progress may be
	// called at any time until Join returns; an error or a cancelled ctx
	// leaves both sides as they were.
	Join(ctx context.Context, discovery string, progress func(JoinProgress)) (JoinResult, error)
	// Leave takes a member out of service. progress may be called at any time
	// until Leave returns; with KillSessions about once per SummaryInterval.
	Leave(ctx context.Context, r LeaveRequest, progress func(LeaveProgress)) (LeaveResult, error)
}

// Node tells about this node.
type Node interface {
	Status(ctx context.Context) (Status, error)
	// Ping must not wait for anything: it answers while the node is not ready.
	Ping(ctx context.Context) (Pong, error)
}

// Sessions gives the sessions whose queue is on this node. This package asks
// the other members itself, through Peers, and merges.
type Sessions interface {
	// Each calls fn for the sessions of this node in the order of
	// SessionID.Key, until fn returns false. fn may block for as long as the
	// reader of the list likes, so no lock may be held around it. Sessions
	// outside scope may be left out; those that are not are filtered here.
	Each(ctx context.Context, scope Scope, fn func(*Session) bool) error
	// Locate returns the names of the members that may have sessions of
	// scope.ClientID, which is not nil. It is false when that is not known,
	// because the registry may be stale.
	Locate(scope Scope) (nodes []string, ok bool)
	// Subscriptions returns those of one session, in any fixed order. A
	// session that is gone has none.
	Subscriptions(ctx context.Context, id message.SessionID) ([]message.Subscription, error)
	// Messages returns what one queue holds, oldest first.
	Messages(ctx context.Context, id message.SessionID) ([]QueuedMessage, error)
	// Disconnect closes a session wherever in the cluster it is, or only on
	// this node when r.LocalOnly; DisconnectOn passes it on to another member.
	// A session that does not exist is no error.
	Disconnect(ctx context.Context, r DisconnectRequest) (DisconnectResult, error)
	// Owner returns the name of the node that has a session, "" if none has,
	// and whether it is this node.
	Owner(id message.SessionID) (node string, here bool)
}

// Subscriptions changes those of sessions whose queue is on this node.
type Subscriptions interface {
	// Subscribe enters one subscription as if the client had sent SUBSCRIBE, and
	// tells whether it replaced one. Nobody is asked whether the client may.
	Subscribe(ctx context.Context, id message.SessionID, sub message.Subscription) (existed bool, err error)
	// Unsubscribe removes one and tells whether it was there; with tell the
	// plugins hear of it.
	Unsubscribe(ctx context.Context, id message.SessionID, filter string, tell bool) (existed bool, err error)
	// Reauthorize asks the plugins about all subscriptions again, in the name
	// of username, and returns the filters that it removed and replaced.
	Reauthorize(ctx context.Context, id message.SessionID, username string) (removed, replaced []string, err error)
}

// Metrics are the counters of this node; *metrics.Registry is one.
type Metrics interface {
	// Samples returns all values ordered by name, then by labels.
	Samples() []metrics.Sample
	// Reset zeroes the counters.
	Reset()
}

// Peers are the other members. Nil Peers mean that there are none.
type Peers interface {
	// Names returns the names of all members but this one, whether they can
	// be reached or not.
	Names() []string
	// Conn returns a connection on which the member of that name serves this
	// same API.
	Conn(ctx context.Context, name string) (grpc.ClientConnInterface, error)
}

// APIKeys are the keys of the cluster; *apikey.Keyring is one. Its errors are
// those of package apikey.
type APIKeys interface {
	// Create makes a key and returns its secret.
	Create(ctx context.Context, r apikey.Request) (string, apikey.Key, error)
	// Delete strikes the key with that secret or ID.
	Delete(ctx context.Context, secretOrID, scope string) error
	List(scope string) ([]apikey.Key, error)
	// Check finds the key that a caller at the address remote has sent.
	Check(remote, secret, scope string) (apikey.Key, error)
	Expired(k apikey.Key) bool
}

// Audit keeps what was done; *audit.Log is one.
type Audit interface {
	Add(e audit.Entry) error
	Read(q audit.Query) ([]audit.Entry, error)
}

// Role is a member's part in the metadata store.
type Role byte

// The roles of members.
const (
	RoleUnknown Role = iota
	RoleLeader
	RoleVoter
	RoleNonVoter
)

// View is the cluster as one node sees it.
type View struct {
	Members    []Member
	Node       string // the name of this node
	Leader     string // "" when there is none
	HasQuorum  bool
	ClusterID  message.ClusterID
	Generation uint32
}

// Member is one node of the cluster.
type Member struct {
	Name    string
	ID      message.NodeID
	Address string // of the cluster port
	Version string
	Role    Role
	// Running: connected to this node (or this node itself) and ready for
	// clients.
	Running  bool
	Cordoned bool
	Diverged bool
	// Applied is the index of the last change that it has applied, Lag how
	// many committed ones are missing; nil when not known.
	Applied, Lag *uint64
	// Since: running, or away, since then; zero when not known.
	Since time.Time
	// Sessions and Queued count sessions and queued messages; nil when not
	// known.
	Sessions, Queued *int64
}

// JoinPhase is a step of a join.
type JoinPhase byte

// The steps of a join, in order.
const (
	JoinConnect JoinPhase = iota + 1
	JoinCheck
	JoinCatchUp
	JoinPromote
	JoinMerge
)

// JoinProgress is how far a join is. Text is for people; Done of Total is 0 of
// 0 when not known.
type JoinProgress struct {
	Phase       JoinPhase
	Text        string
	Done, Total uint64
}

// JoinResult is what a join brought: the names of all members, and of this
// node's settings, keys and bans that the cluster's replaced.
type JoinResult struct {
	Members []string
	Dropped []string
}

// LeaveRequest names the member to take out of service.
type LeaveRequest struct {
	Node         string
	KillSessions bool
	// SummaryInterval is the time between two reports, Timeout how long to
	// wait for sessions to go offline. Never zero: the defaults of 5 s and
	// 60 s are filled in here.
	SummaryInterval, Timeout time.Duration
	// AcceptQuorumLoss: the operator typed --accept-risk=quorum-loss.
	AcceptQuorumLoss bool
}

// LeavePhase is a step of a leave.
type LeavePhase byte

// The steps of a leave, in order.
const (
	LeaveCordon LeavePhase = iota + 1
	LeaveDrain
	LeaveMigrate
	LeaveRemove
)

// LeaveProgress is how far a leave is.
type LeaveProgress struct {
	Phase                       LeavePhase
	Text                        string
	SessionsOnline              int64
	QueuesDone, QueuesTotal     int64
	MessagesDone, MessagesTotal int64
}

// LeaveOutcome is what a leave came to.
type LeaveOutcome byte

// The outcomes of a leave.
const (
	// LeaveCordoned: new connections are refused, the node is still a member.
	LeaveCordoned LeaveOutcome = iota + 1
	// LeaveLeft: the queues were handed over and the node removed.
	LeaveLeft
	// LeaveForgotten: the node could not be reached and was removed.
	LeaveForgotten
)

// LeaveResult is what a leave came to, and who remains.
type LeaveResult struct {
	Outcome LeaveOutcome
	Members []string
}

// Status has the main figures of this node, in the words of vmq-admin node
// status.
type Status struct {
	Node, Version                                string
	Ready                                        bool
	StartedAt                                    time.Time
	NumOnline, NumOffline                        int64
	MsgIn, MsgOut                                int64
	QueueIn, QueueOut, QueueDrop, QueueUnhandled int64
	NumSubscriptions, NumRetained                int64
	MatchesLocal, MatchesRemote                  int64
	NumQueued                                    int64 // messages that wait in queues
	// Members are all members of the cluster, and whether this node reaches them.
	Members   map[string]bool
	Listeners []Listener
}

// Listener is one listener of a node as a status page shows it.
type Listener struct {
	// Type is mqtt, mqtts, mqttws, mqttwss, http or https; State running,
	// suspended or stopped.
	Type, State, Address string
	Port                 int
	Mountpoint           string
	MaxConnections       int // 0 for no limit
}

// Pong tells who answered a ping.
type Pong struct {
	Node, Version string
	Ready         bool
}

// Scope says which sessions a query can be about at all. A zero field does not
// restrict.
type Scope struct {
	ClientID   *string
	Mountpoint *string
	// From is where to begin, inclusive.
	From message.SessionID
	// Accept tells which ones are of interest, before anything of them is read.
	Accept func(message.SessionID) bool
}

// Session is one session of this node, online or offline.
type Session struct {
	ID   message.SessionID
	Node string
	// QueueName and, below, Connection.Name identify the two in logs.
	QueueName string
	// State is online, offline, wait_for_offline or drain.
	State string
	// DeliverMode is fanout or balance.
	DeliverMode     string
	OfflineMessages int64
	OnlineMessages  int64
	CleanSession    bool
	Plugin          bool
	StartedAt       time.Time
	// Connections are the live ones, in general one; none means one row
	// without the fields of a connection.
	Connections []Connection
}

// Connection is a live connection of a session.
type Connection struct {
	Name        string
	User        string
	PeerHost    string
	PeerPort    uint16
	Protocol    byte // 3, 4, 5, 131, 132
	WaitingAcks int64
	StartedAt   time.Time
}

// QueuedMessage is a message in a queue and how it will be delivered.
type QueuedMessage struct {
	Message *message.Message
	QoS     byte
	Dup     bool
}

// DisconnectRequest names a session to end.
type DisconnectRequest struct {
	ID message.SessionID
	// Cleanup: delete its subscriptions and messages too.
	Cleanup bool
	// LocalOnly: only what this node holds of it.
	LocalOnly bool
}

// DisconnectResult tells what was found.
type DisconnectResult struct {
	Disconnected bool   // a connection was closed
	Cleaned      bool   // stored state was deleted
	Node         string // that held the session; "" when there was none
}
