package meta

import "errors"

// Errors of proposals and membership changes.
var (
	// ErrNoQuorum: there is no leader with quorum and the operation may not go
	// to the overlay journal.
	ErrNoQuorum = errors.New("no quorum")
	// ErrOverlayFull: the overlay journal holds as many commands as allowed.
	ErrOverlayFull = errors.New("overlay journal is full")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("metadata store is closed")
	// ErrNoSession: the session is not registered.
	ErrNoSession = errors.New("no such session")
	// ErrStaleEpoch: the session was registered again since that epoch.
	ErrStaleEpoch = errors.New("session was taken over")
	// ErrSuperseded: a registration made without quorum met a later one.
	ErrSuperseded = errors.New("a later registration took the session")
	// ErrFenced: the incarnation was declared dead.
	ErrFenced = errors.New("incarnation is fenced")
	// ErrUnknownCommand: the log holds a command of a newer version. The node
	// must stop: skipping it would let the nodes diverge.
	ErrUnknownCommand = errors.New("unknown command: this node is older than the cluster's log")
	// ErrNoMember: no such node in the cluster.
	ErrNoMember = errors.New("no such member")
	// ErrNameTaken: another member has that name.
	ErrNameTaken = errors.New("another member has this name")
	// ErrAddressTaken: another member has that address.
	ErrAddressTaken = errors.New("another member has this address")
	// ErrLastMember: the only member cannot be removed.
	ErrLastMember = errors.New("the only member cannot be removed")
	// ErrOtherMembers: a node that has other members cannot join a cluster.
	ErrOtherMembers = errors.New("this node already has other members")
	// ErrJoining: a join is under way; ErrNotJoining: none is.
	ErrJoining    = errors.New("a join is under way")
	ErrNotJoining = errors.New("no join is under way")
	// ErrForgetNeedsQuorum: the dead member cannot be removed by a Raft
	// command because the survivors have no quorum.
	ErrForgetNeedsQuorum = errors.New("removing this member needs a quorum; forced recovery is not available in this version")
	// ErrHungDisk: the log could not be written within five seconds.
	ErrHungDisk = errors.New("metadata log: a write has hung")

	errBootstrapped = errors.New("the cluster has an id already")
	errNotShared    = errors.New("not a shared subscription filter")
	errOldDuplicate = errors.New("command was applied before")
	errGap          = errors.New("command skips a sequence")
)
