package peer

import (
	"github.com/mqadmin/mqadmin/internal/message"
)

// FrameKind tells what the receiver does with a frame.
type FrameKind byte

// The kinds of frame. Numbers are on the wire.
const (
	// FramePublish: the receiver matches the message against its own sessions.
	FramePublish FrameKind = 1
	// FrameDirect: for one session, which the sender chose from a shared group.
	FrameDirect FrameKind = 2
)

// Frame is one message on its way to another node.
type Frame struct {
	Kind FrameKind
	// Applied is the metadata index at which the sender matched.
	Applied uint64
	Message *message.Message

	// The rest is for FrameDirect.

	Session message.SessionID
	// QoS granted to the member.
	QoS byte
	// Group and Filter name the shared subscription, so that the receiver can
	// choose again if that session left it.
	Group, Filter   string
	SubscriptionIDs []uint32
	// OnlineOnly: answer CodeOffline instead of queueing for an absent client.
	OnlineOnly bool
}

// Mark returns a frame that tells the receiver how far the sender's stream has
// come: whatever follows was matched at index or later. It travels as a
// PUBLISH of QoS 1 without a topic, which no client can send, and so keeps its
// place behind all others, in the spool too.
func Mark(index uint64) Frame {
	return Frame{Kind: FramePublish, Applied: index, Message: &message.Message{QoS: 1}}
}

// IsMark reports whether the frame was made by Mark.
func (f *Frame) IsMark() bool { return f.Kind == FramePublish && f.Message.Topic == "" }

// Code is the receiver's answer to one frame.
type Code byte

// The answers. Numbers are on the wire.
const (
	// CodeAccepted: the receiver has the message; durable sessions on disk.
	CodeAccepted Code = 0
	// CodeOffline: the session is there but its client is not, and the frame
	// was OnlineOnly.
	CodeOffline Code = 1
	// CodeNoSession: the session is not on that node.
	CodeNoSession Code = 2
	// CodeFull: the session's queue is full.
	CodeFull Code = 3
	// CodeError: the receiver could not store it.
	CodeError Code = 4
)

// String returns the code's name for logs.
func (c Code) String() string {
	switch c {
	case CodeAccepted:
		return "accepted"
	case CodeOffline:
		return "offline"
	case CodeNoSession:
		return "no session"
	case CodeFull:
		return "full"
	case CodeError:
		return "error"
	}
	return "unknown"
}

// Receiver takes the frames that arrive; the router implements it.
type Receiver interface {
	// Receive is called in the sender's order, from one goroutine per source.
	// It may block, which holds that source back. done must be called exactly
	// once, later if need be, in any order and from any goroutine; it does not
	// block. A frame of QoS ≥ 1 that comes again after a cut is recognised
	// here by its sequence as long as this process lives, and by message id
	// in the destination's store after that.
	Receive(from Identity, f Frame, done func(Code))
}

// Spooled is one frame of a Spool.
type Spooled struct {
	Seq   uint64
	Frame []byte
}

// Spool keeps the frames for an unreachable peer on disk, in sequence order.
// Frames survive a restart of this node; their sequences go on being used.
type Spool interface {
	// Append adds a frame. It does not block; done is called exactly once,
	// when the frame is durable or cannot become so, possibly before Append
	// returns. Sequences grow from call to call. frame is kept.
	Append(peer message.NodeID, seq uint64, frame []byte, done func(error))
	// Read returns up to limit durable frames with sequences ≥ from, in order;
	// none when there are no more.
	Read(peer message.NodeID, from uint64, limit int) ([]Spooled, error)
	// Truncate forgets the frames with sequences ≤ upTo. It may be lazy: what
	// comes back after a crash is recognised by the receiver.
	Truncate(peer message.NodeID, upTo uint64) error
}
