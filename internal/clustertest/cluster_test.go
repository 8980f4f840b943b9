package clustertest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// TestJoin starts three nodes and joins them in at most five seconds.
func TestJoin(t *testing.T) {
	skipShort(t)
	begin := time.Now()
	nodes := startCluster(t, 3)
	within(t, "three nodes from nothing to one cluster", time.Since(begin), 5*time.Second*slowdown)
	for _, n := range nodes {
		members, err := n.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leaders := 0
		for _, m := range members {
			if m.Role == "leader" {
				leaders++
			}
			if m.State != "" {
				t.Errorf("%s shows state %q of %s", n.Name, m.State, m.Node)
			}
		}
		if leaders != 1 {
			t.Errorf("%s shows %d leaders: %+v", n.Name, leaders, members)
		}
	}
}

// TestThreeNodes runs what leaves the cluster as it was on one cluster.
func TestThreeNodes(t *testing.T) {
	skipShort(t)
	nodes := startCluster(t, 3, "systree_interval = 1s")
	t.Run("status page", func(t *testing.T) { statusOfAll(t, nodes) })
	t.Run("systree", func(t *testing.T) { sysAcross(t, nodes) })
	for _, from := range versions() {
		for _, to := range versions() {
			t.Run(fmt.Sprintf("publish from %d to %d", from, to), func(t *testing.T) { publishAcross(t, nodes, from, to) })
		}
		t.Run(fmt.Sprintf("retained %d", from), func(t *testing.T) { retained(t, nodes, from) })
		t.Run(fmt.Sprintf("will %d", from), func(t *testing.T) { willAcross(t, nodes, from) })
		t.Run(fmt.Sprintf("takeover %d", from), func(t *testing.T) { takeover(t, nodes, from) })
		t.Run(fmt.Sprintf("move offline %d", from), func(t *testing.T) { moveOffline(t, nodes, from) })
		t.Run(fmt.Sprintf("disconnect %d", from), func(t *testing.T) { disconnectAcross(t, nodes, from) })
	}
}

// statusOfAll asks one node about all: itself first, each with its listeners and
// whom it reaches.
func statusOfAll(t *testing.T, nodes []*clustertest.Node) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+nodes[1].HTTP+"/status.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]struct {
		Members   []map[string]bool `json:"mystatus"`
		Listeners []any             `json:"listeners"`
	}
	if err := json.Unmarshal(body, &got); err != nil || len(got) != 1 {
		t.Fatalf("%v: %s", err, body)
	}
	if !strings.HasPrefix(string(body), fmt.Sprintf("[{%q:", nodes[1].Name)) {
		t.Errorf("the node that answers is not first: %s", body)
	}
	for _, n := range nodes {
		st := got[0][n.Name]
		if len(st.Listeners) != 2 || len(st.Members) != 1 || len(st.Members[0]) != len(nodes) {
			t.Errorf("%s: %+v", n.Name, st)
		}
		for member, up := range st.Members[0] {
			if !up {
				t.Errorf("%s does not reach %s", n.Name, member)
			}
		}
	}
}

// sysAcross watches another node's $SYS topics.
func sysAcross(t *testing.T, nodes []*clustertest.Node) {
	sub := connect(t, who{Addr: nodes[2].MQTT, ID: "watcher", Version: 4})
	sub.subscribe(t, "$SYS/"+nodes[0].Name+"/system/process/count", 0)
	m := sub.take(t, 1)[0]
	if n, err := strconv.Atoi(m.Payload); err != nil || n <= 0 {
		t.Errorf("%s %q", m.Topic, m.Payload)
	}
	sub.close()
}

// publishAcross sends at every QoS both ways between two nodes.
func publishAcross(t *testing.T, nodes []*clustertest.Node, from, to byte) {
	for i, ends := range [][2]int{{0, 1}, {1, 0}, {2, 1}} {
		topic := fmt.Sprintf("across/%d-%d/%d", from, to, i)
		sub := connect(t, who{Addr: nodes[ends[1]].MQTT, ID: fmt.Sprintf("sub%d-%d-%d", from, to, i), Version: to})
		pub := connect(t, who{Addr: nodes[ends[0]].MQTT, ID: fmt.Sprintf("pub%d-%d-%d", from, to, i), Version: from})
		sub.subscribe(t, topic+"/+", 2)
		var want []string
		for qos := range byte(3) {
			for _, p := range payloads(fmt.Sprintf("q%d-", qos), 5) {
				pub.publish(t, fmt.Sprintf("%s/%d", topic, qos), p, qos, false)
				want = append(want, p)
			}
			for _, m := range sub.expect(t, want...) {
				if m.QoS != qos || m.Retain {
					t.Errorf("published with QoS %d, received %+v", qos, m)
				}
			}
			want = nil
		}
		sub.close()
		pub.close()
	}
}

// retained messages are there on every other node right after SUBACK.
func retained(t *testing.T, nodes []*clustertest.Node, version byte) {
	topic := fmt.Sprintf("retained/%d", version)
	pub := connect(t, who{Addr: nodes[0].MQTT, ID: topic, Version: version})
	for round := range 5 {
		payload := fmt.Sprintf("value %d", round)
		pub.publish(t, topic, payload, byte(round%3), true)
		if round%3 == 0 {
			// QoS 0 has no acknowledgement that could say when it is there.
			pub.publish(t, topic, payload, 1, true)
		}
		for i, n := range nodes[1:] {
			sub := connect(t, who{Addr: n.MQTT, ID: fmt.Sprintf("%s-sub%d-%d", topic, round, i), Version: version})
			sub.subscribe(t, topic, 2)
			if got := sub.expect(t, payload); !got[0].Retain {
				t.Errorf("retain flag is missing: %+v", got[0])
			}
			sub.close()
		}
	}
	pub.publish(t, topic, "", 1, true)
	for i, n := range nodes {
		sub := connect(t, who{Addr: n.MQTT, ID: fmt.Sprintf("%s-late%d", topic, i), Version: version})
		sub.subscribe(t, topic, 2)
		sub.publish(t, topic, "live", 1, false)
		sub.expect(t, "live")
		sub.close()
	}
}

// willAcross cuts a connection on one node and waits for its will on another;
// a DISCONNECT leaves no will.
func willAcross(t *testing.T, nodes []*clustertest.Node, version byte) {
	topic := fmt.Sprintf("will/%d", version)
	sub := connect(t, who{Addr: nodes[1].MQTT, ID: topic + "-sub", Version: version})
	sub.subscribe(t, topic, 2)
	for qos := range byte(3) {
		last := fmt.Sprintf("last words %d", qos)
		polite := connect(t, who{Addr: nodes[0].MQTT, ID: topic + "-polite", Version: version, Will: &will{Topic: topic, Payload: "unwanted", QoS: qos}})
		polite.close()
		dying := connect(t, who{Addr: nodes[0].MQTT, ID: topic, Version: version, Will: &will{Topic: topic, Payload: last, QoS: qos, Retain: true}})
		dying.drop()
		if got := sub.expect(t, last); got[0].QoS != qos {
			t.Errorf("will with QoS %d arrived as %+v", qos, got[0])
		}
	}
	late := connect(t, who{Addr: nodes[2].MQTT, ID: topic + "-late", Version: version})
	late.subscribe(t, topic, 2)
	late.expect(t, "last words 2")
}

// takeover connects a client id on another node while it is connected: the old
// connection ends, the session goes on.
func takeover(t *testing.T, nodes []*clustertest.Node, version byte) {
	for _, durable := range []bool{false, true} {
		id := fmt.Sprintf("takeover-%d-%v", version, durable)
		first := connect(t, who{Addr: nodes[0].MQTT, ID: id, Version: version, Durable: durable})
		first.subscribe(t, id, 2)
		second := connect(t, who{Addr: nodes[1].MQTT, ID: id, Version: version, Durable: durable})
		if reason := first.awaitEnd(t); version == 5 && reason != 0x8E {
			t.Errorf("the old connection ended with reason %#x, want 0x8E", reason)
		}
		if second.Present != durable {
			t.Errorf("session present is %v for durable %v", second.Present, durable)
		}
		if !durable {
			second.subscribe(t, id, 2)
		}
		pub := connect(t, who{Addr: nodes[2].MQTT, ID: id + "-pub", Version: version})
		pub.publish(t, id, "after", 2, false)
		second.expect(t, "after")
		for _, n := range nodes {
			awaitSession(t, n, id, func(s clustertest.Session) error {
				if !s.IsOnline || s.Node != nodes[1].Name {
					return fmt.Errorf("%s shows %+v", n.Name, s)
				}
				return nil
			})
		}
		second.close()
	}
}

// moveOffline queues messages for an offline session on one node; they follow
// the client to another node, in order, and once.
func moveOffline(t *testing.T, nodes []*clustertest.Node, version byte) {
	id := fmt.Sprintf("move-%d", version)
	first := connect(t, who{Addr: nodes[0].MQTT, ID: id, Version: version, Durable: true})
	first.subscribe(t, id, 2)
	first.close()
	awaitSession(t, nodes[2], id, offline(nodes[0], 0))
	pub := connect(t, who{Addr: nodes[2].MQTT, ID: id + "-pub", Version: version})
	want := payloads("m", 100)
	for i, p := range want {
		pub.publish(t, id, p, byte(1+i%2), false)
	}
	awaitSession(t, nodes[1], id, offline(nodes[0], len(want)))
	second := connect(t, who{Addr: nodes[1].MQTT, ID: id, Version: version, Durable: true})
	if !second.Present {
		t.Error("session present is 0 after the move")
	}
	pub.publish(t, id, "last", 2, false)
	second.expect(t, append(want, "last")...)
	awaitSession(t, nodes[1], id, consumed(nodes[1]))
	second.close()
	awaitSession(t, nodes[0], id, offline(nodes[1], 0))
}

// disconnectAcross ends a session from a node that it is not on.
func disconnectAcross(t *testing.T, nodes []*clustertest.Node, version byte) {
	id := fmt.Sprintf("disconnect-%d", version)
	c := connect(t, who{Addr: nodes[0].MQTT, ID: id, Version: version, Durable: true})
	c.subscribe(t, id, 1)
	if r := nodes[1].Admin(t.Context(), "session", "disconnect", "client-id="+id); r.Code != 0 || r.Stdout != "Done\n" {
		t.Fatalf("session disconnect: %+v", r)
	}
	if reason := c.awaitEnd(t); version == 5 && reason != 0x98 {
		t.Errorf("reason %#x, want 0x98", reason)
	}
	awaitSession(t, nodes[2], id, offline(nodes[0], 0))
	if r := nodes[2].Admin(t.Context(), "session", "disconnect", "client-id="+id, "-c"); r.Code != 0 {
		t.Fatalf("session disconnect -c: %+v", r)
	}
	for _, n := range nodes {
		awaitGone(t, n, id)
	}
	again := connect(t, who{Addr: nodes[2].MQTT, ID: id, Version: version, Durable: true})
	if again.Present {
		t.Error("session present is 1 after cleanup")
	}
	again.close()
}
