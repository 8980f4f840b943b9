package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// filtersEach is the number of subscriptions of each durable session; of all
// filters two fifths are distinct.
const filtersEach = 10

// snapshots tells from a node's log whether a snapshot is being written.
type snapshots struct{ running, seen atomic.Int64 }

func (s *snapshots) Write(line []byte) (int, error) {
	switch text := string(line); {
	case strings.Contains(text, "starting snapshot up to"):
		s.running.Add(1)
		s.seen.Add(1)
	case strings.Contains(text, "snapshot complete up to"):
		s.running.Add(-1)
	}
	return len(line), nil
}

// large fills a cluster with durable sessions, restarts a node, and moves a
// session with a long queue.
func (c *Cluster) large(ctx context.Context) error {
	var snaps snapshots
	c.output = &snaps
	nodes, stop, err := c.start(ctx, 3)
	c.output = nil
	if err != nil {
		return err
	}
	defer stop()
	size := fmt.Sprintf("%d subscriptions of %d durable sessions", c.Sizes.Sessions*filtersEach, c.Sizes.Sessions)
	begin := time.Now()
	quiet, busy, err := c.fill(ctx, nodes, &snaps)
	if err != nil {
		return err
	}
	c.note("make "+size, time.Since(begin).Round(time.Millisecond).String())
	if n := snaps.seen.Load(); n > 0 {
		c.atMost(fmt.Sprintf("SUBACK p99 during %d snapshots, of that without", n), float64(busy.quantile(0.99))/float64(quiet.quantile(0.99)), 2, "%.2f ×")
	} else {
		c.note("SUBACK p99 during a snapshot", "no snapshot was due")
	}
	most, err := settledMost(ctx, nodes)
	if err != nil {
		return err
	}
	c.atMost("memory of a node with "+size, float64(most)/(1<<20), 600, "%.0f MiB")
	if err := c.restart(ctx, nodes, size); err != nil {
		return err
	}
	return c.takeover(ctx, nodes[0], nodes[1])
}

// fill makes the sessions. The histograms have the SUBACKs of times without and
// with a snapshot on some node.
func (c *Cluster) fill(ctx context.Context, nodes []*clustertest.Node, snaps *snapshots) (quiet, busy *histogram, err error) {
	quiet, busy = new(histogram), new(histogram)
	var mu sync.Mutex
	err = parallel(ctx, 48, c.Sizes.Sessions, func(i int) error {
		conn, err := dial(ctx, login{address: nodes[i%len(nodes)].MQTT, version: packet.V5, id: fmt.Sprintf("bench-durable-%d", i), persistent: true})
		if err != nil {
			return err
		}
		defer conn.abort()
		filters := make([]string, filtersEach)
		for k := range filters {
			filters[k] = fmt.Sprintf("bench/large/%d/+/value", (i*filtersEach+k)%(c.Sizes.Sessions*4))
		}
		before := snaps.running.Load()
		begin := time.Now()
		if err := conn.subscribe(1, filters...); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if before+snaps.running.Load() > 0 {
			busy.add(uint64(time.Since(begin)))
		} else {
			quiet.add(uint64(time.Since(begin)))
		}
		return nil
	})
	return quiet, busy, err
}

// settledMost is the memory of the node that takes most of it.
func settledMost(ctx context.Context, nodes []*clustertest.Node) (int64, error) {
	var group errgroup.Group
	sizes := make([]int64, len(nodes))
	for i, n := range nodes {
		group.Go(func() (err error) {
			sizes[i], err = settledBytes(ctx, n.PID())
			return err
		})
	}
	err := group.Wait()
	return slices.Max(sizes), err
}

// restart stops a node that does not lead and starts it again.
func (c *Cluster) restart(ctx context.Context, nodes []*clustertest.Node, size string) error {
	_, rest, err := leader(ctx, nodes)
	if err != nil {
		return err
	}
	n := rest[0]
	if err := n.Stop(clusterTime); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, growthTime)
	defer cancel()
	begin := time.Now()
	if err := n.Start(ctx); err != nil {
		return err
	}
	c.atMost("restart of a node with "+size, time.Since(begin).Seconds(), 2, "%.2f s")
	return complete(ctx, nodes)
}

// takeover queues messages for a durable session on one node and lets its
// client come to the other.
func (c *Cluster) takeover(ctx context.Context, from, to *clustertest.Node) error {
	l := login{address: from.MQTT, version: packet.V5, id: "bench-mover", persistent: true, filter: "bench/mover", qos: 1, buffer: 64 << 10}
	mover, err := dial(ctx, l)
	if err != nil {
		return err
	}
	mover.abort()
	if err := c.queue(ctx, from, l.filter); err != nil {
		return err
	}
	l.address, l.filter = to.MQTT, ""
	begin := time.Now()
	if mover, err = dial(ctx, l); err != nil {
		return err
	}
	defer mover.abort()
	mover.SetDeadline(time.Now().Add(clusterTime))
	for i := range c.Sizes.Queued {
		got, pid, err := mover.message()
		if err != nil {
			return fmt.Errorf("message %d of a queue that moves: %w", i, err)
		}
		if n := binary.BigEndian.Uint64(got); n != uint64(i) {
			return fmt.Errorf("%w: message %d came instead of %d", errBehaviour, n, i)
		}
		if _, err := mover.Write(appendAck(nil, packet.TypePuback, pid)); err != nil {
			return err
		}
	}
	c.atMost(fmt.Sprintf("takeover of a session with %d queued messages, in order", c.Sizes.Queued), time.Since(begin).Seconds(), 1, "%.2f s")
	return nil
}

// queue publishes numbered messages; all are acknowledged when it returns.
func (c *Cluster) queue(ctx context.Context, n *clustertest.Node, topic string) error {
	conn, err := dial(ctx, login{address: n.MQTT, version: packet.V5, id: "bench-queue", buffer: 16 << 10})
	if err != nil {
		return err
	}
	defer conn.abort()
	conn.SetDeadline(time.Now().Add(clusterTime))
	const window = 500
	for sent := 0; sent < c.Sizes.Queued; {
		var b []byte
		some := min(window, c.Sizes.Queued-sent)
		for range some {
			payload := binary.BigEndian.AppendUint64(nil, uint64(sent))
			payload = append(payload, make([]byte, Payload-len(payload))...)
			b = packet.Append(b, packet.V5, &packet.Publish{Topic: topic, QoS: 1, PacketID: uint16(sent%65535 + 1), Payload: payload})
			sent++
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
		for range some {
			if _, err := conn.expect(byte(packet.TypePuback)); err != nil {
				return err
			}
		}
	}
	return nil
}

// growth measures how the costs grow with the nodes.
func (c *Cluster) growth(ctx context.Context) error {
	for _, n := range c.Sizes.Nodes {
		if err := c.costs(ctx, n); err != nil {
			return fmt.Errorf("%d nodes: %w", n, err)
		}
	}
	return nil
}

func (c *Cluster) costs(ctx context.Context, n int) error {
	nodes, stop, err := c.start(ctx, n)
	if err != nil {
		return err
	}
	defer stop()
	idle := Spec{PID: nodes[0].PID()}
	for _, o := range nodes[1:] {
		idle.Also = append(idle.Also, o.PID())
	}
	before, err := idle.cpu()
	if err != nil {
		return err
	}
	begin := time.Now()
	select {
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := idle.cpu()
	if err != nil {
		return err
	}
	h, err := subacks(ctx, nodes, 60)
	if err != nil {
		return err
	}
	s := Spec{
		Kind: Flow, Shape: Pair, Version: packet.V5, QoS: 1, Publishers: 10, Subscribers: 10, Window: 100, Warmup: c.Sizes.Warmup, Measure: c.Sizes.Measure,
		Patience: 5 * time.Second, Address: nodes[n-1].MQTT, PublishAt: nodes[0].MQTT, PID: idle.PID, Also: idle.Also,
	}
	r, err := Run(ctx, s)
	if err != nil {
		return err
	}
	c.note(fmt.Sprintf("%d nodes: idle, SUBACK p50, pair QoS 1 from first to last", n), fmt.Sprintf("%.1f %% CPU, %.2f ms, %.2f s/100k",
		(after-before)/time.Since(begin).Seconds()*100, millis(h.quantile(0.5)), r.PerUnits()))
	return nil
}
