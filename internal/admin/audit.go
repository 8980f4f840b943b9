package admin

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/audit"
)

type auditService struct {
	pb.UnsafeAuditServiceServer // a new method must not compile until written
	s                           *Server
}

// Bounds of what is read of the audit log at once.
const (
	defaultAuditLimit = 100
	maxAuditLimit     = 100_000
	batchEntries      = 64
)

func (a auditService) ShowAudit(req *pb.ShowAuditRequest, stream grpc.ServerStreamingServer[pb.ShowAuditResponse]) error {
	if a.s.cfg.Audit == nil {
		return NewError(pb.ErrorReason_ERROR_REASON_AUDIT_OFF, "this node writes no audit log", "setting", "log.audit")
	}
	q := audit.Query{Limit: int(req.GetLimit()), Caller: req.GetCaller(), Method: req.GetMethod(), Failed: req.GetFailed()}
	if q.Limit == 0 {
		q.Limit = defaultAuditLimit
	}
	if q.Limit > maxAuditLimit {
		return NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "the limit is above 100000", "argument", "limit")
	}
	if req.GetSince() != nil {
		q.Since = req.GetSince().AsTime()
	}
	entries, err := a.s.cfg.Audit.Read(q)
	if err != nil {
		return err
	}
	for len(entries) > 0 {
		n := min(batchEntries, len(entries))
		resp := &pb.ShowAuditResponse{}
		for _, e := range entries[:n] {
			resp.Entries = append(resp.Entries, entryToProto(e))
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

func entryToProto(e audit.Entry) *pb.AuditEntry {
	return &pb.AuditEntry{
		Time: timestamppb.New(e.Time), Node: e.Node, Caller: e.Caller, For: e.For, Remote: e.Remote, Method: e.Method,
		Arguments: e.Arguments, Target: e.Target, Code: e.Code, Error: e.Error, Took: durationpb.New(e.Took),
	}
}

// call is what is written down about a call.
type call struct {
	id      Identity
	method  string
	target  string // the member that was to answer, "" for this one
	request proto.Message
	start   time.Time
}

// audit writes one line per call: who, what, with which arguments, how long and
// how it ended. Calls that only read are written at debug level, and not to the
// audit log, unless they were refused.
func (s *Server) audit(ctx context.Context, c call, err error) {
	code := status.Code(err)
	refused := code == codes.Unauthenticated || code == codes.PermissionDenied
	reads := s.roles[c.method] == pb.Role_ROLE_VIEWER && !refused
	level := slog.LevelInfo
	switch {
	case refused:
		level = slog.LevelWarn
	case reads:
		level = slog.LevelDebug
	}
	keep := s.cfg.Audit != nil && (!reads || s.cfg.AuditReads)
	if !keep && !s.cfg.Logger.Enabled(ctx, level) {
		return
	}
	e := audit.Entry{
		Time: time.Now(), Caller: c.id.Name, Method: strings.TrimPrefix(c.method, ownPrefix), Arguments: arguments(c.request),
		Target: c.target, Code: code.String(), Took: time.Since(c.start),
	}
	if md, ok := metadata.FromIncomingContext(ctx); ok && c.id.isNode() {
		e.For = strings.Join(md.Get(actorKey), "")
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil && p.Addr.Network() == "tcp" {
		e.Remote = p.Addr.String()
	}
	if err != nil {
		e.Error = status.Convert(err).Message()
	}
	s.logEntry(ctx, level, e)
	if keep {
		s.keepEntry(ctx, e)
	}
}

func (s *Server) logEntry(ctx context.Context, level slog.Level, e audit.Entry) {
	attrs := []slog.Attr{
		slog.String("method", e.Method),
		slog.String("caller", e.Caller),
		slog.String("arguments", e.Arguments),
		slog.Duration("took", e.Took),
		slog.String("code", e.Code),
	}
	for _, a := range []slog.Attr{
		slog.String("for", e.For), slog.String("node", e.Target), slog.String("remote", e.Remote), slog.String("error", e.Error),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	s.cfg.Logger.LogAttrs(ctx, level, "admin call", attrs...)
}

func (s *Server) keepEntry(ctx context.Context, e audit.Entry) {
	if pong, err := s.cfg.Node.Ping(ctx); err == nil {
		e.Node = pong.Node
	}
	if err := s.cfg.Audit.Add(e); err != nil {
		s.unkept.Inc()
		s.cfg.Logger.Error("an admin call is missing in the audit log", "method", e.Method, "caller", e.Caller, "error", err)
	}
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
