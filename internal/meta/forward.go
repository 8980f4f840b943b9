package meta

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

var errOtherCluster = errors.New("leader belongs to another cluster")

// follow is the session with another node that leads.
func (s *Store) follow(ctx context.Context, ss *session) error {
	if s.cfg.Dialer == nil {
		return errors.New("no dialer")
	}
	conn, err := s.cfg.Dialer.Conn(ctx, ss.leader)
	if err != nil {
		return err
	}
	stream, err := metapb.NewMetaClient(conn).Forward(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&metapb.FromMember{Hello: s.hello()}); err != nil {
		return fmt.Errorf("greeting the leader: %w", err)
	}
	first, err := stream.Recv()
	if err != nil {
		if status.Code(err) == codes.PermissionDenied && !s.isJoining() {
			s.removed()
		}
		return err
	}
	if c := s.clusterID(); c != 0 && !s.isJoining() && c != first.GetWelcome().GetCluster() {
		return errOtherCluster
	}
	ss.hello <- first.GetWelcome().GetCommit()
	select {
	case <-ss.welcome:
	case <-ctx.Done():
		return ctx.Err()
	}
	dead := make(chan error, 1)
	s.wg.Go(func() { dead <- s.listen(stream) })
	return s.send(ctx, stream, dead)
}

// send hands batches and reports to the leader until the session ends.
func (s *Store) send(ctx context.Context, stream metapb.Meta_ForwardClient, dead <-chan error) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	resigned := s.resigned
	for {
		_, changed := s.progress.get()
		if err := stream.Send(s.report()); err != nil {
			return err
		}
	batches:
		for {
			for b := s.prop.take(maxInFlight); b != nil; b = s.prop.take(maxInFlight) {
				if err := stream.Send(&metapb.FromMember{Commands: b}); err != nil {
					return err
				}
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-dead:
				return err
			case <-s.prop.kick:
			case <-changed:
				break batches
			case <-tick.C:
				break batches
			case <-resigned:
				resigned = nil
				break batches
			}
		}
	}
}

// listen takes what the leader says. It ends with the stream.
func (s *Store) listen(stream metapb.Meta_ForwardClient) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			if status.Code(err) == codes.PermissionDenied && !s.isJoining() {
				s.removed()
			}
			return err
		}
		if s.isJoining() {
			continue
		}
		s.visible.raise(m.GetVisible())
		if m.GetResigned() {
			s.releaseOnce.Do(func() { close(s.released) })
		}
		if e := m.GetEcho(); e != 0 {
			s.leasedUntil.Store(e + int64(memberLease))
		}
	}
}

func (s *Store) hello() *metapb.Hello {
	h := &metapb.Hello{
		Node: uint64(s.self()), Incarnation: s.prop.current(), Address: s.cfg.Address, Version: s.cfg.Version,
	}
	if !s.isJoining() {
		h.Cluster = s.clusterID()
	}
	return h
}

// report says what is applied here. Only who reads the committed state asks
// for a lease, by saying when.
func (s *Store) report() *metapb.FromMember {
	_, journalled := s.prop.counts()
	s.mu.RLock()
	current := s.detached == nil
	s.mu.RUnlock()
	r := &metapb.FromMember{Applied: s.progress.load(), Overlay: uint64(journalled)}
	if r.Resigned = s.hasResigned(); current && !r.Resigned {
		r.Applied, r.Sent = s.applied.load(), s.monotonic()
	}
	return r
}

// monotonic is the time since the start, never 0.
func (s *Store) monotonic() int64 { return int64(time.Since(s.started)) + 1 }

func (s *Store) isJoining() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.joining
}

func (s *Store) clusterID() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.node == nil {
		return 0
	}
	return uint64(s.node.fsm.state.cluster)
}

// service is the gRPC side of a Store.
type service struct {
	metapb.UnimplementedMetaServer
	store *Store
}

// Forward implements metapb.MetaServer on the leader.
func (g *service) Forward(stream metapb.Meta_ForwardServer) error {
	s := g.store
	l := s.leading.Load()
	if l == nil {
		return status.Error(codes.FailedPrecondition, "not the leader")
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	h := first.GetHello()
	id := message.NodeID(h.GetNode())
	if err := s.allowed(stream.Context(), id, false); err != nil {
		return err
	}
	if c := s.clusterID(); h.GetCluster() != 0 && h.GetCluster() != c {
		return status.Error(codes.FailedPrecondition, errOtherCluster.Error())
	}
	if _, ok := l.node.server(id); !ok {
		return status.Error(codes.PermissionDenied, ErrNoMember.Error())
	}
	if err := l.node.raft.Barrier(barrierLimit).Error(); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	err = stream.Send(&metapb.FromLeader{Welcome: &metapb.Welcome{
		Commit: s.progress.load(), Term: l.node.raft.CurrentTerm(), Cluster: s.clusterID(), Member: true,
	}})
	if err != nil {
		return err
	}
	return l.serve(stream, id)
}

// serve runs the leader's side of one member's stream.
func (l *leadership) serve(stream metapb.Meta_ForwardServer, id message.NodeID) error {
	var echo atomic.Int64
	var resigned atomic.Bool
	news, over := make(chan struct{}, 1), make(chan error, 2)
	fail := func(err error) {
		select {
		case over <- err:
		default:
		}
	}
	l.store.wg.Go(func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				fail(err)
				return
			}
			if c := m.GetCommands(); len(c) > 0 {
				l.batcher.submit(chunk{commands: c, fail: fail})
				continue
			}
			if l.report(id, m) {
				echo.Store(m.GetSent())
				signal(news)
			}
			if m.GetResigned() && !resigned.Swap(true) {
				signal(news)
			}
		}
	})
	check := time.NewTicker(reportEvery)
	defer check.Stop()
	for {
		v, changed := l.store.visible.get()
		if err := stream.Send(&metapb.FromLeader{Visible: v, Echo: echo.Load(), Resigned: resigned.Load()}); err != nil {
			return err
		}
	wait:
		for {
			select {
			case <-l.ctx.Done():
				return status.Error(codes.Unavailable, "leadership ended")
			case <-stream.Context().Done():
				return stream.Context().Err()
			case err := <-over:
				return status.Error(codes.Aborted, err.Error())
			case <-check.C:
				if _, ok := l.node.server(id); !ok {
					return status.Error(codes.PermissionDenied, ErrNoMember.Error())
				}
			case <-changed:
				break wait
			case <-news:
				break wait
			}
		}
	}
}

// pause waits between two tries.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
