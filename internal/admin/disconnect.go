package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/message"
)

const (
	// disconnectWorkers is how many sessions are ended at once: as deletions
	// they share the entries of the metadata's log.
	disconnectWorkers = 256
	// progressInterval is the least time between two reports.
	progressInterval = 500 * time.Millisecond
)

func (ss sessionService) DisconnectSessions(req *pb.DisconnectSessionsRequest, stream grpc.ServerStreamingServer[pb.DisconnectSessionsResponse]) error {
	switch {
	case len(req.GetClientIds()) > 0 && req.GetCount() > 0:
		return NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "client ids and a count exclude each other", "argument", "count")
	case len(req.GetClientIds()) == 0 && req.GetCount() == 0:
		return missing("count", "neither client ids nor a count were given")
	case slices.Contains(req.GetClientIds(), ""):
		return NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "a client id is empty", "argument", "client-ids")
	}
	b := &batch{s: ss.s, req: req, send: newProgress(stream)}
	err := b.run(stream.Context())
	if err != nil {
		return b.send.end(nil, err)
	}
	return b.send.end(&pb.DisconnectSessionsResponse{Event: &pb.DisconnectSessionsResponse_Result{Result: b.result}}, nil)
}

// batch is one call of DisconnectSessions.
type batch struct {
	s    *Server
	req  *pb.DisconnectSessionsRequest
	send *progress[pb.DisconnectSessionsResponse]

	mu     sync.Mutex // guards what follows
	result *pb.DisconnectResult
	done   uint64
	told   time.Time
}

func (b *batch) run(ctx context.Context) error {
	b.result = &pb.DisconnectResult{}
	if ids := b.req.GetClientIds(); len(ids) > 0 {
		ids = slices.Compact(slices.Sorted(slices.Values(ids)))
		all := make([]message.SessionID, len(ids))
		for i, id := range ids {
			all[i] = message.SessionID{Mountpoint: b.req.GetMountpoint(), ClientID: id}
		}
		return b.disconnect(ctx, all)
	}
	nodes, err := b.nodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		left := uint64(b.req.GetCount()) - min(b.chosen(), uint64(b.req.GetCount()))
		if left == 0 {
			break
		}
		if node == "" {
			err = b.some(ctx, left)
		} else {
			err = b.ask(ctx, node, left)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// chosen counts the sessions that were chosen so far.
func (b *batch) chosen() uint64 { return b.result.GetDisconnected() + b.result.GetFailed() }

// nodes returns the names of the members to act on, "" for this one, which is
// the first.
func (b *batch) nodes(ctx context.Context) ([]string, error) {
	var others []string
	if b.s.cfg.Peers != nil && !b.req.GetLocalOnly() {
		others = b.s.cfg.Peers.Names()
	}
	asked := b.req.GetNodes()
	if len(asked) == 0 || b.req.GetLocalOnly() {
		return append([]string{""}, others...), nil
	}
	self, err := b.s.cfg.Node.Ping(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range slices.Compact(slices.Sorted(slices.Values(asked))) {
		switch {
		case n == self.Node:
			out = slices.Insert(out, 0, "")
		case slices.Contains(others, n):
			out = append(out, n)
		default:
			return nil, NewError(pb.ErrorReason_ERROR_REASON_NODE_UNKNOWN, "no member is called "+n, "node", n)
		}
	}
	return out, nil
}

// some ends up to count connected sessions of this node.
func (b *batch) some(ctx context.Context, count uint64) error {
	excluded := map[string]bool{}
	for _, id := range b.req.GetExcludeClientIds() {
		excluded[id] = true
	}
	var ids []message.SessionID
	err := b.s.cfg.Sessions.Each(ctx, Scope{
		Mountpoint: new(b.req.GetMountpoint()),
		Accept:     func(id message.SessionID) bool { return !excluded[id.ClientID] },
	}, func(s *Session) bool {
		if len(s.Connections) > 0 && !s.Plugin && s.ID.Mountpoint == b.req.GetMountpoint() && !excluded[s.ID.ClientID] {
			ids = append(ids, s.ID)
		}
		return uint64(len(ids)) < count
	})
	if err != nil {
		return err
	}
	return b.disconnect(ctx, ids)
}

// disconnect ends these sessions, several at once.
func (b *batch) disconnect(ctx context.Context, ids []message.SessionID) error {
	total := b.done + uint64(len(ids))
	next := make(chan message.SessionID)
	var wg sync.WaitGroup
	for range min(disconnectWorkers, len(ids)) {
		wg.Go(func() {
			for id := range next {
				b.one(ctx, id)
				b.tell(1, total)
			}
		})
	}
	defer wg.Wait()
	defer close(next)
	for _, id := range ids {
		select {
		case next <- id:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (b *batch) one(ctx context.Context, id message.SessionID) {
	owner, here := b.s.cfg.Sessions.Owner(id)
	found := owner != "" || here
	var res DisconnectResult
	var err error
	if !b.req.GetValidateOnly() {
		res, err = b.s.cfg.Sessions.Disconnect(ctx, DisconnectRequest{ID: id, Cleanup: b.req.GetCleanup()})
	} else if found {
		res = DisconnectResult{Disconnected: true, Cleaned: b.req.GetCleanup()}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.result
	switch {
	case err != nil:
		if r.Failed++; r.GetFailed() == 1 {
			r.Failures = append(r.Failures, &pb.NodeFailure{Node: owner, Message: fmt.Sprintf("%s: %v", id, err)})
		}
	case !res.Disconnected && !res.Cleaned && !found:
		r.UnknownClientIds = append(r.UnknownClientIds, id.ClientID)
		slices.Sort(r.UnknownClientIds)
	}
	if res.Disconnected {
		r.Disconnected++
	}
	if res.Cleaned {
		r.Cleaned++
	}
}

// tell reports n more sessions of total, now and then.
func (b *batch) tell(n, total uint64) {
	b.mu.Lock()
	b.done += n
	done, now := b.done, time.Now()
	due := now.Sub(b.told) >= progressInterval || done == total
	if due {
		b.told = now
	}
	b.mu.Unlock()
	if due {
		b.send.progress(&pb.DisconnectSessionsResponse{Event: &pb.DisconnectSessionsResponse_Progress{
			Progress: &pb.DisconnectProgress{Done: done, Total: total},
		}})
	}
}

// ask lets another member end up to count of its sessions.
func (b *batch) ask(ctx context.Context, node string, count uint64) error {
	res, err := b.remote(ctx, node, count)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.result
	if err != nil {
		r.Failures = append(r.Failures, &pb.NodeFailure{Node: node, Message: status.Convert(err).Message()})
		return nil
	}
	r.Disconnected += res.GetDisconnected()
	r.Cleaned += res.GetCleaned()
	r.Failed += res.GetFailed()
	for _, f := range res.GetFailures() {
		f.Node = node
		r.Failures = append(r.Failures, f)
	}
	return nil
}

func (b *batch) remote(ctx context.Context, node string, count uint64) (*pb.DisconnectResult, error) {
	conn, err := b.s.cfg.Peers.Conn(ctx, node)
	if err != nil {
		return nil, err
	}
	stream, err := pb.NewSessionServiceClient(conn).DisconnectSessions(ctx, &pb.DisconnectSessionsRequest{
		Count: uint32(count), ExcludeClientIds: b.req.GetExcludeClientIds(), Mountpoint: b.req.GetMountpoint(),
		Cleanup: b.req.GetCleanup(), ValidateOnly: b.req.GetValidateOnly(), LocalOnly: true,
	})
	if err != nil {
		return nil, err
	}
	before := b.done
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the answer ended without a result")
		}
		if err != nil {
			return nil, err
		}
		if p := resp.GetProgress(); p != nil {
			b.tell(before+p.GetDone()-b.done, before+p.GetTotal())
		}
		if r := resp.GetResult(); r != nil {
			return r, nil
		}
	}
}
