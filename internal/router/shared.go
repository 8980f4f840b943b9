package router

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
)

// Policy chooses among the members of a shared group
// (shared_subscription_policy).
type Policy string

// The policies.
const (
	// PreferLocal: online members of this node before those of others.
	PreferLocal Policy = "prefer_local"
	// Random: all online members alike.
	Random Policy = "random"
	// LocalOnly: members of this node only, even if none is left.
	LocalOnly Policy = "local_only"
	// PreferOnlineBeforeLocal: as PreferLocal, and any online member before
	// an offline one of this node.
	PreferOnlineBeforeLocal Policy = "prefer_online_before_local"
)

// groupKey identifies a shared subscription within a mountpoint: two filters
// of one group name are two groups.
type groupKey struct{ name, filter string }

// member is one session of a group.
type member struct {
	session    message.SessionID
	node       atomic.Uint64 // message.NodeID of the session's owner
	online     atomic.Bool
	durable    bool
	qos        byte
	rap        bool
	identifier uint32
	key        groupKey
}

func (m *member) at() message.NodeID { return message.NodeID(m.node.Load()) }

// group is an immutable list of members behind a pointer, replaced when a
// member joins or leaves, so that choosing takes no lock.
type group struct {
	key     groupKey
	members atomic.Pointer[[]*member]
	turn    atomic.Uint32 // round robin: equal shares within a tier
	mu      sync.Mutex    // serialises replacements of members
}

func (t *tables) setMember(sm meta.SharedMember, online, present bool) {
	key := groupKey{sm.Group, sm.Inner}
	groups := t.get(sm.Session.Mountpoint).groups
	g, ok := groups.Get(sm.Inner, key)
	if !ok {
		if !present {
			return
		}
		g = &group{key: key}
		g.members.Store(&[]*member{})
		groups.Set(sm.Inner, key, g)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(*g.members.Load()), func(m *member) bool { return m.session == sm.Session })
	t.forget(sm.Session, key)
	if present {
		sub := sm.Subscription
		m := &member{session: sm.Session, durable: sm.Durable, qos: sub.QoS, rap: sub.RetainAsPublished, identifier: sub.Identifier, key: key}
		m.node.Store(uint64(sm.Node))
		m.online.Store(online)
		list = append(list, m)
		slices.SortFunc(list, func(a, b *member) int { return cmp.Compare(a.session.ClientID, b.session.ClientID) })
		t.smu.Lock()
		t.sessions[sm.Session] = append(t.sessions[sm.Session], m)
		t.smu.Unlock()
	}
	g.members.Store(&list)
	if len(list) == 0 {
		groups.Delete(sm.Inner, key)
	}
}

func (t *tables) forget(id message.SessionID, key groupKey) {
	t.smu.Lock()
	defer t.smu.Unlock()
	rest := slices.DeleteFunc(t.sessions[id], func(m *member) bool { return m.key == key })
	if len(rest) == 0 {
		delete(t.sessions, id)
	} else {
		t.sessions[id] = rest
	}
}

// setOnline follows a session's connection for all groups that it is in.
func (t *tables) setOnline(id message.SessionID, owner message.NodeID, online bool) {
	t.smu.Lock()
	defer t.smu.Unlock()
	for _, m := range t.sessions[id] {
		m.node.Store(uint64(owner))
		m.online.Store(online)
	}
}

// toGroups gives m to one member of each shared group that matches.
func (r *Router) toGroups(s *scratch, m *message.Message, o session.PublishOptions, p *pending) {
	policy := r.settings.Load().Policy
	if o.SharePolicy != "" {
		policy = Policy(o.SharePolicy)
	}
	for _, g := range s.groups {
		if o.Resumed && r.cfg.Queues.GroupHas(m.ID, g.key.name, g.key.filter) {
			p.matched.Add(1)
			continue
		}
		if order := r.order(g, policy); len(order) > 0 {
			p.add()
			p.matched.Add(1)
			(&dispatch{router: r, message: m, order: order, pending: p, resumed: o.Resumed}).next(o.Waker)
		} else {
			r.counters.sharedNoMember.Inc()
		}
	}
}

// Redispatch gives a message of a shared group to another member than the one
// whose session has ended before it was sent; it is queue.Config.Redispatch.
func (r *Router) Redispatch(ended message.SessionID, d queue.Delivery) {
	t := r.tables.lookup(ended.Mountpoint)
	if t == nil {
		return
	}
	g, ok := t.groups.Get(d.Filter, groupKey{d.Group, d.Filter})
	var order []*member
	if ok {
		order = slices.DeleteFunc(r.order(g, r.settings.Load().Policy), func(m *member) bool { return m.session == ended })
	}
	if len(order) == 0 {
		r.counters.sharedNoMember.Inc()
		return
	}
	r.counters.sharedRedispatch.Inc()
	p := &pending{done: func(res session.PublishResult) {
		if res.Err != nil {
			r.cfg.Logger.Warn("a message of a shared group could not be given to another member", "group", d.Group, "filter", d.Filter, "error", res.Err)
		}
	}}
	p.left.Store(1)
	(&dispatch{router: r, message: d.Message, order: order, pending: p}).next(nil)
}

// order lists the members of g as they are to be tried: tiers by policy, and
// within a tier in turn.
func (r *Router) order(g *group, policy Policy) []*member {
	all := *g.members.Load()
	if len(all) == 0 {
		return nil
	}
	out := make([]*member, 0, len(all))
	tiers := make([]int, 0, len(all))
	for _, m := range all {
		tier, ok := r.tier(m, policy)
		if !ok {
			continue
		}
		i := len(out)
		for i > 0 && tiers[i-1] > tier {
			i--
		}
		out = slices.Insert(out, i, m)
		tiers = slices.Insert(tiers, i, tier)
	}
	if len(out) == 0 {
		return nil
	}
	first := 1
	for first < len(out) && tiers[first] == tiers[0] {
		first++
	}
	rotate(out[:first], int(g.turn.Add(1))%first)
	return out
}

// tier ranks a member, 0 first. An offline durable member comes after every
// member that is online; a node that cannot be reached after that.
func (r *Router) tier(m *member, policy Policy) (int, bool) {
	here := m.at() == r.cfg.Self
	if policy == LocalOnly && !here {
		return 0, false
	}
	tier := 0
	if policy != Random && !here {
		tier = 1
	}
	if !m.online.Load() {
		tier += 2
	}
	if !here && !r.cfg.Links.Up(m.at()) {
		tier += 4
	}
	return tier, true
}

// rotate turns s left by n places.
func rotate[T any](s []T, n int) {
	slices.Reverse(s[:n])
	slices.Reverse(s[n:])
	slices.Reverse(s)
}

// dispatch tries the members of one group in order until one has the message:
// first those that are online, for connections only; then, when none took it,
// the durable ones, whose queues keep it.
type dispatch struct {
	router  *Router
	message *message.Message
	order   []*member
	absent  []*member // durable members that answered that they are offline
	pending *pending
	trying  *member
	stored  bool  // the members are tried for their queues
	lost    error // why a durable member, which would have kept it, could not be asked
	resumed bool  // its routing was interrupted before
}

// next tries the next member. w is nil when Publish may have returned.
func (d *dispatch) next(w queue.Waker) {
	if len(d.order) == 0 && !d.stored {
		d.order, d.absent, d.stored = d.absent, nil, true
	}
	if len(d.order) == 0 {
		d.router.counters.sharedNoMember.Inc()
		d.pending.release(unlessQoS0(d.message, d.lost)) // acknowledged would mean kept (P1)
		return
	}
	m := d.order[0]
	d.order, d.trying = d.order[1:], m
	if !d.stored && !m.online.Load() {
		d.skip()
		return
	}
	var ids []uint32
	if m.identifier != 0 {
		ids = []uint32{m.identifier}
	}
	if m.at() == d.router.cfg.Self {
		d.router.cfg.Queues.Deliver(m.session, queue.Delivery{
			Message: d.message, QoS: m.qos, Retain: d.message.Retain && m.rap, SubscriptionIDs: ids, Group: m.key.name, Filter: m.key.filter,
			OnlineOnly: !d.stored, Resumed: d.resumed, Waker: w,
		}, d.local)
		return
	}
	d.router.counters.matchesRemote.Inc()
	d.pending.elsewhere.Store(true)
	d.router.cfg.Links.Send(m.at(), peer.Frame{
		Kind: peer.FrameDirect, Applied: d.router.cfg.Metadata.Applied(), Message: d.message, Session: m.session,
		QoS: m.qos, SubscriptionIDs: ids, Group: m.key.name, Filter: m.key.filter, OnlineOnly: !d.stored,
	}, d.remote)
}

// skip goes on to the next member; a durable one is kept for the second round.
func (d *dispatch) skip() {
	if d.trying.durable && !d.stored {
		d.absent = append(d.absent, d.trying)
	}
	d.next(nil)
}

// local takes the answer of a queue of this node: full, gone or offline means
// that another member must have it.
func (d *dispatch) local(err error) {
	if errors.Is(err, queue.ErrFull) || errors.Is(err, queue.ErrNoSession) || errors.Is(err, queue.ErrOffline) {
		d.router.counters.sharedRedispatch.Inc()
		d.skip()
		return
	}
	d.pending.release(err)
}

// remote takes the answer of another node. A frame whose fate is unknown is
// not given to another member: it may have been delivered.
func (d *dispatch) remote(code peer.Code, err error) {
	switch {
	case errors.Is(err, peer.ErrUnknownOutcome):
		d.router.counters.remoteFailed.Inc()
		d.pending.release(unlessQoS0(d.message, err))
	case err != nil || code != peer.CodeAccepted:
		if d.stored && d.trying.durable && err != nil {
			d.lost = err
		}
		d.router.counters.sharedRedispatch.Inc()
		d.skip()
	default:
		d.pending.release(nil)
	}
}

// retainFor reports whether a message goes to a member of a group of this node
// with its retain flag as published.
func (t *tables) retainFor(f peer.Frame) bool {
	if !f.Message.Retain {
		return false
	}
	t.smu.Lock()
	defer t.smu.Unlock()
	for _, m := range t.sessions[f.Session] {
		if m.key == (groupKey{f.Group, f.Filter}) {
			return m.rap
		}
	}
	return false
}

func unlessQoS0(m *message.Message, err error) error {
	if m.QoS == 0 {
		return nil
	}
	return err
}
