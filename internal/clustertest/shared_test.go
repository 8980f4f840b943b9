package clustertest_test

import (
	"fmt"
	"testing"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// TestSharedMembersComeAndGo: a shared group's messages go to whoever is
// subscribed now, not to clients that were: after an unsubscribe, the end of a
// clean session, a takeover by a clean start, the death of a node.
func TestSharedMembersComeAndGo(t *testing.T) {
	skipShort(t)
	nodes := startCluster(t, 3)
	for _, version := range versions() {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) { comeAndGo(t, nodes, version) })
	}
}

func comeAndGo(t *testing.T, nodes []*clustertest.Node, version byte) {
	topic := fmt.Sprintf("jobs/%d", version)
	filter := "$share/workers/" + topic
	base := counter(t, nodes, "router_subscriptions")
	join := func(n int, id string, durable bool) *client {
		c := connect(t, who{Addr: nodes[n].MQTT, ID: id + topic, Version: version, Durable: durable})
		c.subscribe(t, filter, 2)
		return c
	}
	pub := connect(t, who{Addr: nodes[2].MQTT, ID: topic + "-pub", Version: version})
	stays := join(1, "stays", false)
	step := 0
	all := func(what string) {
		t.Helper()
		step++
		want := payloads(fmt.Sprintf("%s %d-", what, step), 40)
		for i, p := range want {
			pub.publish(t, topic, p, byte(1+i%2), false)
		}
		stays.expectAll(t, want...)
	}
	all("alone")

	gone := join(0, "gone", false)
	gone.close()
	awaitGone(t, nodes[1], gone.ID)
	all("after the end of a clean session")

	// The same client id comes back and does not subscribe.
	back := connect(t, who{Addr: nodes[0].MQTT, ID: gone.ID, Version: version})
	all("while the client is back without subscription")
	back.close()

	moved := join(0, "moved", false)
	elsewhere := connect(t, who{Addr: nodes[2].MQTT, ID: moved.ID, Version: version})
	moved.awaitEnd(t)
	all("after a takeover by a clean start")
	elsewhere.close()

	durable := join(0, "durable", true)
	durable.close()
	fresh := connect(t, who{Addr: nodes[2].MQTT, ID: durable.ID, Version: version})
	all("after a clean start of a durable session")
	fresh.close()

	stays.close()
	for _, c := range []*client{gone, moved, durable} {
		awaitGone(t, nodes[0], c.ID)
	}
	await(t, func() error {
		if now := counter(t, nodes, "router_subscriptions"); now != base {
			return fmt.Errorf("the routing tables had %d subscriptions before and have %d after", base, now)
		}
		return nil
	})
}

// counter sums a metric over nodes.
func counter(t *testing.T, nodes []*clustertest.Node, name string) int64 {
	t.Helper()
	var sum int64
	for _, n := range nodes {
		m, err := n.Counters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sum += m[name]
	}
	return sum
}
