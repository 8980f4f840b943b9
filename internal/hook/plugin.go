package hook

import (
	"context"

	"github.com/mqadmin/mqadmin/internal/message"
)

// The interfaces that plugins implement, one per hook. Requests are read-only
// to plugins and only valid during the call; changes are asked for with the
// returned modifiers, which only count together with OK. Calls come from many
// goroutines. ctx of the auth hooks ends when the client closes.

// AuthOnRegister decides whether a client may connect.
type AuthOnRegister interface {
	AuthOnRegister(ctx context.Context, r *Register) (*RegisterModifiers, Result)
}

// AuthOnPublish decides whether a message, or a will, may be published.
type AuthOnPublish interface {
	AuthOnPublish(ctx context.Context, p *Publish) (*PublishModifiers, Result)
}

// AuthOnSubscribe decides about the filters of one SUBSCRIBE.
type AuthOnSubscribe interface {
	AuthOnSubscribe(ctx context.Context, s *Subscribe) (*SubscribeModifiers, Result)
}

// OnAuth makes one step of enhanced authentication. Pass leaves the method to
// another plugin.
type OnAuth interface {
	OnAuth(ctx context.Context, a *Auth) (AuthAnswer, Result)
}

// OnDeliver sees a message before it is written to a client and may change it.
// It cannot hold the message back: it was acknowledged to its publisher. So a
// refusal, like an error, lets it pass unchanged.
type OnDeliver interface {
	OnDeliver(ctx context.Context, d *Deliver) (*DeliverModifiers, Result)
}

// OnUnsubscribe sees an UNSUBSCRIBE and may rewrite its filters, one by one, as
// auth_on_subscribe had rewritten them. A refusal lets them pass unchanged.
type OnUnsubscribe interface {
	OnUnsubscribe(ctx context.Context, u *Unsubscribe) (filters []string, r Result)
}

// OnRegister is told of each connected client.
type OnRegister interface{ OnRegister(r *Register) }

// OnPublish is told of each accepted message, after the modifiers, and of each
// will that is published.
type OnPublish interface{ OnPublish(p *Publish) }

// OnSubscribe is told of each SUBSCRIBE after its SUBACK was decided.
type OnSubscribe interface{ OnSubscribe(s *Subscribe) }

// OnOfflineMessage is told of each message queued for an offline session.
type OnOfflineMessage interface{ OnOfflineMessage(m *Message) }

// OnMessageDrop is told of each message that a limit or an expiry dropped.
type OnMessageDrop interface{ OnMessageDrop(m *Message) }

// OnClientWakeup is told when a connection has been attached to its session.
type OnClientWakeup interface{ OnClientWakeup(id message.SessionID) }

// OnClientOffline is told when the connection of a durable session has ended.
type OnClientOffline interface{ OnClientOffline(id message.SessionID) }

// OnClientGone is told when the connection of a clean session has ended.
type OnClientGone interface{ OnClientGone(id message.SessionID) }

// OnSessionExpired is told when a durable session was deleted by its expiry.
type OnSessionExpired interface{ OnSessionExpired(id message.SessionID) }

// OnTopicUnsubscribed is told of the filters that were removed by UNSUBSCRIBE, by
// a clean start, or with the end of their session: with its connection, by its
// expiry.
type OnTopicUnsubscribed interface {
	OnTopicUnsubscribed(id message.SessionID, filters []string)
}

// Host is the broker as a plugin without a connection sees it: a bridge
// publishes and subscribes through it.
type Host interface {
	// Publish routes a message; done is called once, when every destination
	// has it. The message gets its ID from the host.
	Publish(m *message.Message, done func(error))
	// Subscribe attaches s to a session of its own, which needs no client and
	// is not counted among them.
	Subscribe(ctx context.Context, id message.SessionID, subs []message.Subscription, s Subscriber) error
	// Unsubscribe removes the filters; with none the whole session.
	Unsubscribe(ctx context.Context, id message.SessionID, filters []string) error
}

// Subscriber is a plugin's end of a session without a connection.
type Subscriber interface {
	// Deliver hands over one message; done must be called once, when the
	// plugin has taken responsibility for it. At most the in-flight window of
	// messages is outstanding.
	Deliver(m *message.Message, qos byte, done func())
	// Gone tells that a client has taken the session's id, here or on another
	// node. It may be called once, last.
	Gone()
}

// Prompt is implemented by plugins whose hooks answer from memory. All others
// may wait, for a script or for another host.
type Prompt interface{ Prompt() }

// Permit is the plugin that allows everything: for listeners on which nothing
// is to be checked, and for tests.
type Permit struct{}

// Prompt says that it looks nowhere.
func (Permit) Prompt() {}

// AuthOnRegister allows.
func (Permit) AuthOnRegister(context.Context, *Register) (*RegisterModifiers, Result) {
	return nil, Allow()
}

// AuthOnPublish allows.
func (Permit) AuthOnPublish(context.Context, *Publish) (*PublishModifiers, Result) {
	return nil, Allow()
}

// AuthOnSubscribe allows.
func (Permit) AuthOnSubscribe(context.Context, *Subscribe) (*SubscribeModifiers, Result) {
	return nil, Allow()
}
