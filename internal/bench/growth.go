package bench

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// GrowthName is what selects Growth among the scenarios.
const GrowthName = "growth"

// Sizes are how much a node is given to hold.
type Sizes struct {
	// Subscriptions are the sizes of the index that is matched against.
	Subscriptions []int
	// Sessions are persistent and offline, each with Queued messages.
	Sessions, Queued int
}

// OrdinarySizes and QuickSizes are those of `make bench` and of its short form.
var (
	OrdinarySizes = Sizes{Subscriptions: []int{10_000, 100_000, 1_000_000}, Sessions: 100_000, Queued: 10}
	QuickSizes    = Sizes{Subscriptions: []int{10_000, 100_000}, Sessions: 2_000, Queued: 10}
)

// GrowthRow is one line of the table of growth.
type GrowthRow struct{ What, Size, Time, Memory string }

// Growth measures our broker alone: what does it cost to hold much?
func Growth(ctx context.Context, bin, dir string, s Sizes, out io.Writer) ([]GrowthRow, error) {
	var rows []GrowthRow
	add := func(r GrowthRow) {
		rows = append(rows, r)
		fmt.Fprintf(out, "%-44s %-36s %-12s %s\n", r.What, r.Size, r.Time, r.Memory)
	}
	for _, n := range s.Subscriptions {
		add(matching(n))
	}
	return rows, restarts(ctx, bin, dir, s, add)
}

// matching measures an index of n filters as a broker has them, a third exact,
// two thirds with wildcards, and three of them for each topic.
func matching(n int) GrowthRow {
	before := heapBytes()
	x := topic.NewIndex[int, int]()
	for i := range n {
		suffix := [...]string{"site/%d/+/%d/temp", "site/%d/device/%d/temp", "site/%d/device/%d/#"}[i%3]
		x.Set(fmt.Sprintf(suffix, i%100, i), i, i)
	}
	x.Set("site/+/device/+/temp", -1, 0)
	size := heapBytes() - before
	names := make([]string, 4096)
	for i := range names {
		k := i * n / len(names)
		names[i] = fmt.Sprintf("site/%d/device/%d/temp", k%100, k)
	}
	hits, matches := 0, 0
	begin := time.Now()
	for time.Since(begin) < time.Second {
		for _, name := range names {
			x.Match(name, func(int, int) { hits++ })
		}
		matches += len(names)
	}
	took := time.Since(begin) / time.Duration(matches)
	runtime.KeepAlive(x)
	return GrowthRow{
		What: "match a topic", Size: fmt.Sprintf("%d subscriptions", n), Time: took.Round(10 * time.Nanosecond).String(),
		Memory: fmt.Sprintf("%.0f bytes each", float64(size)/float64(n)),
	}
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// growthTime bounds each step of restarts.
const growthTime = 10 * time.Minute

// restarts fills a broker and measures how long it takes to serve again, after
// an orderly stop and after kill -9.
func restarts(ctx context.Context, bin, dir string, s Sizes, add func(GrowthRow)) error {
	n, err := clustertest.New(clustertest.Config{
		Bin: bin, Dir: filepath.Join(dir, "growth"), Name: "growth@127.0.0.1", Settings: []string{"max_offline_messages = -1"},
	})
	if err != nil {
		return err
	}
	defer n.Kill()
	size := fmt.Sprintf("%d sessions, %d messages", s.Sessions, s.Sessions*s.Queued)
	start := func(what string) error {
		ctx, cancel := context.WithTimeout(ctx, growthTime)
		defer cancel()
		begin := time.Now()
		if err := n.Start(ctx); err != nil {
			return err
		}
		took := time.Since(begin)
		rss, err := settledBytes(ctx, n.PID())
		if err == nil {
			add(GrowthRow{What: what, Size: size, Time: took.Round(time.Millisecond).String(), Memory: fmt.Sprintf("%.0f MiB", float64(rss)/(1<<20))})
		}
		return err
	}
	full := size
	size = "nothing"
	if err := start("start of an empty broker"); err != nil {
		return err
	}
	size = full
	if err := fill(ctx, n.MQTT, s, add); err != nil {
		return err
	}
	if err := n.Stop(growthTime); err != nil {
		return err
	}
	add(GrowthRow{What: "its disk", Size: size, Memory: fmt.Sprintf("%.0f MiB", float64(diskBytes(n.DataDir()))/(1<<20))})
	if err := start("start after an orderly stop"); err != nil {
		return err
	}
	n.Kill()
	if err := start("start after kill -9"); err != nil {
		return err
	}
	return resume(ctx, n.MQTT, s, add)
}

func growthLogin(addr string, i int) login {
	return login{address: addr, version: packet.V5, id: fmt.Sprintf("growth-%d", i), persistent: true}
}

// fill makes the sessions and then publishes to all of them.
func fill(ctx context.Context, addr string, s Sizes, add func(GrowthRow)) error {
	begin := time.Now()
	err := parallel(ctx, 32, s.Sessions, func(i int) error {
		l := growthLogin(addr, i)
		l.filter, l.qos = "bench/growth", 1
		c, err := dial(ctx, l)
		if err == nil {
			c.abort()
		}
		return err
	})
	if err != nil {
		return err
	}
	add(GrowthRow{What: "make persistent sessions", Size: fmt.Sprintf("%d sessions", s.Sessions), Time: time.Since(begin).Round(time.Millisecond).String()})
	c, err := dial(ctx, login{address: addr, version: packet.V5, id: "growth-publisher"})
	if err != nil {
		return err
	}
	defer c.abort()
	begin = time.Now()
	for i := range s.Queued {
		p := &packet.Publish{Topic: "bench/growth", Payload: make([]byte, 64), QoS: 1, PacketID: uint16(i + 1)}
		c.SetDeadline(time.Now().Add(growthTime))
		if _, err := c.Write(packet.Append(nil, packet.V5, p)); err != nil {
			return err
		}
		if _, err := c.expect(byte(packet.TypePuback)); err != nil {
			return fmt.Errorf("publishing to %d offline sessions: %w", s.Sessions, err)
		}
	}
	add(GrowthRow{What: "queue a message in each, acknowledged", Size: fmt.Sprintf("%d messages", s.Sessions*s.Queued), Time: time.Since(begin).Round(time.Millisecond).String()})
	return nil
}

// resume lets one client take its queue.
func resume(ctx context.Context, addr string, s Sizes, add func(GrowthRow)) error {
	begin := time.Now()
	c, err := dial(ctx, growthLogin(addr, s.Sessions/2))
	if err != nil {
		return err
	}
	defer c.abort()
	c.SetDeadline(time.Now().Add(growthTime))
	for range s.Queued {
		if _, err := c.expect(byte(packet.TypePublish)); err != nil {
			return fmt.Errorf("taking a queue after the start: %w", err)
		}
	}
	add(GrowthRow{What: "a client resumes and has its queue", Size: fmt.Sprintf("%d messages", s.Queued), Time: time.Since(begin).Round(10 * time.Microsecond).String()})
	return nil
}

func diskBytes(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil // what has gone meanwhile takes no space
	})
	return sum
}

// MarkdownGrowth writes the table.
func MarkdownGrowth(b *strings.Builder, rows []GrowthRow) {
	if len(rows) == 0 {
		return
	}
	b.WriteString("\n| growth | size | time | memory |\n|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", r.What, r.Size, r.Time, r.Memory)
	}
}
