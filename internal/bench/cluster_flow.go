package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// flows compares messages that cross from node to node with messages that stay
// on a single node, in the same rounds.
func (c *Cluster) flows(ctx context.Context) error {
	single, stopSingle, err := c.start(ctx, 1)
	if err != nil {
		return err
	}
	defer stopSingle()
	nodes, stop, err := c.start(ctx, 3)
	if err != nil {
		return err
	}
	defer stop()
	for _, f := range []struct {
		qos    byte
		factor float64
	}{{0, 1.6}, {1, 1.8}} {
		ratio, err := c.compare(ctx, single[0], nodes, Spec{Kind: Flow, QoS: f.qos, Window: 100}, Result.PerUnits)
		if err != nil {
			return err
		}
		c.atMost(fmt.Sprintf("cross-node pair 10→10 QoS %d, CPU of both nodes, of one node's", f.qos), ratio[0], f.factor, "%.2f ×")
	}
	latency, err := c.compare(ctx, single[0], nodes, Spec{Kind: Rate, QoS: 1, Window: 100, Rate: 2000},
		func(r Result) float64 { return float64(r.P50) }, func(r Result) float64 { return float64(r.P99) })
	if err != nil {
		return err
	}
	c.atMost("cross-node 2,000 msg/s QoS 1, p50, of one node's", latency[0], 2, "%.2f ×")
	c.atMost("cross-node 2,000 msg/s QoS 1, p99, of one node's", latency[1], 3, "%.2f ×")
	return nil
}

// compare returns the medians of the rounds' ratios between publishers on one
// node with subscribers on another, and both on the single one.
func (c *Cluster) compare(ctx context.Context, single *clustertest.Node, nodes []*clustertest.Node, s Spec, figures ...func(Result) float64) ([]float64, error) {
	s.Shape, s.Version, s.Publishers, s.Subscribers = Pair, packet.V5, 10, 10
	s.Warmup, s.Measure, s.Patience = c.Sizes.Warmup, c.Sizes.Measure, 5*time.Second
	ratios := make([][]float64, len(figures))
	for round := range c.Sizes.Rounds {
		from, to := nodes[round%len(nodes)], nodes[(round+1)%len(nodes)]
		near, far := s, s
		near.Address, near.PID = single.MQTT, single.PID()
		far.Address, far.PublishAt, far.PID, far.Also = to.MQTT, from.MQTT, to.PID(), []int{from.PID()}
		a, err := Run(ctx, near)
		if err != nil {
			return nil, fmt.Errorf("one node: %w", err)
		}
		b, err := Run(ctx, far)
		if err != nil {
			return nil, fmt.Errorf("from %s to %s: %w", from.Name, to.Name, err)
		}
		for i, fn := range figures {
			ratios[i] = append(ratios[i], fn(b)/fn(a))
		}
	}
	out := make([]float64, len(figures))
	for i := range ratios {
		out[i], _ = middleOf(ratios[i])
	}
	return out, nil
}
