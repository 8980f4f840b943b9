package meta

import (
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

func (s *state) bootstrap(c *metapb.Command, b *metapb.Bootstrap) result {
	if s.cluster != 0 {
		return result{err: errBootstrapped}
	}
	s.cluster = message.ClusterID(b.GetCluster())
	return s.putMember(c, b.GetMember())
}

// putMember adds a member or corrects its name, address and version.
func (s *state) putMember(c *metapb.Command, p *metapb.Member) result {
	n := memberFromPB(p)
	old, ok := s.members.Get(n.ID)
	if ok {
		n.Incarnation, n.Up, n.JoinedAt = old.Incarnation, old.Up, old.JoinedAt
		if *n == *old {
			return result{}
		}
	} else {
		n.JoinedAt = c.GetWall()
		o, _ := s.origins.Get(n.ID)
		n.Incarnation, n.Up = max(n.Incarnation, o.incarnation), true
	}
	s.members.Set(n.ID, n)
	s.emit(MemberChanged{Old: old, New: n})
	return result{}
}

// dropMember removes a member. What it still proposes is refused; its durable
// sessions stay until another node takes them over.
func (s *state) dropMember(c *metapb.Command, id message.NodeID) result {
	old, ok := s.members.Get(id)
	if !ok {
		return result{err: ErrNoMember}
	}
	o, _ := s.origins.Get(id)
	o.fenced = max(o.fenced, o.incarnation, old.Incarnation)
	s.origins.Set(id, o)
	s.sweep(id, o.fenced, c.GetWall(), true)
	s.members.Delete(id)
	s.emit(MemberChanged{Old: old})
	return result{}
}

func (s *state) nodeUp(c *metapb.Command, r *metapb.NodeUp) result {
	id := message.NodeID(r.GetNode())
	old, ok := s.members.Get(id)
	if !ok {
		return result{err: ErrNoMember}
	}
	o, _ := s.origins.Get(id)
	switch {
	case r.GetIncarnation() <= o.fenced || r.GetIncarnation() < old.Incarnation:
		return result{err: ErrFenced}
	case r.GetIncarnation() > o.incarnation:
		s.sweep(id, r.GetIncarnation(), c.GetWall(), false)
		o.incarnation, o.sequence = r.GetIncarnation(), 0
		s.origins.Set(id, o)
	}
	n := *old
	n.Up, n.Incarnation = true, r.GetIncarnation()
	if n != *old {
		s.members.Set(id, &n)
		s.emit(MemberChanged{Old: old, New: &n})
	}
	return result{}
}

// nodeDown fences an incarnation: what it still proposes is refused.
func (s *state) nodeDown(c *metapb.Command, r *metapb.NodeDown) result {
	id := message.NodeID(r.GetNode())
	old, ok := s.members.Get(id)
	if !ok {
		return result{err: ErrNoMember}
	}
	o, _ := s.origins.Get(id)
	if r.GetIncarnation() < o.incarnation || r.GetIncarnation() < old.Incarnation {
		return result{err: ErrFenced} // it is back with a later one
	}
	o.fenced = max(o.fenced, r.GetIncarnation())
	s.origins.Set(id, o)
	s.sweep(id, r.GetIncarnation(), c.GetWall(), true)
	n := *old
	n.Up, n.Incarnation = false, r.GetIncarnation()
	if n != *old {
		s.members.Set(id, &n)
		s.emit(MemberChanged{Old: old, New: &n})
	}
	return result{}
}

// sweep ends what incarnations of a node before inc (inc itself too when
// inclusive) have left behind: clean sessions, clean routes, clean shared
// members; durable sessions are offline from wall on. It walks everything:
// nodes come and go rarely.
func (s *state) sweep(node message.NodeID, inc uint32, wall int64, inclusive bool) {
	var gone, offline []*Session
	s.sessions.Scan(func(_ string, e *Session) bool {
		if e.Owner != node || e.Incarnation > inc || e.Incarnation == inc && !inclusive {
			return true
		}
		switch {
		case !e.Durable:
			gone = append(gone, e)
		case e.Connected():
			offline = append(offline, e)
		}
		return true
	})
	for _, e := range gone {
		s.removeSession(e, Stamp{Time: max(s.stamp, e.Stamp.Time) + 1, Node: e.Stamp.Node})
	}
	for _, e := range offline {
		n := *e
		n.OfflineSince = max(wall, 1)
		s.sessions.Set(n.ID.Key(), &n)
		s.emit(SessionChanged{Old: e, New: &n})
	}
	var clean []Route
	s.routes.Scan(func(_ string, list []Route) bool {
		for _, r := range list {
			if r.Node == node && r.Clean {
				clean = append(clean, r)
			}
		}
		return true
	})
	for _, r := range clean {
		s.editRoute(r.Mountpoint, r.Filter, node, func(r *Route) { r.Clean = false })
	}
	var members []*SharedMember
	s.shared.Scan(func(_ string, m *SharedMember) bool {
		if m.Node == node && !m.Durable {
			members = append(members, m)
		}
		return true
	})
	for _, m := range members {
		s.deleteShared(m)
	}
}
