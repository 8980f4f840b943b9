package meta

import (
	"context"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// Times of the run loop.
const (
	runInterval  = 25 * time.Millisecond
	retrySession = 50 * time.Millisecond
	probeEvery   = time.Second
)

// session is the work with one leader, this node or another.
type session struct {
	leader message.NodeID
	cancel context.CancelFunc
	done   chan struct{}
	// hello gets the index up to which the leader has applied once it has
	// confirmed its quorum; then the run loop closes welcome.
	hello   chan uint64
	welcome chan struct{}
	live    bool
	// announced: our own member record was looked at.
	announced bool
}

// run follows the leader: one session with each, the journal when there is
// none.
func (s *Store) run() {
	tick := time.NewTicker(runInterval)
	defer tick.Stop()
	defer s.endSession()
	s.lostAt = time.Now()
	for {
		var hello chan uint64
		var over chan struct{}
		if s.session != nil {
			hello, over = s.session.hello, s.session.done
		}
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		case <-s.prop.wake:
		case fn := <-s.calls:
			fn()
		case index := <-hello:
			s.found(index)
		case <-over:
			s.endSession()
		}
		s.step(time.Now())
	}
}

// watch ends the node when its disk hangs. It is no part of the run loop,
// which may itself wait for the disk.
func (s *Store) watch() {
	tick := time.NewTicker(hungAfter / 10)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-tick.C:
			s.mu.RLock()
			n := s.node
			s.mu.RUnlock()
			if n != nil && n.log.hung(now) {
				s.fatal(ErrHungDisk)
			}
		}
	}
}

// call runs fn on the run loop.
func (s *Store) call(ctx context.Context, fn func() error) error {
	done := make(chan error, 1)
	select {
	case s.calls <- func() { done <- fn() }:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return ErrClosed
	}
	return <-done // fn is bounded by the disk
}

// step looks at what has changed.
func (s *Store) step(now time.Time) {
	if s.ctx.Err() != nil || s.node == nil {
		return
	}
	leader := s.node.leader()
	if s.session != nil && s.session.leader != leader {
		s.endSession()
	}
	if s.session == nil && leader != 0 && now.After(s.retryAt) {
		s.startSession(leader)
	}
	s.repair()
	s.announce()
	s.mu.RLock()
	contacted, cut, joining := s.contacted, !s.netsplitSince.IsZero(), s.joining
	s.mu.RUnlock()
	switch {
	case cut:
		s.journalPending()
	case !contacted && !joining && now.Sub(s.lostAt) > s.cfg.NetsplitGrace:
		s.cutOff(now)
	}
	if !contacted && now.Sub(s.probedAt) > probeEvery && now.Sub(s.lostAt) > probeEvery {
		s.probedAt = now
		s.probe()
	}
	if s.node.fsm.due(s.cfg.SnapshotBytes) {
		s.node.fsm.logged.Store(0)
		s.snapshotLater()
	}
}

// snapshotLater lets Raft write a snapshot beside everything else.
func (s *Store) snapshotLater() {
	f := s.node.raft.Snapshot()
	s.wg.Go(func() {
		if err := f.Error(); err != nil && s.ctx.Err() == nil {
			s.log.Warn("metadata snapshot failed", "error", err)
		}
	})
}

// repair proposes again what was refused.
func (s *Store) repair() {
	fenced, again := s.prop.needs()
	if fenced {
		s.mu.RLock()
		inc := s.prop.current()
		o, _ := s.node.fsm.state.origins.Get(s.self())
		inc = max(inc, o.incarnation, o.fenced) + 1
		s.mu.RUnlock()
		s.log.Warn("this incarnation was declared dead, taking a new one", "incarnation", inc)
		if s.cfg.OnIncarnation != nil {
			s.cfg.OnIncarnation(inc)
		}
		s.prop.reincarnate(inc)
		return
	}
	if again {
		s.prop.rewind()
	}
}

// announce corrects our own member record once per session.
func (s *Store) announce() {
	if s.session == nil || !s.session.live || s.session.announced {
		return
	}
	s.mu.RLock()
	current := s.detached == nil
	m, ok := s.node.fsm.state.members.Get(s.self())
	s.mu.RUnlock()
	if !current {
		return
	}
	s.session.announced = true
	if !ok || m.Name == s.cfg.Name && m.Address == s.cfg.Address && m.Version == s.cfg.Version {
		return
	}
	n := *m
	n.Name, n.Address, n.Version = s.cfg.Name, s.cfg.Address, s.cfg.Version
	err := s.prop.add(&op{cmd: &metapb.Command{Op: &metapb.Command_PutMember{
		PutMember: &metapb.PutMember{Member: memberToPB(&n)},
	}}}, &s.clock, s.cfg.MaxOverlay)
	if err != nil {
		s.log.Warn("announcing this member", "error", err)
	}
}

func (s *Store) startSession(leader message.NodeID) {
	ctx, cancel := context.WithCancel(s.ctx)
	ss := &session{
		leader: leader, cancel: cancel, done: make(chan struct{}), hello: make(chan uint64, 1), welcome: make(chan struct{}),
	}
	s.session = ss
	n := s.node
	s.wg.Go(func() {
		defer close(ss.done)
		defer cancel()
		var err error
		if leader == s.self() {
			err = s.lead(ctx, n, ss)
		} else {
			err = s.follow(ctx, ss)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Info("session with the metadata leader ended", "leader", leader, "error", err)
		}
	})
}

// endSession ends the session; what it has not brought home is sent again to
// the next leader.
func (s *Store) endSession() {
	if s.session == nil {
		return
	}
	now := time.Now()
	s.session.cancel()
	<-s.session.done
	s.retryAt = now.Add(retrySession)
	if s.session.live {
		s.lostAt = now
	}
	s.session = nil
	s.mu.Lock()
	s.contacted = false
	s.mu.Unlock()
	s.leasedUntil.Store(0)
}

// found notes that a leader has confirmed its quorum; everything that it had
// committed is applied here with index.
func (s *Store) found(index uint64) {
	s.applyMu.Lock()
	s.mu.Lock()
	cut := !s.netsplitSince.IsZero()
	s.contacted, s.attachAt, s.netsplitSince = true, index, time.Time{}
	joining := s.joining
	s.mu.Unlock()
	s.prop.cut(false)
	if cut {
		s.resolved.Inc()
		s.log.Info("quorum is back", "leader", s.session.leader)
	}
	if !s.session.live && !joining && s.cfg.Observer != nil {
		s.cfg.Observer.Quorum(true)
	}
	s.attachIfCurrent()
	s.applyMu.Unlock()
	s.session.live = true
	s.prop.rewind()
	close(s.session.welcome)
}

// cutOff notes that there is no leader with quorum: from now on the detached
// view is read and written.
func (s *Store) cutOff(now time.Time) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.mu.Lock()
	if s.detached == nil {
		s.detached = s.node.fsm.state.copy()
	}
	s.detached.detached = true
	s.netsplitSince = now
	s.mu.Unlock()
	s.detected.Inc()
	s.log.Warn("no metadata leader with quorum")
	s.prop.cut(true)
	if s.cfg.Observer != nil {
		s.cfg.Observer.Quorum(false)
	}
}
