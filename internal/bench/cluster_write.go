package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// writes measures what the cluster has to agree on.
func (c *Cluster) writes(ctx context.Context) error {
	nodes, stop, err := c.start(ctx, 3)
	if err != nil {
		return err
	}
	defer stop()
	sync, err := fsync(c.Dir)
	if err != nil {
		return err
	}
	c.note("fsync of this disk, p50", fmt.Sprintf("%.2f ms", millis(sync)))
	idle, err := subacks(ctx, nodes, 200)
	if err != nil {
		return err
	}
	c.atMost("SUBSCRIBE → SUBACK idle, p50 (3 fsyncs and 2 ms)", millis(idle.quantile(0.5)), 3*millis(sync)+2, "%.2f ms")
	perSecond, err := manySubscribes(ctx, nodes, 256, c.Sizes.Rate)
	if err != nil {
		return err
	}
	c.atLeast("SUBSCRIBEs per second, 256 connections on 3 nodes", perSecond, 30_000, "%.0f")
	if perSecond, err = connects(ctx, nodes, c.Sizes.Rate); err != nil {
		return err
	}
	c.atLeast("connects per second on 3 nodes, clean sessions", perSecond, 5000, "%.0f")
	return nil
}

// fsync is the median time to append and sync 4 KiB in dir.
func fsync(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var h histogram
	for range 100 {
		begin := time.Now()
		if _, err := f.Write(make([]byte, 4<<10)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		h.add(uint64(time.Since(begin)))
	}
	return h.quantile(0.5), nil
}

// subacks subscribes n times, one after the other, on all nodes in turn.
func subacks(ctx context.Context, nodes []*clustertest.Node, n int) (*histogram, error) {
	var h histogram
	for i, node := range nodes {
		conn, err := dial(ctx, login{address: node.MQTT, version: packet.V5, id: fmt.Sprintf("bench-suback-%d", i)})
		if err != nil {
			return nil, err
		}
		defer conn.abort()
		for k := range n / len(nodes) {
			begin := time.Now()
			if err := conn.subscribe(1, fmt.Sprintf("bench/idle/%d/%d", i, k)); err != nil {
				return nil, err
			}
			h.add(uint64(time.Since(begin)))
		}
	}
	return &h, nil
}

// each runs fn for connections 0 to n-1, each in its own goroutine, until d has
// passed or one fails; fn returns after one operation. It returns the
// operations per second.
func each(ctx context.Context, n int, d time.Duration, fn func(i, k int) error) (float64, error) {
	var (
		wg    sync.WaitGroup
		count atomic.Int64
		first atomic.Pointer[error]
	)
	begin := time.Now()
	for i := range n {
		wg.Go(func() {
			for k := 0; time.Since(begin) < d && ctx.Err() == nil && first.Load() == nil; k++ {
				if err := fn(i, k); err != nil {
					first.CompareAndSwap(nil, &err)
					return
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return 0, *err
	}
	return float64(count.Load()) / time.Since(begin).Seconds(), ctx.Err()
}

// manySubscribes counts SUBSCRIBEs with a new filter each.
func manySubscribes(ctx context.Context, nodes []*clustertest.Node, n int, d time.Duration) (float64, error) {
	conns := make([]*connection, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.abort()
			}
		}
	}()
	for i := range conns {
		var err error
		conns[i], err = dial(ctx, login{address: nodes[i%len(nodes)].MQTT, version: packet.V5, id: fmt.Sprintf("bench-many-%d", i)})
		if err != nil {
			return 0, err
		}
	}
	return each(ctx, n, d, func(i, k int) error { return conns[i].subscribe(1, fmt.Sprintf("bench/many/%d/%d", i, k)) })
}

// connects counts connections of clean sessions, each with an id of its own.
func connects(ctx context.Context, nodes []*clustertest.Node, d time.Duration) (float64, error) {
	return each(ctx, 64, d, func(i, k int) error {
		c, err := dial(ctx, login{address: nodes[(i+k)%len(nodes)].MQTT, version: packet.V5, id: fmt.Sprintf("bench-connect-%d-%d", i, k)})
		if err == nil {
			c.abort()
		}
		return err
	})
}
