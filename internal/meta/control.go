package meta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// Times of membership changes.
const (
	maxHops      = 3
	controlLimit = 10 * time.Second
	probeLimit   = 800 * time.Millisecond
)

// controlErrors travel between members by their text.
var controlErrors = []error{
	ErrNoQuorum, ErrNoMember, ErrNameTaken, ErrAddressTaken, ErrLastMember, ErrForgetNeedsQuorum, ErrClosed,
}

func encodeError(err error) error {
	for _, e := range controlErrors {
		if errors.Is(err, e) {
			return status.Error(codes.Aborted, e.Error())
		}
	}
	return status.Error(codes.Unavailable, err.Error())
}

func decodeError(err error) error {
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, e := range controlErrors {
		if st.Message() == e.Error() {
			return e
		}
	}
	return err
}

// JoinInfo names the cluster that a node was added to.
type JoinInfo struct {
	Cluster    message.ClusterID
	Generation message.Generation
	Leader     message.NodeID
	// Commit is the index that the joining node must apply before CommitJoin.
	Commit uint64
}

func joinInfo(r *metapb.ControlResponse) JoinInfo {
	return JoinInfo{
		Cluster: message.ClusterID(r.GetCluster()), Leader: message.NodeID(r.GetLeader()), Commit: r.GetCommit(),
		Generation: message.Generation{Number: r.GetGeneration(), Random: r.GetGenerationId()},
	}
}

func addRequest(m Member) *metapb.ControlRequest {
	return &metapb.ControlRequest{Action: &metapb.ControlRequest_Add{Add: memberToPB(&m)}}
}

func removeRequest(id message.NodeID) *metapb.ControlRequest {
	return &metapb.ControlRequest{Action: &metapb.ControlRequest_Remove{Remove: uint64(id)}}
}

// AddMember adds a node to this cluster; any member passes the call to the
// leader. It starts as a non-voter and is promoted as soon as it has caught up.
// Adding a member again corrects its address, name and version.
func (s *Store) AddMember(ctx context.Context, m Member) (JoinInfo, error) {
	r, err := s.control(ctx, addRequest(m))
	return joinInfo(r), err
}

// RemoveMember removes a node; any member passes the call to the leader. If it
// leads, it hands leadership over first.
func (s *Store) RemoveMember(ctx context.Context, id message.NodeID) error {
	_, err := s.control(ctx, removeRequest(id))
	if errors.Is(err, ErrNoQuorum) {
		return ErrForgetNeedsQuorum
	}
	return err
}

// RequestAdd calls AddMember on the node behind conn, for a node that is about
// to join.
func RequestAdd(ctx context.Context, conn grpc.ClientConnInterface, m Member) (JoinInfo, error) {
	r, err := metapb.NewMetaClient(conn).Control(ctx, addRequest(m))
	if err != nil {
		return JoinInfo{}, fmt.Errorf("adding this node to the cluster: %w", decodeError(err))
	}
	return joinInfo(r), nil
}

// RequestRemove calls RemoveMember on the node behind conn, to take a
// RequestAdd back.
func RequestRemove(ctx context.Context, conn grpc.ClientConnInterface, id message.NodeID) error {
	if _, err := metapb.NewMetaClient(conn).Control(ctx, removeRequest(id)); err != nil {
		return fmt.Errorf("removing node %s from the cluster: %w", id, decodeError(err))
	}
	return nil
}

// Control implements metapb.MetaServer. Only members change the membership; a
// node that is none may ask about itself.
func (g *service) Control(ctx context.Context, r *metapb.ControlRequest) (*metapb.ControlResponse, error) {
	own := message.NodeID(r.GetRemove())
	if r.GetProbe() != nil {
		own = message.NodeID(r.GetProbe().GetNode())
	}
	if err := g.store.allowed(ctx, own, r.GetProbe() == nil); err != nil {
		return nil, err
	}
	resp, err := g.store.control(ctx, r)
	if err != nil {
		return nil, encodeError(err)
	}
	return resp, nil
}

// allowed refuses a call unless the node own makes it about itself or, where
// members says so, any member.
func (s *Store) allowed(ctx context.Context, own message.NodeID, members bool) error {
	if s.cfg.Caller == nil {
		return nil
	}
	id, ok := s.cfg.Caller(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "not a call of another node")
	}
	if _, member := s.committedMember(id); id == own || members && member {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "node %s is not a member of this cluster", id)
}

// control does a membership change on the leader, or passes it there. It tries
// again while leadership moves.
func (s *Store) control(ctx context.Context, r *metapb.ControlRequest) (*metapb.ControlResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, controlLimit)
	defer cancel()
	for {
		resp, err := s.controlOnce(ctx, r)
		if err == nil || r.GetProbe() != nil || !retryable(err) {
			return resp, err
		}
		if perr := pause(ctx, retrySession); perr != nil || s.cutOffNow() {
			return nil, fmt.Errorf("%w: %w", ErrNoQuorum, err)
		}
	}
}

// retryable reports whether the change was refused for want of a leader.
func retryable(err error) bool {
	return errors.Is(err, ErrNoQuorum) || errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) ||
		errors.Is(err, raft.ErrLeadershipTransferInProgress) || status.Code(err) == codes.Unavailable
}

func (s *Store) controlOnce(ctx context.Context, r *metapb.ControlRequest) (*metapb.ControlResponse, error) {
	if l := s.leading.Load(); l != nil {
		return l.control(ctx, r)
	}
	s.mu.RLock()
	n, joining := s.node, s.joining
	s.mu.RUnlock()
	if joining {
		return nil, ErrJoining
	}
	leader := message.NodeID(0)
	if n != nil {
		leader = n.leader()
	}
	if leader == 0 || leader == s.self() || s.cfg.Dialer == nil || r.GetHops() >= maxHops {
		return nil, ErrNoQuorum
	}
	conn, err := s.cfg.Dialer.Conn(ctx, leader)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoQuorum, err)
	}
	resp, err := metapb.NewMetaClient(conn).Control(ctx, &metapb.ControlRequest{Hops: r.GetHops() + 1, Action: r.GetAction()})
	return resp, decodeError(err)
}

func (l *leadership) control(ctx context.Context, r *metapb.ControlRequest) (*metapb.ControlResponse, error) {
	switch a := r.GetAction().(type) {
	case *metapb.ControlRequest_Add:
		return l.add(ctx, memberFromPB(a.Add))
	case *metapb.ControlRequest_Remove:
		return l.remove(ctx, message.NodeID(a.Remove))
	case *metapb.ControlRequest_Probe:
		return l.answerProbe(ctx, a.Probe)
	}
	return nil, fmt.Errorf("membership change: %w", ErrUnknownCommand)
}

func (l *leadership) response(member bool) *metapb.ControlResponse {
	s := l.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := l.node.fsm.state
	return &metapb.ControlResponse{
		Cluster: uint64(st.cluster), Generation: st.generation.Number, GenerationId: st.generation.Random,
		Leader: uint64(s.self()), Commit: st.index, Member: member,
	}
}

// add makes a node a non-voter and then a member: what it proposes is refused
// until both are done.
func (l *leadership) add(ctx context.Context, m *Member) (*metapb.ControlResponse, error) {
	s := l.store
	if m.ID == 0 || m.Address == "" {
		return nil, errors.New("a member needs an id and an address")
	}
	s.mu.RLock()
	var taken error
	l.node.fsm.state.members.Scan(func(id message.NodeID, o *Member) bool {
		switch {
		case id == m.ID:
		case o.Name == m.Name && m.Name != "":
			taken = fmt.Errorf("%s: %w", m.Name, ErrNameTaken)
		case o.Address == m.Address:
			taken = fmt.Errorf("%s: %w", m.Address, ErrAddressTaken)
		}
		return taken == nil
	})
	s.mu.RUnlock()
	if taken != nil {
		return nil, taken
	}
	id, addr := raft.ServerID(m.ID.String()), raft.ServerAddress(m.Address)
	sv, known := l.node.server(m.ID)
	var err error
	switch {
	case !known:
		err = l.node.raft.AddNonvoter(id, addr, 0, barrierLimit).Error()
	case sv.Address != addr && sv.Suffrage == raft.Voter:
		err = l.node.raft.AddVoter(id, addr, 0, barrierLimit).Error()
	case sv.Address != addr:
		err = l.node.raft.AddNonvoter(id, addr, 0, barrierLimit).Error()
	}
	if err != nil {
		return nil, fmt.Errorf("adding member %s: %w", m.ID, err)
	}
	_, err = s.propose(ctx, &metapb.Command{Op: &metapb.Command_PutMember{
		PutMember: &metapb.PutMember{Member: memberToPB(m)},
	}}, false, false)
	if err != nil {
		return nil, err
	}
	return l.response(true), nil
}

// remove takes a node out of Raft and then out of the members. The leader
// cannot remove itself without a gap, so it hands over and lets the next one.
func (l *leadership) remove(ctx context.Context, id message.NodeID) (*metapb.ControlResponse, error) {
	s := l.store
	_, member := s.committedMember(id)
	_, server := l.node.server(id)
	switch {
	case !member && !server:
		return nil, ErrNoMember
	case id == s.self() && len(l.node.servers()) == 1:
		return nil, ErrLastMember
	case id == s.self():
		if err := s.TransferLeadership(ctx); err != nil {
			return nil, fmt.Errorf("removing the leader: %w", err)
		}
		return nil, ErrNoQuorum // control tries again with the next leader
	}
	if server {
		if err := l.node.raft.RemoveServer(raft.ServerID(id.String()), 0, barrierLimit).Error(); err != nil {
			return nil, fmt.Errorf("removing member %s: %w", id, err)
		}
	}
	// A node that removes itself hangs up as soon as Raft has let go of it: the
	// second half is done all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlLimit)
	defer cancel()
	_, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_DropMember{
		DropMember: &metapb.DropMember{Id: uint64(id)},
	}}, false, false)
	if err != nil && !errors.Is(err, ErrNoMember) {
		return nil, err
	}
	return l.response(false), nil
}

// answerProbe tells a node that has no leader whether it is a member, and
// corrects the address that it is called under.
func (l *leadership) answerProbe(ctx context.Context, h *metapb.Hello) (*metapb.ControlResponse, error) {
	id := message.NodeID(h.GetNode())
	_, server := l.node.server(id)
	if m, ok := l.store.committedMember(id); ok && server && h.GetAddress() != "" && m.Address != h.GetAddress() {
		n := *m
		n.Address = h.GetAddress()
		return l.add(ctx, &n)
	}
	return l.response(server), nil
}

// probe asks the other members whether they have a leader and we are still a
// member: Raft does not tell a removed node, and a leader cannot reach a node
// that has moved.
func (s *Store) probe() {
	if s.cfg.Dialer == nil || s.isJoining() || !s.probing.CompareAndSwap(false, true) {
		return
	}
	members := s.Members()
	hello := s.hello()
	s.wg.Go(func() {
		defer s.probing.Store(false)
		for _, m := range members {
			if m.ID == s.self() || s.ctx.Err() != nil {
				continue
			}
			s.probeMember(m.ID, hello)
		}
	})
}

func (s *Store) probeMember(id message.NodeID, hello *metapb.Hello) {
	ctx, cancel := context.WithTimeout(s.ctx, probeLimit)
	defer cancel()
	conn, err := s.cfg.Dialer.Conn(ctx, id)
	if err != nil {
		return
	}
	r, err := metapb.NewMetaClient(conn).Control(ctx, &metapb.ControlRequest{Action: &metapb.ControlRequest_Probe{Probe: hello}})
	if err == nil && r.GetCluster() == hello.GetCluster() && !r.GetMember() {
		s.removed()
	}
}
