package meta

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// Times of the leader.
const (
	// memberLease is how long a silent member delays visibility.
	memberLease  = time.Second
	reportEvery  = 250 * time.Millisecond
	tendEvery    = 50 * time.Millisecond
	trimEvery    = time.Second
	barrierLimit = 5 * time.Second
)

// lease is what the leader knows of one member.
type lease struct {
	until   time.Time
	applied uint64
	overlay uint64
	// reported: it has spoken to this leader. willing: it asked for a lease,
	// so it reads the committed state.
	reported, willing bool
}

// leadership exists while this node leads.
type leadership struct {
	store   *Store
	node    *node
	batcher *batcher
	ctx     context.Context

	mu     sync.Mutex
	leases map[message.NodeID]*lease
	// settled: applied by this node at the last tend; a member that has
	// reached it has caught up.
	settled uint64
}

// lead is the session with ourselves.
func (s *Store) lead(ctx context.Context, n *node, ss *session) error {
	if err := n.raft.Barrier(barrierLimit).Error(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &leadership{store: s, node: n, ctx: ctx, leases: map[message.NodeID]*lease{}}
	l.batcher = newBatcher(n.raft, func() bool { return len(n.servers()) > 1 }, &s.took)
	l.tend()
	s.leading.Store(l)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer s.leading.Store(nil)
	ss.hello <- s.progress.load()
	select {
	case <-ss.welcome:
	case <-ctx.Done():
		return ctx.Err()
	}
	wg.Go(func() { l.batcher.run(ctx) })
	wg.Go(func() { l.run(ctx) })
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	for {
		// Alone, a second batch would only wait for the first one's sync, with
		// fewer commands than it has afterwards.
		limit := 1
		if l.batcher.followers() {
			limit = maxInFlight
		}
		for b := s.prop.take(limit); b != nil; b = s.prop.take(limit) {
			l.batcher.submit(chunk{commands: b, fail: fail})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-s.prop.kick:
		}
	}
}

// run tends the members until ctx ends.
func (l *leadership) run(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	trimmed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			l.tend()
			l.advance()
			if now.Sub(trimmed) > trimEvery {
				trimmed = now
				l.trim()
			}
		}
	}
}

// tend brings the leases and Raft's configuration in line with the members: a
// new member gets a lease that it has not asked for, so that nothing counts as
// visible before it could have reported; one that has caught up is promoted;
// a changed address is corrected in place.
func (l *leadership) tend() {
	servers := l.node.servers()
	voters := 0
	known := map[message.NodeID]bool{}
	l.mu.Lock()
	for _, sv := range servers {
		id, err := message.ParseNodeID(string(sv.ID))
		if err != nil {
			continue
		}
		known[id] = true
		if sv.Suffrage == raft.Voter {
			voters++
		}
		if l.leases[id] == nil && id != l.store.self() {
			l.leases[id] = &lease{until: time.Now().Add(memberLease)}
		}
	}
	for id := range l.leases {
		if !known[id] {
			delete(l.leases, id)
		}
	}
	l.mu.Unlock()
	for _, sv := range servers {
		id, _ := message.ParseNodeID(string(sv.ID))
		l.tendServer(sv, id, &voters)
	}
	l.mu.Lock()
	l.settled = l.store.progress.load()
	l.mu.Unlock()
}

func (l *leadership) tendServer(sv raft.Server, id message.NodeID, voters *int) {
	addr := sv.Address
	if id == l.store.self() {
		addr = raft.ServerAddress(l.store.cfg.Address)
	} else if m, ok := l.store.committedMember(id); ok && m.Address != "" {
		addr = raft.ServerAddress(m.Address)
	}
	l.mu.Lock()
	le := l.leases[id]
	caughtUp := le != nil && le.willing && le.applied >= l.settled && le.until.After(time.Now())
	l.mu.Unlock()
	promote := sv.Suffrage != raft.Voter && caughtUp && *voters < MaxVoters
	if !promote && addr == sv.Address {
		return
	}
	var f raft.IndexFuture
	if promote || sv.Suffrage == raft.Voter {
		f = l.node.raft.AddVoter(sv.ID, addr, 0, barrierLimit)
	} else {
		f = l.node.raft.AddNonvoter(sv.ID, addr, 0, barrierLimit)
	}
	if err := f.Error(); err != nil {
		l.store.log.Warn("changing a member in raft", "member", id, "voter", promote, "error", err)
		return
	}
	if promote {
		*voters++
		l.store.log.Info("member votes from now on", "member", id)
	}
}

// report takes a member's report. It returns whether the member holds a lease:
// one that has lost it gets it back when it has applied what is visible.
func (l *leadership) report(id message.NodeID, r *metapb.FromMember) bool {
	visible := l.store.visible.load()
	now := time.Now()
	l.mu.Lock()
	le := l.leases[id]
	if le == nil {
		l.mu.Unlock()
		return false
	}
	le.applied, le.overlay, le.willing = r.GetApplied(), r.GetOverlay(), r.GetSent() != 0
	holds := le.willing && (le.applied >= visible || le.reported && le.until.After(now))
	le.reported = true
	if holds {
		le.until = now.Add(memberLease)
	} else {
		le.until = now
	}
	l.mu.Unlock()
	l.advance()
	return holds
}

// advance raises the visible index to what every leased member has applied.
func (l *leadership) advance() {
	low := l.store.applied.load()
	now := time.Now()
	l.mu.Lock()
	for _, le := range l.leases {
		if le.until.After(now) {
			low = min(low, le.applied)
		}
	}
	l.mu.Unlock()
	l.store.visible.raise(low)
}

// trim forgets tombstones that every member has seen with an empty overlay:
// nothing older can come any more.
func (l *leadership) trim() {
	_, own := l.store.prop.counts()
	low := l.store.applied.load()
	ok := own == 0
	l.mu.Lock()
	for _, le := range l.leases {
		ok = ok && le.reported && le.willing && le.overlay == 0 && le.until.After(time.Now())
		low = min(low, le.applied)
	}
	l.mu.Unlock()
	l.store.mu.RLock()
	ok = ok && l.node.fsm.state.tombsBefore(low)
	l.store.mu.RUnlock()
	if !ok {
		return
	}
	err := l.store.prop.add(&op{cmd: &metapb.Command{Op: &metapb.Command_TrimTombstones{
		TrimTombstones: &metapb.TrimTombstones{Index: low},
	}}}, &l.store.clock, l.store.cfg.MaxOverlay)
	if err != nil {
		l.store.log.Warn("trimming tombstones", "error", err)
	}
}

// committedMember returns a member from the committed state.
func (s *Store) committedMember(id message.NodeID) (*Member, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.node == nil {
		return nil, false
	}
	return s.node.fsm.state.members.Get(id)
}

// WaitVisible returns when every member with a lease has applied index. A dead
// member delays it by its lease, one second, at most. Without quorum it
// returns at once.
func (s *Store) WaitVisible(ctx context.Context, index uint64) error {
	for {
		if l := s.leading.Load(); l != nil {
			l.advance()
		}
		v, changed := s.visible.get()
		if v >= index || s.cutOffNow() {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(reportEvery): // quorum may be lost meanwhile
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
}

func (s *Store) cutOffNow() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !s.netsplitSince.IsZero()
}
