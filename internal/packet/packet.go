// Package packet is the wire format of MQTT 3.1, 3.1.1 and 5.0. Its decoder
// meets bytes of strangers before anything has been authenticated, so it is
// strict, works within bounds that are known before memory is taken, and
// answers every defect with the reason code that the connection is closed
// with. Encoders of rare packets are mochi-mqtt's; PUBLISH, the four
// acknowledgements and CONNECT are encoded here (docs/adr/0001-mqtt-engine.md).
package packet

import "github.com/mqadmin/mqadmin/internal/message"

// Type is the control packet type, the upper half of the first byte
// (MQTT 5.0 §2.1.2).
type Type byte

// The control packet types.
const (
	TypeConnect Type = iota + 1
	TypeConnack
	TypePublish
	TypePuback
	TypePubrec
	TypePubrel
	TypePubcomp
	TypeSubscribe
	TypeSuback
	TypeUnsubscribe
	TypeUnsuback
	TypePingreq
	TypePingresp
	TypeDisconnect
	TypeAuth
)

// typeNames are the names of the specification, by Type.
var typeNames = [16]string{
	"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String returns the packet's name in the specification, "PUBLISH".
func (t Type) String() string { return typeNames[t&0x0F] }

// Protocol versions, as in Connect.Version and Decoder.Version.
const (
	// V31 is MQTT 3.1, protocol name MQIsdp.
	V31 byte = 3
	// V311 is MQTT 3.1.1.
	V311 byte = 4
	// V5 is MQTT 5.0.
	V5 byte = 5
)

// MaxRemaining is the largest remaining length that four bytes can say
// (MQTT 5.0 §1.5.5); with its fixed header a packet has at most five more.
const MaxRemaining = 268_435_455

// Packet is one of *Connect, *Connack, *Publish, *Ack, *Subscribe, *Suback,
// *Unsubscribe, *Unsuback, *Pingreq, *Pingresp, *Disconnect and *Auth.
type Packet interface{ Type() Type }

// Connect asks for a connection (MQTT 5.0 §3.1).
type Connect struct {
	// Version is 3, 4 or 5.
	Version byte
	// Bridge: the level had the bit 0x80 (131, 132) with which a bridge says
	// that it wants retain flags as published and none of its own messages.
	// The Decoder sets both options on all its later subscriptions.
	Bridge bool
	// ClientID may be empty: what that means is the session's to decide.
	ClientID   string
	CleanStart bool
	// KeepAlive in seconds, 0 means off.
	KeepAlive   uint16
	Username    string
	HasUsername bool
	Password    []byte
	HasPassword bool
	Will        *Will

	// SessionExpiry in seconds; absent means 0, the session ends with the connection.
	SessionExpiry    uint32
	HasSessionExpiry bool
	// ReceiveMaximum is 65535 when absent, never 0.
	ReceiveMaximum uint16
	// MaximumPacketSize in bytes; 0 means no limit.
	MaximumPacketSize uint32
	TopicAliasMaximum uint16
	RequestResponse   bool
	// RequestProblem: reason strings and user properties may be sent on any
	// packet; true when absent [MQTT-3.1.2-29].
	RequestProblem bool
	AuthMethod     string
	HasAuthMethod  bool
	AuthData       []byte
	User           []message.UserProperty
}

// Will is the message that the server publishes for a client that is gone
// (MQTT 5.0 §3.1.2.5).
type Will struct {
	Topic string
	// Payload may be empty.
	Payload []byte
	QoS     byte
	Retain  bool
	// Delay and Expiry in seconds.
	Delay      uint32
	Expiry     uint32
	HasExpiry  bool
	Properties *message.Properties
}

// Connack answers CONNECT (MQTT 5.0 §3.2). Reason is an MQTT 5 code in every
// version: to 3.x it is written as ConnackV3 of it, and read back so.
type Connack struct {
	SessionPresent bool
	Reason         Reason

	SessionExpiry    uint32
	HasSessionExpiry bool
	// ReceiveMaximum: 0 and 65535 are not written, absent reads as 65535.
	ReceiveMaximum uint16
	// MaximumQoS is written and read only with HasMaximumQoS; absent means 2.
	MaximumQoS    byte
	HasMaximumQoS bool
	// NoRetain, NoWildcard, NoSubscriptionID and NoShared say that the server
	// lacks the feature; absent properties mean that it has it.
	NoRetain          bool
	NoWildcard        bool
	NoSubscriptionID  bool
	NoShared          bool
	MaximumPacketSize uint32
	AssignedClientID  string
	TopicAliasMaximum uint16
	ServerKeepAlive   uint16
	// HasServerKeepAlive: the client must use ServerKeepAlive [MQTT-3.1.2-21].
	HasServerKeepAlive bool
	ResponseInfo       string
	ServerReference    string
	ReasonString       string
	AuthMethod         string
	AuthData           []byte
	User               []message.UserProperty
}

// Publish carries a message (MQTT 5.0 §3.3).
type Publish struct {
	Dup      bool
	Retain   bool
	QoS      byte
	PacketID uint16
	// Topic is empty when only TopicAlias names it.
	Topic string
	// Payload of a decoded Publish aliases the input buffer: copy what is kept.
	Payload []byte
	// TopicAlias is 0 when absent.
	TopicAlias uint16
	// Expiry in seconds, with HasExpiry.
	Expiry    uint32
	HasExpiry bool
	// SubscriptionIDs are written by servers only, in this order.
	SubscriptionIDs []uint32
	// Properties are nil when the publisher set none of them.
	Properties *message.Properties
}

// Ack is PUBACK, PUBREC, PUBREL or PUBCOMP by Kind (MQTT 5.0 §3.4–3.7). In
// 3.x only the packet id travels.
type Ack struct {
	Kind         Type
	PacketID     uint16
	Reason       Reason
	ReasonString string
	User         []message.UserProperty
}

// Subscribe asks for subscriptions (MQTT 5.0 §3.8). The packet's subscription
// identifier stands in each Subscription.
type Subscribe struct {
	PacketID      uint16
	Subscriptions []message.Subscription
	User          []message.UserProperty
}

// Suback answers SUBSCRIBE, one reason per filter in order [MQTT-3.8.4-6].
// 3.x clients see 0x80 for every failure.
type Suback struct {
	PacketID     uint16
	Reasons      []Reason
	ReasonString string
	User         []message.UserProperty
}

// Unsubscribe ends subscriptions (MQTT 5.0 §3.10).
type Unsubscribe struct {
	PacketID uint16
	Filters  []string
	User     []message.UserProperty
}

// Unsuback answers UNSUBSCRIBE; 3.x carries no reasons.
type Unsuback struct {
	PacketID     uint16
	Reasons      []Reason
	ReasonString string
	User         []message.UserProperty
}

// Pingreq asks for a sign of life (MQTT 5.0 §3.12).
type Pingreq struct{}

// Pingresp answers PINGREQ.
type Pingresp struct{}

// Disconnect is the last packet on a connection (MQTT 5.0 §3.14). In 3.x only
// clients send it, and without content.
type Disconnect struct {
	Reason Reason
	// SessionExpiry in seconds, from clients only [MQTT-3.14.2-2].
	SessionExpiry    uint32
	HasSessionExpiry bool
	ReasonString     string
	ServerReference  string
	User             []message.UserProperty
}

// Auth is one step of enhanced authentication, MQTT 5 only (§3.15).
type Auth struct {
	Reason       Reason
	Method       string
	Data         []byte
	ReasonString string
	User         []message.UserProperty
}

// Type returns TypeConnect.
func (*Connect) Type() Type { return TypeConnect }

// Type returns TypeConnack.
func (*Connack) Type() Type { return TypeConnack }

// Type returns TypePublish.
func (*Publish) Type() Type { return TypePublish }

// Type returns the kind of acknowledgement.
func (a *Ack) Type() Type { return a.Kind }

// Type returns TypeSubscribe.
func (*Subscribe) Type() Type { return TypeSubscribe }

// Type returns TypeSuback.
func (*Suback) Type() Type { return TypeSuback }

// Type returns TypeUnsubscribe.
func (*Unsubscribe) Type() Type { return TypeUnsubscribe }

// Type returns TypeUnsuback.
func (*Unsuback) Type() Type { return TypeUnsuback }

// Type returns TypePingreq.
func (*Pingreq) Type() Type { return TypePingreq }

// Type returns TypePingresp.
func (*Pingresp) Type() Type { return TypePingresp }

// Type returns TypeDisconnect.
func (*Disconnect) Type() Type { return TypeDisconnect }

// Type returns TypeAuth.
func (*Auth) Type() Type { return TypeAuth }
