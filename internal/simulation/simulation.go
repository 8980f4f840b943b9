// Package simulation runs whole clusters in one process and in virtual time:
// real brokers, wired as the program wires them, on disks and a network in
// memory that a test breaks. Everything runs in one bubble of testing/synctest,
// so minutes pass in milliseconds and nothing waits for a real disk or socket.
//
// A seed fixes the workload and the faults, not the order in which goroutines
// run: the same seed finds the same defect often, not always. So a failure
// prints the seed and what happened.
package simulation

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/peer"
)

// Options of a Cluster.
type Options struct {
	Seed  uint64
	Nodes int
	// Settings of every node, by key.
	Settings map[string]string
	// Level of the nodes' log lines that become events; slog.LevelWarn if 0.
	Level slog.Level
	// Apart leaves the nodes clusters of one each.
	Apart bool
}

// Cluster is a number of brokers, and the clients that talk to them.
type Cluster struct {
	T       *testing.T
	Net     *Network
	History *History
	Nodes   []*Node
	o       Options
	rng     *rand.Rand
	rngMu   sync.Mutex
	clients *endpoint
	mu      sync.Mutex
	open    map[*Conn]bool // clients' connections
	wg      sync.WaitGroup
}

// secret is the one of an empty cookie; to make it takes real time.
var secret = sync.OnceValue(func() peer.Secret { return peer.NewSecret("") })

// New starts the brokers and joins them. It must be called in a bubble. All
// that it started ends with the test.
func New(t *testing.T, o Options) *Cluster {
	t.Helper()
	if o.Level == 0 {
		o.Level = slog.LevelWarn
	}
	c := &Cluster{
		T: t, Net: NewNetwork(o.Seed), History: newHistory(), o: o, rng: rand.New(rand.NewPCG(o.Seed, 2)),
		clients: &endpoint{host: "client"}, open: map[*Conn]bool{},
	}
	t.Cleanup(c.end)
	for i := range o.Nodes {
		c.Nodes = append(c.Nodes, c.node(i+1))
	}
	for _, n := range c.Nodes {
		if err := n.Start(); err != nil {
			t.Fatalf("starting %s: %v", n.Name, err)
		}
	}
	if o.Apart {
		return c
	}
	for _, n := range c.Nodes[1:] {
		if err := n.Join(c.Nodes[0]); err != nil {
			t.Fatalf("joining %s: %v\n%s", n.Name, err, c.History.About(200))
		}
	}
	c.AwaitSettled()
	return c
}

// Prepare does once what takes real time, outside of any bubble.
func Prepare() { secret() }

// end stops everything, so that the bubble can end. It fails the test for
// what must not happen in any simulation.
func (c *Cluster) end() {
	c.Net.Heal()
	c.mu.Lock()
	conns := slices.Collect(maps.Keys(c.open))
	c.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
	}
	for _, n := range c.Nodes {
		n.Stop()
	}
	c.wg.Wait()
	for _, f := range c.History.Faults() {
		c.T.Errorf("%s", f)
	}
}

// Number draws from 0 to n-1.
func (c *Cluster) Number(n int) int {
	c.rngMu.Lock()
	defer c.rngMu.Unlock()
	return c.rng.IntN(n)
}

// patience bounds a wait, in virtual time.
const patience = 2 * time.Minute

// Await waits until cond returns nil, in virtual time.
func (c *Cluster) Await(what string, cond func() error) {
	c.T.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			c.T.Fatalf("seed %d: %s: %v\n%s", c.o.Seed, what, err, c.History.About(200))
		}
	}
}

// AwaitSettled waits until every running node sees a leader and every other
// running node.
func (c *Cluster) AwaitSettled() {
	c.T.Helper()
	c.Await("the cluster is settled", func() error {
		for _, n := range c.Nodes {
			if err := n.settled(); err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}
		}
		return nil
	})
}

// Leader returns the running node that leads, or nil.
func (c *Cluster) Leader() *Node {
	for _, n := range c.Nodes {
		if !n.Running() {
			continue
		}
		if p := n.Parts(); p.Meta.Status().Leader == p.Node {
			return n
		}
	}
	return nil
}

// Split cuts the network between two groups of nodes, in both directions.
func (c *Cluster) Split(a, b []*Node) {
	for _, x := range a {
		for _, y := range b {
			c.History.Add("net", "partition %s | %s", x.Name, y.Name)
			c.Net.Partition(x.Name, y.Name)
			c.Net.Partition(y.Name, x.Name)
		}
	}
}

// Heal undoes all partitions.
func (c *Cluster) Heal() {
	c.History.Add("net", "heal")
	c.Net.Heal()
}
