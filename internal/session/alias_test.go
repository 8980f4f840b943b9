package session

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// named is how a PUBLISH names its topic.
type named struct {
	Topic string
	Alias uint16
}

// TestAliasesTowardsClient publishes to some topics and looks how they are
// named towards the client.
func TestAliasesTowardsClient(t *testing.T) {
	topics := []string{"topic/1", "topic/2", "topic/1", "topic/3", "topic/2", "t/3", "t/3", "abc", "abc"}
	plain := make([]named, len(topics))
	for i, name := range topics {
		plain[i].Topic = name
	}
	two := []named{{"topic/1", 1}, {"topic/2", 2}, {"", 1}, {"topic/3", 0}, {"", 2}, {"t/3", 0}, {"t/3", 0}, {"abc", 0}, {"abc", 0}}
	for _, c := range []struct {
		name   string
		client uint16
		limit  int
		want   []named
	}{
		{"[MQTT-3.1.2-27] the client takes none", 0, 10, plain},
		{"the setting allows none", 10, 0, plain},
		{"[MQTT-3.1.2-26] as many as the client takes", 2, 10, two},
		{"as many as the setting allows", 10, 2, two},
		{"as many as there are topics", 10, 10, []named{
			{"topic/1", 1}, {"topic/2", 2}, {"", 1}, {"topic/3", 3}, {"", 2}, {"t/3", 0}, {"t/3", 0}, {"abc", 0}, {"abc", 0},
		}},
	} {
		for qos := range byte(3) {
			t.Run(fmt.Sprintf("%s/qos%d", c.name, qos), func(t *testing.T) {
				n := newNode(t, with(func(s *Settings) { s.TopicAliasMaxBroker = c.limit }))
				sub := n.join(packet.V5, &packet.Connect{ClientID: "sub", TopicAliasMaximum: c.client})
				sub.subscribe("#", qos)
				pub := n.join(packet.V5, &packet.Connect{ClientID: "pub"})
				go func() {
					for _, name := range topics {
						pub.send(&packet.Publish{Topic: name, QoS: qos, PacketID: 1 * uint16(min(qos, 1)), Payload: []byte(name)})
						if qos == 0 {
							continue
						}
						pub.recv()
						if qos == 2 {
							pub.send(ackOf(packet.TypePubrel, 1))
							pub.recv()
						}
					}
				}()
				var got []named
				for _, name := range topics {
					p := expect[*packet.Publish](sub)
					if string(p.Payload) != name {
						t.Fatalf("%s came for %s", p.Payload, name)
					}
					got = append(got, named{p.Topic, p.TopicAlias})
				}
				if d := cmp.Diff(c.want, got); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

// TestAliasesEndWithTheConnection: a repeated PUBLISH names its topic again
// [MQTT-3.3.2-7].
func TestAliasesEndWithTheConnection(t *testing.T) {
	n := newNode(t, with(func(s *Settings) { s.TopicAliasMaxBroker = 5 }))
	connect := &packet.Connect{ClientID: "sub", TopicAliasMaximum: 5, SessionExpiry: 100, HasSessionExpiry: true}
	sub := n.join(packet.V5, connect)
	sub.subscribe("topic/+", 1)
	pub := n.join(packet.V5, &packet.Connect{ClientID: "pub"})
	publishAll(pub, "topic/1", 1, 2)
	for _, want := range []named{{"topic/1", 1}, {"", 1}} {
		if p := expect[*packet.Publish](sub); p.Topic != want.Topic || p.TopicAlias != want.Alias {
			t.Fatalf("%+v, want %v", p, want)
		}
	}
	sub.nc.Close()
	for _, c := range []struct {
		version byte
		alias   uint16
		want    []named
	}{{packet.V5, 5, []named{{"topic/1", 1}, {"", 1}}}, {packet.V5, 0, []named{{"topic/1", 0}, {"topic/1", 0}}}} {
		connect.TopicAliasMaximum = c.alias
		sub = n.join(c.version, connect)
		for _, want := range c.want {
			if p := expect[*packet.Publish](sub); !p.Dup || p.Topic != want.Topic || p.TopicAlias != want.Alias {
				t.Errorf("%+v, want %v", p, want)
			}
		}
		sub.nc.Close()
	}
}

// TestAliasOfADiscardedMessage: what was too large to be sent has told no
// alias, and one that fits only without an alias is sent without.
func TestAliasOfADiscardedMessage(t *testing.T) {
	n := newNode(t, with(func(s *Settings) { s.TopicAliasMaxBroker = 5 }))
	const limit = 60
	sub := n.join(packet.V5, &packet.Connect{ClientID: "sub", TopicAliasMaximum: 5, MaximumPacketSize: limit})
	sub.subscribe("topic/+", 1)
	pub := n.join(packet.V5, &packet.Connect{ClientID: "pub"})
	bare := len(packet.Append(nil, packet.V5, &packet.Publish{Topic: "topic/1", QoS: 1, PacketID: 1}))
	for i, c := range []struct {
		payload int
		want    *named
	}{
		{limit - bare + 1, nil},                          // too large in any way
		{limit - bare, &named{"topic/1", 0}},             // fits without an alias
		{limit - bare - aliasCost, &named{"topic/1", 1}}, // fits with one
		{limit - bare + 4, &named{"", 1}},                // and this only because the topic is left out
	} {
		pub.send(&packet.Publish{Topic: "topic/1", QoS: 1, PacketID: 1, Payload: make([]byte, c.payload)})
		expect[*packet.Ack](pub)
		if c.want == nil {
			continue
		}
		p := expect[*packet.Publish](sub)
		if p.Topic != c.want.Topic || p.TopicAlias != c.want.Alias || len(p.Payload) != c.payload {
			t.Fatalf("%d: %+v", i, p)
		}
		sub.send(ackOf(packet.TypePuback, p.PacketID))
	}
	if got := n.metric("mqtt_publish_too_large_drop"); got != 1 {
		t.Errorf("%d messages counted as too large", got)
	}
}

// upper is a plugin that changes topics on their way to clients.
type upper struct{ hook.Permit }

func (upper) OnDeliver(_ context.Context, d *hook.Deliver) (*hook.DeliverModifiers, hook.Result) {
	name := "new/" + d.Topic
	return &hook.DeliverModifiers{Topic: &name}, hook.Allow()
}

// TestAliasOfAChangedTopic: the alias stands for the topic that is sent.
func TestAliasOfAChangedTopic(t *testing.T) {
	n := authenticating(t, upper{}, with(func(s *Settings) { s.TopicAliasMaxBroker = 5 }))
	sub := n.join(packet.V5, &packet.Connect{ClientID: "sub", TopicAliasMaximum: 5})
	sub.subscribe("topic", 0)
	sub.send(&packet.Publish{Topic: "topic"}, &packet.Publish{Topic: "topic"})
	for _, want := range []named{{"new/topic", 1}, {"", 1}} {
		if p := expect[*packet.Publish](sub); p.Topic != want.Topic || p.TopicAlias != want.Alias {
			t.Errorf("%+v, want %v", p, want)
		}
	}
}

// TestAliasTable: a nil table costs nothing, and a full one allocates nothing.
func TestAliasTable(t *testing.T) {
	var none *toldAliases
	if none.put(&packet.Publish{Topic: "topic"}) || newToldAliases(0, 5) != nil || newToldAliases(5, 0) != nil {
		t.Error("an alias where none may be")
	}
	table := newToldAliases(1, 1)
	p := &packet.Publish{Topic: "topic"}
	if !table.put(p) {
		t.Fatal("no alias")
	}
	table.keep(p)
	if allocs := testing.AllocsPerRun(100, func() {
		*p = packet.Publish{Topic: "topic"}
		q := packet.Publish{Topic: "other"}
		table.put(p)
		table.put(&q)
	}); allocs != 0 || p.TopicAlias != 1 {
		t.Errorf("%v allocations, alias %d", allocs, p.TopicAlias)
	}
}
