package session

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// bubble runs fn with a node of its own in virtual time.
func bubble(t *testing.T, set func(*Settings), fn func(n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, with(set))
		fn(n)
		n.stop()
	})
}

// settled returns what has arrived once nothing moves any more.
func (c *client) settled() (out []packet.Packet) {
	synctest.Wait()
	for {
		select {
		case p, ok := <-c.in:
			if !ok {
				return out
			}
			out = append(out, p)
		default:
			return out
		}
	}
}

func publishes(list []packet.Packet) (out []*packet.Publish) {
	for _, p := range list {
		if p, ok := p.(*packet.Publish); ok {
			out = append(out, p)
		}
	}
	return out
}

// publishEach sends numbered messages one after the other, each when the node
// has come to rest, and tells how many were acknowledged.
func publishEach(c *client, topicName string, qos byte, count int) (acks int) {
	for i := range count {
		c.send(&packet.Publish{Topic: topicName, QoS: qos, PacketID: uint16(i + 1), Payload: fmt.Appendf(nil, "msg%d", i+1)})
		acks += len(c.settled())
	}
	return acks
}

// takeAll acknowledges what comes until nothing comes, and returns the
// payloads in order.
func takeAll(c *client) (got []string) {
	for list := c.settled(); len(list) > 0; list = c.settled() {
		for _, p := range list {
			switch p := p.(type) {
			case *packet.Publish:
				got = append(got, string(p.Payload))
				switch p.QoS {
				case 1:
					c.send(ackOf(packet.TypePuback, p.PacketID))
				case 2:
					c.send(ackOf(packet.TypePubrec, p.PacketID))
				}
			case *packet.Ack:
				c.send(ackOf(packet.TypePubcomp, p.PacketID))
			}
		}
	}
	return got
}

// leave ends a connection and waits until its session is offline.
func leave(c *client) {
	c.t.Helper()
	c.send(&packet.Disconnect{})
	c.closed()
	synctest.Wait()
}

func (n *node) count(name string, want int64) {
	n.t.Helper()
	if got := n.metric(name); got != want {
		n.t.Errorf("%s is %d, want %d", name, got, want)
	}
}

// labelled returns the counter of that name and label value.
func (n *node) labelled(name, value string) (v int64) {
	for _, s := range n.registry.Samples() {
		for _, l := range s.Labels {
			if s.Name == name && l.Value == value {
				v += s.Value
			}
		}
	}
	return v
}

func TestMaxInflightMessages(t *testing.T) {
	const count = 40
	for _, c := range []struct {
		version                                    byte
		maxInflight, receiveMaxClient, clientLimit int
		want                                       int
	}{
		{4, 0, 65535, 65535, count}, // as many as there are packet ids
		{3, 1, 65535, 65535, 1},
		{4, 1, 65535, 65535, 1},
		{4, 20, 5, 65535, 20}, // receive_max_client is for MQTT 5
		{4, 65535, 65535, 65535, count},
		{5, 1, 65535, 7, 7}, // max_inflight_messages is for MQTT 3
		{5, 1, 1, 7, 1},
		{5, 1, 7, 8, 7},
		{5, 1, 8, 7, 7},
		{5, 1, 65535, 65535, count},
	} {
		t.Run(fmt.Sprintf("v%d/%d/receive_max_client=%d/%d", c.version, c.maxInflight, c.receiveMaxClient, c.clientLimit), func(t *testing.T) {
			bubble(t, func(s *Settings) { s.MaxInflight, s.ReceiveMaxClient = c.maxInflight, c.receiveMaxClient }, func(n *node) {
				sub := n.join(c.version, &packet.Connect{ClientID: "sub", CleanStart: true, ReceiveMaximum: uint16(c.clientLimit)})
				sub.subscribe("t", 2)
				pub := n.join(4, &packet.Connect{ClientID: "pub", CleanStart: true})
				for i := range count { // both QoS count
					pub.send(&packet.Publish{Topic: "t", QoS: byte(1 + i%2), PacketID: uint16(i + 1), Payload: fmt.Appendf(nil, "msg%d", i+1)})
				}
				got := publishes(sub.settled())
				if len(got) != c.want {
					t.Fatalf("%d in flight, want %d", len(got), c.want)
				}
				sub.send(ackOf(packet.TypePuback, got[0].PacketID))
				if more := publishes(sub.settled()); len(more) != min(1, count-c.want) {
					t.Fatalf("%d more after an acknowledgement", len(more))
				}
				if c.want > 1 { // a PUBREC completes nothing
					sub.send(ackOf(packet.TypePubrec, got[1].PacketID))
					if more := publishes(sub.settled()); len(more) != 0 {
						t.Fatalf("%d more after PUBREC", len(more))
					}
				}
				n.count("queue_message_drop", 0)
			})
		})
	}
}

func TestMaxOnlineMessages(t *testing.T) {
	const count = 10
	for _, c := range []struct{ limit, want int }{{-1, count}, {0, 0}, {1, 2}, {3, 4}, {count, count}} {
		t.Run(fmt.Sprint(c.limit), func(t *testing.T) {
			bubble(t, func(s *Settings) { s.MaxOnline, s.MaxInflight = c.limit, 1 }, func(n *node) {
				sub := n.join(4, &packet.Connect{ClientID: "sub", CleanStart: true})
				sub.subscribe("t", 1)
				pub := n.join(4, &packet.Connect{ClientID: "pub", CleanStart: true})
				if acks := publishEach(pub, "t", 1, count); acks != count {
					t.Errorf("%d of %d acknowledged", acks, count)
				}
				if d := cmp.Diff(numbered(c.want), takeAll(sub)); d != "" { // one in flight, the rest behind it
					t.Error(d)
				}
				n.count("queue_message_drop", int64(count-c.want))
			})
		})
	}
}

// offline publishes to a persistent session that is offline and returns what
// it gets when it comes back.
func offline(n *node, qos byte, count int) []string {
	connect := func() *packet.Connect { return &packet.Connect{ClientID: "sub"} }
	sub := n.join(4, connect())
	sub.subscribe("t", 2)
	leave(sub)
	pub := n.join(4, &packet.Connect{ClientID: "pub", CleanStart: true})
	if acks := publishEach(pub, "t", qos, count); qos > 0 && acks != count {
		n.t.Errorf("%d of %d acknowledged", acks, count)
	}
	return takeAll(n.join(4, connect()))
}

func TestMaxOfflineMessages(t *testing.T) {
	const count = 10
	for _, c := range []struct{ limit, want int }{{-1, count}, {0, 0}, {1, 1}, {3, 3}, {count, count}} {
		t.Run(fmt.Sprint(c.limit), func(t *testing.T) {
			bubble(t, func(s *Settings) { s.MaxOffline = c.limit }, func(n *node) {
				if d := cmp.Diff(numbered(c.want), offline(n, 1, count)); d != "" {
					t.Error(d)
				}
				n.count("queue_message_drop", int64(count-c.want))
				n.count("queue_message_unhandled", 0)
			})
		})
	}
}

// TestQueueType: a full fifo queue keeps the oldest, a lifo queue the newest,
// which it also delivers first.
func TestQueueType(t *testing.T) {
	for _, lifo := range []bool{false, true} {
		for _, limit := range []int{-1, 0, 3} {
			t.Run(fmt.Sprintf("lifo=%v/%d", lifo, limit), func(t *testing.T) {
				bubble(t, func(s *Settings) { s.LIFO, s.MaxOffline = lifo, limit }, func(n *node) {
					want := numbered(10)
					if lifo {
						slices.Reverse(want)
					}
					if limit >= 0 {
						want = want[:limit]
					}
					got := offline(n, 1, 10)
					if d := cmp.Diff(want, got); d != "" && (len(want) > 0 || len(got) > 0) {
						t.Error(d)
					}
					n.count("queue_message_drop", int64(10-len(want)))
				})
			})
		}
	}
}

func TestOverrideMaxOnlineMessages(t *testing.T) {
	for _, override := range []bool{false, true} {
		for _, limit := range []int{-1, 0, 3, 10} {
			t.Run(fmt.Sprintf("%v/%d", override, limit), func(t *testing.T) {
				set := func(s *Settings) { s.OverrideMaxOnline, s.MaxOnline, s.MaxOffline = override, limit, -1 }
				bubble(t, set, func(n *node) {
					want := 10
					if !override && limit >= 0 {
						want = limit
					}
					if d := cmp.Diff(numbered(want), offline(n, 1, 10)); d != "" {
						t.Error(d)
					}
					n.count("queue_message_drop", int64(10-want))
				})
			})
		}
	}
}

func TestUpgradeOutgoingQoS(t *testing.T) {
	for _, upgrade := range []bool{false, true} {
		for published := byte(0); published <= 2; published++ {
			for granted := byte(0); granted <= 2; granted++ {
				t.Run(fmt.Sprintf("%v/%d to %d", upgrade, published, granted), func(t *testing.T) {
					bubble(t, func(s *Settings) { s.UpgradeQoS = upgrade }, func(n *node) {
						sub := n.join(4, &packet.Connect{ClientID: "sub", CleanStart: true})
						sub.subscribe("t", granted)
						pub := n.join(4, &packet.Connect{ClientID: "pub", CleanStart: true})
						publishEach(pub, "t", published, 1)
						want := min(published, granted)
						if upgrade {
							want = granted
						}
						if got := publishes(sub.settled()); len(got) != 1 || got[0].QoS != want {
							t.Errorf("%+v, want QoS %d", got, want)
						}
					})
				})
			}
		}
		t.Run(fmt.Sprintf("%v/offline", upgrade), func(t *testing.T) {
			bubble(t, func(s *Settings) { s.UpgradeQoS = upgrade }, func(n *node) {
				want, unhandled := 3, int64(0)
				if !upgrade {
					want, unhandled = 0, 3
				}
				if got := offline(n, 0, 3); len(got) != want {
					t.Errorf("%d of 3 messages of QoS 0", len(got))
				}
				n.count("queue_message_unhandled", unhandled)
			})
		})
	}
}

// TestRetryInterval: what is not acknowledged goes out again on the open
// connection, to MQTT 3 clients only [MQTT-4.4.0-1].
func TestRetryInterval(t *testing.T) {
	for _, c := range []struct {
		version  byte
		interval time.Duration
		want     int // in 3.5 intervals of 20 s
	}{{3, 20 * time.Second, 4}, {4, 20 * time.Second, 4}, {4, 35 * time.Second, 3}, {4, 0, 1}, {5, 20 * time.Second, 1}} {
		t.Run(fmt.Sprintf("v%d/%v", c.version, c.interval), func(t *testing.T) {
			bubble(t, func(s *Settings) { s.RetryInterval = c.interval }, func(n *node) {
				sub := n.join(c.version, &packet.Connect{ClientID: "sub", CleanStart: true})
				sub.subscribe("t", 2)
				pub := n.join(4, &packet.Connect{ClientID: "pub", CleanStart: true})
				publishEach(pub, "t", 1, 1)
				publishEach(pub, "t", 2, 1)
				publishEach(pub, "t", 0, 1) // never repeated
				time.Sleep(70 * time.Second)
				var copies [3]int
				var second uint16
				for _, p := range publishes(sub.settled()) {
					if copies[p.QoS]++; p.Dup != (copies[p.QoS] > 1) {
						t.Errorf("copy %d of QoS %d has DUP %v", copies[p.QoS], p.QoS, p.Dup)
					}
					if p.QoS == 2 {
						second = p.PacketID
					}
				}
				if copies != [3]int{1, c.want, c.want} {
					t.Errorf("copies by QoS: %v, want %d", copies, c.want)
				}
				sub.send(ackOf(packet.TypePubrec, second))
				time.Sleep(70 * time.Second)
				releases := 0
				for _, p := range sub.settled() {
					if a, ok := p.(*packet.Ack); ok && a.Kind == packet.TypePubrel {
						releases++
					}
				}
				if releases != c.want {
					t.Errorf("%d times PUBREL, want %d", releases, c.want)
				}
			})
		})
	}
}

func TestPersistentClientExpiration(t *testing.T) {
	id := message.SessionID{ClientID: "sub"}
	for _, c := range []struct {
		version byte
		expiry  uint32 // persistent_client_expiration
		own     uint32 // session expiry interval of an MQTT 5 client
		want    time.Duration
	}{
		{4, message.NeverExpires, 0, -1},
		{3, 1, 0, time.Second},
		{4, 3600, 0, time.Hour},
		{5, 3600, 10, 10 * time.Second},
		{5, 1, 10, 10 * time.Second},
		{5, 1, message.NeverExpires, -1},
		{5, message.NeverExpires, 0, 0},
	} {
		t.Run(fmt.Sprintf("v%d/%d/%d", c.version, c.expiry, c.own), func(t *testing.T) {
			bubble(t, func(s *Settings) { s.PersistentExpiry = c.expiry }, func(n *node) {
				sub := n.join(c.version, &packet.Connect{ClientID: "sub", SessionExpiry: c.own, HasSessionExpiry: c.own > 0})
				sub.subscribe("t", 1)
				leave(sub)
				pub := n.join(4, &packet.Connect{ClientID: "pub", CleanStart: true})
				publishEach(pub, "t", 1, 3)
				there := func() bool {
					synctest.Wait()
					_, ok := n.m.Get(id)
					return ok
				}
				switch {
				case c.want < 0:
					time.Sleep(10 * 366 * 24 * time.Hour)
					if !there() {
						t.Error("the session is gone")
					}
					n.count("queue_message_unhandled", 0)
				case c.want == 0:
					if there() {
						t.Error("the session outlives its connection")
					}
				default:
					time.Sleep(c.want - time.Millisecond)
					if !there() {
						t.Fatal("the session is gone early")
					}
					time.Sleep(time.Millisecond)
					if there() {
						t.Error("the session is still there")
					}
					n.count("queue_message_unhandled", 3)
				}
			})
		})
	}
}
