package cluster

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mqadmin/mqadmin/internal/cluster/clusterpb"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/peer"
)

// service answers the calls of other nodes.
type service struct {
	clusterpb.UnsafeClusterServiceServer // a new method must not compile until written
	c                                    *Cluster
}

// RegisterGRPC adds the cluster's calls to the server of the cluster port.
func (c *Cluster) RegisterGRPC(r grpc.ServiceRegistrar) {
	clusterpb.RegisterClusterServiceServer(r, &service{c: c})
}

// caller returns who calls; every connection of the cluster port has proven
// the cookie.
func caller(ctx context.Context) (peer.AuthInfo, error) {
	who, ok := peer.CallerFrom(ctx)
	if !ok {
		return who, status.Error(codes.Unauthenticated, "not a call of another node")
	}
	return who, nil
}

// member returns who calls if it is a member now: it may have been admitted
// after it connected.
func (s *service) member(ctx context.Context) (peer.Identity, error) {
	who, err := caller(ctx)
	if err != nil {
		return who.Identity, err
	}
	if _, ok := s.c.cfg.Meta.Member(who.Identity.Node); !ok {
		return who.Identity, status.Errorf(codes.PermissionDenied, "%s is not a member of this cluster", who.Identity.Name)
	}
	return who.Identity, nil
}

func (s *service) Describe(ctx context.Context, _ *clusterpb.DescribeRequest) (*clusterpb.DescribeResponse, error) {
	if _, err := caller(ctx); err != nil {
		return nil, err
	}
	id, gen := s.c.cfg.Meta.View().Cluster()
	resp := &clusterpb.DescribeResponse{
		Cluster: uint64(id), Generation: gen.Number, GenerationId: gen.Random,
		Self: s.c.member(), Quorum: s.c.cfg.Meta.Status().Quorum,
	}
	for _, m := range s.c.cfg.Meta.Members() {
		resp.Members = append(resp.Members, &clusterpb.Member{Id: uint64(m.ID), Name: m.Name, Address: m.Address, Version: m.Version})
	}
	return resp, nil
}

// dialBackTimeout bounds the proof that a joining node can be reached.
const dialBackTimeout = 5 * time.Second

func (s *service) Admit(ctx context.Context, req *clusterpb.AdmitRequest) (*clusterpb.AdmitResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	m := req.GetMember()
	if message.NodeID(m.GetId()) != who.Identity.Node {
		return nil, status.Error(codes.PermissionDenied, "a node can only admit itself")
	}
	if req.GetValidateOnly() {
		return &clusterpb.AdmitResponse{}, toStatus(s.c.validate(ctx, m))
	}
	info, err := s.c.cfg.Meta.AddMember(ctx, meta.Member{
		ID: who.Identity.Node, Name: m.GetName(), Address: m.GetAddress(), Version: m.GetVersion(), Incarnation: who.Identity.Incarnation,
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return &clusterpb.AdmitResponse{
		Cluster: uint64(info.Cluster), Generation: info.Generation.Number, GenerationId: info.Generation.Random,
		Leader: uint64(info.Leader), Commit: info.Commit,
	}, nil
}

// validate makes every check of an admission without admitting.
func (c *Cluster) validate(ctx context.Context, m *clusterpb.Member) error {
	if !c.cfg.Meta.Status().Quorum {
		return meta.ErrNoQuorum
	}
	for _, old := range c.cfg.Meta.Members() {
		if old.Name != m.GetName() || old.ID == message.NodeID(m.GetId()) {
			continue
		}
		if old.Up && (old.ID == c.cfg.Self || c.cfg.Port.Up(old.ID)) {
			return &sentence{ErrNameTaken, fmt.Sprintf("a member named %s is running; set another nodename and restart", old.Name)}
		}
		return &sentence{ErrNameTaken, fmt.Sprintf("a former member named %s is still in the cluster (its disk was wiped or it is another machine); remove it first on a running member: mqadmin cluster leave node=%s", old.Name, old.Name)}
	}
	ctx, cancel := context.WithTimeout(ctx, dialBackTimeout)
	defer cancel()
	conn, who, err := c.cfg.Port.DialAddress(ctx, m.GetAddress())
	if err == nil {
		conn.Close()
	}
	if err == nil && who.Node == message.NodeID(m.GetId()) {
		return nil
	}
	return &sentence{ErrUnreachable, fmt.Sprintf("%s does not reach %s at %s; set listener.vmq.clustering of %s to an address that the other nodes can reach and restart it",
		c.cfg.Name, m.GetName(), m.GetAddress(), m.GetName())}
}

func (s *service) Withdraw(ctx context.Context, req *clusterpb.WithdrawRequest) (*clusterpb.WithdrawResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if message.NodeID(req.GetNode()) != who.Identity.Node {
		return nil, status.Error(codes.PermissionDenied, "a node can only withdraw itself")
	}
	return &clusterpb.WithdrawResponse{}, toStatus(s.c.cfg.Meta.RemoveMember(ctx, who.Identity.Node))
}

func (s *service) Leave(req *clusterpb.LeaveRequest, stream grpc.ServerStreamingServer[clusterpb.LeaveResponse]) error {
	if _, err := s.member(stream.Context()); err != nil {
		return err
	}
	r := LeaveRequest{
		KillSessions: req.GetKillSessions(),
		Interval:     time.Duration(req.GetIntervalMs()) * time.Millisecond,
		Timeout:      time.Duration(req.GetTimeoutMs()) * time.Millisecond,
	}
	// The caller going away must not stop a leave half-way: it goes on and is
	// told in the log.
	return toStatus(s.c.leaveSelf(context.WithoutCancel(stream.Context()), r, func(p LeaveProgress) {
		_ = stream.Send(&clusterpb.LeaveResponse{
			Phase: uint32(p.Phase), Text: p.Text, SessionsOnline: p.SessionsOnline,
			QueuesDone: p.QueuesDone, QueuesTotal: p.QueuesTotal, MessagesDone: p.MessagesDone, MessagesTotal: p.MessagesTotal,
		})
	}))
}
