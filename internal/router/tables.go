package router

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// local is what a match needs to know of one subscription of this node.
type local struct {
	qos          byte
	noLocal, rap bool
	clean        bool // of a clean session: fed by Subscribe, not by the metadata
	identifier   uint32
	// since is the index from which on a durable session is here: what was
	// matched before goes to where it was then.
	since uint64
}

func localOf(s message.Subscription, clean bool, since uint64) local {
	return local{qos: s.QoS, noLocal: s.NoLocal, rap: s.RetainAsPublished, clean: clean, identifier: s.Identifier, since: since}
}

// table holds the routes of one mountpoint.
type table struct {
	local    *topic.Index[message.SessionID, local]
	departed *topic.Index[message.SessionID, departed]
	remote   *topic.Index[message.NodeID, struct{}]
	groups   *topic.Index[groupKey, *group]
	retained *topic.Store[*message.Message]
}

// tables holds all mountpoints. A mountpoint's table is made at first use and
// stays: there are as many as listeners and plugins name.
type tables struct {
	self message.NodeID
	mu   sync.RWMutex
	by   map[string]*table
	// departedUntil is above every index at which a session that has left was
	// here.
	departedUntil atomic.Uint64

	smu      sync.Mutex
	sessions map[message.SessionID][]*member // shared members of a session
	sizes    int64                           // bytes of retained messages, guarded by smu
}

func (t *tables) init(self message.NodeID) {
	t.self = self
	t.by = map[string]*table{}
	t.sessions = map[message.SessionID][]*member{}
}

// lookup returns nil for a mountpoint that nobody has used.
func (t *tables) lookup(mountpoint string) *table {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.by[mountpoint]
}

func (t *tables) get(mountpoint string) *table {
	if tb := t.lookup(mountpoint); tb != nil {
		return tb
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	tb := t.by[mountpoint]
	if tb == nil {
		tb = &table{
			local:    topic.NewIndex[message.SessionID, local](),
			departed: topic.NewIndex[message.SessionID, departed](),
			remote:   topic.NewIndex[message.NodeID, struct{}](),
			groups:   topic.NewIndex[groupKey, *group](),
			retained: topic.NewStore[*message.Message](),
		}
		t.by[mountpoint] = tb
	}
	return tb
}

func (t *tables) each(fn func(mountpoint string, tb *table)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for mp, tb := range t.by {
		fn(mp, tb)
	}
}

func (t *tables) entries() int64 {
	var n int
	t.each(func(_ string, tb *table) { n += tb.local.Entries() + tb.remote.Entries() + tb.groups.Entries() })
	return int64(n)
}

func (t *tables) retained() (count, bytes int64) {
	t.each(func(_ string, tb *table) { count += int64(tb.retained.Len()) })
	t.smu.Lock()
	defer t.smu.Unlock()
	return count, t.sizes
}

func (t *tables) setRetained(mountpoint, name string, m *message.Message) {
	store := t.get(mountpoint).retained
	delta := 0
	if old, ok := store.Get(name); ok {
		delta -= old.Size()
	}
	if m == nil {
		store.Delete(name)
	} else {
		store.Set(name, m)
		delta += m.Size()
	}
	t.smu.Lock()
	t.sizes += int64(delta)
	t.smu.Unlock()
}

// Apply takes the changes of one applied batch into the routing tables. It is
// the meta.Observer: the store publishes the index as applied only after it
// has returned.
func (r *Router) Apply(index uint64, events []meta.Event) {
	r.version.change(index, func() { r.apply(events) })
}

func (r *Router) apply(events []meta.Event) {
	for _, e := range events {
		switch e := e.(type) {
		case meta.SessionChanged:
			r.sessionChanged(e)
		case meta.SubscriptionsChanged:
			r.subscriptionsChanged(e)
		case meta.RouteChanged:
			r.routeChanged(e.Mountpoint, e.Filter, e.Node, e.Present)
		case meta.SharedChanged:
			r.setMember(e.Member, e.Present)
		case meta.RetainedChanged:
			r.tables.setRetained(e.Mountpoint, e.Topic, e.Message)
		case meta.MemberChanged: // the links follow the membership, not the router
		}
	}
}

// sessionChanged follows a durable session to and from this node.
func (r *Router) sessionChanged(e meta.SessionChanged) {
	if e.New == nil {
		return // each subscription of a deleted session is reported by itself
	}
	id := e.New.ID
	r.tables.setOnline(id, e.New.Owner, e.New.Connected())
	was, is := e.Old != nil && e.Old.Owner == r.cfg.Self, e.New.Owner == r.cfg.Self
	if spans := spansOf(e.New, r.cfg.Self); !slices.Equal(spans, spansOf(e.Old, r.cfg.Self)) {
		r.tables.setDeparted(id, r.cfg.Metadata.Subscriptions(id), spans)
	}
	if is && e.New.Durable && !was {
		for _, sub := range r.cfg.Metadata.Subscriptions(id) {
			r.setLocal(id, sub, false, e.New.Since)
		}
	}
	if was && !is {
		for _, sub := range r.cfg.Metadata.Subscriptions(id) {
			r.deleteLocal(id, sub.Filter)
		}
	}
}

func (r *Router) subscriptionsChanged(e meta.SubscriptionsChanged) {
	for _, f := range e.Removed {
		r.deleteLocal(e.Session, f)
		if t := r.tables.lookup(e.Session.Mountpoint); t != nil {
			t.departed.Delete(f, e.Session)
		}
	}
	s, ok := r.cfg.Metadata.Session(e.Session)
	if !ok {
		return
	}
	if s.Owner == r.cfg.Self {
		for _, sub := range e.Added {
			r.setLocal(e.Session, sub, false, s.Since)
		}
	}
	if spans := spansOf(s, r.cfg.Self); len(spans) > 0 {
		r.tables.setDeparted(e.Session, e.Added, spans)
	}
}

// setMember enters a session into a shared group or takes it out.
func (r *Router) setMember(m meta.SharedMember, present bool) {
	online := false
	if s, ok := r.cfg.Metadata.Session(m.Session); ok {
		online = s.Connected()
	}
	r.tables.setMember(m, online, present)
}

// setLocal enters an ordinary subscription; shared ones live in the groups.
func (r *Router) setLocal(id message.SessionID, sub message.Subscription, clean bool, since uint64) {
	if !isShared(sub.Filter) {
		r.tables.get(id.Mountpoint).local.Set(sub.Filter, id, localOf(sub, clean, since))
	}
}

func (r *Router) deleteLocal(id message.SessionID, filter string) {
	if t := r.tables.lookup(id.Mountpoint); t != nil {
		t.local.Delete(filter, id)
	}
}

func (r *Router) routeChanged(mountpoint, filter string, node message.NodeID, present bool) {
	if node == r.cfg.Self {
		return // this node's own sessions are in the local index
	}
	remote := r.tables.get(mountpoint).remote
	if present {
		remote.Set(filter, node, struct{}{})
	} else {
		remote.Delete(filter, node)
	}
}

// Reset rebuilds everything that is derived from the metadata: after a
// restored snapshot, a join, and when a view changes. Clean sessions of this
// node keep their local subscriptions and announce their routes anew.
func (r *Router) Reset(index uint64, v *meta.View) { r.rebuild(index, v) }

// view is what the tables are rebuilt from. Implemented by meta.View.
type view interface {
	Sessions(from message.SessionID, fn func(*meta.Session) bool)
	Session(id message.SessionID) (*meta.Session, bool)
	Subscriptions(id message.SessionID) []message.Subscription
	Routes(fn func(meta.Route) bool)
	SharedMembers(fn func(*meta.SharedMember) bool)
	AllRetained(fn func(*message.Message) bool)
}

func (r *Router) rebuild(index uint64, v view) {
	fresh := &tables{}
	fresh.init(r.cfg.Self)
	v.Sessions(message.SessionID{}, func(s *meta.Session) bool {
		if s.Durable && s.Owner == r.cfg.Self {
			for _, sub := range v.Subscriptions(s.ID) {
				if !isShared(sub.Filter) {
					fresh.get(s.ID.Mountpoint).local.Set(sub.Filter, s.ID, localOf(sub, false, s.Since))
				}
			}
		}
		if spans := spansOf(s, r.cfg.Self); len(spans) > 0 {
			fresh.setDeparted(s.ID, v.Subscriptions(s.ID), spans)
		}
		return true
	})
	v.Routes(func(rt meta.Route) bool {
		if rt.Node != r.cfg.Self {
			fresh.get(rt.Mountpoint).remote.Set(rt.Filter, rt.Node, struct{}{})
		}
		return true
	})
	v.SharedMembers(func(m *meta.SharedMember) bool {
		s, ok := v.Session(m.Session)
		fresh.setMember(*m, ok && s.Connected(), true)
		return true
	})
	v.AllRetained(func(m *message.Message) bool {
		fresh.setRetained(m.Mountpoint, m.Topic, m)
		return true
	})
	// Nobody enters or removes a clean session's subscription between the copy
	// and the change of tables.
	r.clean.each(func(id message.SessionID, sub message.Subscription) {
		if !isShared(sub.Filter) {
			fresh.get(id.Mountpoint).local.Set(sub.Filter, id, localOf(sub, true, 0))
		}
	}, func() {
		r.version.change(index, func() { r.tables.replace(fresh) })
	})
	r.ready.Store(true)
	r.clean.reassert()
}

// replace takes the content of fresh tables.
func (t *tables) replace(fresh *tables) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.smu.Lock()
	defer t.smu.Unlock()
	t.by, t.sessions, t.sizes = fresh.by, fresh.sessions, fresh.sizes
	t.departedUntil.Store(fresh.departedUntil.Load())
}

// Quorum takes the news whether the metadata can be written.
func (r *Router) Quorum(ok bool) { r.quorum.Store(ok) }
