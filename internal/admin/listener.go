package admin

import (
	"context"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// Listeners are those of this node.
type Listeners interface {
	List(ctx context.Context) ([]*pb.Listener, error)
	// Start opens a new one, checked as lines of the file are.
	Start(ctx context.Context, l ListenerStart) error
	Stop(ctx context.Context, at ListenerAddress, kill bool) error
	Restart(ctx context.Context, at ListenerAddress) error
	Delete(ctx context.Context, at ListenerAddress) error
}

// ListenerAddress is where a listener listens: an IP address and port, or
// local:/path and 0.
type ListenerAddress struct {
	Address string
	Port    int
}

// ListenerStart describes a new listener: Type and Options as in the file.
type ListenerStart struct {
	ListenerAddress
	Type    string
	Options map[string]string
}

type listenerService struct {
	pb.UnsafeListenerServiceServer // a new method must not compile until written
	s                              *Server
}

func addressOf(a *pb.ListenerAddress) (ListenerAddress, error) {
	switch {
	case a.GetAddress() == "":
		return ListenerAddress{}, missing("address", "no address was named")
	case a.GetPort() > 65535:
		return ListenerAddress{}, NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "a port is a number from 0 to 65535", "argument", "port")
	}
	return ListenerAddress{Address: a.GetAddress(), Port: int(a.GetPort())}, nil
}

func (v listenerService) ShowListeners(ctx context.Context, _ *pb.ShowListenersRequest) (*pb.ShowListenersResponse, error) {
	list, err := v.s.cfg.Listeners.List(ctx)
	return &pb.ShowListenersResponse{Listeners: list}, err
}

func (v listenerService) StartListener(ctx context.Context, req *pb.StartListenerRequest) (*pb.StartListenerResponse, error) {
	at, err := addressOf(req.GetAddress())
	if err != nil {
		return nil, err
	}
	l := ListenerStart{ListenerAddress: at, Type: req.GetType(), Options: map[string]string{}}
	for _, o := range req.GetOptions() {
		if _, twice := l.Options[o.GetName()]; twice {
			return nil, NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, o.GetName()+" is given twice", "argument", o.GetName())
		}
		l.Options[o.GetName()] = o.GetValue()
	}
	if p := req.GetKeyPassword(); p != "" {
		l.Options["keypasswd"] = p
	}
	return &pb.StartListenerResponse{}, v.s.cfg.Listeners.Start(ctx, l)
}

func (v listenerService) StopListener(ctx context.Context, req *pb.StopListenerRequest) (*pb.StopListenerResponse, error) {
	at, err := addressOf(req.GetAddress())
	if err == nil {
		err = v.s.cfg.Listeners.Stop(ctx, at, req.GetKillSessions())
	}
	return &pb.StopListenerResponse{}, err
}

func (v listenerService) RestartListener(ctx context.Context, req *pb.RestartListenerRequest) (*pb.RestartListenerResponse, error) {
	at, err := addressOf(req.GetAddress())
	if err == nil {
		err = v.s.cfg.Listeners.Restart(ctx, at)
	}
	return &pb.RestartListenerResponse{}, err
}

func (v listenerService) DeleteListener(ctx context.Context, req *pb.DeleteListenerRequest) (*pb.DeleteListenerResponse, error) {
	at, err := addressOf(req.GetAddress())
	if err == nil {
		err = v.s.cfg.Listeners.Delete(ctx, at)
	}
	return &pb.DeleteListenerResponse{}, err
}
