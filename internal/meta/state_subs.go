package meta

import (
	"slices"
	"strings"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
	"github.com/mqadmin/mqadmin/internal/topic"
)

func subKey(id message.SessionID, filter string) string { return id.Key() + "\x00" + filter }

// eachSub calls fn for the subscriptions of a session, ordered by filter.
func (s *state) eachSub(id message.SessionID, fn func(*subEntry) bool) {
	prefix := id.Key() + "\x00"
	s.subs.Ascend(prefix, func(k string, e *subEntry) bool { return strings.HasPrefix(k, prefix) && fn(e) })
}

// setSub enters or replaces a subscription with what is derived from it.
func (s *state) setSub(owner *Session, sub message.Subscription, st Stamp) {
	old, existed := s.subs.Set(subKey(owner.ID, sub.Filter), &subEntry{sub: sub, stamp: st})
	if !existed || old.sub != sub {
		s.enter(owner, sub, !existed)
	}
}

// enter derives the route or shared member of a subscription; counted is false
// when the route counts it already.
func (s *state) enter(owner *Session, sub message.Subscription, counted bool) {
	group, inner, shared := topic.SplitShare(sub.Filter)
	if !shared {
		if counted {
			s.countDurable(owner.ID.Mountpoint, sub.Filter, owner.Owner, 1)
		}
		return
	}
	s.setShared(&SharedMember{
		Session: owner.ID, Node: owner.Owner, Group: group, Subscription: sub, Inner: inner, Durable: true,
	})
}

// leave takes back what enter derived.
func (s *state) leave(owner *Session, sub message.Subscription) {
	if _, _, shared := topic.SplitShare(sub.Filter); shared {
		if m, ok := s.shared.Get(sharedKey(owner.ID, sub.Filter)); ok && m.Durable {
			s.deleteShared(m)
		}
		return
	}
	s.countDurable(owner.ID.Mountpoint, sub.Filter, owner.Owner, -1)
}

// moveSubs lets what is derived from a session's subscriptions follow it.
func (s *state) moveSubs(from, to *Session) {
	s.eachSub(from.ID, func(e *subEntry) bool {
		if _, _, shared := topic.SplitShare(e.sub.Filter); !shared {
			s.countDurable(from.ID.Mountpoint, e.sub.Filter, from.Owner, -1)
		}
		s.enter(to, e.sub, true)
		return true
	})
}

// wipeSubs drops the subscriptions that were there before the registration n.
// When n merges, those made later elsewhere stay and follow it.
func (s *state) wipeSubs(id message.SessionID, old, n *Session, merging bool) {
	if old == nil {
		return
	}
	var gone, kept []*subEntry
	s.eachSub(id, func(e *subEntry) bool {
		if merging && e.stamp.Time > n.Wiped {
			kept = append(kept, e)
		} else {
			gone = append(gone, e)
		}
		return true
	})
	s.dropSubs(old, gone)
	if old.Owner != n.Owner {
		for _, e := range kept {
			s.leave(old, e.sub)
			s.enter(n, e.sub, true)
		}
	}
}

func (s *state) dropSubs(owner *Session, gone []*subEntry) {
	if len(gone) == 0 {
		return
	}
	removed := make([]string, len(gone))
	for i, e := range gone {
		s.subs.Delete(subKey(owner.ID, e.sub.Filter))
		s.leave(owner, e.sub)
		removed[i] = e.sub.Filter
	}
	s.emit(SubscriptionsChanged{Session: owner.ID, Removed: removed})
}

func (s *state) subscribe(c *metapb.Command, r *metapb.Subscribe) result {
	cur, err := s.current(r.GetMountpoint(), r.GetClient(), r.GetEpoch())
	if cur == nil || err != nil && !s.merging(c) {
		return result{err: err}
	}
	res := result{existed: make([]bool, len(r.GetSubscriptions()))}
	var added []message.Subscription
	for i, p := range r.GetSubscriptions() {
		sub, st := subFromPB(p), stampOf(c)
		key := subKey(cur.ID, sub.Filter)
		old, ok := s.subs.Get(key)
		res.existed[i] = ok
		if s.merging(c) && (st.Time < cur.Wiped || ok && !st.After(old.stamp) || s.buried(tombSub, key, st)) {
			continue
		}
		if ok {
			st = s.settled(c, old.stamp)
		}
		s.setSub(cur, sub, st)
		added = append(added, sub)
	}
	if len(added) > 0 {
		s.emit(SubscriptionsChanged{Session: cur.ID, Added: added})
	}
	return res
}

func (s *state) unsubscribe(c *metapb.Command, r *metapb.Unsubscribe) result {
	cur, err := s.current(r.GetMountpoint(), r.GetClient(), r.GetEpoch())
	if cur == nil || err != nil && !s.merging(c) {
		return result{err: err}
	}
	res := result{existed: make([]bool, len(r.GetFilters()))}
	var gone []*subEntry
	for i, f := range r.GetFilters() {
		key, st := subKey(cur.ID, f), stampOf(c)
		e, ok := s.subs.Get(key)
		if ok && s.merging(c) && e.stamp.After(st) {
			continue
		}
		if ok && !slices.Contains(gone, e) {
			st = s.settled(c, e.stamp)
			gone, res.existed[i] = append(gone, e), true
		}
		s.bury(tombSub, key, st)
	}
	s.dropSubs(cur, gone)
	return res
}

func routeKey(mountpoint, filter string) string { return mountpoint + "\x00" + filter }

// editRoute changes one node's part of a route and tells of the first and the
// last subscriber there.
func (s *state) editRoute(mountpoint, filter string, node message.NodeID, edit func(*Route)) {
	key := routeKey(mountpoint, filter)
	list, _ := s.routes.Get(key)
	i, found := slices.BinarySearchFunc(list, node, func(r Route, n message.NodeID) int {
		switch {
		case r.Node < n:
			return -1
		case r.Node > n:
			return 1
		}
		return 0
	})
	r := Route{Mountpoint: mountpoint, Filter: filter, Node: node}
	if found {
		r = list[i]
	}
	was := r.Clean || r.Durable > 0
	edit(&r)
	is := r.Clean || r.Durable > 0
	switch {
	case !was && !is:
		return
	case !was:
		list = slices.Insert(slices.Clone(list), i, r)
	case !is:
		list = slices.Delete(slices.Clone(list), i, i+1)
	default:
		list = slices.Clone(list)
		list[i] = r
	}
	if len(list) == 0 {
		s.routes.Delete(key)
	} else {
		s.routes.Set(key, list)
	}
	if was != is {
		s.emit(RouteChanged{Mountpoint: mountpoint, Filter: filter, Node: node, Present: is})
	}
}

func (s *state) countDurable(mountpoint, filter string, node message.NodeID, d int) {
	s.editRoute(mountpoint, filter, node, func(r *Route) { r.Durable += d })
}

func (s *state) setClean(c *metapb.Command, mountpoint, filter string, set bool) {
	s.editRoute(mountpoint, filter, message.NodeID(c.GetOrigin()), func(r *Route) { r.Clean = set })
}

// sharedKey orders members by session, so that those of one are found.
func sharedKey(id message.SessionID, filter string) string { return subKey(id, filter) }

// leaveGroups ends the shared memberships of a clean session, with its
// registration. Those of a durable one follow its subscriptions.
func (s *state) leaveGroups(id message.SessionID) {
	prefix := id.Key() + "\x00"
	var gone []*SharedMember
	s.shared.Ascend(prefix, func(k string, m *SharedMember) bool {
		if strings.HasPrefix(k, prefix) && !m.Durable {
			gone = append(gone, m)
		}
		return strings.HasPrefix(k, prefix)
	})
	for _, m := range gone {
		s.deleteShared(m)
	}
}

func (s *state) setShared(m *SharedMember) {
	s.shared.Set(sharedKey(m.Session, m.Subscription.Filter), m)
	s.emit(SharedChanged{Member: *m, Present: true})
}

func (s *state) deleteShared(m *SharedMember) {
	s.shared.Delete(sharedKey(m.Session, m.Subscription.Filter))
	s.emit(SharedChanged{Member: *m})
}

func (s *state) joinShared(c *metapb.Command, r *metapb.JoinShared) result {
	cur, err := s.current(r.GetMountpoint(), r.GetClient(), r.GetEpoch())
	if err != nil {
		return result{err: err}
	}
	sub := subFromPB(r.GetSubscription())
	group, inner, ok := topic.SplitShare(sub.Filter)
	if !ok {
		return result{err: errNotShared}
	}
	old, existed := s.shared.Get(sharedKey(cur.ID, sub.Filter))
	if existed && old.Durable {
		return result{existed: []bool{true}}
	}
	m := &SharedMember{Session: cur.ID, Node: message.NodeID(c.GetOrigin()), Group: group, Subscription: sub, Inner: inner}
	if !existed || *old != *m {
		s.setShared(m)
	}
	return result{existed: []bool{existed}}
}

func (s *state) leaveShared(c *metapb.Command, r *metapb.LeaveShared) result {
	id := message.SessionID{Mountpoint: r.GetMountpoint(), ClientID: r.GetClient()}
	m, ok := s.shared.Get(sharedKey(id, r.GetFilter()))
	ok = ok && !m.Durable && m.Node == message.NodeID(c.GetOrigin())
	if ok {
		s.deleteShared(m)
	}
	return result{existed: []bool{ok}}
}
