package simulation_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
	"github.com/mqadmin/mqadmin/internal/simulation"
)

// TestScenarios are VerneMQ's of vmq_cluster_SUITE, by their names, on three
// nodes each.
func TestScenarios(t *testing.T) {
	policy := func(p string) map[string]string { return map[string]string{"shared_subscription_policy": p} }
	split := map[string]string{
		"allow_register_during_netsplit": "on", "allow_subscribe_during_netsplit": "on", "allow_publish_during_netsplit": "on",
	}
	for _, s := range []struct {
		name     string
		settings map[string]string
		run      func(c *simulation.Cluster)
	}{
		{"multiple_connect_test", nil, multipleConnect},
		{"multiple_connect_unclean_test", map[string]string{"max_inflight_messages": "1"}, multipleConnectUnclean},
		{"distributed_subscribe_test", nil, distributedSubscribe},
		{"racing_connect_test", nil, func(c *simulation.Cluster) { racing(c, "") }},
		{"racing_subscriber_test", nil, func(c *simulation.Cluster) { racing(c, "racing/subscriber/test") }},
		{"aborted_queue_migration_test", nil, abortedQueueMigration},
		{"cluster_leave_test", nil, clusterLeave},
		{"cluster_leave_myself_test", nil, clusterLeaveMyself},
		{"cluster_leave_dead_node_test", nil, clusterLeaveDeadNode},
		{"shared_subs_random_policy_test", policy("random"), sharedRandom},
		{"shared_subs_prefer_local_policy_test", policy("prefer_local"), func(c *simulation.Cluster) { sharedLocal(c, false) }},
		{"shared_subs_local_only_policy_test", policy("local_only"), func(c *simulation.Cluster) { sharedLocal(c, true) }},
		{"cross_node_publish_subscribe", nil, crossNode},
		{"late_join_node_syncs_subscriptions", split, lateJoinSubscriptions},
		{"late_join_node_syncs_retained_messages", split, lateJoinRetained},
		{"restarted_node_has_no_stale_sessions", nil, noStaleSessions},
		{"routing_table_survives_node_restart", nil, routesSurviveRestart},
	} {
		t.Run(s.name, func(t *testing.T) {
			bubble(t, simulation.Options{Seed: 11, Nodes: 3, Settings: s.settings}, s.run)
		})
	}
}

func numbered(what string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s %02d", what, i))
	}
	return out
}

func publishAll(c *simulation.Cluster, cl *simulation.Client, topic string, payloads []string) {
	c.T.Helper()
	for _, p := range payloads {
		publish(c, cl, topic, p, 1, false)
	}
}

// online counts the connections of a client id over all nodes.
func online(c *simulation.Cluster, id string) int {
	n := 0
	for _, node := range c.Nodes {
		if node.Running() {
			node.Parts().Sessions.Each(func(i session.Info) bool {
				if i.ID.ClientID == id && i.Online {
					n++
				}
				return true
			})
		}
	}
	return n
}

// stored returns how many queues of durable sessions a node has, and how many
// messages wait in them.
func stored(n *simulation.Node) (queues, messages int) {
	n.Parts().Queues.Each(func(i queue.Info) bool {
		if i.Durable {
			queues++
			messages += i.Pending + i.Inflight
		}
		return true
	})
	return queues, messages
}

func awaitStored(c *simulation.Cluster, n *simulation.Node, queues, messages int) {
	c.T.Helper()
	c.Await(n.Name+" has the queues", func() error {
		if q, m := stored(n); q != queues || m != messages {
			return fmt.Errorf("%d queues with %d messages; want %d with %d", q, m, queues, messages)
		}
		return nil
	})
}

// nothingElse lets time pass in which nothing may come to the clients.
func nothingElse(c *simulation.Cluster, clients []*simulation.Client, total int) {
	c.T.Helper()
	time.Sleep(time.Second)
	n := 0
	for _, cl := range clients {
		n += len(cl.Got())
	}
	if n != total {
		c.T.Errorf("%d messages came, want %d\n%s", n, total, c.History.About(100))
	}
}

// multipleConnect: 250 connects of one client id by five at a time.
func multipleConnect(c *simulation.Cluster) {
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			cl := c.Client("connect-multiple", 4, false)
			for range 50 {
				for {
					if _, err := cl.Connect(c.Nodes[i%3]); err == nil {
						break
					}
					time.Sleep(time.Duration(1+c.Number(100)) * time.Millisecond)
				}
				cl.Drop()
				time.Sleep(time.Duration(1+c.Number(100)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	c.Await("at most one session is left", func() error {
		if n := online(c, "connect-multiple"); n > 1 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
}

// multipleConnectUnclean: a client that acknowledges one message on each
// connection gets all of them, in order.
func multipleConnectUnclean(c *simulation.Cluster) {
	sub := connect(c, "unclean", 4, true, c.Nodes[c.Number(3)])
	subscribe(c, sub, "qos1/multiple/test", 1)
	owner := sub.Connected()
	sub.Disconnect()
	want := numbered("m", 20)
	for i, p := range want {
		publishAll(c, connect(c, fmt.Sprint("pub", i), 4, false, c.Nodes[0]), "qos1/multiple/test", []string{p})
	}
	awaitStored(c, owner, 1, 20)
	time.Sleep(15 * time.Second)
	sub.AckOnly = 1
	at := c.Nodes[c.Number(3)]
	for range want {
		if present, err := sub.Connect(at); err != nil || !present {
			c.T.Fatalf("present %v, %v", present, err)
		}
		time.Sleep(time.Second)
	}
	expectKept(c, sub, want)
}

func distributedSubscribe(c *simulation.Cluster) {
	var all []*simulation.Client
	for i, n := range c.Nodes {
		cl := connect(c, fmt.Sprint("dist", i), 4, false, n)
		subscribe(c, cl, "qos1/distributed/test", 1)
		all = append(all, cl)
	}
	publish(c, all[0], "qos1/distributed/test", "hello", 1, false)
	for _, cl := range all {
		expect(c, cl, "hello")
	}
	nothingElse(c, all, 3)
}

// racing lets 25 clients race for one client id: one survives, with the
// session. With a filter each of them subscribes.
func racing(c *simulation.Cluster, filter string) {
	first := connect(c, "racer", 4, true, c.Nodes[0])
	racers := []*simulation.Client{first}
	var wg sync.WaitGroup
	for i := range 24 {
		cl := c.Client("racer", 4, true)
		racers = append(racers, cl)
		n := c.Nodes[c.Number(3)]
		wg.Go(func() {
			for range 8 {
				present, err := cl.Connect(n)
				if err == nil {
					if !present {
						c.T.Errorf("racer %d found no session", i)
					}
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			if filter != "" {
				_ = cl.Subscribe(filter, 1) // SUBACK of either kind, or the end
			}
		})
	}
	wg.Wait()
	c.Await("one survives", func() error {
		alive := 0
		for _, cl := range racers {
			if cl.Connected() != nil {
				alive++
			}
		}
		if n := online(c, "racer"); alive != 1 || n != 1 {
			return fmt.Errorf("%d clients are connected, nodes have %d", alive, n)
		}
		return nil
	})
}

// abortedQueueMigration: the queue has moved although the client was gone
// before CONNACK.
func abortedQueueMigration(c *simulation.Cluster) {
	sub := connect(c, "abort", 4, true, c.Nodes[0])
	subscribe(c, sub, "migration/abort/test", 1)
	sub.Disconnect()
	want := numbered("m", 10)
	publishAll(c, connect(c, "pub", 4, false, c.Nodes[1]), "migration/abort/test", want)
	awaitStored(c, c.Nodes[0], 1, 10)
	to := c.Nodes[1+c.Number(2)]
	if err := sub.Abort(to); err != nil {
		c.T.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	// Whether the broker saw CONNECT before the end of the connection is its own
	// affair; nothing is lost either way.
	if present, err := sub.Connect(to); err != nil || !present {
		c.T.Fatalf("present %v, %v", present, err)
	}
	expectKept(c, sub, want)
}

func clusterLeave(c *simulation.Cluster) {
	const clients = 100
	var first *simulation.Client
	for i := range clients {
		cl := c.Client(fmt.Sprint("leaver", i), 4, true)
		cl.AckOnly = -1
		if _, err := cl.Connect(c.Nodes[0]); err != nil {
			c.T.Fatal(err)
		}
		subscribe(c, cl, "cluster/leave/topic", 1)
		if first == nil {
			first = cl
		}
	}
	publish(c, first, "cluster/leave/topic", "once", 1, false)
	if err := c.Nodes[1].Leave(c.Nodes[0].FullName()); err != nil {
		c.T.Fatal(err)
	}
	c.Await("the others have the queues", func() error {
		q1, m1 := stored(c.Nodes[1])
		q2, m2 := stored(c.Nodes[2])
		if q1+q2 != clients || m1+m2 != clients {
			return fmt.Errorf("%d+%d queues, %d+%d messages", q1, q2, m1, m2)
		}
		return nil
	})
}

func clusterLeaveMyself(c *simulation.Cluster) {
	if err := c.Nodes[0].Leave(c.Nodes[0].FullName()); err != nil {
		c.T.Fatal(err)
	}
	for _, n := range c.Nodes[1:] {
		c.Await(n.Name+" sees two members", func() error {
			if m := n.Parts().Cluster.Members().Members; len(m) != 2 {
				return fmt.Errorf("%d members", len(m))
			}
			return nil
		})
	}
	for _, s := range c.Nodes[1].Parts().Metrics.Samples() {
		if s.Name == "netsplit_detected" && s.Value != 0 {
			c.T.Errorf("%d netsplits were seen", s.Value)
		}
	}
}

func clusterLeaveDeadNode(c *simulation.Cluster) {
	for i := range 10 {
		cl := connect(c, fmt.Sprint("dead", i), 4, true, c.Nodes[0])
		subscribe(c, cl, "dead/topic", 1)
		cl.Disconnect()
	}
	time.Sleep(time.Second)
	c.Nodes[0].Stop()
	c.AwaitSettled()
	if err := c.Nodes[1].Leave(c.Nodes[0].FullName()); err != nil {
		c.T.Fatal(err)
	}
	c.Await("the others have the queues", func() error {
		q1, _ := stored(c.Nodes[1])
		q2, _ := stored(c.Nodes[2])
		if q1 != 5 || q2 != 5 {
			return fmt.Errorf("%d and %d queues, want 5 each", q1, q2)
		}
		return nil
	})
}

func sharedRandom(c *simulation.Cluster) {
	var subs []*simulation.Client
	for i := range 10 {
		cl := connect(c, fmt.Sprint("share", i), 4, false, c.Nodes[c.Number(3)])
		subscribe(c, cl, "$share/share/sharedtopic", 1)
		subs = append(subs, cl)
	}
	publishAll(c, connect(c, "pub", 4, false, c.Nodes[c.Number(3)]), "sharedtopic", numbered("m", 10))
	nothingElse(c, subs, 10)
	seen := map[string]bool{}
	for _, s := range subs {
		for _, r := range s.Got() {
			if seen[r.Payload] {
				c.T.Errorf("%s came twice", r.Payload)
			}
			seen[r.Payload] = true
		}
	}
}

// sharedLocal: the members of the publisher's node get everything; with only
// them allowed nobody does when they are gone.
func sharedLocal(c *simulation.Cluster, only bool) {
	var local, far []*simulation.Client
	for i := range 10 {
		n, list := c.Nodes[0], &local
		if i >= 5 {
			n, list = c.Nodes[1+i%2], &far
		}
		cl := connect(c, fmt.Sprint("share", i), 4, false, n)
		subscribe(c, cl, "$share/share/sharedtopic", 1)
		*list = append(*list, cl)
	}
	pub := connect(c, "pub", 4, false, c.Nodes[0])
	publishAll(c, pub, "sharedtopic", numbered("first", 10))
	nothingElse(c, local, 10)
	nothingElse(c, far, 0)
	if !only {
		return
	}
	for _, cl := range local {
		cl.Disconnect()
	}
	time.Sleep(time.Second)
	publishAll(c, pub, "sharedtopic", numbered("later", 10))
	nothingElse(c, far, 0)
}

func crossNode(c *simulation.Cluster) {
	var subs []*simulation.Client
	for i := range 5 {
		cl := connect(c, fmt.Sprint("cross", i), 4, false, c.Nodes[0])
		subscribe(c, cl, "cross-node-topic", 1)
		subs = append(subs, cl)
	}
	want := numbered("m", 10)
	publishAll(c, connect(c, "pub", 4, false, c.Nodes[1+c.Number(2)]), "cross-node-topic", want)
	for _, s := range subs {
		expect(c, s, append([]string(nil), want...)...)
	}
	nothingElse(c, subs, 50)
}

func lateJoinSubscriptions(c *simulation.Cluster) {
	c.Nodes[0].Stop()
	for i := range 10 {
		cl := connect(c, fmt.Sprint("late", i), 4, true, c.Nodes[1])
		for j := range 10 {
			subscribe(c, cl, fmt.Sprintf("late/join/subscription/%d/%d", i, j), 1)
		}
		cl.Disconnect()
	}
	if err := c.Nodes[0].Start(); err != nil {
		c.T.Fatal(err)
	}
	for _, n := range c.Nodes {
		c.Await(n.Name+" has the subscriptions", func() error {
			total := 0
			n.Parts().Meta.View().AllSubscriptions(func(message.SessionID, message.Subscription) bool { total++; return true })
			if total != 100 {
				return fmt.Errorf("%d of 100", total)
			}
			return nil
		})
	}
}

func lateJoinRetained(c *simulation.Cluster) {
	c.Nodes[0].Stop()
	pub := connect(c, "pub", 4, false, c.Nodes[1])
	pub.Publish("late/join/retain", "kept", 0, true)
	c.Await("it is retained", func() error {
		if _, ok := c.Nodes[2].Parts().Meta.View().Retained("", "late/join/retain"); !ok {
			return errors.New("not yet")
		}
		return nil
	})
	if err := c.Nodes[0].Start(); err != nil {
		c.T.Fatal(err)
	}
	c.AwaitSettled()
	sub := connect(c, "sub", 4, false, c.Nodes[0])
	subscribe(c, sub, "late/join/#", 1)
	expect(c, sub, "kept")
	if !sub.Got()[0].Retain {
		c.T.Error("it came without its retain flag")
	}
}

func noStaleSessions(c *simulation.Cluster) {
	subscribe(c, connect(c, "clean", 4, false, c.Nodes[0]), "topic/sub", 1)
	subscribe(c, connect(c, "here", 4, true, c.Nodes[0]), "topic/sub", 1)
	subscribe(c, connect(c, "there", 4, true, c.Nodes[1]), "topic/sub", 1)
	c.Nodes[0].Stop()
	if err := c.Nodes[0].Start(); err != nil {
		c.T.Fatal(err)
	}
	time.Sleep(6 * time.Second)
	for _, n := range c.Nodes {
		got := map[string]int{}
		v := n.Parts().Meta.View()
		v.Sessions(message.SessionID{}, func(s *meta.Session) bool {
			got[s.ID.ClientID] = len(v.Subscriptions(s.ID))
			return true
		})
		if len(got) != 2 || got["here"] != 1 || got["there"] != 1 {
			c.T.Errorf("%s knows the sessions %v", n.Name, got)
		}
	}
}

func routesSurviveRestart(c *simulation.Cluster) {
	sub := connect(c, "sub", 4, false, c.Nodes[1])
	subscribe(c, sub, "topic/sub", 1)
	subscribe(c, sub, "$share/group/sharedtopic", 1)
	c.Nodes[0].Stop()
	if err := c.Nodes[0].Start(); err != nil {
		c.T.Fatal(err)
	}
	c.AwaitSettled()
	pub := connect(c, "pub", 4, false, c.Nodes[0])
	plain, shared := numbered("plain", 5), numbered("shared", 5)
	publishAll(c, pub, "topic/sub", plain)
	publishAll(c, pub, "sharedtopic", shared)
	expect(c, sub, append(plain, shared...)...)
	nothingElse(c, []*simulation.Client{sub}, 10)
}
