package admin

import (
	"context"
	"fmt"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
)

// onOwner acts on a session where it is: here with own, or with remote on the
// member that owns it.
func onOwner[T any](ctx context.Context, s *Server, id message.SessionID, local bool,
	own func() (T, error), remote func(pb.SessionServiceClient) (T, error),
) (resp T, err error) {
	owner, here := s.cfg.Sessions.Owner(id)
	switch {
	case here || local:
		return own()
	case owner == "" || s.cfg.Peers == nil:
		return resp, unknownSession(id)
	}
	conn, err := s.cfg.Peers.Conn(ctx, owner)
	if err != nil {
		return resp, ownerDown(id, owner)
	}
	return remote(pb.NewSessionServiceClient(conn))
}

func unknownSession(id message.SessionID) *Error {
	return NewError(pb.ErrorReason_ERROR_REASON_SESSION_UNKNOWN, fmt.Sprintf("there is no session of %s", id),
		"client_id", id.ClientID, "mountpoint", id.Mountpoint)
}

func ownerDown(id message.SessionID, owner string) *Error {
	return NewError(pb.ErrorReason_ERROR_REASON_NODE_DOWN,
		fmt.Sprintf("%s, which has the session of %s, cannot be reached", owner, id), "client_id", id.ClientID, "node", owner)
}

// sessionID reads the names of a session, of which the client id is required.
func sessionID(req interface {
	GetClientId() string
	GetMountpoint() string
},
) (message.SessionID, error) {
	if req.GetClientId() == "" {
		return message.SessionID{}, missing("client-id", "no client id was given")
	}
	return message.SessionID{Mountpoint: req.GetMountpoint(), ClientID: req.GetClientId()}, nil
}

func (ss sessionService) SubscribeSession(ctx context.Context, req *pb.SubscribeSessionRequest) (*pb.SubscribeSessionResponse, error) {
	id, err := sessionID(req)
	if err != nil {
		return nil, err
	}
	if req.GetTopic() == "" {
		return nil, missing("topic", "no topic was given")
	}
	if req.GetQos() > 2 {
		return nil, NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, fmt.Sprintf("qos %d: valid values are {0|1|2}", req.GetQos()), "argument", "qos")
	}
	return onOwner(ctx, ss.s, id, req.GetLocalOnly(), func() (*pb.SubscribeSessionResponse, error) {
		existed, err := ss.s.cfg.Subscriptions.Subscribe(ctx, id, message.Subscription{Filter: req.GetTopic(), QoS: byte(req.GetQos())})
		return &pb.SubscribeSessionResponse{Existed: existed}, err
	}, func(c pb.SessionServiceClient) (*pb.SubscribeSessionResponse, error) {
		return c.SubscribeSession(ctx, &pb.SubscribeSessionRequest{
			ClientId: id.ClientID, Mountpoint: id.Mountpoint, Topic: req.GetTopic(), Qos: req.GetQos(), LocalOnly: true,
		})
	})
}

func (ss sessionService) UnsubscribeSession(ctx context.Context, req *pb.UnsubscribeSessionRequest) (*pb.UnsubscribeSessionResponse, error) {
	id, err := sessionID(req)
	if err != nil {
		return nil, err
	}
	if req.GetTopic() == "" {
		return nil, missing("topic", "no topic was given")
	}
	return onOwner(ctx, ss.s, id, req.GetLocalOnly(), func() (*pb.UnsubscribeSessionResponse, error) {
		existed, err := ss.s.cfg.Subscriptions.Unsubscribe(ctx, id, req.GetTopic(), req.GetPlugin())
		if err == nil && !existed {
			err = NewError(pb.ErrorReason_ERROR_REASON_SUBSCRIPTION_UNKNOWN,
				fmt.Sprintf("%s has no subscription to %q", id, req.GetTopic()), "client_id", id.ClientID, "topic", req.GetTopic())
		}
		return &pb.UnsubscribeSessionResponse{}, err
	}, func(c pb.SessionServiceClient) (*pb.UnsubscribeSessionResponse, error) {
		return c.UnsubscribeSession(ctx, &pb.UnsubscribeSessionRequest{
			ClientId: id.ClientID, Mountpoint: id.Mountpoint, Topic: req.GetTopic(), Plugin: req.GetPlugin(), LocalOnly: true,
		})
	})
}

func (ss sessionService) ReauthorizeSession(ctx context.Context, req *pb.ReauthorizeSessionRequest) (*pb.ReauthorizeSessionResponse, error) {
	id, err := sessionID(req)
	if err != nil {
		return nil, err
	}
	if req.GetUsername() == "" {
		return nil, missing("username", "no user name was given")
	}
	return onOwner(ctx, ss.s, id, req.GetLocalOnly(), func() (*pb.ReauthorizeSessionResponse, error) {
		removed, replaced, err := ss.s.cfg.Subscriptions.Reauthorize(ctx, id, req.GetUsername())
		return &pb.ReauthorizeSessionResponse{Removed: removed, Replaced: replaced}, err
	}, func(c pb.SessionServiceClient) (*pb.ReauthorizeSessionResponse, error) {
		return c.ReauthorizeSession(ctx, &pb.ReauthorizeSessionRequest{
			Username: req.GetUsername(), ClientId: id.ClientID, Mountpoint: id.Mountpoint, LocalOnly: true,
		})
	})
}
