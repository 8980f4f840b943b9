package cluster

import "errors"

// Why a join or leave was refused. The text of the returned error names the
// node and the remedy; these say which of the documented reasons it is.
var (
	// ErrNodeName: not name@host or name@host:port.
	ErrNodeName = errors.New("bad node name")
	// ErrUnreachable: nothing answers at the discovery node's address, or this
	// node cannot be reached from there.
	ErrUnreachable = errors.New("node unreachable")
	// ErrSelfJoin: the discovery node is this node.
	ErrSelfJoin = errors.New("a node cannot join itself")
	// ErrAlreadyMember: both are members of one cluster.
	ErrAlreadyMember = errors.New("already a member")
	// ErrHasMembers: this node has other members already.
	ErrHasMembers = errors.New("this node has other members")
	// ErrNameTaken: a member of that name is there.
	ErrNameTaken = errors.New("node name is taken")
	// ErrNoQuorum: the cluster has no leader with a majority.
	ErrNoQuorum = errors.New("the cluster has no quorum")
	// ErrUnknownNode: no member has that name.
	ErrUnknownNode = errors.New("unknown node")
	// ErrLastNode: the only member cannot leave.
	ErrLastNode = errors.New("the only member cannot leave")
	// ErrSessionsOnline: connections did not end in time.
	ErrSessionsOnline = errors.New("sessions are still online")
	// ErrRunning: a join or leave is under way on this node.
	ErrRunning = errors.New("another membership change is under way")
	// ErrRisk: the change would lose the quorum and that was not accepted.
	ErrRisk = errors.New("risk not accepted")
)

// sentence is an error with a text for operators and one of the sentinels
// above as its reason.
type sentence struct {
	reason error
	text   string
}

func (s *sentence) Error() string { return s.text }
func (s *sentence) Unwrap() error { return s.reason }
