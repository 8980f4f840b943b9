package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// nodeKey names the member that shall answer a call. The one that gets the call
// identifies the caller, compares roles and passes it on; members trust each
// other.
const nodeKey = "mqadmin-node"

// targetNode returns the other member that shall answer, "" for this one. A
// call that was passed on is answered here, whatever it says.
func (s *Server) targetNode(ctx context.Context, id Identity) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	name := strings.Join(md.Get(nodeKey), "")
	if name == "" || id.isNode() {
		return "", nil
	}
	pong, err := s.cfg.Node.Ping(ctx)
	if err != nil {
		return "", err
	}
	if name == pong.Node {
		return "", nil
	}
	if s.cfg.Peers == nil || !slices.Contains(s.cfg.Peers.Names(), name) {
		return "", NewError(pb.ErrorReason_ERROR_REASON_NODE_UNKNOWN, "no member is called "+name, "node", name)
	}
	return name, nil
}

// peerConn connects to another member that shall answer a call.
func (s *Server) peerConn(ctx context.Context, name string) (grpc.ClientConnInterface, error) {
	conn, err := s.cfg.Peers.Conn(ctx, name)
	if err != nil {
		return nil, NewError(pb.ErrorReason_ERROR_REASON_NODE_DOWN,
			fmt.Sprintf("%s cannot be reached from this node: %v", name, err), "node", name)
	}
	return conn, nil
}

// forwardUnary lets another member answer.
func (s *Server) forwardUnary(ctx context.Context, name, method string, req any) (any, error) {
	resp, err := newResponse(method)
	if err != nil {
		return nil, err
	}
	conn, err := s.peerConn(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := conn.Invoke(ctx, method, req, resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// forwardStream lets another member answer a call with one request and a stream
// of answers, which all streaming calls of this API are.
func (s *Server) forwardStream(ctx context.Context, name, method string, ss grpc.ServerStream) error {
	md, err := methodDescriptor(method)
	if err != nil {
		return err
	}
	input, err := protoregistry.GlobalTypes.FindMessageByName(md.Input().FullName())
	if err != nil {
		return fmt.Errorf("passing on %s: %w", method, err)
	}
	req := input.New().Interface()
	if err := ss.RecvMsg(req); err != nil {
		return err
	}
	conn, err := s.peerConn(ctx, name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := errors.Join(stream.SendMsg(req), stream.CloseSend()); err != nil {
		return stream.RecvMsg(nil) // it has the reason
	}
	for {
		resp, err := newResponse(method)
		if err != nil {
			return err
		}
		switch err := stream.RecvMsg(resp); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := ss.SendMsg(resp); err != nil {
			return err
		}
	}
}

func methodDescriptor(method string) (protoreflect.MethodDescriptor, error) {
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil, fmt.Errorf("passing on %s: %w", method, err)
	}
	md, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("passing on %s: not a method", method)
	}
	return md, nil
}

func newResponse(method string) (proto.Message, error) {
	md, err := methodDescriptor(method)
	if err != nil {
		return nil, err
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(md.Output().FullName())
	if err != nil {
		return nil, fmt.Errorf("passing on %s: %w", method, err)
	}
	return t.New().Interface(), nil
}
