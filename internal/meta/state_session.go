package meta

import (
	"slices"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// register gives a session to the command's origin.
func (s *state) register(c *metapb.Command, r *metapb.Register) result {
	id := message.SessionID{Mountpoint: r.GetMountpoint(), ClientID: r.GetClient()}
	old, _ := s.sessions.Get(id.Key())
	stamp := stampOf(c)
	if s.merging(c) {
		switch {
		case old != nil && old.Stamp == stamp:
			return s.registration(old, old.Connected())
		case old != nil && old.Stamp.After(stamp):
			s.lost(c, r, old)
			return result{err: ErrSuperseded}
		case old == nil && s.buried(tombSession, id.Key(), stamp):
			return result{err: ErrSuperseded}
		}
	}
	n := &Session{
		ID: id, Owner: stamp.Node, Incarnation: c.GetIncarnation(), Epoch: s.epoch(c), Durable: r.GetDurable(),
		Expiry: r.GetExpiry(), ConnectedAt: c.GetWall(), Stamp: stamp, OverlayIndex: overlayIndex(c.GetStamp()),
		Since: s.since(c),
	}
	if t, ok := s.tombs.Get(tombSession + id.Key()); ok {
		n.Wiped = t.stamp.Time
	}
	connected := false
	if old != nil {
		n.Stamp, n.Previous, connected = s.settled(c, old.Stamp), old.Owner, old.Connected()
	}
	switch {
	case old != nil && old.Durable && !r.GetCleanStart():
		n.Present, n.UpperHalf, n.Sources, n.Wiped = true, old.UpperHalf, old.Sources, old.Wiped
		if old.Owner == n.Owner {
			n.Since = old.Since
		} else {
			n.Sources = append(slices.Clip(old.Sources), Source{Node: old.Owner, Epoch: old.Epoch, Since: old.Since, Until: s.until()})
			s.moveSubs(old, n)
		}
	case old != nil || r.GetCleanStart():
		n.Wiped = max(n.Wiped, n.Stamp.Time)
		s.wipeSubs(id, old, n, s.merging(c))
	}
	s.leaveGroups(id)
	s.sessions.Set(id.Key(), n)
	s.emit(SessionChanged{Old: old, New: n})
	return s.registration(n, connected)
}

// since is the index from which on the origin of a registration gets what is
// matched for the session. What was matched without quorum has no index that
// could be compared.
func (s *state) since(c *metapb.Command) uint64 {
	if s.detached || s.merging(c) {
		return 0
	}
	return s.index
}

// until is the index up to which the former owner gets what is matched.
func (s *state) until() uint64 {
	if s.detached {
		return 0
	}
	return s.index
}

// lost notes that a registration made without quorum met a later one: what its
// node holds of the session still belongs to it.
func (s *state) lost(c *metapb.Command, r *metapb.Register, cur *Session) {
	node := message.NodeID(c.GetOrigin())
	if !r.GetDurable() || !cur.Durable || cur.Owner == node || c.GetStamp() < cur.Wiped {
		return
	}
	n := *cur
	src := Source{Node: node, Epoch: message.Epoch{
		Cluster: s.cluster, Generation: s.generation.Number, Index: overlayIndex(c.GetStamp()),
	}}
	if slices.Contains(cur.Sources, src) {
		return
	}
	n.Sources = append([]Source{src}, cur.Sources...)
	s.sessions.Set(n.ID.Key(), &n)
	s.emit(SessionChanged{Old: cur, New: &n})
}

// registration makes the answer to a Register from the entry.
func (s *state) registration(n *Session, connected bool) result {
	reg := Registration{
		Epoch: n.Epoch, Index: s.index, Previous: n.Previous, Connected: connected, Present: n.Present,
		UpperHalf: n.UpperHalf, Sources: n.Sources,
	}
	s.eachSub(n.ID, func(e *subEntry) bool {
		reg.Subscriptions = append(reg.Subscriptions, e.sub)
		return true
	})
	return result{reg: reg}
}

// current returns the session if e is its epoch.
func (s *state) current(mountpoint, client string, e *metapb.Epoch) (*Session, error) {
	key := message.SessionID{Mountpoint: mountpoint, ClientID: client}.Key()
	cur, ok := s.sessions.Get(key)
	if !ok {
		return nil, ErrNoSession
	}
	if !cur.Is(epochFromPB(e)) {
		return cur, ErrStaleEpoch
	}
	return cur, nil
}

func (s *state) release(c *metapb.Command, r *metapb.Release) result {
	cur, err := s.current(r.GetMountpoint(), r.GetClient(), r.GetEpoch())
	if err != nil {
		return result{err: err}
	}
	if !r.GetDurable() {
		s.removeSession(cur, s.settled(c, cur.Stamp))
		return result{}
	}
	n := *cur
	n.Durable, n.Expiry, n.OfflineSince = true, r.GetExpiry(), max(r.GetAt(), 1)
	s.sessions.Set(n.ID.Key(), &n)
	s.emit(SessionChanged{Old: cur, New: &n})
	return result{}
}

func (s *state) deleteSession(c *metapb.Command, r *metapb.DeleteSession) result {
	cur, err := s.current(r.GetMountpoint(), r.GetClient(), r.GetEpoch())
	switch {
	case cur == nil, err != nil && r.GetEpoch() != nil:
		return result{err: err}
	case s.merging(c) && cur.Stamp.After(stampOf(c)):
		return result{err: ErrSuperseded}
	}
	s.removeSession(cur, s.settled(c, cur.Stamp))
	return result{}
}

// removeSession drops a session with its subscriptions and remembers that.
func (s *state) removeSession(cur *Session, st Stamp) {
	var gone []*subEntry
	s.eachSub(cur.ID, func(e *subEntry) bool {
		gone = append(gone, e)
		return true
	})
	s.dropSubs(cur, gone)
	s.leaveGroups(cur.ID)
	s.sessions.Delete(cur.ID.Key())
	s.bury(tombSession, cur.ID.Key(), st)
	s.emit(SessionChanged{Old: cur})
}

func (s *state) strikeSource(r *metapb.StrikeSource) result {
	id := message.SessionID{Mountpoint: r.GetMountpoint(), ClientID: r.GetClient()}
	cur, ok := s.sessions.Get(id.Key())
	if !ok {
		return result{err: ErrNoSession}
	}
	i := slices.Index(cur.Sources, sourceFromPB(r.GetSource()))
	if i < 0 {
		return result{} // struck before
	}
	n := *cur
	n.Sources = slices.Delete(slices.Clone(cur.Sources), i, i+1)
	if len(n.Sources) == 0 {
		n.Sources = nil
	}
	s.sessions.Set(id.Key(), &n)
	s.emit(SessionChanged{Old: cur, New: &n})
	return result{}
}

func (s *state) setHalf(r *metapb.SetHalf) result {
	cur, err := s.current(r.GetMountpoint(), r.GetClient(), r.GetEpoch())
	if err != nil {
		return result{err: err}
	}
	if cur.UpperHalf == r.GetUpper() {
		return result{}
	}
	n := *cur
	n.UpperHalf = r.GetUpper()
	s.sessions.Set(n.ID.Key(), &n)
	s.emit(SessionChanged{Old: cur, New: &n})
	return result{}
}

// importSession brings in a session of a cluster that its owner has left. An
// epoch of another cluster is older than any of ours: an entry of ours stays,
// takes the importing node as its oldest source and the subscriptions that it
// lacks.
func (s *state) importSession(c *metapb.Command, r *metapb.ImportSession) result {
	in := sessionFromPB(r.GetSession())
	cur, _ := s.sessions.Get(in.ID.Key())
	if cur != nil && cur.Stamp == in.Stamp && cur.Owner == message.NodeID(c.GetOrigin()) {
		return s.registration(cur, cur.Connected()) // imported before
	}
	n := in
	n.Owner, n.Incarnation, n.Epoch, n.OverlayIndex, n.Since = message.NodeID(c.GetOrigin()), c.GetIncarnation(), s.epoch(c), 0, s.since(c)
	var err error
	if cur != nil {
		err = ErrSuperseded
		if !cur.Durable || !in.Durable {
			return result{err: err}
		}
		kept := *cur
		n = &kept
		if src := (Source{Node: message.NodeID(c.GetOrigin()), Epoch: in.Epoch}); cur.Owner != src.Node && !slices.Contains(cur.Sources, src) {
			n.Sources = append([]Source{src}, cur.Sources...)
		}
	}
	s.sessions.Set(n.ID.Key(), n)
	s.emit(SessionChanged{Old: cur, New: n})
	var added []message.Subscription
	for _, p := range r.GetSubscriptions() {
		sub := subFromPB(p)
		if _, ok := s.subs.Get(subKey(n.ID, sub.Filter)); !ok {
			s.setSub(n, sub, n.Stamp)
			added = append(added, sub)
		}
	}
	if len(added) > 0 {
		s.emit(SubscriptionsChanged{Session: n.ID, Added: added})
	}
	res := s.registration(n, n.Connected())
	res.err = err
	return res
}
