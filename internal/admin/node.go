package admin

import (
	"context"
	"math"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

type nodeService struct {
	pb.UnsafeNodeServiceServer // a new method must not compile until written
	s                          *Server
}

func (n nodeService) GetNodeStatus(ctx context.Context, _ *pb.GetNodeStatusRequest) (*pb.GetNodeStatusResponse, error) {
	st, err := n.s.cfg.Node.Status(ctx)
	if err != nil {
		return nil, err
	}
	return StatusToProto(st), nil
}

// StatusToProto is the answer to GetNodeStatus.
func StatusToProto(st Status) *pb.GetNodeStatusResponse {
	resp := &pb.GetNodeStatusResponse{
		NumOnline:        st.NumOnline,
		NumOffline:       st.NumOffline,
		MsgIn:            st.MsgIn,
		MsgOut:           st.MsgOut,
		QueueIn:          st.QueueIn,
		QueueOut:         st.QueueOut,
		QueueDrop:        st.QueueDrop,
		QueueUnhandled:   st.QueueUnhandled,
		NumSubscriptions: st.NumSubscriptions,
		NumRetained:      st.NumRetained,
		MatchesLocal:     st.MatchesLocal,
		MatchesRemote:    st.MatchesRemote,
		Version:          st.Version,
		Node:             st.Node,
		Ready:            st.Ready,
		StartedAt:        timestamp(st.StartedAt),
		Members:          st.Members,
		NumQueued:        st.NumQueued,
	}
	for _, l := range st.Listeners {
		resp.Listeners = append(resp.Listeners, &pb.NodeListener{
			Type: l.Type, State: l.State, Address: l.Address, Port: int32(l.Port), Mountpoint: l.Mountpoint, MaxConnections: int32(min(l.MaxConnections, math.MaxInt32)),
		})
	}
	return resp
}

func (n nodeService) PingNode(ctx context.Context, _ *pb.PingNodeRequest) (*pb.PingNodeResponse, error) {
	p, err := n.s.cfg.Node.Ping(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.PingNodeResponse{Node: p.Node, Version: p.Version, Ready: p.Ready}, nil
}
