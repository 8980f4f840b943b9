package meta

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mqadmin/mqadmin/internal/message"
)

// current returns what is read; with mu.
func (s *Store) current() *state {
	if s.detached != nil {
		return s.detached
	}
	return s.node.fsm.state
}

// View returns the current state, frozen.
func (s *Store) View() *View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &View{s.current().copy()}
}

// Session returns the registry's entry of a session.
func (s *Store) Session(id message.SessionID) (*Session, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current().sessions.Get(id.Key())
}

// Subscriptions returns the subscriptions of a registered session, ordered by
// filter.
func (s *Store) Subscriptions(id message.SessionID) []message.Subscription {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current().subscriptions(id)
}

// Sessions calls fn for each session from that id on, in order, until it
// returns false, on a frozen view.
func (s *Store) Sessions(from message.SessionID, fn func(*Session) bool) { s.View().Sessions(from, fn) }

// Mountpoints returns those that sessions are registered with, in order. It
// takes one look-up for each.
func (s *Store) Mountpoints() (list []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for pivot, more := "", true; more; {
		more = false
		s.current().sessions.Ascend(pivot, func(_ string, e *Session) bool {
			list = append(list, e.ID.Mountpoint)
			pivot, more = e.ID.Mountpoint+"\x01", true // behind each key that begins with mountpoint and 0
			return false
		})
	}
	return list
}

// Member returns one member.
func (s *Store) Member(id message.NodeID) (*Member, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current().members.Get(id)
}

// Members returns all members, ordered by id.
func (s *Store) Members() []*Member {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current().members.Values()
}

// Retained returns the retained message of a topic.
func (s *Store) Retained(mountpoint, topic string) (*message.Message, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return (&View{s.current()}).Retained(mountpoint, topic)
}

// Applied returns the last index that is applied here, observers included.
func (s *Store) Applied() uint64 { return s.applied.load() }

// WaitApplied returns when index is applied here.
func (s *Store) WaitApplied(ctx context.Context, index uint64) error {
	return s.applied.wait(ctx, s.ctx.Done(), index)
}

// Incarnation returns the incarnation that this node proposes with.
func (s *Store) Incarnation() uint32 { return s.prop.current() }

// Leased reports whether this node holds a lease: the leader waits for it
// before it calls anything visible. Without quorum it is true.
func (s *Store) Leased() bool {
	return !s.hasResigned() && (s.leading.Load() != nil || s.leasedUntil.Load() > s.monotonic() || s.cutOffNow())
}

// Status describes the store.
func (s *Store) Status() Status {
	pending, journalled := s.prop.counts()
	s.mu.RLock()
	st := Status{
		Applied: s.applied.load(), Visible: s.visible.load(), Quorum: s.contacted, NetsplitSince: s.netsplitSince,
		Provisional: s.provisional, Joining: s.joining, Overlay: journalled, Pending: pending, Incarnation: s.prop.current(),
		Role: RoleStopped,
	}
	n := s.node
	if n != nil {
		cur := s.current()
		st.Cluster, st.Generation, st.Tombstones = cur.cluster, cur.generation, cur.tombs.Len()
	}
	s.mu.RUnlock()
	st.Leased = s.Leased()
	if n == nil || s.ctx.Err() != nil {
		return st
	}
	switch n.raft.State() {
	case raft.Leader:
		st.Role = RoleLeader
	case raft.Follower:
		st.Role = RoleFollower
	case raft.Candidate:
		st.Role = RoleCandidate
	default:
	}
	st.Leader, st.Term, st.LastIndex, st.Commit = n.leader(), n.raft.CurrentTerm(), n.raft.LastIndex(), n.raft.CommitIndex()
	s.addServers(&st, n)
	return st
}

func (s *Store) addServers(st *Status, n *node) {
	l := s.leading.Load()
	for _, sv := range n.servers() {
		id, err := message.ParseNodeID(string(sv.ID))
		if err != nil {
			continue
		}
		voter := sv.Suffrage == raft.Voter
		if voter {
			st.Voters = append(st.Voters, id)
		}
		if l == nil {
			continue
		}
		m := MemberStatus{ID: id, Address: string(sv.Address), Voter: voter}
		if id == s.self() {
			m.Leased, m.Applied, m.Overlay = true, st.Applied, uint64(st.Overlay)
		}
		l.mu.Lock()
		if le := l.leases[id]; le != nil {
			m.Leased, m.Applied, m.Overlay = le.reported && le.until.After(time.Now()), le.applied, le.overlay
		}
		l.mu.Unlock()
		st.Members = append(st.Members, m)
	}
	slices.Sort(st.Voters)
	slices.SortFunc(st.Members, func(a, b MemberStatus) int { return cmp.Compare(a.ID, b.ID) })
}
