package admin

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// Stopper is a Node whose process can be ended.
type Stopper interface {
	// Stop makes the process end and returns before it does.
	Stop(ctx context.Context) error
}

func (n nodeService) StopNode(ctx context.Context, _ *pb.StopNodeRequest) (*pb.StopNodeResponse, error) {
	stopper, ok := n.s.cfg.Node.(Stopper)
	if !ok {
		return nil, status.Error(codes.Unimplemented, "this node cannot be stopped by a call")
	}
	st, err := n.s.cfg.Node.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.StopNodeResponse{Node: st.Node, Sessions: st.NumOnline}, stopper.Stop(ctx)
}
