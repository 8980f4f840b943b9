package session

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

func TestConnectRules(t *testing.T) {
	long := string(make([]byte, 0))
	for range 101 {
		long += "x"
	}
	for _, c := range []struct {
		name     string
		version  byte
		connect  packet.Connect
		set      func(*Settings)
		allowed  []byte
		err      error
		want     packet.Reason
		assigned bool
	}{
		{name: "3.1 empty id", version: 3, connect: packet.Connect{CleanStart: true}, want: packet.ClientIdentifierNotValid},
		{name: "3.1.1 empty id", version: 4, connect: packet.Connect{CleanStart: true}},
		{name: "3.1.1 empty id, kept session", version: 4, want: packet.ClientIdentifierNotValid},
		{name: "5 empty id", version: 5, assigned: true},
		{name: "long id", version: 5, connect: packet.Connect{ClientID: long}, want: packet.ClientIdentifierNotValid},
		{name: "level not allowed", version: 4, connect: packet.Connect{ClientID: "c"}, allowed: []byte{5}, want: packet.UnsupportedProtocolVersion},
		{name: "5 not allowed", version: 5, connect: packet.Connect{ClientID: "c"}, allowed: []byte{3, 4}, want: packet.UnsupportedProtocolVersion},
		{name: "bridge", version: 4, connect: packet.Connect{ClientID: "c", Bridge: true, CleanStart: true}, allowed: []byte{132}},
		{name: "anonymous refused", version: 4, connect: packet.Connect{ClientID: "c", CleanStart: true}, set: func(s *Settings) { s.AllowAnonymous = false }, want: packet.NotAuthorized},
		{name: "auth method", version: 5, connect: packet.Connect{ClientID: "c", HasAuthMethod: true, AuthMethod: "X"}, want: packet.BadAuthenticationMethod},
		{name: "3.1.1 netsplit", version: 4, connect: packet.Connect{ClientID: "c", CleanStart: true}, err: ErrNotReady, want: packet.ServerUnavailable},
		{name: "5 netsplit", version: 5, connect: packet.Connect{ClientID: "c"}, err: ErrNotReady, want: packet.ServerUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, with(func(s *Settings) {
				if c.set != nil {
					c.set(s)
				}
			}))
			n.registrar.err = c.err
			if c.allowed != nil {
				n.info.AllowedVersions = c.allowed
			}
			if c.set != nil {
				n.info.Chain = nil
			}
			cl := n.dial(c.version)
			a := cl.connect(&c.connect)
			if a.Reason != c.want || (a.AssignedClientID != "") != c.assigned {
				t.Fatalf("CONNACK %v, assigned %q", a.Reason, a.AssignedClientID)
			}
			if c.want.Failed() {
				cl.closed()
			}
		})
	}
}

func TestPublishQoS(t *testing.T) {
	for _, version := range []byte{3, 4, 5} {
		for qos := byte(0); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("v%d/qos%d", version, qos), func(t *testing.T) {
				n := newNode(t)
				sub := n.join(version, &packet.Connect{ClientID: "sub", CleanStart: true})
				if a := sub.subscribe("a/+", qos); a.Reasons[0] != packet.Reason(qos) {
					t.Fatal(a.Reasons)
				}
				pub := n.join(version, &packet.Connect{ClientID: "pub", CleanStart: true})
				pub.send(&packet.Publish{Topic: "a/b", QoS: qos, PacketID: 7 * uint16(min(qos, 1)), Payload: []byte("x")})
				switch qos {
				case 1:
					if a := expect[*packet.Ack](pub); a.Kind != packet.TypePuback || a.PacketID != 7 {
						t.Fatal(a)
					}
				case 2:
					if a := expect[*packet.Ack](pub); a.Kind != packet.TypePubrec || a.PacketID != 7 {
						t.Fatal(a)
					}
					pub.send(ackOf(packet.TypePubrel, 7))
					if a := expect[*packet.Ack](pub); a.Kind != packet.TypePubcomp || a.PacketID != 7 {
						t.Fatal(a)
					}
				}
				p := expect[*packet.Publish](sub)
				if p.Topic != "a/b" || string(p.Payload) != "x" || p.QoS != qos || p.Dup || p.Retain {
					t.Fatalf("%+v", p)
				}
				switch qos {
				case 1:
					sub.send(ackOf(packet.TypePuback, p.PacketID))
				case 2:
					sub.send(ackOf(packet.TypePubrec, p.PacketID))
					if a := expect[*packet.Ack](sub); a.Kind != packet.TypePubrel || a.PacketID != p.PacketID {
						t.Fatal(a)
					}
					sub.send(ackOf(packet.TypePubcomp, p.PacketID))
				}
				sub.send(&packet.Pingreq{})
				expect[*packet.Pingresp](sub)
				if i, _ := n.m.Get(message.SessionID{ClientID: "sub"}); i.WaitingAcks != 0 || !i.Online || i.Protocol != int(version) {
					t.Fatalf("%+v", i)
				}
			})
		}
	}
}

// receiver reads want messages in the ways of QoS 1 and 2 and returns their
// payloads without duplicates of QoS 2.
func receive(c *client, want int) []string {
	var got []string
	open := map[uint16]bool{}
	for len(got) < want || len(open) > 0 {
		switch p := c.recv().(type) {
		case *packet.Publish:
			if p.QoS == 2 {
				if !open[p.PacketID] {
					got = append(got, string(p.Payload))
				}
				open[p.PacketID] = true
				c.send(ackOf(packet.TypePubrec, p.PacketID))
			} else {
				got = append(got, string(p.Payload))
				if p.QoS == 1 {
					c.send(ackOf(packet.TypePuback, p.PacketID))
				}
			}
		case *packet.Ack:
			delete(open, p.PacketID)
			c.send(ackOf(packet.TypePubcomp, p.PacketID))
		case nil:
			c.t.Fatalf("closed after %d messages", len(got))
		}
	}
	return got
}

// publishAll sends numbered messages and waits for all acknowledgements, which
// must come in order.
func publishAll(c *client, topicName string, qos byte, count int) {
	go func() {
		for i := range count {
			c.send(&packet.Publish{Topic: topicName, QoS: qos, PacketID: uint16(i + 1), Payload: []byte(fmt.Sprintf("msg%d", i+1))})
		}
	}()
	next, comps := uint16(1), 0
	for comps < count {
		a := expect[*packet.Ack](c)
		switch a.Kind {
		case packet.TypePuback, packet.TypePubrec:
			if a.PacketID != next {
				c.t.Fatalf("%v of %d, want %d", a.Kind, a.PacketID, next)
			}
			next++
			if a.Kind == packet.TypePuback {
				comps++
			} else {
				c.send(ackOf(packet.TypePubrel, a.PacketID))
			}
		case packet.TypePubcomp:
			comps++
		}
	}
}

func numbered(count int) []string {
	var s []string
	for i := range count {
		s = append(s, fmt.Sprintf("msg%d", i+1))
	}
	return s
}

func TestOrder(t *testing.T) {
	const count = 400
	for _, version := range []byte{4, 5} {
		for _, qos := range []byte{1, 2} {
			for _, online := range []bool{true, false} {
				windows := []int{1, 2, 7, 20, 30}
				if !testing.Short() && version == 4 {
					windows = nil
					for w := 1; w <= 30; w++ {
						windows = append(windows, w)
					}
				}
				for _, window := range windows {
					t.Run(fmt.Sprintf("v%d/qos%d/online=%v/%d", version, qos, online, window), func(t *testing.T) {
						n := newNode(t, with(func(s *Settings) { s.MaxInflight = window }), durable)
						connect := func() *packet.Connect {
							return &packet.Connect{
								ClientID: "sub", SessionExpiry: 1000, HasSessionExpiry: version == 5, ReceiveMaximum: uint16(window),
							}
						}
						sub := n.join(version, connect())
						sub.subscribe("o", qos)
						pub := n.join(version, &packet.Connect{ClientID: "pub", CleanStart: true})
						if !online {
							sub.send(&packet.Disconnect{})
							sub.closed()
							publishAll(pub, "o", qos, count)
							sub = n.dial(version)
							if a := sub.connect(connect()); !a.SessionPresent {
								t.Fatal("no session present")
							}
						} else {
							done := make(chan struct{})
							go func() {
								defer close(done)
								publishAll(pub, "o", qos, count)
							}()
							defer func() { <-done }()
						}
						if d := cmp.Diff(numbered(count), receive(sub, count)); d != "" {
							t.Fatal(d)
						}
					})
				}
			}
		}
	}
}

func TestQoS2Duplicates(t *testing.T) {
	for _, store := range []bool{false, true} {
		opts := []nodeOption{}
		if store {
			opts = append(opts, durable)
		}
		n := newNode(t, opts...)
		sub := n.join(4, &packet.Connect{ClientID: "sub", CleanStart: true})
		sub.subscribe("q", 2)
		pub := n.join(4, &packet.Connect{ClientID: "pub"})
		p := &packet.Publish{Topic: "q", QoS: 2, PacketID: 3, Payload: []byte("once")}
		pub.send(p)
		expect[*packet.Ack](pub)
		p.Dup = true
		pub.send(p)
		if a := expect[*packet.Ack](pub); a.Kind != packet.TypePubrec || a.Reason != 0 {
			t.Fatal(a)
		}
		pub.nc.Close()
		pub = n.join(4, &packet.Connect{ClientID: "pub"})
		pub.send(p)
		expect[*packet.Ack](pub)
		pub.send(ackOf(packet.TypePubrel, 3), ackOf(packet.TypePubrel, 3))
		expect[*packet.Ack](pub)
		expect[*packet.Ack](pub)
		if got := receive(sub, 1); len(got) != 1 {
			t.Fatal(got)
		}
		sub.send(&packet.Pingreq{})
		expect[*packet.Pingresp](sub)
	}
}

func TestAcksInOrder(t *testing.T) {
	n := newNode(t)
	var done []func(PublishResult)
	ready := make(chan struct{}, 3)
	n.router.publish = func(_ *message.Message, _ PublishOptions, d func(PublishResult)) {
		done = append(done, d)
		ready <- struct{}{}
	}
	c := n.join(5, &packet.Connect{ClientID: "c"})
	for i := range 3 {
		c.send(&packet.Publish{Topic: "t", QoS: 1, PacketID: uint16(i + 1)})
		<-ready
	}
	done[2](PublishResult{Matched: 1})
	done[1](PublishResult{Err: ErrNotReady})
	done[0](PublishResult{})
	want := []packet.Reason{packet.NoMatchingSubscribers, packet.ImplementationSpecificError, packet.Success}
	for i := range 3 {
		if a := expect[*packet.Ack](c); a.PacketID != uint16(i+1) || a.Reason != want[i] {
			t.Fatalf("%d: %+v", i, a)
		}
	}
	if n.metric("mqtt_publish_error") != 1 {
		t.Error("mqtt_publish_error")
	}
}

func TestTakeover(t *testing.T) {
	for _, suppress := range []bool{false, true} {
		n := newNode(t, with(func(s *Settings) { s.SuppressWillOnTakeover = suppress }))
		watch := n.join(5, &packet.Connect{ClientID: "watch"})
		watch.subscribe("will", 0)
		old := n.join(5, &packet.Connect{ClientID: "c", SessionExpiry: 100, HasSessionExpiry: true, Will: &packet.Will{Topic: "will", Payload: []byte("w")}})
		next := n.dial(5)
		if a := next.connect(&packet.Connect{ClientID: "c", SessionExpiry: 100, HasSessionExpiry: true}); !a.SessionPresent {
			t.Fatal("no session present")
		}
		if d := expect[*packet.Disconnect](old); d.Reason != packet.SessionTakenOver {
			t.Fatal(d.Reason)
		}
		old.closed()
		if suppress {
			watch.send(&packet.Pingreq{})
			expect[*packet.Pingresp](watch)
		} else if p := expect[*packet.Publish](watch); string(p.Payload) != "w" {
			t.Fatal(p)
		}
		next.send(&packet.Pingreq{})
		expect[*packet.Pingresp](next)
	}
}

func TestDurableSessionSurvivesRestart(t *testing.T) {
	fs := vfs.NewMem()
	n := newNode(t, func(n *node) { n.openStore(fs) })
	sub := n.join(5, &packet.Connect{ClientID: "sub", SessionExpiry: 1000, HasSessionExpiry: true, ReceiveMaximum: 4})
	sub.subscribe("d", 2)
	pub := n.join(5, &packet.Connect{ClientID: "pub"})
	publishAll(pub, "d", 2, 10)
	first := map[uint16]string{}
	for range 4 {
		p := expect[*packet.Publish](sub)
		first[p.PacketID] = string(p.Payload)
	}
	sub.send(ackOf(packet.TypePubrec, 1))
	if a := expect[*packet.Ack](sub); a.Kind != packet.TypePubrel {
		t.Fatal(a)
	}
	n.stop()
	n.openStore(fs)
	n.start()
	sub = n.dial(5)
	if a := sub.connect(&packet.Connect{ClientID: "sub", SessionExpiry: 1000, HasSessionExpiry: true, ReceiveMaximum: 4}); !a.SessionPresent {
		t.Fatal("no session present")
	}
	for want := uint16(2); want <= 4; want++ {
		p := expect[*packet.Publish](sub)
		if p.PacketID != want || !p.Dup || string(p.Payload) != first[want] {
			t.Fatalf("%+v, want %d %s", p, want, first[want])
		}
		sub.send(ackOf(packet.TypePubrec, p.PacketID))
	}
	if a := expect[*packet.Ack](sub); a.Kind != packet.TypePubrel || a.PacketID != 1 {
		t.Fatal(a)
	}
	sub.send(ackOf(packet.TypePubcomp, 1))
	var got []string
	for len(got) < 6 {
		switch p := sub.recv().(type) {
		case *packet.Publish:
			if p.Dup {
				t.Fatalf("%+v was never sent before", p)
			}
			got = append(got, string(p.Payload))
			sub.send(ackOf(packet.TypePubrec, p.PacketID))
		case *packet.Ack:
			sub.send(ackOf(packet.TypePubcomp, p.PacketID))
		}
	}
	if d := cmp.Diff(numbered(10)[4:], got); d != "" {
		t.Fatal(d)
	}
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		watch := n.join(5, &packet.Connect{ClientID: "watch"})
		watch.subscribe("will", 0)
		c := n.join(5, &packet.Connect{ClientID: "c", KeepAlive: 10, Will: &packet.Will{Topic: "will"}})
		start := time.Now()
		time.Sleep(14 * time.Second)
		c.send(&packet.Pingreq{})
		expect[*packet.Pingresp](c)
		if d := expect[*packet.Disconnect](c); d.Reason != packet.KeepAliveTimeout {
			t.Fatal(d.Reason)
		}
		if took := time.Since(start); took != 29*time.Second {
			t.Fatalf("closed after %v", took)
		}
		expect[*packet.Publish](watch)
		if n.metric("client_keepalive_expired") != 1 {
			t.Error("client_keepalive_expired")
		}
		n.stop()
	})
}

func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		c := n.dial(4)
		start := time.Now()
		c.closed()
		if took := time.Since(start); took != 5*time.Second {
			t.Fatalf("closed after %v", took)
		}
		if n.metric("socket_close_timeout") != 1 {
			t.Error("socket_close_timeout")
		}
		n.stop()
	})
}

func TestWillDelayAndExpiry(t *testing.T) {
	for _, c := range []struct {
		name          string
		expiry, delay uint32
		reconnect     time.Duration
		want          time.Duration // 0: never
	}{
		{"after the delay", 100, 30, 0, 30 * time.Second},
		{"cut by the session's end", 10, 30, 0, 10 * time.Second},
		{"resumed in time", 100, 30, 20 * time.Second, 0},
		{"session ends with the connection", 0, 30, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				watch := n.join(5, &packet.Connect{ClientID: "watch"})
				watch.subscribe("will", 0)
				connect := &packet.Connect{ClientID: "c", SessionExpiry: c.expiry, HasSessionExpiry: true}
				connect.Will = &packet.Will{Topic: "will", Delay: c.delay}
				cl := n.join(5, connect)
				start := time.Now()
				cl.nc.Close()
				if c.reconnect > 0 {
					time.Sleep(c.reconnect)
					connect.Will = nil
					n.join(5, connect)
					time.Sleep(200 * time.Second)
					synctest.Wait()
					if len(watch.in) != 0 {
						t.Fatal("the will was published")
					}
				} else {
					expect[*packet.Publish](watch)
					if took := time.Since(start); took != c.want {
						t.Fatalf("will after %v, want %v", took, c.want)
					}
				}
				n.stop()
			})
		})
	}
}

func TestSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		c := n.join(5, &packet.Connect{ClientID: "c", SessionExpiry: 60, HasSessionExpiry: true})
		c.send(&packet.Disconnect{SessionExpiry: 30, HasSessionExpiry: true})
		c.closed()
		time.Sleep(29 * time.Second)
		if _, ok := n.queues.Info(message.SessionID{ClientID: "c"}); !ok {
			t.Fatal("the session is gone early")
		}
		time.Sleep(2 * time.Second)
		if _, ok := n.queues.Info(message.SessionID{ClientID: "c"}); ok {
			t.Fatal("the session is still there")
		}
		n.stop()
	})
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, with(func(s *Settings) { s.RetryInterval = 20 * time.Second }))
		sub := n.join(4, &packet.Connect{ClientID: "sub", CleanStart: true})
		sub.subscribe("r", 2)
		pub := n.join(4, &packet.Connect{ClientID: "pub", CleanStart: true})
		publishAll(pub, "r", 2, 1)
		first := expect[*packet.Publish](sub)
		start := time.Now()
		again := expect[*packet.Publish](sub)
		if !again.Dup || again.PacketID != first.PacketID || time.Since(start) != 20*time.Second {
			t.Fatalf("%+v after %v", again, time.Since(start))
		}
		sub.send(ackOf(packet.TypePubrec, first.PacketID))
		expect[*packet.Ack](sub)
		if a := expect[*packet.Ack](sub); a.Kind != packet.TypePubrel {
			t.Fatal(a)
		}
		sub.send(ackOf(packet.TypePubcomp, first.PacketID))
		n.stop()
	})
}

func TestRetained(t *testing.T) {
	n := newNode(t, with(func(s *Settings) { s.MaxOnline = 5 }))
	pub := n.join(5, &packet.Connect{ClientID: "pub"})
	for i := range 40 {
		pub.send(&packet.Publish{Topic: fmt.Sprintf("r/%d", i), Retain: true, Payload: []byte("x"), QoS: 1, PacketID: 1})
		expect[*packet.Ack](pub)
	}
	sub := n.join(5, &packet.Connect{ClientID: "sub", ReceiveMaximum: 3})
	sub.subscribe("r/#", 1)
	seen := map[string]bool{}
	for len(seen) < 40 { // more than queue and window hold
		p := expect[*packet.Publish](sub)
		if !p.Retain {
			t.Fatalf("%+v", p)
		}
		seen[p.Topic] = true
		sub.send(ackOf(packet.TypePuback, p.PacketID))
	}
}

func TestDisconnectAndShutdown(t *testing.T) {
	n := newNode(t)
	id := message.SessionID{ClientID: "c"}
	c := n.join(5, &packet.Connect{ClientID: "c", SessionExpiry: 60, HasSessionExpiry: true})
	if !n.m.Disconnect(id, DisconnectOptions{Reason: packet.AdministrativeAction, Cleanup: true}) {
		t.Fatal("not connected")
	}
	if d := expect[*packet.Disconnect](c); d.Reason != packet.AdministrativeAction {
		t.Fatal(d.Reason)
	}
	if _, ok := n.m.Get(id); ok {
		t.Fatal("the session is still there")
	}
	c = n.join(5, &packet.Connect{ClientID: "d"})
	if err := n.m.Shutdown(t.Context(), packet.UseAnotherServer, "other:1883"); err != nil {
		t.Fatal(err)
	}
	if d := expect[*packet.Disconnect](c); d.Reason != packet.UseAnotherServer || d.ServerReference != "other:1883" {
		t.Fatalf("%+v", d)
	}
}

func TestPanicClosesOnlyItsConnection(t *testing.T) {
	n := newNode(t)
	other := n.join(4, &packet.Connect{ClientID: "other", CleanStart: true})
	c := n.join(5, &packet.Connect{ClientID: "c"})
	n.router.publish = func(*message.Message, PublishOptions, func(PublishResult)) { panic("boom") }
	c.send(&packet.Publish{Topic: "t"})
	expect[*packet.Disconnect](c)
	c.closed()
	if n.crashes.Load() != 1 {
		t.Fatal(n.crashes.Load())
	}
	other.send(&packet.Pingreq{})
	expect[*packet.Pingresp](other)
}

func TestReceiveMaximum(t *testing.T) {
	n := newNode(t, with(func(s *Settings) { s.ReceiveMaxBroker = 3 }))
	n.router.publish = func(*message.Message, PublishOptions, func(PublishResult)) {}
	c := n.dial(5)
	if a := c.connect(&packet.Connect{ClientID: "c"}); a.ReceiveMaximum != 3 {
		t.Fatal(a.ReceiveMaximum)
	}
	for i := range 4 {
		c.send(&packet.Publish{Topic: "t", QoS: 1 + byte(i%2), PacketID: uint16(i + 1)})
	}
	if d := expect[*packet.Disconnect](c); d.Reason != packet.ReceiveMaximumExceeded {
		t.Fatal(d.Reason)
	}
}

func TestNotReady(t *testing.T) {
	n := newNode(t)
	n.router.subscribe = func(Subject, []message.Subscription) ([]SubscribeResult, error) { return nil, ErrNotReady }
	n.router.publish = func(_ *message.Message, _ PublishOptions, d func(PublishResult)) { d(PublishResult{Err: ErrNotReady}) }
	for _, c := range []struct {
		version     byte
		sub, q1, q2 packet.Reason
	}{{4, packet.UnspecifiedError, 0, 0}, {5, packet.NotAuthorized, packet.ImplementationSpecificError, packet.UnspecifiedError}} {
		cl := n.join(c.version, &packet.Connect{ClientID: "c", CleanStart: true})
		if a := cl.subscribe("a", 1); a.Reasons[0] != c.sub {
			t.Fatal(a.Reasons)
		}
		cl.send(&packet.Publish{Topic: "t", QoS: 1, PacketID: 1}, &packet.Publish{Topic: "t", QoS: 2, PacketID: 2}, &packet.Pingreq{})
		want := 1
		if c.version == 5 {
			want = 3
		}
		for range want {
			if a, ok := cl.recv().(*packet.Ack); ok && a.Reason != map[uint16]packet.Reason{1: c.q1, 2: c.q2}[a.PacketID] {
				t.Fatal(a)
			}
		}
	}
}

func TestInfoOffline(t *testing.T) {
	n := newNode(t, durable)
	c := n.join(4, &packet.Connect{ClientID: "c"})
	c.subscribe("t", 1)
	c.send(&packet.Disconnect{})
	c.closed()
	pub := n.join(4, &packet.Connect{ClientID: "p", CleanStart: true})
	publishAll(pub, "t", 1, 3)
	got, _ := n.m.Get(message.SessionID{ClientID: "c"})
	if got.State != string(queue.Offline) || got.OfflineMessages != 3 || got.CleanSession || got.Online {
		t.Fatalf("%+v", got)
	}
}
