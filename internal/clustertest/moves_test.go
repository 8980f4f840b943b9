package clustertest_test

import (
	"fmt"
	"sync"
	"testing"
)

// TestMovesUnderLoad moves one durable session from node to node, as fast as
// its client can, while clients on every node publish to it. What was
// acknowledged arrives, at QoS 2 once, and each publisher's messages in their
// order (P1, P4).
func TestMovesUnderLoad(t *testing.T) {
	skipShort(t)
	nodes := startCluster(t, 3, "max_online_messages = -1", "max_offline_messages = -1")
	const moves = 40
	first := connect(t, who{Addr: nodes[0].MQTT, ID: "mover", Version: 5, Durable: true})
	first.subscribe(t, "moves/#", 2)
	all := []*client{first}

	stop := make(chan struct{})
	var wg sync.WaitGroup
	acked := make([][]string, 2*len(nodes))
	failed := make(chan error, len(acked))
	for i := range acked {
		qos := byte(1 + i%2)
		pub := connect(t, who{Addr: nodes[i/2].MQTT, ID: fmt.Sprintf("pub%d", i), Version: versions()[i%2]})
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				p := fmt.Sprintf("%d-%d", i, n)
				if err := pub.tryPublish(fmt.Sprintf("moves/%d", i), p, qos, false); err != nil {
					failed <- fmt.Errorf("publisher %d: %w", i, err)
					return
				}
				acked[i] = append(acked[i], p)
			}
		})
	}
	for i := range moves {
		c := connect(t, who{Addr: nodes[(i+1)%len(nodes)].MQTT, ID: "mover", Version: 5, Durable: true})
		if !c.Present {
			t.Errorf("move %d: session present is 0", i)
		}
		all = append(all, c)
	}
	close(stop)
	wg.Wait()
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	sum := 0
	for _, list := range acked {
		sum += len(list)
	}
	got := func() (byTopic map[string][]received, n int) {
		byTopic = map[string][]received{}
		for _, c := range all {
			for _, m := range c.peek() {
				byTopic[m.Topic] = append(byTopic[m.Topic], m)
				n++
			}
		}
		return byTopic, n
	}
	await(t, func() error {
		byTopic, n := got()
		for i, list := range acked {
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
	byTopic, n := got()
	again := 0
	for i := range acked {
		seen := map[string]received{}
		last := -1
		for _, m := range byTopic[fmt.Sprintf("moves/%d", i)] {
			if before, ok := seen[m.Payload]; ok {
				again++
				// A client that keeps its state knows a QoS 2 message again by its
				// packet identifier; this one begins anew with each connection.
				if m.QoS == 2 && (!m.Dup || m.PacketID != before.PacketID) {
					t.Errorf("%s arrived twice: as %d and as %d (dup %v)", m.Payload, before.PacketID, m.PacketID, m.Dup)
				}
				continue
			}
			seen[m.Payload] = m
			var from, k int
			if _, err := fmt.Sscanf(m.Payload, "%d-%d", &from, &k); err != nil {
				t.Fatal(err)
			}
			if k < last {
				t.Errorf("publisher %d: %d arrived after %d", i, k, last)
			}
			last = max(last, k)
		}
	}
	t.Logf("%d moves: %d acknowledged, %d arrived, %d of them were repeated", moves, sum, n, again)
}
