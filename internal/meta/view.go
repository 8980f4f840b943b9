package meta

import "github.com/mqadmin/mqadmin/internal/message"

// View is the state at one moment. It does not change and may be read by many
// goroutines.
type View struct{}

// Index is the last index that the view contains.
func (v *View) Index() uint64 { return 0 }

// Cluster returns the cluster's id and generation.
func (v *View) Cluster() (message.ClusterID, message.Generation) {
	return 0, message.Generation{}
}

// Members returns all members, ordered by id.
func (v *View) Members() []*Member { return nil }

// Member returns one member.
func (v *View) Member(id message.NodeID) (*Member, bool) { return nil, false }

// Session returns the registry's entry of a session.
func (v *View) Session(id message.SessionID) (*Session, bool) { return nil, false }

// Sessions calls fn for each session from that id on, in order, until it
// returns false.
func (v *View) Sessions(from message.SessionID, fn func(*Session) bool) {}

// Subscriptions returns the subscriptions of a registered session, ordered by
// filter.
func (v *View) Subscriptions(id message.SessionID) []message.Subscription { return nil }

// Routes calls fn for each (filter, node) until it returns false.
func (v *View) Routes(fn func(Route) bool) {}

// SharedMembers calls fn for each member of a shared group until it returns
// false.
func (v *View) SharedMembers(fn func(*SharedMember) bool) {}

// Retained returns the retained message of a topic.
func (v *View) Retained(mountpoint, topic string) (*message.Message, bool) { return nil, false }

// AllRetained calls fn for each retained message, ordered by mountpoint and
// topic, until it returns false.
func (v *View) AllRetained(fn func(*message.Message) bool) {}
