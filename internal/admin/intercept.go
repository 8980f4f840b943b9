package admin

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

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
	return roles
}

// authorize finds the caller and compares roles. A method without a role is
// refused to everybody.
func (s *Server) authorize(ctx context.Context, method string) (Identity, error) {
	id, ok := s.identity(ctx)
	if !ok {
		return id, NewError(pb.ErrorReason_ERROR_REASON_NOT_AUTHENTICATED, "the caller could not be identified")
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
	if !strings.HasPrefix(info.FullMethod, ownPrefix) {
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
func (s *Server) run(ctx context.Context, method string, request func() proto.Message, call func(ctx context.Context, node string) error) error {
	start := time.Now()
	s.calls.Inc()
	id, err := s.authorize(ctx, method)
	if err != nil {
		s.refused.Inc()
	} else {
		var node string
		if node, err = s.targetNode(ctx, id); err == nil {
			err = s.guard(withActor(ctx, id), method, func(ctx context.Context) error { return call(ctx, node) })
		}
	}
	err = s.toStatus(err)
	if err != nil {
		s.failed.Inc()
	}
	s.audit(ctx, id, method, request(), time.Since(start), err)
	return err
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

// audit writes one line per call: who, what, with which arguments, how long and
// how it ended. Calls that only read are written at debug level, unless they
// were refused.
func (s *Server) audit(ctx context.Context, id Identity, method string, req proto.Message, took time.Duration, err error) {
	code := status.Code(err)
	level := slog.LevelInfo
	switch code {
	case codes.Unauthenticated, codes.PermissionDenied:
		level = slog.LevelWarn
	default:
		if s.roles[method] == pb.Role_ROLE_VIEWER {
			level = slog.LevelDebug
		}
	}
	if !s.cfg.Logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", strings.TrimPrefix(method, ownPrefix)),
		slog.String("caller", id.Name),
		slog.String("arguments", arguments(req)),
		slog.Duration("took", took),
		slog.String("code", code.String()),
	}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		if a := md.Get(actorKey); len(a) > 0 && id.isNode() {
			attrs = append(attrs, slog.String("for", a[0]))
		}
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", status.Convert(err).Message()))
	}
	s.cfg.Logger.LogAttrs(ctx, level, "admin call", attrs...)
}

// maxArguments bounds the arguments in an audit line, in bytes.
const maxArguments = 4096

// arguments returns a request as text for the audit log, without the values of
// fields marked debug_redact.
func arguments(req proto.Message) string {
	if req == nil || !req.ProtoReflect().IsValid() {
		return ""
	}
	clean := proto.Clone(req)
	redact(clean.ProtoReflect())
	b, err := protojson.Marshal(clean)
	if err != nil {
		return "not printable"
	}
	if len(b) > maxArguments {
		return strings.ToValidUTF8(string(b[:maxArguments]), "") + "…"
	}
	return string(b)
}

// redact replaces what is marked as secret, at any depth.
func redact(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		opts, _ := fd.Options().(*descriptorpb.FieldOptions)
		switch {
		case opts.GetDebugRedact() && fd.Kind() == protoreflect.StringKind && fd.Cardinality() != protoreflect.Repeated:
			m.Set(fd, protoreflect.ValueOfString("***"))
		case opts.GetDebugRedact():
			m.Clear(fd)
		case fd.IsMap():
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				redact(v.List().Get(i).Message())
			}
		case fd.Message() != nil:
			redact(v.Message())
		}
		return true
	})
}
