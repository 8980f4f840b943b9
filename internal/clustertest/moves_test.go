package clustertest_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// traffic are clients that publish to one durable session, "mover", at QoS 1
// and 2, one message after the other, while it moves.
type traffic struct {
	movers []*client // its connections, oldest first
	acked  [][]string
	stop   chan struct{}
	wg     sync.WaitGroup
	failed chan error
}

// startTraffic connects the session on the first node and two publishers on
// each of the others named.
func startTraffic(t *testing.T, first *clustertest.Node, from ...*clustertest.Node) *traffic {
	f := &traffic{acked: make([][]string, 2*len(from)), stop: make(chan struct{}), failed: make(chan error, 2*len(from))}
	f.move(t, first)
	f.movers[0].subscribe(t, "moves/#", 2)
	for i := range f.acked {
		pub := connect(t, who{Addr: from[i/2].MQTT, ID: fmt.Sprintf("pub%d", i), Version: versions()[i%2]})
		f.wg.Go(func() { f.publish(pub, i, byte(1+i%2)) })
	}
	return f
}

// perPublisher bounds what a machine that moves sessions slowly has to carry.
const perPublisher = 1500

func (f *traffic) publish(pub *client, i int, qos byte) {
	for n := range perPublisher {
		select {
		case <-f.stop:
			return
		default:
		}
		p := fmt.Sprintf("%d-%d", i, n)
		if err := pub.tryPublish(fmt.Sprintf("moves/%d", i), p, qos, false); err != nil {
			f.failed <- fmt.Errorf("publisher %d: %s: %w", i, p, err)
			return
		}
		f.acked[i] = append(f.acked[i], p)
	}
}

// move connects the session to a node while it is connected elsewhere.
func (f *traffic) move(t *testing.T, to *clustertest.Node) {
	t.Helper()
	var c *client
	await(t, func() (err error) { // a node that hung has to find its cluster again first
		c, err = tryConnect(who{Addr: to.MQTT, ID: "mover", Version: 5, Durable: true})
		return err
	})
	t.Cleanup(c.drop)
	if c.Present != (len(f.movers) > 0) {
		t.Errorf("move %d: session present is %v", len(f.movers), c.Present)
	}
	f.movers = append(f.movers, c)
}

func (f *traffic) end(t *testing.T) {
	t.Helper()
	close(f.stop)
	f.wg.Wait()
	select {
	case err := <-f.failed:
		t.Fatal(err)
	default:
	}
}

// arrived returns what the session got, by topic, in order.
func (f *traffic) arrived() (byTopic map[string][]received, n int) {
	byTopic = map[string][]received{}
	for _, c := range f.movers {
		for _, m := range c.peek() {
			byTopic[m.Topic] = append(byTopic[m.Topic], m)
			n++
		}
	}
	return byTopic, n
}

// check waits until everything that was acknowledged has arrived. Unless an old
// owner could not be asked, it also looks for what came twice at QoS 2, and for
// what came in another order.
func (f *traffic) check(t *testing.T, asked bool) {
	t.Helper()
	sum := 0
	for _, list := range f.acked {
		sum += len(list)
	}
	await(t, func() error {
		byTopic, n := f.arrived()
		for i, list := range f.acked {
			have := map[string]bool{}
			for _, m := range byTopic[fmt.Sprintf("moves/%d", i)] {
				have[m.Payload] = true
			}
			for _, p := range list {
				if !have[p] {
					return fmt.Errorf("%s was acknowledged and has not arrived (%d acknowledged, %d arrived)", p, sum, n)
				}
			}
		}
		return nil
	})
	byTopic, n := f.arrived()
	again := 0
	for i := range f.acked {
		again += check(t, i, byTopic[fmt.Sprintf("moves/%d", i)], asked)
	}
	t.Logf("%d moves: %d acknowledged, %d arrived, %d of them were repeated", len(f.movers)-1, sum, n, again)
}

// check looks at what came of one publisher and returns how much was repeated.
func check(t *testing.T, publisher int, list []received, asked bool) (again int) {
	t.Helper()
	seen := map[string]received{}
	last := -1
	for _, m := range list {
		if before, ok := seen[m.Payload]; ok {
			again++
			// A client that keeps its state knows a QoS 2 message again by its
			// packet identifier; this one begins anew with each connection.
			if asked && m.QoS == 2 && (!m.Dup || m.PacketID != before.PacketID) {
				t.Errorf("%s arrived twice: as %d and as %d (dup %v)", m.Payload, before.PacketID, m.PacketID, m.Dup)
			}
			continue
		}
		seen[m.Payload] = m
		var from, k int
		if _, err := fmt.Sscanf(m.Payload, "%d-%d", &from, &k); err != nil {
			t.Fatal(err)
		}
		if asked && k < last {
			t.Errorf("publisher %d: %d arrived after %d", publisher, k, last)
		}
		last = max(last, k)
	}
	return again
}

// TestMovesUnderLoad moves one durable session from node to node, as fast as
// its client can, while clients on every node publish to it. What was
// acknowledged arrives, at QoS 2 once, and each publisher's messages in their
// order (P1, P4).
func TestMovesUnderLoad(t *testing.T) {
	skipShort(t)
	nodes := startCluster(t, 3, "max_online_messages = -1", "max_offline_messages = -1")
	f := startTraffic(t, nodes[0], nodes...)
	for i := range 40 {
		f.move(t, nodes[(i+1)%len(nodes)])
	}
	f.end(t)
	f.check(t, true)
}

// TestMovesAwayFromAHungNode moves the session away from a node that does not
// answer, and back when it does: what was spooled for that node meanwhile, and
// what it had, is not lost (P1).
func TestMovesAwayFromAHungNode(t *testing.T) {
	skipShort(t)
	nodes := startCluster(t, 3, "max_online_messages = -1", "max_offline_messages = -1", "remote_enqueue_timeout = 1000")
	for i, n := range nodes {
		others := []*clustertest.Node{nodes[(i+1)%3], nodes[(i+2)%3]}
		if members, err := n.Members(t.Context()); err != nil || len(members) != 3 {
			t.Fatal(members, err)
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			f := startTraffic(t, n, others...)
			if err := n.Hang(); err != nil {
				t.Fatal(err)
			}
			resume := sync.OnceFunc(func() {
				if err := n.Resume(); err != nil {
					t.Error(err)
				}
			})
			defer resume()
			f.move(t, others[0])
			f.move(t, others[1])
			resume()
			f.move(t, n)
			f.move(t, others[0])
			f.end(t)
			f.check(t, false)
			for _, c := range f.movers {
				c.drop()
			}
			disconnect(t, others[0], "mover")
			awaitMembers(t, nodes...)
		})
	}
}

// disconnect ends a session.
func disconnect(t *testing.T, n *clustertest.Node, id string) {
	t.Helper()
	if r := n.Admin(t.Context(), "session", "disconnect", "client-id="+id, "-c"); r.Code != 0 {
		t.Fatalf("session disconnect: %+v", r)
	}
}
