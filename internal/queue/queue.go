// Package queue holds what is on its way to a client: one Queue per session
// with the messages that wait, the in-flight window with its packet
// identifiers, and the identifiers of QoS 2 messages that the client is in the
// middle of sending. A durable session's queue lives in the message store and
// keeps only its head in memory; a clean session's never touches the disk.
//
// The package knows neither connections nor Raft: a connection attaches as a
// Consumer and pulls, and deadlines call functions that were given at New.
package queue

import (
	"errors"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// Errors that Deliver and the others answer with.
var (
	// ErrNoSession: this node has no queue of that session.
	ErrNoSession = errors.New("no such session on this node")
	// ErrFull: a limit of the queue dropped the message; it has been counted.
	ErrFull = errors.New("queue is full")
	// ErrOffline: a message for online sessions only met an offline one.
	ErrOffline = errors.New("session is offline")
	// ErrClosed: the queue has been deleted or its manager closed.
	ErrClosed = errors.New("queue is closed")
	// ErrDetached: another connection has the queue, or none.
	ErrDetached = errors.New("connection is not attached to the queue any more")
	// ErrNotHanded: the queue is not to be handed over, or not any more.
	ErrNotHanded = errors.New("queue is not for this node any more")
	// ErrUnknownPacketID: the client acknowledged what was not sent to it.
	ErrUnknownPacketID = errors.New("packet identifier is not in use")
)

// Consumer is the connection that a queue delivers to. Neither method may
// block or call back into the queue.
type Consumer interface {
	// Wake tells that Pull may return something. It may be called more often
	// than needed and from any goroutine.
	Wake()
	// Close tells that the queue has been taken away for that reason.
	Close(reason packet.Reason)
}

// Waker takes the place of Consumer.Wake for deliveries of one publisher that
// come one after the other: it may put the wakes off until the last of them.
// It is used only before Deliver returns.
type Waker interface {
	Wake(c Consumer)
	// Yield is called before something that may wait for the disk: nothing may
	// be put off until after that.
	Yield()
}

// Delivery is one message for one session.
type Delivery struct {
	Message *message.Message
	// QoS that the subscription was granted; the queue lowers it to that of
	// the message unless Options.UpgradeQoS.
	QoS byte
	// Retain is the flag of the outgoing PUBLISH.
	Retain          bool
	SubscriptionIDs []uint32
	// Group and Filter are the shared subscription that chose the session;
	// empty for its own subscriptions.
	Group, Filter string
	// OnlineOnly refuses the message with ErrOffline instead of storing it.
	OnlineOnly bool
	// Resumed tells that the message may have been delivered before (its
	// routing was interrupted); the queue looks whether it knows its id.
	Resumed bool
	// Waker may be nil.
	Waker Waker
}

// wake tells the connection that there is something for it.
func (d *Delivery) wake(a *Attachment) {
	if d.Waker != nil {
		d.Waker.Wake(a.consumer)
	} else {
		a.consumer.Wake()
	}
}

// yield comes before what may wait.
func (d *Delivery) yield() {
	if d.Waker != nil {
		d.Waker.Yield()
	}
}

// Out is one packet for the client: a PUBLISH, or a PUBREL when Release.
type Out struct {
	Release  bool
	Dup      bool
	QoS      byte
	Retain   bool
	PacketID uint16 // 0 with QoS 0
	// Message is nil with Release.
	Message         *message.Message
	SubscriptionIDs []uint32
}

// Options are the settings of one session's queue, fixed when a connection
// attaches.
type Options struct {
	// MaxInflight bounds the unacknowledged PUBLISHes of QoS 1 and 2 to the
	// client; 0 means no limit but the packet identifiers.
	MaxInflight int
	// MaxOnline and MaxOffline bound the messages behind the window while the
	// session is online or offline; -1 no limit, 0 keeps none.
	MaxOnline, MaxOffline int
	// LIFO delivers the newest first and drops the oldest (queue_type).
	LIFO bool
	// UpgradeQoS delivers with the granted QoS even if the message has a lower
	// one (upgrade_outgoing_qos).
	UpgradeQoS bool
	// OverrideMaxOnline keeps all offline messages when the session comes
	// online, whatever MaxOnline says (override_max_online_messages).
	OverrideMaxOnline bool
	// RetryInterval repeats what was not acknowledged in time on the open
	// connection; 0 never does (MQTT 5 forbids it [MQTT-4.4.0-1]).
	RetryInterval time.Duration
}

// OpenRequest describes the session whose queue is wanted.
type OpenRequest struct {
	ID    message.SessionID
	Epoch message.Epoch
	// Durable: the session outlives its connection and is kept on disk.
	Durable bool
	// Clean ends what was there before: a clean start.
	Clean bool
	// Expiry is the session expiry interval in seconds.
	Expiry uint32
	// UpperHalf draws packet identifiers from 32768…65535.
	UpperHalf     bool
	Subscriptions []message.Subscription
	// Held withholds what is delivered on this node until Queue.Release, so
	// that what other nodes still hold goes out first.
	Held bool
	// Mode lets the session have several connections; only durable sessions do.
	Mode    DeliverMode
	Options Options
}

// State of a queue, as session show prints it.
type State string

// The states.
const (
	Online  State = "online"
	Offline State = "offline"
	// Drain: the queue is being handed to another node.
	Drain State = "drain"
)

// Info describes a queue.
type Info struct {
	ID      message.SessionID
	Epoch   message.Epoch
	State   State
	Durable bool
	// Expiry in seconds, message.NeverExpires for ever.
	Expiry uint32
	// Pending are the messages that wait, on disk and in memory.
	Pending int
	// Inflight are the messages sent and not acknowledged.
	Inflight int
	// Inbound are the QoS 2 messages that the client has not released.
	Inbound   int
	StartedAt time.Time
	// OfflineSince is zero while online.
	OfflineSince time.Time
	Options      Options
}
