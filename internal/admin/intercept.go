package admin

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// ownPrefix begins the full name of every method of this API.
const ownPrefix = "/mqadmin.v1."

// actorKey carries the first caller's name when one member asks another.
const actorKey = "mqadmin-actor"

// methodRoles reads the role of every method from its option.
func methodRoles() map[string]pb.Role {
	roles := map[string]pb.Role{}
	protoregistry.GlobalFiles.RangeFilesByPackage("mqadmin.v1", func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			sd := fd.Services().Get(i)
			for j := range sd.Methods().Len() {
				md := sd.Methods().Get(j)
				role, _ := proto.GetExtension(md.Options(), pb.E_Role).(pb.Role)
				roles[fmt.Sprintf("/%s/%s", sd.FullName(), md.Name())] = role
			}
		}
		return true
	})
	for _, version := range []string{"v1", "v1alpha"} { // the descriptors, as a call like any other
		roles["/grpc.reflection."+version+".ServerReflection/ServerReflectionInfo"] = pb.Role_ROLE_VIEWER
	}
	return roles
}

// authorize finds the caller and compares roles. A method without a role is
// refused to everybody.
func (s *Server) authorize(ctx context.Context, method string) (Identity, error) {
	id, err := s.identity(ctx)
	if err != nil {
		return id, err
	}
	need := s.roles[method]
	if need == pb.Role_ROLE_UNSPECIFIED || id.Role < need {
		return id, NewError(pb.ErrorReason_ERROR_REASON_ROLE_TOO_LOW,
			fmt.Sprintf("%s has the role %s, and this needs %s", id.Name, roleName(id.Role), roleName(need)),
			"role", roleName(id.Role), "required_role", roleName(need))
	}
	return id, nil
}

func roleName(r pb.Role) string {
	if r == pb.Role_ROLE_UNSPECIFIED {
		return "none"
	}
	return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_"))
}

func (s *Server) interceptUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !strings.HasPrefix(info.FullMethod, ownPrefix) {
		return next(ctx, req)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.CallTimeout)
		defer cancel()
	}
	defer s.unary.Since(time.Now())
	var resp any
	m, _ := req.(proto.Message)
	err := s.run(ctx, info.FullMethod, func() proto.Message { return m }, func(ctx context.Context, node string) (err error) {
		if node != "" {
			resp, err = s.forwardUnary(ctx, node, info.FullMethod, req)
			return err
		}
		resp, err = next(ctx, req)
		return err
	})
	return resp, err
}

func (s *Server) interceptStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if !strings.HasPrefix(info.FullMethod, ownPrefix) && s.roles[info.FullMethod] == pb.Role_ROLE_UNSPECIFIED {
		return next(srv, ss)
	}
	defer s.streams.Since(time.Now())
	w := &watchedStream{ServerStream: ss}
	return s.run(ss.Context(), info.FullMethod, func() proto.Message { return w.request }, func(ctx context.Context, node string) error {
		w.ctx = ctx
		if node != "" {
			return s.forwardStream(ctx, node, info.FullMethod, w)
		}
		return next(srv, w)
	})
}

// watchedStream remembers the request for the audit line and carries a context
// of its own.
type watchedStream struct {
	grpc.ServerStream
	ctx     context.Context //nolint:containedctx // that is what a stream does
	request proto.Message
}

func (w *watchedStream) Context() context.Context { return w.ctx }

func (w *watchedStream) RecvMsg(m any) error {
	err := w.ServerStream.RecvMsg(m)
	if p, ok := m.(proto.Message); ok && err == nil && w.request == nil {
		w.request = p
	}
	return err
}

// run is the chain around every call: authorize, find the member that shall
// answer ("" is this one), recover, map the error, audit.
func (s *Server) run(ctx context.Context, method string, request func() proto.Message, do func(ctx context.Context, node string) error) error {
	c := call{method: method, start: time.Now()}
	s.calls.Inc()
	var err error
	if c.id, err = s.authorize(ctx, method); err != nil {
		s.refused.Inc()
	} else {
		err = s.perform(ctx, &c, do)
	}
	err = s.toStatus(err)
	if err != nil {
		s.failed.Inc()
	}
	c.request = request()
	s.audit(ctx, c, err)
	return err
}

// perform runs a call that is allowed, when there is a place for it.
func (s *Server) perform(ctx context.Context, c *call, do func(ctx context.Context, node string) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if c.target, err = s.targetNode(ctx, c.id); err != nil {
		return err
	}
	return s.guard(withActor(ctx, c.id), c.method, func(ctx context.Context) error { return do(ctx, c.target) })
}

// guard turns a panic into an error of this one call.
func (s *Server) guard(ctx context.Context, method string, call func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.cfg.Logger.Error("panic in an admin call", "method", method, "panic", r, "stack", string(debug.Stack()))
			err = NewError(pb.ErrorReason_ERROR_REASON_INTERNAL, "the broker failed on this call; its log has the details")
		}
	}()
	return call(ctx)
}

// withActor hands the caller's name on to calls that this one makes to other
// members. Members are trusted to name the one they act for.
func withActor(ctx context.Context, id Identity) context.Context {
	if md, ok := metadata.FromIncomingContext(ctx); ok && id.isNode() {
		if a := md.Get(actorKey); len(a) > 0 {
			return metadata.AppendToOutgoingContext(ctx, actorKey, a[0])
		}
	}
	return metadata.AppendToOutgoingContext(ctx, actorKey, id.Name)
}
