package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// ClusterName is what selects the measurements of clusters.
const ClusterName = "cluster"

// ClusterSizes are how much the measurements of a cluster do.
type ClusterSizes struct {
	Times
	// Rounds of what is compared with a single node.
	Rounds int
	// Rate is how long SUBSCRIBEs and connects are counted.
	Rate time.Duration
	// Sessions are durable, with ten subscriptions each.
	Sessions int
	// Queued messages wait for the session that moves.
	Queued int
	// Nodes are the sizes of cluster between which the costs grow.
	Nodes []int
}

// The sizes of an ordinary and of a quick measurement.
var (
	OrdinaryCluster = ClusterSizes{
		Times: OrdinaryTimes, Rounds: 5, Rate: 5 * time.Second, Sessions: 100_000, Queued: 10_000, Nodes: []int{1, 3, 5},
	}
	QuickCluster = ClusterSizes{
		Times: QuickTimes, Rounds: 3, Rate: 2 * time.Second, Sessions: 10_000, Queued: 10_000, Nodes: []int{1, 3},
	}
)

// ClusterRow is a line of the table of clusters: a figure, and what it should
// be at most, or at least; without a target it has no verdict.
type ClusterRow struct {
	What, Target, Measured string
	Reached                bool
}

// Cluster measures clusters of our brokers, all processes on this machine.
type Cluster struct {
	Bin, Dir string
	Sizes    ClusterSizes
	Log      io.Writer

	rows   []ClusterRow
	nodes  int       // started so far
	output io.Writer // of nodes that start
}

// Run makes every measurement and returns its rows.
func (c *Cluster) Run(ctx context.Context) ([]ClusterRow, error) {
	for _, step := range []func(context.Context) error{c.flows, c.writes, c.faults, c.large, c.growth} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return c.rows, nil
}

// atMost and atLeast note a figure and its target.
func (c *Cluster) atMost(what string, got, limit float64, format string) {
	c.row(ClusterRow{What: what, Target: "≤ " + fmt.Sprintf(format, limit), Measured: fmt.Sprintf(format, got), Reached: got <= limit})
}

func (c *Cluster) atLeast(what string, got, limit float64, format string) {
	c.row(ClusterRow{What: what, Target: "≥ " + fmt.Sprintf(format, limit), Measured: fmt.Sprintf(format, got), Reached: got >= limit})
}

// note is a figure without a target.
func (c *Cluster) note(what, measured string) { c.row(ClusterRow{What: what, Measured: measured}) }

func (c *Cluster) row(r ClusterRow) {
	c.rows = append(c.rows, r)
	fmt.Fprintf(c.Log, "%-66s %-14s %-22s %s\n", r.What, r.Target, r.Measured, r.word())
}

func (r ClusterRow) word() string {
	switch {
	case r.Target == "":
		return ""
	case r.Reached:
		return "reached"
	}
	return "MISSED"
}

// clusterTime bounds the start, the joins and the stop of a cluster.
const clusterTime = time.Minute

// start runs n brokers and makes them one cluster. stop ends them.
func (c *Cluster) start(ctx context.Context, n int) (nodes []*clustertest.Node, stop func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, clusterTime)
	defer cancel()
	stop = func() {
		for _, n := range nodes {
			n.Kill()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	for range n {
		c.nodes++
		node, err := clustertest.New(clustertest.Config{
			Bin: c.Bin, Dir: filepath.Join(c.Dir, fmt.Sprintf("c%d", c.nodes)), Name: fmt.Sprintf("c%d@127.0.0.1", c.nodes), Output: c.output, Settings: []string{
				fmt.Sprintf("max_online_messages = %d", queueLimit),
				fmt.Sprintf("max_offline_messages = %d", queueLimit),
				fmt.Sprintf("max_inflight_messages = %d", inflightLimit),
				"listener.max_connections = 20000",
			},
		})
		if err != nil {
			return nodes, stop, err
		}
		if err := node.Start(ctx); err != nil {
			return nodes, stop, err
		}
		nodes = append(nodes, node)
		if len(nodes) > 1 {
			if err := node.Join(ctx, nodes[0]); err != nil {
				return nodes, stop, err
			}
		}
	}
	return nodes, stop, complete(ctx, nodes)
}

// complete waits until every node sees all of them.
func complete(ctx context.Context, nodes []*clustertest.Node) error {
	return clustertest.Await(ctx, func() error {
		for _, n := range nodes {
			if err := n.AllRunning(ctx, nodes...); err != nil {
				return err
			}
		}
		return nil
	})
}

// leader returns the leading node and the others.
func leader(ctx context.Context, nodes []*clustertest.Node) (*clustertest.Node, []*clustertest.Node, error) {
	members, err := nodes[0].Members(ctx)
	if err != nil {
		return nil, nil, err
	}
	var first *clustertest.Node
	var rest []*clustertest.Node
	for _, n := range nodes {
		leads := false
		for _, m := range members {
			leads = leads || m.Node == n.Name && m.Role == "leader"
		}
		if leads {
			first = n
		} else {
			rest = append(rest, n)
		}
	}
	if first == nil {
		return nil, nil, errors.New("no node leads the cluster")
	}
	return first, rest, nil
}

// MarkdownCluster writes the table.
func MarkdownCluster(b *strings.Builder, rows []ClusterRow) {
	if len(rows) == 0 {
		return
	}
	b.WriteString("\n| cluster | to reach | measured | |\n|---|---|---|---|\n")
	for _, r := range rows {
		word := r.word()
		if word == "MISSED" {
			word = "**missed**"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", r.What, r.Target, r.Measured, word)
	}
}

// millis is a duration for a row.
func millis(d time.Duration) float64 { return float64(d) / 1e6 }
