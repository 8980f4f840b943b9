package meta

import "github.com/mqadmin/mqadmin/internal/message"

// Event is a change that an Observer is told of: one of the types below.
type Event interface{ event() }

// SessionChanged tells that the registry's entry of a session was made (Old nil),
// replaced, or deleted (New nil).
type SessionChanged struct{ Old, New *Session }

// SubscriptionsChanged tells that a registered session's subscriptions changed.
type SubscriptionsChanged struct {
	Session message.SessionID
	Added   []message.Subscription
	Removed []string
}

// RouteChanged tells that a node got its first or lost its last subscriber of a filter.
type RouteChanged struct {
	Mountpoint, Filter string
	Node               message.NodeID
	Present            bool
}

// SharedChanged tells that a member joined (or changed) or left a shared group.
type SharedChanged struct {
	Member  SharedMember
	Present bool
}

// RetainedChanged tells the new retained message; Message is nil when the topic has no retained message any
// more.
type RetainedChanged struct {
	Mountpoint, Topic string
	Message           *message.Message
}

// MemberChanged tells that a member was added (Old nil), changed, or removed (New nil).
type MemberChanged struct{ Old, New *Member }

func (SessionChanged) event()       {}
func (SubscriptionsChanged) event() {}
func (RouteChanged) event()         {}
func (SharedChanged) event()        {}
func (RetainedChanged) event()      {}
func (MemberChanged) event()        {}
