package clustertest_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// TestOfflineQueueSurvives restarts a single node, politely and not, while a
// durable session is offline with a queue and a clean one is connected.
func TestOfflineQueueSurvives(t *testing.T) {
	ends := map[string]func(*testing.T, *clustertest.Node){
		"SIGTERM": stop,
		"kill -9": func(_ *testing.T, n *clustertest.Node) { n.Kill() },
	}
	for name, end := range ends {
		for _, version := range versions() {
			t.Run(fmt.Sprintf("%s %d", name, version), func(t *testing.T) {
				n := newNode(t, "n1")
				start(t, n)
				durable := connect(t, who{Addr: n.MQTT, ID: "durable", Version: version, Durable: true})
				durable.subscribe(t, "in/#", 2)
				durable.close()
				awaitSession(t, n, "durable", offline(n, 0))
				clean := connect(t, who{Addr: n.MQTT, ID: "clean", Version: version})
				clean.subscribe(t, "in/#", 2)
				pub := connect(t, who{Addr: n.MQTT, ID: "pub", Version: version})
				want := payloads("m", 50)
				for i, p := range want {
					pub.publish(t, "in/queue", p, byte(1+i%2), false)
				}
				pub.publish(t, "in/retained", "kept", 1, true)
				want = append(want, "kept")
				end(t, n)
				clean.awaitEnd(t)
				pub.awaitEnd(t)

				start(t, n)
				awaitSession(t, n, "durable", offline(n, len(want)))
				awaitGone(t, n, "clean")
				pub = connect(t, who{Addr: n.MQTT, ID: "pub", Version: version})
				pub.publish(t, "in/queue", "after", 2, false)
				durable = connect(t, who{Addr: n.MQTT, ID: "durable", Version: version, Durable: true})
				if !durable.Present {
					t.Error("session present is 0 after the restart")
				}
				durable.expect(t, append(want, "after")...)
				late := connect(t, who{Addr: n.MQTT, ID: "late", Version: version})
				late.subscribe(t, "in/retained", 1)
				late.expect(t, "kept")
			})
		}
	}
}

// TestClusterRestart ends all nodes of a cluster and starts them from disk.
func TestClusterRestart(t *testing.T) {
	skipShort(t)
	nodes := startCluster(t, 3)
	var subs []*client
	for i, n := range nodes {
		c := connect(t, who{Addr: n.MQTT, ID: fmt.Sprintf("durable%d", i), Version: versions()[i%2], Durable: true})
		c.subscribe(t, "all/#", 2)
		c.close()
		subs = append(subs, c)
		awaitSession(t, n, c.ID, offline(n, 0))
	}
	pub := connect(t, who{Addr: nodes[1].MQTT, ID: "pub", Version: 5})
	want := payloads("m", 20)
	for _, p := range want {
		pub.publish(t, "all/x", p, 2, false)
	}
	pub.publish(t, "all/kept", "kept", 1, true)
	want = append(want, "kept")
	pub.close()
	nodes[2].Kill()
	stop(t, nodes[0])
	nodes[1].Kill()
	for _, n := range slices.Backward(nodes) {
		start(t, n)
	}
	awaitMembers(t, nodes...)
	for i, s := range subs {
		awaitSession(t, nodes[0], s.ID, offline(nodes[i], len(want)))
		// Every client comes back on another node than before.
		c := connect(t, who{Addr: nodes[(i+1)%3].MQTT, ID: s.ID, Version: s.Version, Durable: true})
		if !c.Present {
			t.Errorf("session present of %s is 0", s.ID)
		}
		c.expect(t, want...)
	}
	late := connect(t, who{Addr: nodes[2].MQTT, ID: "late", Version: 4})
	late.subscribe(t, "all/kept", 1)
	late.expect(t, "kept")
}

// TestKillOneOfThree: with quorum, a dead member disturbs nobody.
func TestKillOneOfThree(t *testing.T) {
	skipShort(t)
	nodes := startCluster(t, 3)
	leader := leaderOf(t, nodes)
	for name, victim := range map[string]int{"leader": leader, "follower": (leader + 1) % 3} {
		t.Run(name, func(t *testing.T) { killOne(t, nodes, victim, name) })
	}
}

func killOne(t *testing.T, nodes []*clustertest.Node, victim int, prefix string) {
	dead := nodes[victim]
	rest := slices.Delete(slices.Clone(nodes), victim, victim+1)
	onDead := connect(t, who{Addr: dead.MQTT, ID: prefix + "-orphan", Version: 5, Durable: true})
	onDead.subscribe(t, prefix+"/#", 2)
	a := connect(t, who{Addr: rest[0].MQTT, ID: prefix + "-a", Version: 4})
	b := connect(t, who{Addr: rest[1].MQTT, ID: prefix + "-b", Version: 5})
	a.subscribe(t, prefix+"/a", 2)
	b.subscribe(t, prefix+"/b", 2)
	begin := time.Now()
	dead.Kill()
	onDead.awaitEnd(t)

	a.publish(t, prefix+"/b", "from a", 2, false)
	b.publish(t, prefix+"/a", "from b", 2, false)
	a.expect(t, "from b")
	b.expect(t, "from a")
	c := connect(t, who{Addr: rest[0].MQTT, ID: prefix + "-c", Version: 5, Durable: true})
	c.subscribe(t, prefix+"/c", 1)
	b.publish(t, prefix+"/c", "to a new session", 1, true)
	c.expect(t, "to a new session")
	within(t, "publish, connect, subscribe and retain after kill -9 of the "+prefix, time.Since(begin), 10*time.Second*slowdown)
	// The client of the dead node comes back elsewhere.
	orphan := connect(t, who{Addr: rest[1].MQTT, ID: prefix + "-orphan", Version: 5, Durable: true})
	if !orphan.Present {
		t.Error("the session of the dead node's client is gone")
	}
	orphan.subscribe(t, prefix+"/d", 1)
	a.publish(t, prefix+"/d", "to the orphan", 1, false)
	await(t, func() error {
		for _, m := range orphan.peek() {
			if m.Payload == "to the orphan" {
				return nil
			}
		}
		return fmt.Errorf("the orphan has %q", payloadsOf(orphan.peek()))
	})
	a.alive(t)
	b.alive(t)
	for _, n := range rest {
		await(t, func() error { return seesDown(t, n, dead) })
	}

	start(t, dead)
	awaitMembers(t, nodes...)
	back := connect(t, who{Addr: dead.MQTT, ID: prefix + "-back", Version: 4})
	back.subscribe(t, prefix+"/c", 1)
	back.expect(t, "to a new session")
	back.publish(t, prefix+"/a", "from the dead", 2, false)
	a.expect(t, "from the dead")
	for _, cl := range []*client{a, b, c, orphan, back} {
		cl.alive(t)
		cl.close()
	}
}

func seesDown(t *testing.T, n, dead *clustertest.Node) error {
	members, err := n.Members(t.Context())
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Node == dead.Name && !m.Running {
			return nil
		}
	}
	return fmt.Errorf("%s does not see that %s is down: %+v", n.Name, dead.Name, members)
}

func leaderOf(t *testing.T, nodes []*clustertest.Node) int {
	t.Helper()
	members, err := nodes[0].Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		if m.Role != "leader" {
			continue
		}
		return slices.IndexFunc(nodes, func(n *clustertest.Node) bool { return n.Name == m.Node })
	}
	t.Fatalf("no leader in %+v", members)
	return -1
}

// TestLeave takes a node with durable sessions out of its cluster for good.
func TestLeave(t *testing.T) {
	skipShort(t)
	for _, asked := range []string{"another node", "itself"} {
		t.Run("asked of "+asked, func(t *testing.T) {
			nodes := startCluster(t, 3)
			leaver, rest := nodes[2], nodes[:2]
			const sessions, each = 6, 25
			pub := connect(t, who{Addr: nodes[0].MQTT, ID: "pub", Version: 5})
			want := payloads("m", each)
			for i := range sessions {
				c := connect(t, who{Addr: leaver.MQTT, ID: fmt.Sprintf("d%d", i), Version: versions()[i%2], Durable: true})
				c.subscribe(t, "q", 2)
				c.close()
				awaitSession(t, nodes[0], c.ID, offline(leaver, 0))
			}
			for i, p := range want {
				pub.publish(t, "q", p, byte(1+i%2), false)
			}
			online := connect(t, who{Addr: leaver.MQTT, ID: "online", Version: 5, Durable: true})
			online.subscribe(t, "q", 2)
			via := nodes[0]
			if asked == "itself" {
				via = leaver
			}
			r := via.Admin(t.Context(), "cluster", "leave", "node="+leaver.Name, "-k", "-i", "1", "-t", "30")
			if r.Code != 0 || r.Stdout != "Done\n" {
				t.Fatalf("cluster leave: %+v", r)
			}
			if reason := online.awaitEnd(t); reason != 0x9C {
				t.Errorf("reason %#x, want 0x9C (use another server)", reason)
			}
			select {
			case <-leaver.Exited():
			case <-time.After(patience):
				t.Fatal("the node that left still runs")
			}
			if code := leaver.ExitCode(); code != 0 {
				t.Errorf("the node that left ended with exit code %d:\n%s", code, leaver.Tail())
			}
			awaitMembers(t, rest...)
			for i := range sessions {
				id := fmt.Sprintf("d%d", i)
				awaitSession(t, nodes[0], id, func(s clustertest.Session) error {
					if s.OfflineMessages != each || s.Node == leaver.Name {
						return fmt.Errorf("after the leave: %+v", s)
					}
					return nil
				})
				c := connect(t, who{Addr: rest[i%2].MQTT, ID: id, Version: versions()[i%2], Durable: true})
				if !c.Present {
					t.Errorf("session present of %s is 0", id)
				}
				c.expect(t, want...)
			}
			restartIsFresh(t, leaver, rest)
		})
	}
}

// restartIsFresh: a node that left is alone after a start, and can join again.
func restartIsFresh(t *testing.T, leaver *clustertest.Node, rest []*clustertest.Node) {
	t.Helper()
	start(t, leaver)
	awaitMembers(t, leaver)
	sessions, err := leaver.Sessions(t.Context())
	if err != nil || len(sessions) > 0 {
		t.Errorf("a fresh node has sessions: %+v, %v", sessions, err)
	}
	if err := leaver.Join(t.Context(), rest[1]); err != nil {
		t.Fatal(err)
	}
	awaitMembers(t, append(slices.Clone(rest), leaver)...)
}

// TestWipedMetadata loses the metadata of a node, not its messages: joined
// again, its durable sessions are there with their queues.
func TestWipedMetadata(t *testing.T) {
	skipShort(t)
	nodes := startCluster(t, 2)
	want := payloads("m", 30)
	pub := connect(t, who{Addr: nodes[0].MQTT, ID: "pub", Version: 5})
	for i, n := range nodes {
		c := connect(t, who{Addr: n.MQTT, ID: fmt.Sprintf("d%d", i), Version: versions()[i], Durable: true})
		c.subscribe(t, "q/#", 1)
		c.close()
		awaitSession(t, nodes[0], c.ID, offline(n, 0))
	}
	for _, p := range want {
		pub.publish(t, "q/x", p, 1, false)
	}
	for _, n := range nodes {
		stop(t, n)
		if err := os.RemoveAll(n.DataDir() + "/meta"); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		start(t, n)
	}
	if err := nodes[1].Join(t.Context(), nodes[0]); err != nil {
		t.Fatal(err)
	}
	awaitMembers(t, nodes...)
	pub = connect(t, who{Addr: nodes[1].MQTT, ID: "pub", Version: 5})
	pub.publish(t, "q/x", "after", 1, false)
	for i, n := range nodes {
		id := fmt.Sprintf("d%d", i)
		awaitSession(t, nodes[1-i], id, offline(n, len(want)+1))
		c := connect(t, who{Addr: n.MQTT, ID: id, Version: versions()[i], Durable: true})
		if !c.Present {
			t.Errorf("session present of %s is 0", id)
		}
		c.expect(t, append(slices.Clone(want), "after")...)
	}
}
