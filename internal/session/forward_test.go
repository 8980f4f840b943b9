package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// everything are all the properties that travel with a message.
func everything() *message.Properties {
	return &message.Properties{
		HasFormat: true, PayloadFormat: 1, ContentType: "text/plain", ResponseTopic: "answers/1",
		HasCorrelation: true, CorrelationData: []byte{0, 1, 2},
		User: []message.UserProperty{{Name: "b", Value: "1"}, {Name: "a", Value: "2"}, {Name: "b", Value: ""}, {Name: "", Value: "3"}},
	}
}

// TestPropertiesAreForwarded: unaltered and in their order, live, retained and
// of a will, and none that the publisher did not set [MQTT-3.3.2-4]
// [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18]
// [MQTT-3.3.2-20] [MQTT-3.1.3-10].
func TestPropertiesAreForwarded(t *testing.T) {
	for name, props := range map[string]*message.Properties{
		"all": everything(), "none": nil, "format 0": {HasFormat: true}, "empty correlation": {HasCorrelation: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, durable)
			connect := &packet.Connect{ClientID: "sub", SessionExpiry: 100, HasSessionExpiry: true}
			sub := n.join(packet.V5, connect)
			sub.subscribe("t/+", 1)
			check := func(kind string, p *packet.Publish) {
				t.Helper()
				if d := cmp.Diff(props, p.Properties); d != "" || p.HasExpiry || len(p.SubscriptionIDs) != 0 || p.TopicAlias != 0 {
					t.Errorf("%s: %s%+v", kind, d, p)
				}
				sub.send(ackOf(packet.TypePuback, p.PacketID))
			}
			pub := n.join(packet.V5, &packet.Connect{ClientID: "pub", Will: &packet.Will{Topic: "t/will", QoS: 1, Properties: props}})
			pub.send(&packet.Publish{Topic: "t/1", QoS: 1, PacketID: 1, Retain: true, Properties: props})
			expect[*packet.Ack](pub)
			check("live", expect[*packet.Publish](sub))
			sub.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "t/+", QoS: 1}}})
			check("retained", sub.messages(1)[0])
			pub.nc.Close()
			check("will", expect[*packet.Publish](sub))
			sub.nc.Close()
			pub = n.join(packet.V5, &packet.Connect{ClientID: "pub"})
			pub.send(&packet.Publish{Topic: "t/2", QoS: 1, PacketID: 1, Properties: props})
			expect[*packet.Ack](pub)
			sub = n.join(packet.V5, connect)
			check("offline", expect[*packet.Publish](sub))
			old := n.join(packet.V311, &packet.Connect{ClientID: "old", CleanStart: true})
			old.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "t/1"}}})
			if p := old.messages(1)[0]; p.Properties != nil || p.Topic != "t/1" {
				t.Errorf("3.1.1: %+v", p)
			}
		})
	}
}

// TestMessageExpiry: the time that a message has waited is taken off its expiry
// [MQTT-3.3.2-6], and one that has expired is not sent [MQTT-3.3.2-5].
func TestMessageExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		connect := &packet.Connect{ClientID: "sub", SessionExpiry: 1000, HasSessionExpiry: true}
		sub := n.join(packet.V5, connect)
		sub.subscribe("t", 1)
		pub := n.join(packet.V5, &packet.Connect{ClientID: "pub"})
		publish := func(expiry uint32, set bool) {
			pub.send(&packet.Publish{Topic: "t", QoS: 1, PacketID: 1, Expiry: expiry, HasExpiry: set})
			expect[*packet.Ack](pub)
		}
		publish(60, true)
		if p := expect[*packet.Publish](sub); !p.HasExpiry || p.Expiry != 60 {
			t.Errorf("at once: %+v", p)
		}
		sub.send(ackOf(packet.TypePuback, 1))
		sub.send(&packet.Disconnect{})
		sub.closed()
		publish(60, true)
		publish(20, true)
		publish(0, false)
		time.Sleep(25 * time.Second)
		sub = n.join(packet.V5, connect)
		if p := expect[*packet.Publish](sub); !p.HasExpiry || p.Expiry != 35 {
			t.Errorf("after 25 s: %+v", p)
		}
		if p := expect[*packet.Publish](sub); p.HasExpiry {
			t.Errorf("never expires: %+v", p)
		}
		synctest.Wait()
		if len(sub.in) != 0 || n.metric("queue_message_expired") != 1 {
			t.Errorf("%d more, %d expired", len(sub.in), n.metric("queue_message_expired"))
		}
		n.stop()
	})
}

// TestRetainedOnSubscribe: retain handling [MQTT-3.3.1-9] [MQTT-3.3.1-10]
// [MQTT-3.3.1-11], subscription identifiers [MQTT-3.3.4-3], no local, shared.
func TestRetainedOnSubscribe(t *testing.T) {
	n := newNode(t)
	pub := n.join(packet.V5, &packet.Connect{ClientID: "pub"})
	pub.send(&packet.Publish{Topic: "t", QoS: 1, PacketID: 1, Retain: true})
	expect[*packet.Ack](pub)
	other := n.join(packet.V5, &packet.Connect{ClientID: "other"})
	for _, c := range []struct {
		name       string
		client     string
		sub        message.Subscription
		first, two bool // at the first SUBSCRIBE, and when it is repeated
	}{
		{"0", "a", message.Subscription{Filter: "t"}, true, true},
		{"1", "a", message.Subscription{Filter: "t", RetainHandling: 1}, true, false},
		{"2", "a", message.Subscription{Filter: "t", RetainHandling: 2}, false, false},
		{"identifier", "a", message.Subscription{Filter: "t", Identifier: 268_435_455}, true, true},
		{"as published", "a", message.Subscription{Filter: "t", RetainAsPublished: true}, true, true},
		{"no local", "a", message.Subscription{Filter: "t", NoLocal: true}, true, true},
		{"no local, its publisher", "pub", message.Subscription{Filter: "t", NoLocal: true}, false, false},
		{"shared", "a", message.Subscription{Filter: "$share/g/t"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := n.join(packet.V5, &packet.Connect{ClientID: c.client, CleanStart: true})
			cl.subscribe("live", 0)
			for i, want := range []bool{c.first, c.two} {
				cl.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{c.sub}})
				var ids []uint32
				if c.sub.Identifier != 0 {
					ids = []uint32{c.sub.Identifier}
				}
				got := cl.messages(map[bool]int{true: 1}[want])
				if (len(got) == 1) != want || want && (!got[0].Retain || !cmp.Equal(got[0].SubscriptionIDs, ids)) { // [MQTT-3.3.1-8]
					t.Errorf("%d: %+v", i, got)
				}
				// When UNSUBSCRIBE is answered all that the SUBSCRIBE brings is queued,
				// in front of what is published now.
				cl.send(&packet.Unsubscribe{PacketID: 2, Filters: []string{"none"}})
				got = cl.messages(0)
				other.send(&packet.Publish{Topic: "live"})
				if p := expect[*packet.Publish](cl); p.Topic != "live" || len(got) > 0 {
					t.Errorf("%d: %+v, %v", i, p, got)
				}
			}
		})
	}
}

// messages returns want messages that come with the answer to a SUBSCRIBE or
// UNSUBSCRIBE, before or after it (MQTT 5.0 §3.8.4).
func (c *client) messages(want int) (got []*packet.Publish) {
	c.t.Helper()
	for answered := false; !answered || len(got) < want; {
		switch p := c.recv().(type) {
		case *packet.Publish:
			got = append(got, p)
		case *packet.Suback, *packet.Unsuback:
			answered = true
		default:
			c.t.Fatalf("got %#v", p)
		}
	}
	return got
}

// TestBridgeLevels: 131 and 132 ask for retain as published and no local on all
// subscriptions.
func TestBridgeLevels(t *testing.T) {
	for _, version := range []byte{packet.V31, packet.V311} {
		for _, bridge := range []bool{true, false} {
			n := newNode(t)
			pub := n.join(packet.V5, &packet.Connect{ClientID: "pub"})
			cl := n.join(version, &packet.Connect{ClientID: "bridge", CleanStart: true, Bridge: bridge})
			cl.subscribe("t", 0)
			cl.send(&packet.Publish{Topic: "t", QoS: 1, PacketID: 1})
			own := 0
			for acked := false; !acked || own == 0 && !bridge; {
				switch cl.recv().(type) {
				case *packet.Ack:
					acked = true
				case *packet.Publish:
					own++
				}
			}
			pub.send(&packet.Publish{Topic: "t", Retain: true, QoS: 1, PacketID: 1, Payload: []byte("other")})
			expect[*packet.Ack](pub)
			p := expect[*packet.Publish](cl)
			if string(p.Payload) != "other" || p.Retain != bridge || (own == 0) != bridge { // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
				t.Errorf("version %d, bridge %v: %d own, %+v", version, bridge, own, p)
			}
			if i, _ := n.m.Get(message.SessionID{ClientID: "bridge"}); (i.Protocol > 0x80) != bridge || byte(i.Protocol)&^0x80 != version {
				t.Errorf("protocol %d", i.Protocol)
			}
		}
	}
}
