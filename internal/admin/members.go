package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// target says which members a call is about: this one, another, or all.
type target struct {
	node string
	all  bool
}

// answer is what one member said.
type answer[T any] struct {
	node  string
	value T
	err   error
}

// text is why the member did not do what it was asked; "" when it did.
func (a answer[T]) text() string {
	if a.err == nil {
		return ""
	}
	if e, ok := status.FromError(a.err); ok {
		return e.Message()
	}
	return a.err.Error()
}

// unreachable reports that the member could not be asked.
func (a answer[T]) unreachable() bool {
	c := status.Code(a.err)
	return c == codes.Unavailable || c == codes.DeadlineExceeded
}

// members runs one question on the members of a target.
type members[T any] struct {
	s      *Server
	local  func(context.Context) (T, error)
	remote func(context.Context, grpc.ClientConnInterface) (T, error)
}

// ask asks the members of t at the same time. A single member's failure is the
// call's; of several, each has its own. Answers are ordered by name.
func (m members[T]) ask(ctx context.Context, t target) ([]answer[T], error) {
	if t.all && t.node != "" {
		return nil, NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "one member and all members cannot be named at the same time", "argument", "all")
	}
	pong, err := m.s.cfg.Node.Ping(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	if m.s.cfg.Peers != nil {
		names = slices.DeleteFunc(m.s.cfg.Peers.Names(), func(n string) bool { return n == pong.Node })
	}
	if !t.all {
		name := cmp.Or(t.node, pong.Node)
		if name != pong.Node && !slices.Contains(names, name) {
			return nil, NewError(pb.ErrorReason_ERROR_REASON_NODE_UNKNOWN, "no member is called "+name, "node", name)
		}
		a := m.one(ctx, name, name == pong.Node)
		return []answer[T]{a}, a.err
	}
	names = append(names, pong.Node)
	slices.Sort(names)
	out := make([]answer[T], len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { out[i] = m.one(ctx, name, name == pong.Node) })
	}
	wg.Wait()
	return out, nil
}

// one asks one member, this one itself.
func (m members[T]) one(ctx context.Context, name string, self bool) answer[T] {
	a := answer[T]{node: name}
	if self {
		a.value, a.err = m.local(ctx)
		return a
	}
	ctx, cancel := context.WithTimeout(ctx, m.s.cfg.PeerTimeout())
	defer cancel()
	conn, err := m.s.cfg.Peers.Conn(ctx, name)
	if err != nil {
		a.err = m.s.toStatus(NewError(pb.ErrorReason_ERROR_REASON_NODE_DOWN, fmt.Sprintf("%s cannot be reached: %v", name, err), "node", name))
		return a
	}
	a.value, a.err = m.remote(ctx, conn)
	return a
}
