package meta

import (
	"strings"

	"github.com/mqadmin/mqadmin/internal/message"
)

// View is the state at one moment. It does not change and may be read by many
// goroutines.
type View struct{ s *state }

// Index is the last index that the view contains.
func (v *View) Index() uint64 { return v.s.index }

// Cluster returns the cluster's id and generation.
func (v *View) Cluster() (message.ClusterID, message.Generation) { return v.s.cluster, v.s.generation }

// Members returns all members, ordered by id.
func (v *View) Members() []*Member { return v.s.members.Values() }

// Member returns one member.
func (v *View) Member(id message.NodeID) (*Member, bool) { return v.s.members.Get(id) }

// Session returns the registry's entry of a session.
func (v *View) Session(id message.SessionID) (*Session, bool) { return v.s.sessions.Get(id.Key()) }

// Sessions calls fn for each session from that id on, in order, until it
// returns false.
func (v *View) Sessions(from message.SessionID, fn func(*Session) bool) {
	pivot := from.Key()
	if from == (message.SessionID{}) {
		pivot = ""
	}
	v.s.sessions.Ascend(pivot, func(_ string, s *Session) bool { return fn(s) })
}

// SessionCount is the number of registered sessions.
func (v *View) SessionCount() int { return v.s.sessions.Len() }

// Subscriptions returns the subscriptions of a registered session, ordered by
// filter.
func (v *View) Subscriptions(id message.SessionID) []message.Subscription {
	return v.s.subscriptions(id)
}

func (s *state) subscriptions(id message.SessionID) []message.Subscription {
	var out []message.Subscription
	s.eachSub(id, func(e *subEntry) bool {
		out = append(out, e.sub)
		return true
	})
	return out
}

// AllSubscriptions calls fn for each subscription of each registered session
// until it returns false.
func (v *View) AllSubscriptions(fn func(message.SessionID, message.Subscription) bool) {
	v.s.subs.Scan(func(k string, e *subEntry) bool {
		id, err := message.ParseKey(strings.TrimSuffix(k, "\x00"+e.sub.Filter))
		return err == nil && fn(id, e.sub)
	})
}

// Routes calls fn for each (filter, node) until it returns false.
func (v *View) Routes(fn func(Route) bool) {
	v.s.routes.Scan(func(_ string, list []Route) bool {
		for _, r := range list {
			if !fn(r) {
				return false
			}
		}
		return true
	})
}

// SharedMembers calls fn for each member of a shared group until it returns
// false.
func (v *View) SharedMembers(fn func(*SharedMember) bool) {
	v.s.shared.Scan(func(_ string, m *SharedMember) bool { return fn(m) })
}

// Retained returns the retained message of a topic.
func (v *View) Retained(mountpoint, topic string) (*message.Message, bool) {
	if r, ok := v.s.retained.Get(routeKey(mountpoint, topic)); ok {
		return r.Message, true
	}
	return nil, false
}

// RetainedFrom calls fn for each retained message from that mountpoint and topic
// on, in this order, until it returns false.
func (v *View) RetainedFrom(mountpoint, topic string, fn func(*message.Message) bool) {
	v.s.retained.Ascend(routeKey(mountpoint, topic), func(_ string, r *Retained) bool { return fn(r.Message) })
}

// AllRetained calls fn for each retained message, ordered by mountpoint and
// topic, until it returns false.
func (v *View) AllRetained(fn func(*message.Message) bool) {
	v.s.retained.Scan(func(_ string, r *Retained) bool { return fn(r.Message) })
}
