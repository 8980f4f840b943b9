package meta

import (
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
)

// Stamp orders changes that were made apart: a hybrid logical clock (Unix
// milliseconds << 16 | counter) and the node that drew it.
type Stamp struct {
	Time uint64
	Node message.NodeID
}

// After reports whether s is later than o.
func (s Stamp) After(o Stamp) bool {
	if s.Time != o.Time {
		return s.Time > o.Time
	}
	return s.Node > o.Node
}

// Member is one node of the cluster.
type Member struct {
	ID      message.NodeID
	Name    string
	Address string
	Version string
	// Incarnation is the one of the last NodeUp or NodeDown.
	Incarnation uint32
	// Up is false from NodeDown until the next NodeUp.
	Up bool
	// JoinedAt is in Unix milliseconds.
	JoinedAt int64
}

// Source is a node that may still hold messages of a session, from when it
// owned it with that epoch.
type Source struct {
	Node  message.NodeID
	Epoch message.Epoch
	// The node owned the session at the indexes from Since on and before
	// Until: what was matched then is its to deliver or to hand over.
	Since, Until uint64
}

// Session is the registry's entry of one session. It is immutable.
type Session struct {
	ID    message.SessionID
	Owner message.NodeID
	// Incarnation of the owner when it registered.
	Incarnation uint32
	Epoch       message.Epoch
	// Since is the index from which on the owner gets what is matched for the
	// session; earlier matches are the sources'. 0 when there are none, and
	// for a registration made without quorum, whose matches have no index.
	Since uint64
	// Sources hold messages that the owner must pull, oldest first.
	Sources []Source
	Durable bool
	// Expiry is the session expiry interval in seconds.
	Expiry uint32
	// ConnectedAt and OfflineSince are in Unix milliseconds; OfflineSince is 0
	// while a connection is there.
	ConnectedAt, OfflineSince int64
	// UpperHalf says which half of the packet ids the owner draws from.
	UpperHalf bool
	// Stamp of the last registration. Wiped: subscriptions stamped earlier
	// were removed by a clean start.
	Stamp Stamp
	Wiped uint64
	// OverlayIndex is the Index of the epoch that was given out if the
	// registration was first answered without quorum.
	OverlayIndex uint64
	// Present and Previous repeat what the registration answered.
	Present  bool
	Previous message.NodeID
}

// Connected reports whether the session has a connection.
func (s *Session) Connected() bool { return s.OfflineSince == 0 }

// Is reports whether e names the current registration: by its epoch or, for
// one made without quorum, by the epoch given out then.
func (s *Session) Is(e message.Epoch) bool {
	return s.Epoch == e || s.OverlayIndex != 0 && s.OverlayIndex == e.Index
}

// Route says that a node has subscribers of a filter.
type Route struct {
	Mountpoint, Filter string
	Node               message.NodeID
	// Clean: the node said so for its clean sessions. Durable counts the
	// subscriptions of durable sessions that it owns.
	Clean   bool
	Durable int
}

// SharedMember is one member of a shared group.
type SharedMember struct {
	Session message.SessionID
	Node    message.NodeID
	Group   string
	// Subscription with the filter as sent, "$share/group/" included; Inner is
	// the filter alone.
	Subscription message.Subscription
	Inner        string
	// Durable members come from the registry's subscriptions, others from
	// JoinShared.
	Durable bool
}

// Retained is the current retained message of a topic.
type Retained struct {
	Message *message.Message
	Stamp   Stamp
}

// Registration answers Register.
type Registration struct {
	// Epoch fences the owner; Index is where it was committed.
	Epoch message.Epoch
	Index uint64
	// Previous owned the session before, 0 if none did; Connected: it had a
	// connection. It may be this node.
	Previous  message.NodeID
	Connected bool
	// Present: a durable session was resumed.
	Present   bool
	UpperHalf bool
	// Sources to pull from, oldest first.
	Sources       []Source
	Subscriptions []message.Subscription
}

// Role is the node's part in Raft.
type Role string

// The roles.
const (
	RoleLeader    Role = "leader"
	RoleFollower  Role = "follower"
	RoleCandidate Role = "candidate"
	RoleStopped   Role = "stopped"
)

// MemberStatus is what the leader knows of a member.
type MemberStatus struct {
	ID      message.NodeID
	Address string
	Voter   bool
	// Leased: it reported within the lease. Applied is what it reported.
	Leased  bool
	Applied uint64
	Overlay uint64
}

// Status describes the store at one moment.
type Status struct {
	Role       Role
	Leader     message.NodeID
	Term       uint64
	LastIndex  uint64
	Commit     uint64
	Applied    uint64
	Visible    uint64
	Cluster    message.ClusterID
	Generation message.Generation
	// Quorum: a leader with quorum is in contact. NetsplitSince is zero while
	// it is or while the grace runs.
	Quorum        bool
	NetsplitSince time.Time
	// Leased: this node holds a lease, so nothing it processes is stale.
	Leased bool
	// Provisional: the view was read from disk and is not confirmed yet.
	Provisional bool
	// Joining: PrepareJoin was called, CommitJoin or AbortJoin not yet.
	Joining bool
	// Overlay is the number of commands in the journal, Pending of those that
	// wait for the leader, Tombstones of deletions remembered.
	Overlay, Pending, Tombstones int
	Incarnation                  uint32
	Voters                       []message.NodeID
	// Members is filled on the leader, ordered by id.
	Members []MemberStatus
}
