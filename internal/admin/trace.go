package admin

import (
	"context"
	"time"

	"google.golang.org/grpc"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
)

// Traces show packets of clients of this node.
type Traces interface {
	// Client calls emit with what happens until ctx ends, the limit is exceeded,
	// or StopAll is called.
	Client(ctx context.Context, t TraceRequest, emit func(*pb.TraceClientResponse) error) error
	// StopAll returns how many traces it ended.
	StopAll(ctx context.Context) (int, error)
}

// TraceRequest says whom to look at; zero limits are the defaults, a negative
// Payload is the default.
type TraceRequest struct {
	ID           message.SessionID
	RateMax      int
	RateInterval time.Duration
	Payload      int
}

type traceService struct {
	pb.UnsafeTraceServiceServer // a new method must not compile until written
	s                           *Server
}

func (v traceService) TraceClient(req *pb.TraceClientRequest, stream grpc.ServerStreamingServer[pb.TraceClientResponse]) error {
	r := TraceRequest{
		ID:      message.SessionID{Mountpoint: req.GetMountpoint(), ClientID: req.GetClientId()},
		RateMax: int(req.GetRateMax()), RateInterval: req.GetRateInterval().AsDuration(), Payload: -1,
	}
	if r.ID.ClientID == "" {
		return missing("client-id", "no client was named")
	}
	if r.RateInterval < 0 {
		return NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "the rate interval must be positive", "argument", "rate-interval")
	}
	if req.TruncPayload != nil {
		r.Payload = int(req.GetTruncPayload())
	}
	return v.s.cfg.Traces.Client(stream.Context(), r, stream.Send)
}

func (v traceService) StopTraces(ctx context.Context, _ *pb.StopTracesRequest) (*pb.StopTracesResponse, error) {
	n, err := v.s.cfg.Traces.StopAll(ctx)
	return &pb.StopTracesResponse{Stopped: uint32(n)}, err
}
