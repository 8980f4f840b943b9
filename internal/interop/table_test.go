package interop

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// received is one PUBLISH that a client got.
type received struct {
	Topic, Payload string
	QoS            byte
	Retain         bool
}

// will is what the broker publishes when a client is gone without DISCONNECT.
type will struct {
	Topic, Payload string
	QoS            byte
}

// who describes a client that connects and subscribes with QoS 2.
type who struct {
	ID, Filter string
	// Durable asks for a session that outlives the connection: clean session 0,
	// or an expiry.
	Durable bool
	Will    *will
}

// peer is a connected client. Its methods end with ctx.
type peer interface {
	// Present is the session present flag of CONNACK; known is false for
	// programs that do not tell.
	Present() (flag, known bool)
	// Publish returns when the flow of the QoS has ended.
	Publish(ctx context.Context, m received) error
	// Next returns what was received, in order.
	Next(ctx context.Context) (received, error)
	// Close ends with DISCONNECT.
	Close(ctx context.Context) error
	// Drop ends without a word.
	Drop()
}

// library is a client that somebody else wrote, at one protocol level.
type library struct {
	name    string
	version byte
	// missing says why a transport cannot be tested, "" when it can.
	missing func(transport string) string
	// willAtClose: the client ends with DISCONNECT 0x04, which asks for the
	// will (MQTT 5.0 §3.14.2.1).
	willAtClose bool
	// connect returns when SUBACK has come.
	connect func(ctx context.Context, b *broker, transport string, w who) (peer, error)
}

func libraries(t *testing.T) []library {
	return append(append(pahos(), mosquittos()...), mqttjs(t)...)
}

// flows are what every client runs over every transport.
var flows = []struct {
	name string
	run  func(c *cell)
}{
	{"connect", (*cell).connects},
	{"both ways", (*cell).bothWays},
	{"retained", (*cell).retained},
	{"will", (*cell).wills},
	{"persistent session", (*cell).persists},
}

// TestClients runs every flow with every client over every transport.
func TestClients(t *testing.T) {
	b := startBroker(t)
	libs := libraries(t)
	t.Run("group", func(t *testing.T) { // ends when its parallel tests have
		for _, lib := range libs {
			for _, transport := range []string{"tcp", "tls", "ws", "wss"} {
				t.Run(fmt.Sprintf("%s/%s", lib.name, transport), func(t *testing.T) {
					if why := lib.missing(transport); why != "" {
						t.Skip(why)
					}
					t.Parallel()
					for _, f := range flows {
						t.Run(f.name, func(t *testing.T) {
							ctx, cancel := context.WithTimeout(t.Context(), patience)
							defer cancel()
							f.run(&cell{T: t, ctx: ctx, b: b, lib: lib, transport: transport})
						})
					}
				})
			}
		}
	})
}

// cell is one place of the table.
type cell struct {
	*testing.T
	ctx       context.Context
	b         *broker
	lib       library
	transport string
}

// topic is one that no other cell uses.
func (c *cell) topic(last string) string { return c.Name() + "/" + last }

// id is a client id that no other cell uses.
func (c *cell) id(w who) string {
	return strings.NewReplacer("/", "-", " ", "-").Replace(c.Name()) + w.ID
}

// dial connects the client under test.
func (c *cell) dial(w who) peer {
	c.Helper()
	w.ID = c.id(w)
	return c.connected(c.lib, c.transport, w)
}

// other connects a client of another library and version over TCP: what both
// understand was right on the wire.
func (c *cell) other(filter string) peer {
	c.Helper()
	lib := pahos()[0]
	if c.lib.version == lib.version {
		lib = pahos()[1]
	}
	return c.connected(lib, "tcp", who{ID: c.topic("other"), Filter: filter})
}

func (c *cell) connected(lib library, transport string, w who) peer {
	c.Helper()
	p, err := lib.connect(c.ctx, c.b, transport, w)
	if err != nil {
		c.Fatalf("connecting %s over %s: %v", lib.name, transport, err)
	}
	c.Cleanup(p.Drop)
	return p
}

func (c *cell) publish(p peer, m received) {
	c.Helper()
	if err := p.Publish(c.ctx, m); err != nil {
		c.Fatalf("publishing %s with QoS %d: %v", m.Topic, m.QoS, err)
	}
}

// expect compares the next messages with want, in their order.
func (c *cell) expect(p peer, want ...received) {
	c.Helper()
	for _, w := range want {
		got, err := p.Next(c.ctx)
		if err != nil {
			c.Fatalf("waiting for %s with QoS %d: %v", w.Topic, w.QoS, err)
		}
		if got != w {
			c.Fatalf("another message (-want +got):\n%s", cmp.Diff(w, got))
		}
	}
}

func (c *cell) close(p peer) {
	c.Helper()
	if err := p.Close(c.ctx); err != nil {
		c.Fatalf("disconnecting: %v", err)
	}
}

// present checks the session present flag.
func (c *cell) present(p peer, want bool) {
	c.Helper()
	if flag, known := p.Present(); known && flag != want {
		c.Fatalf("session present is %v", flag)
	}
}

// expectEachQoS is expect for messages of QoS 1 and 2 together: some clients
// hand a QoS 2 message over at PUBREL, so only those of one QoS stay in order.
func (c *cell) expectEachQoS(p peer, want []received) {
	c.Helper()
	byQoS := map[byte][]received{}
	for range want {
		got, err := p.Next(c.ctx)
		if err != nil {
			c.Fatalf("waiting for %d messages, has %v: %v", len(want), byQoS, err)
		}
		byQoS[got.QoS] = append(byQoS[got.QoS], got)
	}
	wanted := map[byte][]received{}
	for _, m := range want {
		wanted[m.QoS] = append(wanted[m.QoS], m)
	}
	if diff := cmp.Diff(wanted, byQoS); diff != "" {
		c.Fatalf("other messages (-want +got):\n%s", diff)
	}
}

// consumed waits until the client has acknowledged all that it got.
func (c *cell) consumed(w who) {
	c.Helper()
	err := clustertest.Await(c.ctx, func() error {
		all, err := c.b.node.Sessions(c.ctx)
		for _, s := range all {
			if s.ClientID == c.id(w) && s.WaitingAcks > 0 {
				return fmt.Errorf("%+v has not acknowledged everything", s)
			}
		}
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
}

func (c *cell) connects() {
	p := c.dial(who{Filter: c.topic("#")})
	c.present(p, false)
	m := received{Topic: c.topic("a"), Payload: "to itself"}
	c.publish(p, m)
	c.expect(p, m)
	c.close(p)
	again := c.dial(who{Filter: c.topic("#")}) // the clean session left nothing
	c.present(again, false)
	c.close(again)
}

// bothWays sends small and large messages of each QoS from the client under
// test to another one and back.
func (c *cell) bothWays() {
	p, other := c.dial(who{Filter: c.topic("in/+")}), c.other(c.topic("out/+"))
	for qos := range byte(3) {
		for _, size := range []int{0, 1, 127, 16 << 10, 70_000} {
			m := received{Topic: c.topic("out/ü"), Payload: strings.Repeat("x", size), QoS: qos}
			c.publish(p, m)
			c.expect(other, m)
			m.Topic = c.topic("in/ü")
			c.publish(other, m)
			c.expect(p, m)
		}
	}
	c.close(p)
	c.close(other)
}

func (c *cell) retained() {
	other := c.other(c.topic("live"))
	first := c.dial(who{ID: "first", Filter: c.topic("live")})
	m := received{Topic: c.topic("live"), Payload: "kept", QoS: 1, Retain: true}
	c.publish(first, m)
	second := c.dial(who{ID: "second", Filter: c.topic("live")})
	c.expect(second, m)
	m.Retain = false // the flag is for those that come later
	c.expect(first, m)
	c.expect(other, m)
	c.publish(first, received{Topic: m.Topic, QoS: 1, Retain: true}) // deletes it
	c.expect(second, received{Topic: m.Topic, QoS: 1})
	third := c.dial(who{ID: "third", Filter: c.topic("live")})
	last := received{Topic: m.Topic, Payload: "last", QoS: 1}
	c.publish(other, last)
	c.expect(third, last)
}

// wills: a client that ends properly leaves no will unless it asks for it; one
// that is cut off does.
func (c *cell) wills() {
	other := c.other(c.topic("will"))
	for i, polite := range []bool{true, false} {
		w := will{Topic: c.topic("will"), Payload: fmt.Sprintf("polite %v", polite), QoS: byte(i + 1)}
		p := c.dial(who{Filter: c.topic("x"), Will: &w})
		if polite {
			c.close(p)
			if !c.lib.willAtClose {
				continue
			}
		}
		p.Drop()
		c.expect(other, received{Topic: w.Topic, Payload: w.Payload, QoS: w.QoS})
	}
}

// persists: a session gets what was published while it was away, in order,
// after a proper end and after a cut; then it is cleaned.
func (c *cell) persists() {
	other := c.other(c.topic("x"))
	w := who{Filter: c.topic("q/#"), Durable: true}
	p := c.dial(w)
	c.present(p, false)
	for round, end := range []func(){func() { c.close(p) }, func() { p.Drop() }} {
		c.consumed(w) // what is not acknowledged would come again
		end()
		var queue []received
		for i := range 6 {
			m := received{Topic: c.topic(fmt.Sprintf("q/%d", i)), Payload: fmt.Sprintf("round %d message %d", round, i), QoS: byte(1 + i%2)}
			c.publish(other, m)
			queue = append(queue, m)
		}
		p = c.dial(w)
		c.present(p, true)
		c.expectEachQoS(p, queue)
	}
	c.close(p)
	w.Durable = false
	p = c.dial(w)
	c.present(p, false)
	c.close(p)
}
