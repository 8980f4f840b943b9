package session

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// ended checks that the server closed the connection, for MQTT 5 with a
// DISCONNECT of that reason.
func (c *client) ended(reason packet.Reason) {
	c.t.Helper()
	if c.version == packet.V5 {
		if d := expect[*packet.Disconnect](c); d.Reason != reason {
			c.t.Errorf("DISCONNECT %v, want %v", d.Reason, reason)
		}
	}
	c.closed()
}

func (c *client) alive() {
	c.t.Helper()
	c.send(&packet.Pingreq{})
	expect[*packet.Pingresp](c)
}

func TestMaxMessageRate(t *testing.T) {
	for _, c := range []struct {
		limit           int
		last            time.Duration // when the 11th message comes
		throttled       int64
		topic, verboten string
	}{{0, 0, 0, "t", ""}, {1, 10 * time.Second, 11, "t", ""}, {5, 2 * time.Second, 2, "t", ""}, {11, 0, 1, "t", ""}, {12, 0, 0, "t", ""}, {5, 2 * time.Second, 2, "t", "$x"}} {
		t.Run(fmt.Sprint(c.limit, c.verboten), func(t *testing.T) {
			bubble(t, func(s *Settings) { s.MaxMessageRate = c.limit }, func(n *node) {
				sub := n.join(5, &packet.Connect{ClientID: "sub"})
				sub.subscribe("t", 0)
				pub := n.join(4, &packet.Connect{ClientID: "pub", CleanStart: true})
				start := time.Now()
				n.wg.Go(func() { // the pipe takes nothing while the server does not read
					for i := range 11 {
						name := "t"
						if c.verboten != "" && i < 10 { // what is not routed counts too
							name = c.verboten
						}
						pub.send(&packet.Publish{Topic: name})
					}
				})
				want := 11
				if c.verboten != "" {
					want = 1
				}
				for range want {
					expect[*packet.Publish](sub)
				}
				if took := time.Since(start); took != c.last {
					t.Errorf("the last message came after %v, want %v", took, c.last)
				}
				synctest.Wait()
				n.count("mqtt_publish_throttled", c.throttled)
			})
		})
	}
}

func TestMaxMessageSize(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, limit := range []int{0, 100, 127, 128, 16383, 16384, 2097152} {
			t.Run(fmt.Sprintf("v%d/%d", version, limit), func(t *testing.T) {
				n := newNode(t, with(func(s *Settings) { s.MaxMessageSize = limit }))
				header := 3 // topic
				if version == 5 {
					header++ // properties
				}
				c := n.join(version, &packet.Connect{ClientID: "c", CleanStart: true})
				if limit == 0 {
					c.send(&packet.Publish{Topic: "t", Payload: make([]byte, 4<<20)})
					c.alive()
					return
				}
				c.send(&packet.Publish{Topic: "t", Payload: make([]byte, limit-header)})
				c.alive()
				c.send(&packet.Publish{Topic: "t", Payload: make([]byte, limit-header+1)})
				c.ended(packet.PacketTooLarge)
				n.count("mqtt_invalid_msg_size_error", 1)
				d := n.dial(version) // every packet counts, CONNECT included, whose version is not known then
				d.send(&packet.Connect{Version: version, ClientID: "d", ReceiveMaximum: 1, HasUsername: true, Username: strings.Repeat("u", min(limit, 65535))})
				if limit > 65535 {
					expect[*packet.Connack](d)
					return
				}
				d.closed()
				n.count("mqtt_invalid_msg_size_error", 2)
			})
		}
	}
}

func TestMaxClientIDSize(t *testing.T) {
	for _, version := range []byte{3, 4, 5} {
		for _, limit := range []int{1, 23, 100, 65535} {
			t.Run(fmt.Sprintf("v%d/%d", version, limit), func(t *testing.T) {
				n := newNode(t, with(func(s *Settings) { s.MaxClientIDSize = limit }))
				n.join(version, &packet.Connect{ClientID: strings.Repeat("c", limit), CleanStart: true})
				if limit == 65535 {
					return // there are no longer ones
				}
				c := n.dial(version)
				if a := c.connect(&packet.Connect{ClientID: strings.Repeat("c", limit+1), CleanStart: true}); a.Reason != packet.ClientIdentifierNotValid {
					t.Error(a.Reason)
				}
				c.closed()
				if got := n.labelled("mqtt_connack_sent", "client_identifier_not_valid"); got != 1 {
					t.Errorf("counted %d times", got)
				}
			})
		}
	}
}

func TestMaxSubscriptionsPerClient(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, limit := range []int{0, 1, 3, 5} {
			t.Run(fmt.Sprintf("v%d/%d", version, limit), func(t *testing.T) {
				n := newNode(t, with(func(s *Settings) { s.MaxSubscriptions = limit }))
				c := n.join(version, &packet.Connect{ClientID: "c", CleanStart: true})
				var subs []message.Subscription
				for i := range 5 {
					subs = append(subs, message.Subscription{Filter: fmt.Sprint("f", i), QoS: 1})
				}
				full := packet.QuotaExceeded
				if version == 4 {
					full = 0x80
				}
				want, refused := make([]packet.Reason, 6), int64(0)
				for i := range want {
					if want[i] = 1; limit > 0 && i >= limit && i < 5 {
						want[i] = full
						refused++
					}
				}
				subs = append(subs, subs[0]) // replacing is free, here and later
				c.send(&packet.Subscribe{PacketID: 1, Subscriptions: subs})
				if d := cmp.Diff(want, expect[*packet.Suback](c).Reasons); d != "" {
					t.Error(d)
				}
				n.count("mqtt_subscribe_quota_exceeded", refused)
				if a := c.subscribe("f0", 2); a.Reasons[0] != 2 {
					t.Errorf("replacing: %v", a.Reasons)
				}
				if limit == 0 || limit == 5 {
					return
				}
				if a := c.subscribe("f4", 1); a.Reasons[0] != full {
					t.Errorf("one more: %v", a.Reasons)
				}
				c.send(&packet.Unsubscribe{PacketID: 2, Filters: []string{"f0"}})
				expect[*packet.Unsuback](c)
				if a := c.subscribe("f4", 1); a.Reasons[0] != 1 {
					t.Errorf("after UNSUBSCRIBE: %v", a.Reasons)
				}
			})
		}
	}
}

func TestMaxLastWillDelay(t *testing.T) {
	for _, c := range []struct {
		limit time.Duration // negative: client
		asked uint32
		want  time.Duration
	}{
		{-1, 30, 30 * time.Second},
		{-1, 0, 0},
		{0, 30, 0},
		{10 * time.Second, 30, 10 * time.Second},
		{10 * time.Second, 10, 10 * time.Second},
		{10 * time.Second, 5, 5 * time.Second},
		{-1, 1000, 100 * time.Second}, // cut by the session's end
	} {
		t.Run(fmt.Sprintf("%v/%d", c.limit, c.asked), func(t *testing.T) {
			bubble(t, func(s *Settings) { s.MaxLastWillDelay = c.limit }, func(n *node) {
				watch := n.join(4, &packet.Connect{ClientID: "watch", CleanStart: true})
				watch.subscribe("will", 0)
				cl := n.join(5, &packet.Connect{
					ClientID: "c", SessionExpiry: 100, HasSessionExpiry: true, Will: &packet.Will{Topic: "will", Delay: c.asked},
				})
				start := time.Now()
				cl.nc.Close()
				for got := false; !got; { // longer than expect waits
					time.Sleep(time.Second / 2)
					if got = len(watch.settled()) > 0; got {
						break
					}
					if time.Since(start) > 2*time.Minute {
						t.Fatal("no will came")
					}
				}
				if took := time.Since(start) - time.Second/2; took != c.want.Truncate(time.Second/2) && took != c.want-time.Second/2 {
					t.Errorf("the will came after %v, want %v", took, c.want)
				}
			})
		})
	}
}

func TestMaxConnectionLifetime(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, limit := range []time.Duration{0, time.Second, time.Hour} {
			t.Run(fmt.Sprintf("v%d/%v", version, limit), func(t *testing.T) {
				bubble(t, func(*Settings) {}, func(n *node) {
					watch := n.join(4, &packet.Connect{ClientID: "watch", CleanStart: true})
					watch.subscribe("will", 0)
					n.info.MaxConnectionLifetime = limit
					c := n.join(version, &packet.Connect{ClientID: "c", CleanStart: true, Will: &packet.Will{Topic: "will"}})
					if limit == 0 {
						time.Sleep(1000 * time.Hour)
						c.alive()
						n.count("client_lifetime_expired", 0)
						return
					}
					time.Sleep(limit - time.Millisecond)
					c.alive() // being busy does not help
					time.Sleep(time.Millisecond)
					c.ended(packet.AdministrativeAction)
					expect[*packet.Publish](watch) // the client did not ask for this end
					n.count("client_lifetime_expired", 1)
				})
			})
		}
	}
}

func TestReceiveMaxBroker(t *testing.T) {
	for _, limit := range []int{1, 3, 65535} {
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprintf("v%d/%d", version, limit), func(t *testing.T) {
				n := newNode(t, with(func(s *Settings) { s.ReceiveMaxBroker = limit }))
				n.router.publish = func(*message.Message, PublishOptions, func(PublishResult)) {} // never answers
				c := n.dial(version)
				a := c.connect(&packet.Connect{ClientID: "c", CleanStart: true})
				if version == 5 && limit < 65535 && int(a.ReceiveMaximum) != limit {
					t.Errorf("receive maximum %d", a.ReceiveMaximum)
				}
				count := min(limit, 200)
				for i := range count {
					c.send(&packet.Publish{Topic: "t", QoS: 1 + byte(i%2), PacketID: uint16(i + 1)})
				}
				c.alive()
				c.send(&packet.Publish{Topic: "t", QoS: 1, PacketID: uint16(count + 1)})
				if version == 4 || limit == 65535 {
					c.alive()
					return
				}
				c.ended(packet.ReceiveMaximumExceeded) // [MQTT-3.3.4-9]
				if got := n.labelled("mqtt_disconnect_sent", "receive_max_exceeded"); got != 1 {
					t.Errorf("counted %d times", got)
				}
			})
		}
	}
}

func TestTopicMaxDepth(t *testing.T) {
	deep := func(levels int) string { return strings.Repeat("a/", levels-1) + "a" }
	for _, version := range []byte{4, 5} {
		for _, limit := range []int{0, 1, 10, 65535} {
			t.Run(fmt.Sprintf("v%d/%d", version, limit), func(t *testing.T) {
				n := newNode(t, with(func(s *Settings) { s.TopicMaxDepth = limit }))
				c := n.join(version, &packet.Connect{ClientID: "c", CleanStart: true})
				levels := limit
				if limit == 0 || limit > 1000 {
					levels = 1000
				}
				c.subscribe(deep(levels), 0)
				c.send(&packet.Publish{Topic: deep(levels), Payload: []byte("x")})
				expect[*packet.Publish](c)
				if limit != levels {
					return
				}
				c.send(&packet.Publish{Topic: deep(levels + 1)})
				c.ended(packet.TopicNameInvalid)
				c = n.join(version, &packet.Connect{ClientID: "c", CleanStart: true})
				c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: deep(levels) + "/#"}}})
				c.ended(packet.TopicFilterInvalid)
				c = n.dial(version)
				c.send(&packet.Connect{Version: version, ClientID: "c", CleanStart: true, ReceiveMaximum: 1, Will: &packet.Will{Topic: deep(levels + 1)}})
				if version == 5 {
					if a := expect[*packet.Connack](c); a.Reason != packet.TopicNameInvalid {
						t.Error(a.Reason)
					}
				}
				c.closed()
				n.count("mqtt_invalid_topic_error", 3)
			})
		}
	}
}
