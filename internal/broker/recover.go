package broker

import (
	"context"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A panic in a call of another node ends that call and goes to the crash log;
// a peer's request must never end the process.

func (b *Broker) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer b.crashed(info.FullMethod, &err)
	return next(ctx, req)
}

func (b *Broker) recoverStream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer b.crashed(info.FullMethod, &err)
	return next(srv, s)
}

// crashed is deferred: it turns a panic into an error.
func (b *Broker) crashed(method string, err *error) {
	if v := recover(); v != nil {
		b.log.Crash("call "+method, v, debug.Stack())
		*err = status.Error(codes.Internal, "the call failed; the crash log of that node says why")
	}
}
