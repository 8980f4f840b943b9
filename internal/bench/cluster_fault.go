package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// faults measures what the others see of a leader that ends.
func (c *Cluster) faults(ctx context.Context) error {
	killed, err := c.withoutLeader(ctx, func(n *clustertest.Node) error { n.Kill(); return nil })
	if err != nil {
		return fmt.Errorf("leader killed: %w", err)
	}
	c.atMost("leader killed: first SUBACK after", millis(killed.firstGrant), 2000, "%.0f ms")
	c.atMost("leader killed: longest pause between survivors' messages", millis(killed.silence), 100, "%.0f ms")
	stopped, err := c.withoutLeader(ctx, func(n *clustertest.Node) error { return n.Stop(clusterTime) })
	if err != nil {
		return fmt.Errorf("leader stopped: %w", err)
	}
	c.atMost("leader stopped: longest wait for SUBACK", millis(stopped.grantPause), 200, "%.0f ms")
	c.note("leader stopped: longest pause between survivors' messages", fmt.Sprintf("%.0f ms", millis(stopped.silence)))
	return nil
}

// outage is what clients of the other nodes saw.
type outage struct {
	firstGrant time.Duration // until the first SUBACK
	grantPause time.Duration // longest between two SUBACKs
	silence    time.Duration // longest between two messages
}

// withoutLeader ends the leader of three nodes while a client subscribes again
// and again, and another publishes from one survivor to the other.
func (c *Cluster) withoutLeader(ctx context.Context, end func(*clustertest.Node) error) (o outage, err error) {
	nodes, stop, err := c.start(ctx, 3)
	if err != nil {
		return o, err
	}
	defer stop()
	first, rest, err := leader(ctx, nodes)
	if err != nil {
		return o, err
	}
	var p probe
	defer p.close()
	if err := p.open(ctx, rest[0], rest[1]); err != nil {
		return o, err
	}
	if err := p.await(ctx, time.Now().Add(500*time.Millisecond)); err != nil {
		return o, err
	}
	begin := time.Now()
	if err := end(first); err != nil {
		return o, err
	}
	if err := p.await(ctx, time.Now().Add(2*time.Second)); err != nil {
		return o, err
	}
	return outage{p.granted.first(begin), p.granted.pause(begin), p.arrived.pause(begin)}, nil
}

// times are when something happened.
type times struct {
	mu   sync.Mutex
	list []time.Time
}

func (t *times) add() {
	t.mu.Lock()
	t.list = append(t.list, time.Now())
	t.mu.Unlock()
}

// first is how long after from it happened; minus one if it did not.
func (t *times) first(from time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, at := range t.list {
		if at.After(from) {
			return at.Sub(from)
		}
	}
	return -1
}

// pause is the longest time between two that ended after from.
func (t *times) pause(from time.Time) (longest time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := 1; i < len(t.list); i++ {
		if t.list[i].After(from) {
			longest = max(longest, t.list[i].Sub(t.list[i-1]))
		}
	}
	return longest
}

// probe are three clients: one subscribes to new filters, one publishes every
// 2 ms, one receives on the other node.
type probe struct {
	granted, arrived times
	conns            []*connection
	wg               sync.WaitGroup
	ended            chan struct{}
}

func (p *probe) open(ctx context.Context, a, b *clustertest.Node) error {
	p.ended = make(chan struct{})
	for _, l := range []login{
		{address: b.MQTT, id: "probe-receiver", filter: "probe/messages"},
		{address: a.MQTT, id: "probe-publisher"},
		{address: a.MQTT, id: "probe-subscriber"},
	} {
		l.version = packet.V5
		c, err := dial(ctx, l)
		if err != nil {
			return err
		}
		p.conns = append(p.conns, c)
	}
	receiver, publisher, subscriber := p.conns[0], p.conns[1], p.conns[2]
	p.wg.Go(func() {
		for {
			if _, err := receiver.expect(byte(packet.TypePublish)); err != nil {
				return
			}
			p.arrived.add()
		}
	})
	p.wg.Go(func() { _, _ = io.Copy(io.Discard, publisher) }) // its PUBACKs
	p.wg.Go(func() { p.publish(publisher) })
	p.wg.Go(func() { p.subscribe(subscriber) })
	return nil
}

func (p *probe) publish(c *connection) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-p.ended:
			return
		}
		payload := binary.BigEndian.AppendUint64(make([]byte, 0, Payload), uint64(i))
		m := &packet.Publish{Topic: "probe/messages", QoS: 1, PacketID: uint16(i%65535 + 1), Payload: payload[:Payload]}
		if _, err := c.Write(packet.Append(nil, packet.V5, m)); err != nil {
			return
		}
	}
}

// subscribe tries again when it is refused: that is what is measured.
func (p *probe) subscribe(c *connection) {
	for i := 0; ; i++ {
		select {
		case <-p.ended:
			return
		default:
		}
		err := c.subscribe(0, fmt.Sprintf("probe/filter/%d", i))
		switch {
		case err == nil:
			p.granted.add()
		case !errors.Is(err, errBehaviour):
			return
		}
	}
}

// await returns when both have happened after t.
func (p *probe) await(ctx context.Context, t time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTime)
	defer cancel()
	return clustertest.Await(ctx, func() error {
		if p.granted.first(t) < 0 {
			return errors.New("no SUBSCRIBE is granted")
		}
		if p.arrived.first(t) < 0 {
			return errors.New("no message arrives")
		}
		return nil
	})
}

func (p *probe) close() {
	if p.ended != nil {
		close(p.ended)
	}
	for _, c := range p.conns {
		c.abort()
	}
	p.wg.Wait()
}
