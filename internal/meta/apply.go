package meta

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// finished is an op of this node with its result.
type finished struct {
	op     *op
	result result
}

// applyEntry applies one log entry, tells the observer, publishes the index
// and only then answers the proposals of this node that are in it.
func (s *Store) applyEntry(f *fsm, l *raft.Log) error {
	commands, err := decodeEntry(l.Data)
	if err != nil {
		return err
	}
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	defer s.took.apply.Since(time.Now())
	done, events, err := s.applyCommands(f, l.Index, commands)
	if err != nil {
		return err
	}
	if len(events) > 0 && s.cfg.Observer != nil {
		s.cfg.Observer.Apply(l.Index, events)
	}
	s.publish(f)
	for _, d := range done {
		s.finish(d.op, d.result)
	}
	return nil
}

// applyCommands changes the committed state. The events are nil when that is
// not what is read.
func (s *Store) applyCommands(f *fsm, index uint64, commands []*metapb.Command) (done []finished, events []Event, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range commands {
		r, err := f.state.apply(index, c)
		if err != nil {
			return nil, nil, err
		}
		s.clock.observe(c.GetStamp())
		if c.GetOrigin() != uint64(s.self()) || s.joining {
			continue
		}
		if o := s.prop.applied(c, r); o != nil {
			done = append(done, finished{o, r})
		}
	}
	if o, ok := f.state.origins.Get(s.self()); ok && !s.joining {
		s.prop.seen(o)
	}
	events = f.state.takeEvents()
	if s.detached != nil {
		events = nil
	}
	return done, events, nil
}

// restored replaces the committed state by that of a snapshot.
func (s *Store) restored(f *fsm, st *state) {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.clock.observe(st.stamp)
	s.mu.Lock()
	f.state = st
	var ops []*op
	if o, ok := st.origins.Get(s.self()); ok && !s.joining {
		ops = s.prop.appliedUpTo(o)
	}
	var v *View
	if s.detached == nil {
		v = &View{st.copy()}
	}
	s.mu.Unlock()
	if v != nil && s.cfg.Observer != nil {
		s.cfg.Observer.Reset(v.Index(), v)
	}
	s.publish(f)
	for _, o := range ops {
		s.finish(o, resultInSnapshot(st, o.cmd))
	}
}

// resultInSnapshot finds the answer to a command that came with a snapshot.
func resultInSnapshot(st *state, c *metapb.Command) result {
	r := c.GetRegister()
	if r == nil {
		return result{index: st.index}
	}
	cur, err := st.current(r.GetMountpoint(), r.GetClient(), nil)
	if cur == nil {
		return result{index: st.index, err: err}
	}
	if cur.OverlayIndex != overlayIndex(c.GetStamp()) || cur.Owner != stampOf(c).Node {
		return result{index: st.index, err: ErrSuperseded}
	}
	res := st.registration(cur, false)
	res.index = st.index
	return res
}

// publish makes what was applied visible: to the leader, and, if it is what is
// read, to those who wait. With applyMu.
func (s *Store) publish(f *fsm) {
	s.attachIfCurrent()
	s.mu.RLock()
	index, current := f.state.index, s.detached == nil
	s.mu.RUnlock()
	if current {
		s.applied.raise(index)
	}
	s.progress.raise(index)
	if l := s.leading.Load(); l != nil {
		l.advance()
	}
}

// attachIfCurrent goes back to reading the committed state once it contains
// all that was answered: what the leader had committed when it was found, and
// every command of the journal. With applyMu.
func (s *Store) attachIfCurrent() {
	_, journalled := s.prop.counts()
	s.mu.Lock()
	if s.detached == nil || !s.contacted || s.joining || journalled > 0 || s.node == nil ||
		s.node.fsm.state.index < s.attachAt || s.node.fsm.state.cluster == 0 {
		s.mu.Unlock()
		return
	}
	s.detached, s.provisional = nil, false
	v := &View{s.node.fsm.state.copy()}
	s.mu.Unlock()
	if s.cfg.Observer != nil {
		s.cfg.Observer.Reset(v.Index(), v)
	}
	if err := s.journal.clear(); err != nil {
		s.fatal(err)
	}
	s.applied.reset(v.Index())
	s.attachOnce.Do(func() { close(s.attached) })
}

// finish answers an op. A registration that nobody waits for any more is
// released, or the registry would name an owner without a connection.
func (s *Store) finish(o *op, r result) {
	s.prop.mu.Lock()
	answered := o.answer(r)
	s.prop.mu.Unlock()
	s.freeSlot(o)
	reg := o.cmd.GetRegister()
	if answered || o.journalled || reg == nil || r.err != nil {
		return
	}
	_, wall := s.clock.now()
	err := s.prop.add(&op{overlay: true, cmd: &metapb.Command{Op: &metapb.Command_Release{Release: &metapb.Release{
		Mountpoint: reg.GetMountpoint(), Client: reg.GetClient(), Epoch: epochToPB(r.reg.Epoch),
		Durable: reg.GetDurable(), Expiry: reg.GetExpiry(), At: wall,
	}}}}, &s.clock, s.cfg.MaxOverlay)
	if err != nil {
		s.log.Warn("releasing an abandoned registration", "error", err)
	}
}

// journalPending gives what waits and is allowed to the overlay: to disk
// first, then to the detached view, then answered. On the run loop.
func (s *Store) journalPending() {
	ops := s.prop.overlayOps()
	if len(ops) == 0 {
		return
	}
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	commands := make([]*metapb.Command, 0, len(ops))
	for _, o := range ops {
		o.cmd.Overlay = true
		o.cmd.Incarnation = s.prop.current()
		if !o.volatile {
			commands = append(commands, o.cmd)
		}
	}
	if err := s.journal.append(commands); err != nil {
		s.fatal(err)
		return
	}
	s.mu.Lock()
	results := make([]result, len(ops))
	for i, o := range ops {
		r, err := s.detached.apply(s.detached.index, o.cmd)
		if err != nil {
			r.err = err
		}
		results[i] = r
	}
	index, events := s.detached.index, s.detached.takeEvents()
	s.mu.Unlock()
	if len(events) > 0 && s.cfg.Observer != nil {
		s.cfg.Observer.Apply(index, events)
	}
	s.journaled.Add(len(ops))
	s.prop.settleOverlay(ops, results)
	for _, o := range ops {
		s.freeSlot(o)
	}
}

// freeSlot gives an op's place in the queue back.
func (s *Store) freeSlot(o *op) {
	s.prop.mu.Lock()
	had := o.slot
	o.slot = false
	s.prop.mu.Unlock()
	if had {
		<-s.slots
	}
}
