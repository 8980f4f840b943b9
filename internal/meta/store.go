package meta

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/mqadmin/mqadmin/internal/message"
)

// Store is one node's replica of the metadata.
type Store struct{}

// Open starts the store. A directory without Raft state becomes a cluster of
// one node with a random id.
func Open(cfg Config) (*Store, error) { return nil, ErrClosed }

// Close transfers leadership away, waits for what is being written and stops.
func (s *Store) Close() error { return nil }

// RegisterGRPC adds the store's service for other members to a gRPC server.
func (s *Store) RegisterGRPC(r grpc.ServiceRegistrar) {}

// RegisterRequest asks for the ownership of a session.
type RegisterRequest struct {
	ID         message.SessionID
	CleanStart bool
	// Durable sessions outlive their connection by Expiry seconds.
	Durable bool
	Expiry  uint32
}

// Register makes this node the owner of a session, with a new epoch.
func (s *Store) Register(ctx context.Context, r RegisterRequest, o Options) (Registration, error) {
	return Registration{}, ErrClosed
}

// ReleaseRequest says that a session's connection has ended.
type ReleaseRequest struct {
	ID    message.SessionID
	Epoch message.Epoch
	// Durable and Expiry as at the end of the connection: a DISCONNECT may
	// have changed them.
	Durable bool
	Expiry  uint32
	At      time.Time
}

// Release notes the end of a connection: a clean session is deleted, a
// durable one is offline. An epoch that is no longer current changes nothing:
// ErrStaleEpoch.
func (s *Store) Release(ctx context.Context, r ReleaseRequest) (index uint64, err error) {
	return 0, ErrClosed
}

// DeleteSession removes a session with its subscriptions if its epoch is still
// that one; a zero epoch removes it whatever its epoch.
func (s *Store) DeleteSession(ctx context.Context, id message.SessionID, e message.Epoch) (index uint64, err error) {
	return 0, ErrClosed
}

// Subscribe adds or replaces subscriptions of a durable session. existed says
// for each whether there was one of that filter.
func (s *Store) Subscribe(ctx context.Context, id message.SessionID, e message.Epoch, subs []message.Subscription, o Options) (existed []bool, index uint64, err error) {
	return nil, 0, ErrClosed
}

// Unsubscribe removes subscriptions of a durable session. existed says for
// each whether there was one.
func (s *Store) Unsubscribe(ctx context.Context, id message.SessionID, e message.Epoch, filters []string, o Options) (existed []bool, index uint64, err error) {
	return nil, 0, ErrClosed
}

// SetRoute says that this node has clean sessions subscribed to the filter.
func (s *Store) SetRoute(ctx context.Context, mountpoint, filter string, o Options) (index uint64, err error) {
	return 0, ErrClosed
}

// ClearRoute takes SetRoute back.
func (s *Store) ClearRoute(ctx context.Context, mountpoint, filter string, o Options) (index uint64, err error) {
	return 0, ErrClosed
}

// JoinShared enters a clean session of this node into a shared group;
// sub.Filter starts with "$share/".
func (s *Store) JoinShared(ctx context.Context, id message.SessionID, e message.Epoch, sub message.Subscription, o Options) (index uint64, err error) {
	return 0, ErrClosed
}

// LeaveShared takes JoinShared back.
func (s *Store) LeaveShared(ctx context.Context, id message.SessionID, filter string, o Options) (index uint64, err error) {
	return 0, ErrClosed
}

// SetRetained makes m the retained message of its topic.
func (s *Store) SetRetained(ctx context.Context, m *message.Message, o Options) (index uint64, err error) {
	return 0, ErrClosed
}

// DeleteRetained removes the retained message of a topic.
func (s *Store) DeleteRetained(ctx context.Context, mountpoint, topic string, o Options) (index uint64, err error) {
	return 0, ErrClosed
}

// StrikeSource removes a drained source from a session.
func (s *Store) StrikeSource(ctx context.Context, id message.SessionID, src Source) (index uint64, err error) {
	return 0, ErrClosed
}

// SetHalf notes which half of the packet ids the owner draws from.
func (s *Store) SetHalf(ctx context.Context, id message.SessionID, e message.Epoch, upper bool) (index uint64, err error) {
	return 0, ErrClosed
}

// NodeUp announces an incarnation of a node: what earlier incarnations left of
// clean sessions and routes is dropped.
func (s *Store) NodeUp(ctx context.Context, node message.NodeID, incarnation uint32) (index uint64, err error) {
	return 0, ErrClosed
}

// NodeDown fences an incarnation of a node and drops its clean sessions and
// routes; durable ones are offline from now.
func (s *Store) NodeDown(ctx context.Context, node message.NodeID, incarnation uint32) (index uint64, err error) {
	return 0, ErrClosed
}

// WaitVisible returns when every member with a lease has applied index. A dead
// member delays it by its lease, one second, at most. Without quorum it
// returns at once.
func (s *Store) WaitVisible(ctx context.Context, index uint64) error { return ErrClosed }

// Applied returns the last index that is applied here, observers included.
func (s *Store) Applied() uint64 { return 0 }

// WaitApplied returns when index is applied here.
func (s *Store) WaitApplied(ctx context.Context, index uint64) error { return ErrClosed }

// Incarnation returns the incarnation that this node proposes with.
func (s *Store) Incarnation() uint32 { return 0 }

// Leased reports whether this node holds a lease: the leader waits for it
// before it calls anything visible. Without quorum it is true.
func (s *Store) Leased() bool { return false }

// Status describes the store.
func (s *Store) Status() Status { return Status{} }

// View returns the current state, frozen.
func (s *Store) View() *View { return nil }

// Session returns the registry's entry of a session.
func (s *Store) Session(id message.SessionID) (*Session, bool) { return nil, false }

// Subscriptions returns the subscriptions of a registered session, ordered by
// filter.
func (s *Store) Subscriptions(id message.SessionID) []message.Subscription { return nil }

// Member returns one member; Members returns all, ordered by id.
func (s *Store) Member(id message.NodeID) (*Member, bool) { return nil, false }

// Members returns all members, ordered by id.
func (s *Store) Members() []*Member { return nil }

// Retained returns the retained message of a topic.
func (s *Store) Retained(mountpoint, topic string) (*message.Message, bool) { return nil, false }

// TransferLeadership hands leadership to another voter. On a node that does
// not lead it does nothing.
func (s *Store) TransferLeadership(ctx context.Context) error { return ErrClosed }

// JoinInfo names the cluster that a node was added to.
type JoinInfo struct {
	Cluster    message.ClusterID
	Generation message.Generation
	Leader     message.NodeID
	// Commit is the index that the joining node must apply before CommitJoin.
	Commit uint64
}

// AddMember adds a node to this cluster; any member passes the call to the
// leader. It starts as a non-voter and is promoted as soon as it has caught up.
// Adding a member again corrects its address, name and version.
func (s *Store) AddMember(ctx context.Context, m Member) (JoinInfo, error) {
	return JoinInfo{}, ErrClosed
}

// RequestAdd calls AddMember on the node behind conn, for a node that is about
// to join.
func RequestAdd(ctx context.Context, conn grpc.ClientConnInterface, m Member) (JoinInfo, error) {
	return JoinInfo{}, ErrClosed
}

// RequestRemove calls RemoveMember on the node behind conn, to take a
// RequestAdd back.
func RequestRemove(ctx context.Context, conn grpc.ClientConnInterface, id message.NodeID) error {
	return ErrClosed
}

// RemoveMember removes a node; any member passes the call to the leader. If it
// leads, it hands leadership over first.
func (s *Store) RemoveMember(ctx context.Context, id message.NodeID) error { return ErrClosed }

// PrepareJoin stops this node's own cluster of one, keeps its directory aside
// and waits as an empty replica for the leader of another cluster. Reads go on
// from the old state; proposals wait. Call it before RequestAdd.
func (s *Store) PrepareJoin(ctx context.Context) error { return ErrClosed }

// CommitJoin waits until this node has caught up with the cluster that added
// it and switches to that cluster's state. Merge follows.
func (s *Store) CommitJoin(ctx context.Context, info JoinInfo) error { return ErrClosed }

// AbortJoin goes back to the old cluster of one.
func (s *Store) AbortJoin(ctx context.Context) error { return ErrClosed }

// PendingMerge returns what the last join has left to be merged into the
// cluster, also after a restart; nil when there is nothing.
func (s *Store) PendingMerge() *View { return nil }

// MergeResult counts what Merge has done.
type MergeResult struct {
	Sessions, Retained int
	// Lost are sessions with a connection here that the cluster also has: the
	// cluster's stay.
	Lost []message.SessionID
}

// Merge proposes the sessions, subscriptions and retained messages of
// PendingMerge where the cluster has none, then forgets the old state.
func (s *Store) Merge(ctx context.Context) (MergeResult, error) { return MergeResult{}, ErrClosed }
