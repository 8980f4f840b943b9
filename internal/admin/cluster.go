package admin

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// Defaults of a leave, as in vmq-admin.
const (
	defaultSummaryInterval = 5 * time.Second
	defaultLeaveTimeout    = time.Minute
)

type clusterService struct {
	pb.UnsafeClusterServiceServer // a new method must not compile until written
	s                             *Server
}

func (c clusterService) ShowCluster(ctx context.Context, _ *pb.ShowClusterRequest) (*pb.ShowClusterResponse, error) {
	v, err := c.s.cfg.Cluster.Members(ctx)
	if err != nil {
		return nil, err
	}
	resp := &pb.ShowClusterResponse{
		Node:       v.Node,
		Leader:     v.Leader,
		HasQuorum:  v.HasQuorum,
		ClusterId:  v.ClusterID.String(),
		Generation: v.Generation,
	}
	for _, m := range v.Members {
		resp.Members = append(resp.Members, memberToProto(m))
	}
	c.askFigures(ctx, resp)
	return resp, nil
}

// figuresTimeout is how long a member may take to tell its figures: a list
// of members must come at once, also while one of them hangs.
const figuresTimeout = 500 * time.Millisecond

// askFigures fills in what only a member itself knows. Of one that does not
// answer it stays unknown.
func (c clusterService) askFigures(ctx context.Context, resp *pb.ShowClusterResponse) {
	ctx, cancel := context.WithTimeout(ctx, figuresTimeout)
	defer cancel()
	ask := members[*pb.GetNodeStatusResponse]{
		s: c.s,
		local: func(ctx context.Context) (*pb.GetNodeStatusResponse, error) {
			return nodeService{s: c.s}.GetNodeStatus(ctx, nil)
		},
		remote: func(ctx context.Context, conn grpc.ClientConnInterface) (*pb.GetNodeStatusResponse, error) {
			return pb.NewNodeServiceClient(conn).GetNodeStatus(ctx, &pb.GetNodeStatusRequest{})
		},
	}
	var wg sync.WaitGroup
	for _, m := range resp.GetMembers() {
		self := m.GetNode() == resp.GetNode()
		if !self && (!m.GetRunning() || c.s.cfg.Peers == nil) || m.Sessions != nil {
			continue
		}
		wg.Go(func() {
			if a := ask.one(ctx, m.GetNode(), self); a.err == nil {
				m.Sessions, m.Queued = new(a.value.GetNumOnline()+a.value.GetNumOffline()), new(a.value.GetNumQueued())
			}
		})
	}
	wg.Wait()
}

// memberRoles is in the order of the Role constants.
var memberRoles = [...]pb.MemberRole{
	RoleUnknown:  pb.MemberRole_MEMBER_ROLE_UNSPECIFIED,
	RoleLeader:   pb.MemberRole_MEMBER_ROLE_LEADER,
	RoleVoter:    pb.MemberRole_MEMBER_ROLE_VOTER,
	RoleNonVoter: pb.MemberRole_MEMBER_ROLE_NON_VOTER,
}

func memberToProto(m Member) *pb.Member {
	return &pb.Member{
		Node:     m.Name,
		Running:  m.Running,
		Role:     memberRoles[min(int(m.Role), len(memberRoles)-1)],
		Applied:  m.Applied,
		Lag:      m.Lag,
		Version:  m.Version,
		Address:  m.Address,
		NodeId:   m.ID.String(),
		Since:    timestamp(m.Since),
		Cordoned: m.Cordoned,
		Diverged: m.Diverged,
		Sessions: m.Sessions,
		Queued:   m.Queued,
	}
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func missing(argument, message string) *Error {
	return NewError(pb.ErrorReason_ERROR_REASON_MISSING_ARGUMENT, message, "argument", argument)
}

func (c clusterService) JoinCluster(req *pb.JoinClusterRequest, stream grpc.ServerStreamingServer[pb.JoinClusterResponse]) error {
	if req.GetDiscoveryNode() == "" {
		return missing("discovery-node", "no discovery node was named")
	}
	send := newProgress(stream)
	res, err := c.s.cfg.Cluster.Join(stream.Context(), req.GetDiscoveryNode(), func(p JoinProgress) {
		send.progress(&pb.JoinClusterResponse{Event: &pb.JoinClusterResponse_Progress{Progress: &pb.JoinProgress{
			Phase: pb.JoinPhase(p.Phase), Text: p.Text, Done: p.Done, Total: p.Total,
		}}})
	})
	if err != nil {
		return send.end(nil, err)
	}
	return send.end(&pb.JoinClusterResponse{Event: &pb.JoinClusterResponse_Result{Result: &pb.JoinResult{
		Members: res.Members, Dropped: res.Dropped,
	}}}, nil)
}

func (c clusterService) LeaveCluster(req *pb.LeaveClusterRequest, stream grpc.ServerStreamingServer[pb.LeaveClusterResponse]) error {
	r, err := leaveRequest(req)
	if err != nil {
		return err
	}
	send := newProgress(stream)
	res, err := c.s.cfg.Cluster.Leave(stream.Context(), r, func(p LeaveProgress) {
		send.progress(&pb.LeaveClusterResponse{Event: &pb.LeaveClusterResponse_Progress{Progress: &pb.LeaveProgress{
			Phase: pb.LeavePhase(p.Phase), Text: p.Text, SessionsOnline: p.SessionsOnline,
			QueuesDone: p.QueuesDone, QueuesTotal: p.QueuesTotal,
			MessagesDone: p.MessagesDone, MessagesTotal: p.MessagesTotal,
		}}})
	})
	if err != nil {
		return send.end(nil, err)
	}
	return send.end(&pb.LeaveClusterResponse{Event: &pb.LeaveClusterResponse_Result{Result: &pb.LeaveResult{
		Outcome: pb.LeaveOutcome(res.Outcome), Members: res.Members,
	}}}, nil)
}

func leaveRequest(req *pb.LeaveClusterRequest) (LeaveRequest, error) {
	r := LeaveRequest{
		Node:            req.GetNode(),
		KillSessions:    req.GetKillSessions(),
		SummaryInterval: defaultSummaryInterval,
		Timeout:         defaultLeaveTimeout,
	}
	if r.Node == "" {
		return r, missing("node", "no node was named")
	}
	if d := req.GetSummaryInterval(); d != nil {
		r.SummaryInterval = d.AsDuration()
	}
	if d := req.GetTimeout(); d != nil {
		r.Timeout = d.AsDuration()
	}
	if r.SummaryInterval <= 0 {
		return r, NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "the summary interval must be positive", "argument", "summary-interval")
	}
	if r.Timeout <= 0 {
		return r, NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "the timeout must be positive", "argument", "timeout")
	}
	for _, risk := range req.GetAcceptRisks() {
		r.AcceptQuorumLoss = r.AcceptQuorumLoss || risk == pb.Risk_RISK_QUORUM_LOSS
	}
	return r, nil
}

// progress serialises what goes on a stream, because the operation may report
// from any goroutine and gRPC allows one sender at a time. A report that comes
// after the end is dropped.
type progress[T any] struct {
	stream grpc.ServerStreamingServer[T]
	mu     sync.Mutex // guards stream.Send, ended
	ended  bool
}

func newProgress[T any](stream grpc.ServerStreamingServer[T]) *progress[T] {
	return &progress[T]{stream: stream}
}

// progress sends a report. That the reader is gone is noticed by the
// operation through its context.
func (p *progress[T]) progress(m *T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		_ = p.stream.Send(m)
	}
}

// end sends the result, if there is one, and closes the stream to reports.
func (p *progress[T]) end(m *T, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if err != nil {
		return err
	}
	return p.stream.Send(m)
}
