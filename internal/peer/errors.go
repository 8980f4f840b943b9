package peer

import (
	"errors"
	"fmt"
)

// Why a connection between two nodes was refused. Each is found with
// errors.Is in what Conn, DialAddress and Dial return; the text of the
// returned error names the address and the remedy.
var (
	// ErrCookie: the two sides do not have the same distributed_cookie. A
	// dialer concludes it from the acceptor hanging up after the proof,
	// because an acceptor says nothing to a stranger.
	ErrCookie = errors.New("distributed_cookie differs")
	// ErrCertificate: a configured certificate is not of the configured CA.
	ErrCertificate = errors.New("certificate refused")
	// ErrVersion: no protocol version is spoken by both.
	ErrVersion = errors.New("no common protocol version")
	// ErrCluster: the other node belongs to another cluster.
	ErrCluster = errors.New("node of another cluster")
	// ErrGeneration: one of the two was part of a forced recovery and the
	// other was not.
	ErrGeneration = errors.New("cluster generation differs")
	// ErrNotMember: the acceptor does not know the dialer as a member.
	ErrNotMember = errors.New("not a member of the cluster")
	// ErrWrongNode: another node than the expected one answers there, such as
	// one with a wiped data directory.
	ErrWrongNode = errors.New("another node answers at the address")
	// ErrSelf: the address leads back to this node, or to a copy of its data
	// directory.
	ErrSelf = errors.New("address is this node's own")
	// ErrNotPeer: what answers is not a cluster port.
	ErrNotPeer = errors.New("not a cluster port")
	// ErrProtocol: a peer broke the rules of the protocol.
	ErrProtocol = errors.New("cluster protocol violated")
)

// Outcomes of Send that are not an answer of the peer.
var (
	// ErrClosed: the port was closed, or the member removed, before the peer
	// answered.
	ErrClosed = errors.New("peer port is closed")
	// ErrUnknownNode: the node is not in the list given to SetMembers.
	ErrUnknownNode = errors.New("unknown cluster member")
	// ErrLinkDown: a Direct frame was not sent; the peer does not have it.
	ErrLinkDown = errors.New("link to the node is down")
	// ErrUnknownOutcome: a Direct frame was written but the link failed before
	// the answer; the peer may or may not have it.
	ErrUnknownOutcome = errors.New("link failed before the node answered")
	// ErrBufferFull: outgoing_clustering_buffer_size is reached. A frame of
	// QoS 0 is thereby dropped and counted; for others the publisher must wait.
	ErrBufferFull = errors.New("buffer of the link is full")
	// ErrTooLarge: the frame exceeds the limit of a frame.
	ErrTooLarge = errors.New("frame is too large for the link")
)

// RefusedError is the refusal of one connection, as a sentence for operators.
type RefusedError struct {
	// Address that was dialled.
	Address string
	// Reason is one of the sentinels above.
	Reason error
	// Peer is what the other side told about itself; zero when it told
	// nothing.
	Peer Identity
	// Detail and remedy, complete with names.
	Detail string
}

// Error returns the sentence.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("connecting to %s: %s", e.Address, e.Detail)
}

// Unwrap returns the sentinel.
func (e *RefusedError) Unwrap() error { return e.Reason }
