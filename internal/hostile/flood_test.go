package hostile

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// stall is how long the broker may take nothing before a flood counts as held
// up; budget is how many bytes a flood sends at most over each connection.
const (
	stall  = 300 * time.Millisecond
	budget = 2 << 20
)

// flood is an attack over several connections, none of which reads unless it
// says so.
type flood struct {
	name    string
	version byte
	conns   int
	// each is how much memory the broker may hold for one connection meanwhile,
	// and this test for its side.
	each int64
	// warm: once before what is measured, because the metadata's log keeps its
	// last entries in memory.
	warm bool
	run  func(t *testing.T, s *server, c *raw, i int) error
}

// repeated sends packets again and again.
func repeated(ps ...packet.Packet) func(*testing.T, *server, *raw, int) error {
	return func(_ *testing.T, _ *server, c *raw, _ int) error {
		one := c.encode(ps...)
		c.press(slices.Repeat(one, max(1, 16<<10/len(one))), scaled(budget, 8*budget), stall)
		return nil
	}
}

// numbered sends what packet ids 1 to 65,535 make, again and again.
func numbered(fn func(id uint16) packet.Packet) func(*testing.T, *server, *raw, int) error {
	return func(_ *testing.T, _ *server, c *raw, _ int) error {
		var b []byte
		for id := uint16(1); id != 0; id++ {
			b = append(b, c.encode(fn(id))...)
		}
		c.press(b, scaled(budget, 8*budget), stall)
		return nil
	}
}

// filters is a packet with as many filters as there are packet ids.
func filters(subscribe bool) func(*testing.T, *server, *raw, int) error {
	return func(_ *testing.T, _ *server, c *raw, i int) error {
		var subs []message.Subscription
		var names []string
		for n := range scaled(20_000, 65_535) {
			f := fmt.Sprintf("flood/%d/%d/+", i, n)
			subs, names = append(subs, message.Subscription{Filter: f, QoS: 1}), append(names, f)
		}
		p := packet.Packet(&packet.Unsubscribe{PacketID: 1, Filters: names})
		if subscribe {
			p = &packet.Subscribe{PacketID: 1, Subscriptions: subs}
		}
		b := c.encode(p)
		c.press(b, 3*len(b), 10*stall)
		c.SetReadDeadline(time.Now().Add(patience))
		_, err := c.Read(make([]byte, 1)) // SUBACK or UNSUBACK begins
		return err
	}
}

// floods in which nothing is wrong with a single packet.
var floods = []flood{
	{"PINGREQ", 4, 20, 200 << 10, false, repeated(&packet.Pingreq{})},
	{"PUBLISH of QoS 0", 4, 4, 4 << 20, false, repeated(&packet.Publish{Topic: "flood/x", Payload: make([]byte, 100)})},
	{"PUBLISH of QoS 1, acknowledgements unread, MQTT 3", 4, 10, 4 << 20, false, numbered(func(id uint16) packet.Packet {
		return &packet.Publish{Topic: "flood/x", QoS: 1, PacketID: id}
	})},
	{"PUBLISH of QoS 1, acknowledgements unread, MQTT 5", 5, 4, 8 << 20, false, numbered(func(id uint16) packet.Packet {
		return &packet.Publish{Topic: "flood/x", QoS: 1, PacketID: id}
	})},
	{"PUBLISH of QoS 2 without PUBREL", 4, 4, 8 << 20, false, numbered(func(id uint16) packet.Packet {
		return &packet.Publish{Topic: "flood/x", QoS: 2, PacketID: id}
	})},
	{"one packet id, QoS 1", 5, 4, 8 << 20, false, repeated(&packet.Publish{Topic: "flood/x", QoS: 1, PacketID: 1, Dup: true})},
	{"one packet id, QoS 2", 5, 4, 8 << 20, false, repeated(&packet.Publish{Topic: "flood/x", QoS: 2, PacketID: 1, Dup: true})},
	{"PUBREL of unknown ids, MQTT 3", 4, 10, 4 << 20, false, numbered(func(id uint16) packet.Packet {
		return &packet.Ack{Kind: packet.TypePubrel, PacketID: id}
	})},
	{"PUBREL of unknown ids, MQTT 5", 5, 4, 8 << 20, false, numbered(func(id uint16) packet.Packet {
		return &packet.Ack{Kind: packet.TypePubrel, PacketID: id}
	})},
	{"PUBREC of unknown ids", 5, 10, 4 << 20, false, numbered(func(id uint16) packet.Packet {
		return &packet.Ack{Kind: packet.TypePubrec, PacketID: id}
	})},
	{"PUBACK and PUBCOMP of unknown ids", 4, 10, 4 << 20, false, numbered(func(id uint16) packet.Packet {
		return &packet.Ack{Kind: []packet.Type{packet.TypePuback, packet.TypePubcomp}[id%2], PacketID: id}
	})},
	{"SUBSCRIBE to one filter", 4, 4, 4 << 20, false, repeated(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "flood/+/#"}}})},
	{"UNSUBSCRIBE", 5, 4, 4 << 20, false, repeated(&packet.Unsubscribe{PacketID: 1, Filters: []string{"a", "b"}})},
	{"SUBSCRIBE with many filters", 5, 2, 48 << 20, true, filters(true)},
	{"UNSUBSCRIBE with many filters", 5, 2, 8 << 20, true, filters(false)},
}

// TestFloods: whatever a client sends without end and without reading what
// comes back, the broker takes bounded memory for it, stops reading, and
// serves others.
func TestFloods(t *testing.T) {
	s := serve(t)
	p := startProbe(t, s.addr)
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			s.t = t
			attack := func(held func()) {
				many(t, s.addr, f.conns, func(i int) (*raw, error) {
					return join(s.addr, packet.Connect{Version: f.version, ClientID: fmt.Sprint("flood", i), CleanStart: true})
				}, func(i int, c *raw) error { return f.run(t, s, c, i) }, held)
				s.idle(2)
			}
			if f.warm {
				at := runtime.NumGoroutine()
				attack(nil)
				s.quiet(at)
			}
			before := measure()
			p.window()
			attack(func() {
				used := (measure().heap - before.heap) / int64(f.conns)
				t.Logf("%d KiB for each connection; the probe's p99: %v", used>>10, p.window())
				if most := f.each * clustertest.Slowdown; used > most {
					t.Errorf("%d KiB for each connection, at most %d", used>>10, most>>10)
				}
			})
			s.recovers(before)
		})
	}
	s.t = t
	p.end(t)
}

// TestSlowReaders: subscribers that never read, or a byte at a time, cost what
// max_online_messages allows, and hold up neither publisher nor others.
func TestSlowReaders(t *testing.T) {
	s := serve(t)
	p := startProbe(t, s.addr)
	before := measure()
	const size, limit = 1 << 10, 1000
	messages := scaled(20_000, 200_000)
	many(t, s.addr, 10, func(i int) (*raw, error) {
		c, err := join(s.addr, packet.Connect{Version: 4, ClientID: fmt.Sprint("lazy", i), CleanStart: true})
		if err != nil {
			return nil, err
		}
		_ = c.SetReadBuffer(4 << 10)
		return c, c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "lazy", QoS: byte(i % 3)}}})
	}, func(i int, c *raw) error {
		_, err := recv[*packet.Suback](c)
		if i%2 == 0 {
			go drip(c)
		}
		return err
	}, func() {
		pub := mustJoin(t, s.addr, packet.Connect{Version: 4, ClientID: "pub", CleanStart: true})
		begin := time.Now()
		one := pub.encode(&packet.Publish{Topic: "lazy", QoS: 1, PacketID: 1, Payload: make([]byte, size)})
		done := make(chan error, 1)
		go func() {
			_, err := io.CopyN(io.Discard, pub.TCPConn, int64(4*messages)) // every PUBACK
			done <- err
		}()
		pub.SetReadDeadline(time.Now().Add(3 * patience))
		for range messages {
			if _, err := pub.Write(one); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-done; err != nil {
			t.Errorf("the publisher was not acknowledged: %v", err)
		}
		used := measure().heap - before.heap
		t.Logf("%d messages in %v; %d KiB in use; the probe's p99: %v", messages, time.Since(begin), used>>10, p.window())
		// All subscribers share the messages; each has its own entries, and what
		// its writer has gathered.
		if most := int64(3*limit*size + 10*(limit*500+256<<10)); used > most*clustertest.Slowdown {
			t.Errorf("%d KiB in use, at most %d", used>>10, most>>10)
		}
		pub.Close()
	})
	p.end(t)
	s.idle(0)
	s.recovers(before)
}

// drip reads a byte at a time until the connection is closed.
func drip(c *raw) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	c.SetReadDeadline(time.Time{})
	for {
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return
		}
		<-tick.C
	}
}

// TestRetainedFlood: subscriptions to everything, again and again, while much
// is retained, by clients that do not read.
func TestRetainedFlood(t *testing.T) {
	s := serve(t)
	p := startProbe(t, s.addr)
	pub := mustJoin(t, s.addr, packet.Connect{Version: 4, ClientID: "pub", CleanStart: true})
	retained := scaled(2_000, 20_000)
	for i := range retained {
		if err := pub.send(&packet.Publish{Topic: fmt.Sprintf("kept/%d/%d", i%10, i), QoS: 1, PacketID: 1, Retain: true, Payload: make([]byte, 100)}); err != nil {
			t.Fatal(err)
		}
		if i%50 == 49 {
			for range 50 {
				if _, err := recv[*packet.Ack](pub); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	before := measure()
	many(t, s.addr, 8, func(i int) (*raw, error) {
		return join(s.addr, packet.Connect{Version: 4, ClientID: fmt.Sprint("greedy", i), CleanStart: true})
	}, func(_ int, c *raw) error {
		var ps []packet.Packet
		for i, f := range []string{"#", "kept/#", "kept/+/+", "+/+/+", "kept/1/+"} {
			ps = append(ps, &packet.Subscribe{PacketID: uint16(i + 1), Subscriptions: []message.Subscription{{Filter: f, QoS: 1}}})
		}
		c.press(c.encode(ps...), 20<<10, stall)
		return nil
	}, func() {
		used := (measure().heap - before.heap) / 8
		t.Logf("%d KiB for each connection; the probe's p99: %v", used>>10, p.window())
		if used > clustertest.Slowdown*6<<20 { // max_online_messages and the list of what is retained
			t.Errorf("%d KiB for each connection", used>>10)
		}
	})
	pub.Close()
	p.end(t)
	s.idle(0)
	s.recovers(before)
}

// TestManyWills: hundreds of clients are cut off at once; all their wills
// arrive.
func TestManyWills(t *testing.T) {
	s := serve(t, "max_online_messages = 10000")
	p := startProbe(t, s.addr)
	sub := mustJoin(t, s.addr, packet.Connect{Version: 4, ClientID: "heirs", CleanStart: true})
	subscribed(t, sub, "wills/+", 1)
	before := measure()
	n := scaled(500, 3_000)
	conns := make([]*raw, n)
	for i := range conns {
		c, err := join(s.addr, packet.Connect{
			Version: 5, ClientID: fmt.Sprint("mortal", i), CleanStart: true,
			Will: &packet.Will{Topic: fmt.Sprint("wills/", i), QoS: 1, Payload: []byte("gone"), Retain: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	for _, c := range conns {
		c.reset()
	}
	seen := map[string]bool{}
	for len(seen) < n {
		m, err := recv[*packet.Publish](sub)
		if err != nil {
			t.Fatalf("after %d of %d wills: %v", len(seen), n, err)
		}
		if seen[m.Topic] {
			t.Fatalf("%s came twice", m.Topic)
		}
		seen[m.Topic] = true
		if err := sub.send(&packet.Ack{Kind: packet.TypePuback, PacketID: m.PacketID}); err != nil {
			t.Fatal(err)
		}
	}
	sub.Close()
	p.end(t)
	s.idle(0)
	s.recovers(before)
}
