package broker

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// recorder is a plugin that has every hook, allows everything, and notes what it
// is told.
type recorder struct {
	mu  sync.Mutex
	log []string
}

func (r *recorder) note(p hook.Point, words ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, p.String()+" "+strings.Join(words, " "))
}

// has reports whether it was told exactly that.
func (r *recorder) has(line string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.log {
		if l == line {
			return true
		}
	}
	return false
}

func (r *recorder) AuthOnRegister(_ context.Context, g *hook.Register) (*hook.RegisterModifiers, hook.Result) {
	r.note(hook.PointAuthOnRegister, g.Client.ID.ClientID)
	return nil, hook.Allow()
}

func (r *recorder) AuthOnPublish(_ context.Context, p *hook.Publish) (*hook.PublishModifiers, hook.Result) {
	r.note(hook.PointAuthOnPublish, p.Client.ID.ClientID, p.Topic)
	return nil, hook.Allow()
}

func (r *recorder) AuthOnSubscribe(_ context.Context, s *hook.Subscribe) (*hook.SubscribeModifiers, hook.Result) {
	r.note(hook.PointAuthOnSubscribe, s.Client.ID.ClientID, s.Subscriptions[0].Filter)
	return nil, hook.Allow()
}

func (r *recorder) OnAuth(_ context.Context, a *hook.Auth) (hook.AuthAnswer, hook.Result) {
	r.note(hook.PointOnAuth, a.Client.ID.ClientID, a.Method)
	return hook.AuthAnswer{}, hook.Allow()
}

func (r *recorder) OnDeliver(_ context.Context, d *hook.Deliver) (*hook.DeliverModifiers, hook.Result) {
	r.note(hook.PointOnDeliver, d.Client.ID.ClientID, d.Topic)
	return nil, hook.Pass()
}

func (r *recorder) OnUnsubscribe(_ context.Context, u *hook.Unsubscribe) ([]string, hook.Result) {
	r.note(hook.PointOnUnsubscribe, u.Client.ID.ClientID, u.Filters[0])
	return nil, hook.Pass()
}

func (r *recorder) OnRegister(g *hook.Register) { r.note(hook.PointOnRegister, g.Client.ID.ClientID) }

func (r *recorder) OnPublish(p *hook.Publish) {
	r.note(hook.PointOnPublish, p.Client.ID.ClientID, p.Topic)
}

func (r *recorder) OnSubscribe(s *hook.Subscribe) {
	r.note(hook.PointOnSubscribe, s.Client.ID.ClientID, s.Subscriptions[0].Filter)
}

func (r *recorder) OnOfflineMessage(m *hook.Message) {
	r.note(hook.PointOnOfflineMessage, m.Session.ClientID, m.Message.Topic)
}

func (r *recorder) OnMessageDrop(m *hook.Message) {
	r.note(hook.PointOnMessageDrop, m.Session.ClientID, m.Message.Topic, m.Reason)
}

func (r *recorder) OnClientWakeup(id message.SessionID) {
	r.note(hook.PointOnClientWakeup, id.ClientID)
}

func (r *recorder) OnClientOffline(id message.SessionID) {
	r.note(hook.PointOnClientOffline, id.ClientID)
}

func (r *recorder) OnClientGone(id message.SessionID) { r.note(hook.PointOnClientGone, id.ClientID) }

func (r *recorder) OnSessionExpired(id message.SessionID) {
	r.note(hook.PointOnSessionExpired, id.ClientID)
}

func (r *recorder) OnTopicUnsubscribed(id message.SessionID, filters []string) {
	r.note(hook.PointOnTopicUnsubscribed, id.ClientID, strings.Join(filters, ","))
}

// enter connects an MQTT 5 client whose session lives for expiry seconds.
func enter(t *testing.T, b *Broker, id string, p packet.Connect) *client {
	t.Helper()
	c := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.default"))
	c.v = 5
	p.Version, p.ClientID = 5, id
	c.write(&p)
	if ack, ok := c.read().(*packet.Connack); !ok || ack.Reason.Failed() {
		t.Fatalf("%s: %+v", id, ack)
	}
	return c
}

// Every hook is called from where it belongs.
func TestEveryHookIsCalled(t *testing.T) {
	b := serveBroker(t, "allow_anonymous = off", "max_offline_messages = 1", "authentication_methods = METHOD")
	r := &recorder{}
	if err := b.hooks.Attach("recorder", r); err != nil {
		t.Fatal(err)
	}
	want := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			await(t, line, func() bool { return r.has(line) })
		}
	}
	a := enter(t, b, "a", packet.Connect{CleanStart: true, Will: &packet.Will{Topic: "will", Payload: []byte("x")}, MaximumPacketSize: 200})
	want("auth_on_register a", "on_register a", "on_client_wakeup a", "auth_on_publish a will")
	a.subscribe("t/+")
	want("auth_on_subscribe a t/+", "on_subscribe a t/+")
	pub := enter(t, b, "pub", packet.Connect{CleanStart: true})
	pub.publish("t/1")
	want("auth_on_publish pub t/1", "on_publish pub t/1", "on_deliver a t/1")
	pub.write(&packet.Publish{Topic: "t/large", Payload: make([]byte, 500)})
	want("on_message_drop a t/large max_packet_size_exceeded")
	if p, ok := a.read().(*packet.Publish); !ok || p.Topic != "t/1" {
		t.Fatalf("%+v", p)
	}
	a.write(&packet.Ack{Kind: packet.TypePuback, PacketID: 1})
	a.write(&packet.Unsubscribe{PacketID: 2, Filters: []string{"t/+"}})
	want("on_unsubscribe a t/+", "on_topic_unsubscribed a t/+")
	if _, ok := a.read().(*packet.Unsuback); !ok {
		t.Fatal("no UNSUBACK")
	}
	a.subscribe("u/#")
	a.nc.Close()
	want("on_client_gone a", "on_topic_unsubscribed a u/#", "on_publish a will")

	d := enter(t, b, "d", packet.Connect{SessionExpiry: 1, HasSessionExpiry: true})
	d.subscribe("t/#")
	d.write(&packet.Disconnect{})
	want("on_client_offline d")
	pub.publish("t/2")
	want("on_offline_message d t/2")
	pub.publish("t/3")
	want("on_message_drop d t/3 queue_full", "on_session_expired d", "on_topic_unsubscribed d t/#")

	// A clean start ends what was there.
	k := enter(t, b, "k", packet.Connect{SessionExpiry: 100, HasSessionExpiry: true})
	k.subscribe("k/#")
	k.write(&packet.Disconnect{})
	want("on_client_offline k")
	enter(t, b, "k", packet.Connect{CleanStart: true})
	want("on_topic_unsubscribed k k/#")

	enter(t, b, "s", packet.Connect{CleanStart: true, AuthMethod: "METHOD", HasAuthMethod: true})
	want("on_auth s METHOD")

	for p := hook.Point(0); ; p++ {
		name := p.String()
		if _, known := hook.ParsePoint(name); !known {
			break
		}
		called := false
		r.mu.Lock()
		for _, l := range r.log {
			called = called || strings.HasPrefix(l, name+" ")
		}
		r.mu.Unlock()
		if !called {
			t.Errorf("%s was never called", name)
		}
	}
}
