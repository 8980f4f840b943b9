// Package hook is the only door through which anything decides about, changes
// or watches what clients do: authentication, ACLs, webhooks, scripts and
// bridges attach here under VerneMQ's hook names, and the session engine knows
// none of them.
//
// A plugin is any value that implements one or more of the interfaces named
// after the hooks (AuthOnRegister, OnPublish, …). A Registry holds the attached
// plugins in order; a Chain is what one listener's sessions call. The three
// auth hooks, on_auth and the two changing hooks are asked plugin by plugin
// until one answers OK or Refuse; the rest are told to everybody. A plugin that
// panics or answers with a modifier that cannot be, is reported and counted
// under its name, and refuses that one operation.
package hook

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// Point names one hook.
type Point uint8

// The hooks. For clients of MQTT 5 VerneMQ calls the same hooks with the
// suffix _m5; here Client.Version tells.
const (
	PointAuthOnRegister Point = iota
	PointAuthOnPublish
	PointAuthOnSubscribe
	PointOnRegister
	PointOnPublish
	PointOnSubscribe
	PointOnUnsubscribe
	PointOnDeliver
	PointOnAuth
	PointOnOfflineMessage
	PointOnMessageDrop
	PointOnClientWakeup
	PointOnClientOffline
	PointOnClientGone
	PointOnSessionExpired
	PointOnTopicUnsubscribed
	numPoints
)

// pointNames are VerneMQ's, in the order of the constants.
var pointNames = [numPoints]string{
	"auth_on_register", "auth_on_publish", "auth_on_subscribe",
	"on_register", "on_publish", "on_subscribe", "on_unsubscribe", "on_deliver", "on_auth",
	"on_offline_message", "on_message_drop",
	"on_client_wakeup", "on_client_offline", "on_client_gone", "on_session_expired", "on_topic_unsubscribed",
}

// String returns VerneMQ's name of the hook.
func (p Point) String() string {
	if p < numPoints {
		return pointNames[p]
	}
	return fmt.Sprintf("hook %d", uint8(p))
}

// ParsePoint finds a hook by VerneMQ's name; the _m5 variants name the same
// hook.
func ParsePoint(name string) (Point, bool) {
	for p, n := range pointNames {
		if name == n || name == n+"_m5" {
			return Point(p), true
		}
	}
	return 0, false
}

// Verdict is the kind of a Result.
type Verdict uint8

// The verdicts. Next is the zero value: a plugin that says nothing leaves the
// question to the next one.
const (
	Next Verdict = iota
	OK
	Refuse
)

// String returns the word that webhooks and scripts use.
func (v Verdict) String() string {
	switch v {
	case Next:
		return "next"
	case OK:
		return "ok"
	case Refuse:
		return "error"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Result is the answer of a plugin, or of the chain, to a question.
type Result struct {
	Verdict Verdict
	// Reason is what the client is told: of a refusal 0x80 or above. 3.x
	// clients get packet.ConnackV3 of it.
	Reason packet.Reason
	// Text goes to the log, and to MQTT 5 clients as Reason String when it is
	// not empty. Never put a credential in it.
	Text string
	// ServerReference tells an MQTT 5 client that is refused with 0x9C or 0x9D
	// where to connect instead.
	ServerReference string
}

// Allowed reports whether the operation may go on. A chain never returns Next,
// so for its results the opposite is a refusal.
func (r Result) Allowed() bool { return r.Verdict == OK }

// Allow is the answer that ends the chain with permission.
func Allow() Result { return Result{Verdict: OK} }

// Pass is the answer that leaves the question to the next plugin.
func Pass() Result { return Result{} }

// Deny is the answer that ends the chain with a refusal. A reason below 0x80
// is no refusal on the wire and becomes 0x87, not authorized.
func Deny(reason packet.Reason, text string) Result {
	if reason < 0x80 {
		reason = packet.NotAuthorized
	}
	return Result{Verdict: Refuse, Reason: reason, Text: text}
}

// DenyCredentials refuses a CONNECT for its user name or password: return code
// 4 to 3.x clients, 0x86 to MQTT 5 ones.
func DenyCredentials() Result { return Deny(packet.BadUserNameOrPassword, "") }

// Connection is how a client came in. One value per connection, shared by all
// its hook calls and never changed.
type Connection struct {
	// Peer is where the client is, after PROXY protocol or X-Forwarded-For;
	// invalid for unix sockets.
	Peer netip.AddrPort
	// What follows is only there when the listener has forward_connection_opts:
	// plugins hand it to other systems.

	// ListenerName and ListenerType are those of listener.<type>.<name>.
	ListenerName, ListenerType string
	// Local is the address that accepted the connection.
	Local netip.AddrPort
	// Certificate is the verified client certificate, nil without one.
	Certificate *x509.Certificate
}

// Client is the session on whose behalf a hook is called.
type Client struct {
	ID message.SessionID
	// Username is empty when HasUsername is false.
	Username    string
	HasUsername bool
	// Version is the protocol level: 3, 4 or 5; 0 when no connection is
	// involved, as for offline messages.
	Version byte
	// Connection is nil when none is involved.
	Connection *Connection
}

// Register is a CONNECT that asks for admission. The chain writes the
// modifiers of the plugin that answered OK into it.
type Register struct {
	Client      Client
	Password    []byte
	HasPassword bool
	CleanStart  bool
	// SessionExpiry is in seconds, as requested by an MQTT 5 client.
	SessionExpiry    uint32
	HasSessionExpiry bool
	// User are the user properties of the CONNECT.
	User []message.UserProperty
	// Method is the authentication method that the client has completed, empty
	// without one. Then who it is has been proved: a plugin that checks
	// passwords must Pass, and the chain allows what no plugin decides.
	Method string
	// Modifiers is set by the chain when the plugin changed anything. The
	// identity, clean start and session expiry are already applied to the
	// fields above; the limits are for the session to put over its settings.
	Modifiers *RegisterModifiers
}

// RegisterModifiers are the changes that auth_on_register may ask for; nil
// fields change nothing.
type RegisterModifiers struct {
	// SubscriberID replaces mountpoint and client id, both at once.
	SubscriberID *message.SessionID
	Username     *string
	CleanStart   *bool
	// SessionExpiry in seconds (MQTT 5); the client is told in the CONNACK.
	SessionExpiry *uint32
	// User are user properties for the CONNACK (MQTT 5).
	User []message.UserProperty

	// The four netsplit settings, for this client.
	AllowRegister, AllowPublish, AllowSubscribe, AllowUnsubscribe *bool
	// MaxMessageSize in bytes, 0 for no limit.
	MaxMessageSize *int
	// MaxConnectionLifetime closes the connection after that time; it can only
	// shorten the listener's.
	MaxConnectionLifetime *time.Duration
	// MaxMessageRate in PUBLISHes per second, 0 for no limit.
	MaxMessageRate      *int
	MaxInflightMessages *int
	// SharedSubscriptionPolicy as the setting of that name.
	SharedSubscriptionPolicy *string
	RetryInterval            *time.Duration
	UpgradeQoS               *bool
	// MaxOnlineMessages and MaxOfflineMessages: -1 unlimited.
	MaxOnlineMessages, MaxOfflineMessages *int
	// QueueType is fifo or lifo.
	QueueType           *string
	MaxDrainTime        *time.Duration
	MaxMsgsPerDrainStep *int
}

// Publish is a PUBLISH, or a will when Will is set, that asks to be accepted or
// was accepted. The chain writes the modifiers into it.
type Publish struct {
	Client Client
	// Mountpoint is where the message goes: the client's own unless modified.
	Mountpoint string
	Topic      string
	// Payload is only valid during the call and must not be written to.
	Payload []byte
	QoS     byte
	Retain  bool
	// Will is set when the message is the will of a CONNECT.
	Will bool
	// Expiry is the message expiry interval in seconds (MQTT 5).
	Expiry    uint32
	HasExpiry bool
	// WillDelay is the will delay interval in seconds (MQTT 5).
	WillDelay  uint32
	Properties *message.Properties
	// Throttle is how long the session must not read from this client, set by
	// a modifier.
	Throttle time.Duration
}

// PublishModifiers are the changes that auth_on_publish may ask for; nil fields
// change nothing.
type PublishModifiers struct {
	Topic      *string
	Payload    *[]byte
	QoS        *byte
	Retain     *bool
	Mountpoint *string
	Throttle   *time.Duration
	PropertyModifiers
	// MessageExpiry in seconds and WillDelay in seconds.
	MessageExpiry, WillDelay *uint32
}

// PropertyModifiers are the MQTT 5 properties of a message that hooks may
// change; nil fields change nothing.
type PropertyModifiers struct {
	User            *[]message.UserProperty
	ContentType     *string
	PayloadFormat   *byte
	ResponseTopic   *string
	CorrelationData *[]byte
}

// Subscribe is a SUBSCRIBE that asks to be granted or was granted.
type Subscribe struct {
	Client Client
	// Subscriptions as requested; the chain replaces the slice, never its
	// elements, when a plugin changed them.
	Subscriptions []message.Subscription
	// User are the user properties of the packet.
	User []message.UserProperty
	// Reasons is nil when every filter is granted, otherwise one per
	// subscription: below 0x80 granted, else what the SUBACK says.
	Reasons []packet.Reason
}

// SubscribeModifiers replace the filters of a SUBSCRIBE one by one; there must
// be as many as were requested, because the SUBACK answers each
// [MQTT-3.8.4-6].
type SubscribeModifiers struct {
	Topics []TopicModifier
}

// TopicModifier is one filter of SubscribeModifiers.
type TopicModifier struct {
	Subscription message.Subscription
	// Refuse is 0 for a granted filter, else the reason, 0x80 or above
	// (VerneMQ's qos 128).
	Refuse packet.Reason
}

// Unsubscribe is an UNSUBSCRIBE; the chain replaces Filters when a plugin
// rewrote them.
type Unsubscribe struct {
	Client  Client
	Filters []string
	User    []message.UserProperty
}

// Deliver is a message about to be written to a client.
type Deliver struct {
	Client     Client
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Properties *message.Properties
}

// DeliverModifiers are the changes that on_deliver may ask for.
type DeliverModifiers struct {
	Topic   *string
	Payload *[]byte
	PropertyModifiers
}

// Auth is one step of enhanced authentication, from CONNECT or AUTH
// (MQTT 5.0 §4.12). One value serves all steps of an exchange: the plugin that
// answered the first with Continue is asked the others.
type Auth struct {
	Client Client
	Method string
	Data   []byte
	// Reauthenticate is set in exchanges that began with AUTH 0x19.
	Reauthenticate bool
	// User are the user properties of the packet.
	User []message.UserProperty
	// State is what the plugin left in the answer to the step before, nil in
	// the first one.
	State any
	// Answer is set by the chain: what to send back.
	Answer AuthAnswer

	owner *plugin // who answered Continue
}

// AuthAnswer is what a plugin answers to a step of enhanced authentication.
type AuthAnswer struct {
	// Continue asks the client for one more step (0x18); otherwise the client
	// is authenticated.
	Continue bool
	Data     []byte
	User     []message.UserProperty
	// Username, when not empty, is the name that was proved. It replaces that of
	// the CONNECT.
	Username string
	// State is handed back with the next step.
	State any
}

// Message is what the notifications about single messages carry.
type Message struct {
	Session message.SessionID
	Message *message.Message
	QoS     byte
	// Reason of a drop, such as "queue_full" or "expired"; empty for offline
	// messages.
	Reason string
}
