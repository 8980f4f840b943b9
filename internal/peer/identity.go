package peer

import (
	"context"
	"log/slog"

	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"

	"github.com/mqadmin/mqadmin/internal/message"
)

// Kind is what a connection between two nodes is for. Each has connections of
// its own, so that a long snapshot never delays a message.
type Kind byte

// The kinds of connection. Numbers are on the wire.
const (
	// KindRaft carries the Raft log, heartbeats and snapshots.
	KindRaft Kind = 1
	// KindGRPC carries calls: metadata forwarding, admin fan-out, hand-over,
	// and the discovery that comes before membership.
	KindGRPC Kind = 2
	// KindLink carries messages in frames of our own.
	KindLink Kind = 3
)

// String returns the kind's name for logs.
func (k Kind) String() string {
	switch k {
	case KindRaft:
		return "raft"
	case KindGRPC:
		return "grpc"
	case KindLink:
		return "link"
	}
	return "unknown"
}

// Identity is what a node proves and tells about itself in every handshake.
type Identity struct {
	Node message.NodeID
	// Name is the node's name for people, name@host.
	Name       string
	Cluster    message.ClusterID
	Generation message.Generation
	// Incarnation counts the node's starts; it must grow with each, because
	// frame sequences begin with it.
	Incarnation uint32
	// Version of the program, for `cluster show`; it decides nothing.
	Version string
	// Address is the advertised host:port of the cluster port.
	Address string
}

// LogValue shows the two names by which an operator knows a node.
func (i Identity) LogValue() slog.Value {
	return slog.GroupValue(slog.String("name", i.Name), slog.String("id", i.Node.String()))
}

// Member is one node of the cluster, as the metadata store knows it.
type Member struct {
	ID      message.NodeID
	Name    string
	Address string
}

// AuthInfo tells gRPC handlers who called. It is there for every call that
// came in through Port.GRPC, because that listener only hands out connections
// whose handshake succeeded.
type AuthInfo struct {
	credentials.CommonAuthInfo
	Identity Identity
	// Member says that the caller was a member when it connected, and of this
	// cluster: anything that changes state on behalf of the cluster needs it.
	Member bool
}

// AuthType names the handshake (credentials.AuthInfo).
func (AuthInfo) AuthType() string { return "mqadmin-peer" }

// CallerFrom returns who made the gRPC call that ctx belongs to; false for
// calls that did not come through a Port.
func CallerFrom(ctx context.Context) (AuthInfo, bool) {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return AuthInfo{}, false
	}
	a, ok := p.AuthInfo.(AuthInfo)
	return a, ok
}
