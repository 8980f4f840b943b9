package simulation_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/simulation"
)

func TestMain(m *testing.M) {
	flag.Parse()
	simulation.Prepare()
	os.Exit(m.Run())
}

// bubble runs fn with a cluster of so many nodes in virtual time.
func bubble(t *testing.T, o simulation.Options, fn func(c *simulation.Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fn(simulation.New(t, o))
	})
}

// connect connects a client or ends the test.
func connect(c *simulation.Cluster, id string, version byte, durable bool, n *simulation.Node) *simulation.Client {
	c.T.Helper()
	cl := c.Client(id, version, durable)
	if _, err := cl.Connect(n); err != nil {
		c.T.Fatalf("connecting %s to %s: %v\n%s", id, n.Name, err, c.History.About(100))
	}
	return cl
}

func subscribe(c *simulation.Cluster, cl *simulation.Client, filter string, qos byte) {
	c.T.Helper()
	if err := cl.Subscribe(filter, qos); err != nil {
		c.T.Fatalf("%s subscribing to %s: %v\n%s", cl.ID, filter, err, c.History.About(100))
	}
}

// publish returns when the exchange is over.
func publish(c *simulation.Cluster, cl *simulation.Client, topic, payload string, qos byte, retain bool) {
	c.T.Helper()
	s := cl.Publish(topic, payload, qos, retain)
	c.Await("publishing "+payload, func() error {
		select {
		case <-s.Done():
			return nil
		default:
			return fmt.Errorf("%s has no answer", cl.ID)
		}
	})
	if qos > 0 && !s.Kept {
		c.T.Fatalf("%s: %s was refused with 0x%02X\n%s", cl.ID, payload, byte(s.Refused), c.History.About(100))
	}
}

// expect waits until a client has exactly these payloads, in any order.
func expect(c *simulation.Cluster, cl *simulation.Client, want ...string) {
	c.T.Helper()
	slices.Sort(want)
	c.Await(cl.ID+" gets its messages", func() error {
		if got := payloads(cl); !slices.Equal(got, want) {
			return fmt.Errorf("got other messages (-want +got):\n%s", cmp.Diff(want, got))
		}
		return nil
	})
}

func payloads(cl *simulation.Client) []string {
	var out []string
	for _, r := range cl.Got() {
		out = append(out, r.Payload)
	}
	slices.Sort(out)
	return out
}

// TestPublishAcrossNodes forms a cluster and sends a message of each quality
// from every node to a subscriber on every node.
func TestPublishAcrossNodes(t *testing.T) {
	bubble(t, simulation.Options{Seed: 1, Nodes: 3}, func(c *simulation.Cluster) {
		var subs, pubs []*simulation.Client
		for i, n := range c.Nodes {
			s := connect(c, fmt.Sprint("sub", i), 5, i%2 == 0, n)
			subscribe(c, s, "a/+", 2)
			subs = append(subs, s)
			pubs = append(pubs, connect(c, fmt.Sprint("pub", i), 4, false, n))
		}
		var want []string
		for i, p := range pubs {
			for qos := range byte(3) {
				payload := fmt.Sprintf("%d-%d", i, qos)
				publish(c, p, "a/b", payload, qos, false)
				want = append(want, payload)
			}
		}
		for _, s := range subs {
			expect(c, s, slices.Clone(want)...)
		}
	})
}

// TestCrashes kills each node in turn, takes its power, and cuts it off, while
// messages go from a publisher on another node to a durable subscriber on it.
func TestCrashes(t *testing.T) {
	down := map[string]func(c *simulation.Cluster, n *simulation.Node){
		"kill -9":   func(_ *simulation.Cluster, n *simulation.Node) { n.Kill() },
		"power off": func(_ *simulation.Cluster, n *simulation.Node) { n.PowerOff() },
		"stop":      func(_ *simulation.Cluster, n *simulation.Node) { n.Stop() },
		"partition": func(c *simulation.Cluster, n *simulation.Node) {
			for _, o := range c.Nodes {
				if o != n {
					c.Split([]*simulation.Node{n}, []*simulation.Node{o})
				}
			}
		},
	}
	for name, fault := range down {
		t.Run(name, func(t *testing.T) {
			bubble(t, simulation.Options{Seed: 2, Nodes: 3}, func(c *simulation.Cluster) {
				sub := connect(c, "sub", 5, true, c.Nodes[0])
				subscribe(c, sub, "t", 2)
				pub := connect(c, "pub", 5, true, c.Nodes[1])
				var want []string
				send := func(payload string) {
					publish(c, pub, "t", payload, 2, false)
					want = append(want, payload)
				}
				send("before")
				fault(c, c.Nodes[0])
				sub.Drop()
				send("while it is away")
				c.Heal()
				if !c.Nodes[0].Running() {
					if err := c.Nodes[0].Start(); err != nil {
						c.T.Fatal(err)
					}
				}
				c.AwaitSettled()
				send("when it is back")
				if present, err := sub.Connect(c.Nodes[2]); err != nil || !present {
					c.T.Fatalf("present %v, %v\n%s", present, err, c.History.About(100))
				}
				expect(c, sub, want...)
			})
		})
	}
}
