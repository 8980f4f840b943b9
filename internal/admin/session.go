package admin

import (
	"context"

	"google.golang.org/grpc"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

type sessionService struct {
	pb.UnsafeSessionServiceServer // a new method must not compile until written
	s                             *Server
}

// batchRows is how many rows travel in one message.
const batchRows = 64

func (ss sessionService) ShowSessions(req *pb.ShowSessionsRequest, stream grpc.ServerStreamingServer[pb.ShowSessionsResponse]) error {
	q, err := newSessionQuery(req)
	if err != nil {
		return err
	}
	rows := batches[*pb.SessionRow]{send: func(rows []*pb.SessionRow) error { return stream.Send(&pb.ShowSessionsResponse{Rows: rows}) }}
	sum, err := ss.s.sessions(stream.Context(), q, func(row *pb.SessionRow) error { return rows.add(row) })
	if err != nil {
		return err
	}
	if err := rows.flush(); err != nil {
		return err
	}
	return stream.Send(&pb.ShowSessionsResponse{Summary: sum})
}

func (ss sessionService) DisconnectSession(ctx context.Context, req *pb.DisconnectSessionRequest) (*pb.DisconnectSessionResponse, error) {
	id, err := sessionID(req)
	if err != nil {
		return nil, err
	}
	res, err := ss.s.cfg.Sessions.Disconnect(ctx, DisconnectRequest{
		ID:        id,
		Cleanup:   req.GetCleanup(),
		LocalOnly: req.GetLocalOnly(),
	})
	if err != nil {
		return nil, err
	}
	return &pb.DisconnectSessionResponse{Disconnected: res.Disconnected, Cleaned: res.Cleaned, Node: res.Node}, nil
}

// DisconnectOn passes a request on to the member at the other end of conn,
// which acts only on what it holds itself.
func DisconnectOn(ctx context.Context, conn grpc.ClientConnInterface, r DisconnectRequest) (DisconnectResult, error) {
	resp, err := pb.NewSessionServiceClient(conn).DisconnectSession(ctx, &pb.DisconnectSessionRequest{
		ClientId:   r.ID.ClientID,
		Mountpoint: r.ID.Mountpoint,
		Cleanup:    r.Cleanup,
		LocalOnly:  true,
	})
	if err != nil {
		return DisconnectResult{}, err
	}
	return DisconnectResult{Disconnected: resp.GetDisconnected(), Cleaned: resp.GetCleaned(), Node: resp.GetNode()}, nil
}
