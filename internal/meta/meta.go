// Package meta is the metadata store: what all nodes of a cluster must agree
// on (members, which node owns which session, subscriptions, routes, retained
// values), replicated with Raft, readable on every node without a network
// round trip, and usable, where the operator allows it, by a node that is cut
// off from the quorum. It knows no MQTT connection.
package meta

import (
	"context"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Defaults of Config.
const (
	// DefaultNetsplitGrace is how long operations wait for a leader before
	// the node counts itself as cut off.
	DefaultNetsplitGrace = 3 * time.Second
	// DefaultMaxPending bounds the commands that wait for the leader.
	DefaultMaxPending = 65536
	// DefaultMaxOverlay bounds the commands of the overlay journal.
	DefaultMaxOverlay = 1_000_000
	// DefaultSegmentBytes is the size of one file of the Raft log.
	DefaultSegmentBytes = 64 << 20
	// DefaultSnapshotBytes is how much log is written before a snapshot is
	// taken, unless the last snapshot was larger than a quarter of that.
	DefaultSnapshotBytes = 64 << 20
	// DefaultSnapshotRate is how many bytes per second a snapshot is written
	// with, before compression: encoding faster disturbs applying.
	DefaultSnapshotRate = 40 << 20
	// MaxVoters is how many members vote; further ones follow.
	MaxVoters = 5
)

// Config is what Open needs. Fields without a comment that says otherwise are
// required.
type Config struct {
	// Dir is the directory of the Raft log, snapshots and the overlay journal.
	Dir string
	// Disk holds it; nil for the operating system's.
	Disk Disk
	// NodeID was drawn when the data directory was made.
	NodeID message.NodeID
	// Name is the node's name for people, Address where its cluster port is
	// reached, Version the program's.
	Name, Address, Version string
	// Incarnation is larger than at any former start.
	Incarnation uint32
	// OnIncarnation is told of an incarnation that the store took because the
	// old one was fenced; the caller persists it before it returns. May be nil.
	OnIncarnation func(uint32)
	// Transport carries Raft's messages. The caller closes it after the Store.
	Transport raft.Transport
	// Dialer reaches the gRPC service of other members.
	Dialer Dialer
	// Observer is told of every change. May be nil.
	Observer Observer
	// Logger and Metrics may be nil.
	Logger  *slog.Logger
	Metrics *metrics.Registry
	// NetsplitGrace, MaxPending, MaxOverlay, SegmentBytes, SnapshotBytes and
	// SnapshotRate default to the constants of those names.
	NetsplitGrace time.Duration
	MaxPending    int
	MaxOverlay    int
	SegmentBytes  int
	SnapshotBytes int64
	SnapshotRate  int64
	// Caller returns which node made the gRPC call that ctx belongs to; false
	// refuses it. Nil, for tests in one process, trusts whoever calls.
	Caller func(ctx context.Context) (message.NodeID, bool)
	// OnRemoved is called once when the leader says that this node is no
	// longer a member: the node must stop serving clients. May be nil.
	OnRemoved func()
	// OnFatal is called when the store cannot go on: a command of a newer
	// version, a hung disk. The process must end. May be nil, then it panics.
	OnFatal func(error)
}

// Dialer gives a connection to the gRPC service of a member. The connection
// belongs to the dialer and is not closed by the store.
type Dialer interface {
	Conn(ctx context.Context, node message.NodeID) (grpc.ClientConnInterface, error)
}

// DialerFunc is a Dialer made of a function.
type DialerFunc func(ctx context.Context, node message.NodeID) (grpc.ClientConnInterface, error)

// Conn calls f.
func (f DialerFunc) Conn(ctx context.Context, node message.NodeID) (grpc.ClientConnInterface, error) {
	return f(ctx, node)
}

// Observer is told of changes, one call at a time, in order. The index of a
// change is published (Store.Applied, visibility, the end of a proposal) only
// after the call has returned, so it must be quick and must not propose. It
// may read from the store.
type Observer interface {
	// Apply tells what the entry at index changed.
	Apply(index uint64, events []Event)
	// Reset says that the view was replaced: everything derived is rebuilt
	// from v. It is the first call after Open.
	Reset(index uint64, v *View)
	// Quorum tells whether there is a leader with quorum, on each change.
	Quorum(ok bool)
}

// Options of a proposal.
type Options struct {
	// Overlay allows the operation without quorum, by way of the overlay
	// journal. Release, DeleteSession and NodeUp always may.
	Overlay bool
}
