package session

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

func TestSuppressLWTOnSessionTakeover(t *testing.T) {
	for _, suppress := range []bool{false, true} {
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprintf("%v/v%d", suppress, version), func(t *testing.T) {
				n := newNode(t, with(func(s *Settings) { s.SuppressWillOnTakeover = suppress }))
				watch := n.join(5, &packet.Connect{ClientID: "watch"})
				watch.subscribe("will", 0)
				connect := func(payload string) *packet.Connect {
					return &packet.Connect{
						ClientID: "c", SessionExpiry: 100, HasSessionExpiry: version == 5, Will: &packet.Will{Topic: "will", Payload: []byte(payload)},
					}
				}
				old := n.join(version, connect("first"))
				next := n.dial(version)
				if a := next.connect(connect("second")); !a.SessionPresent {
					t.Fatal("no session present")
				}
				old.ended(packet.SessionTakenOver)
				if suppress {
					watch.alive()
				} else if p := expect[*packet.Publish](watch); string(p.Payload) != "first" {
					t.Fatal(p)
				}
				next.alive()
				next.nc.Close() // any other end publishes it
				if p := expect[*packet.Publish](watch); string(p.Payload) != "second" {
					t.Fatal(p)
				}
			})
		}
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

// TestServerKeepAlive: MQTT 5 clients are told the keep-alive that holds
// [MQTT-3.1.2-21] [MQTT-3.2.2-21], others keep theirs.
func TestServerKeepAlive(t *testing.T) {
	for _, c := range []struct {
		version          byte
		limit, ask, told uint16
		silent           time.Duration // until the connection is closed; 0 never
	}{
		{packet.V5, 0, 60, 0, 90 * time.Second},
		{packet.V5, 0, 0, 0, 0},
		{packet.V5, 30, 60, 30, 45 * time.Second},
		{packet.V5, 30, 0, 30, 45 * time.Second},
		{packet.V5, 30, 20, 0, 30 * time.Second},
		{packet.V5, 30, 30, 0, 45 * time.Second},
		{packet.V311, 30, 60, 0, 90 * time.Second},
		{packet.V311, 30, 0, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, with(func(s *Settings) { s.ServerKeepAlive = c.limit }))
			cl := n.dial(c.version)
			a := cl.connect(&packet.Connect{ClientID: "c", CleanStart: true, KeepAlive: c.ask})
			if a.ServerKeepAlive != c.told || a.HasServerKeepAlive != (c.told != 0) {
				t.Errorf("%+v: told %d", c, a.ServerKeepAlive)
			}
			start := time.Now()
			if c.silent == 0 {
				time.Sleep(24 * time.Hour)
				cl.send(&packet.Pingreq{})
				expect[*packet.Pingresp](cl)
				n.stop()
				return
			}
			time.Sleep(c.silent - time.Second)
			if c.version == packet.V5 {
				expect[*packet.Disconnect](cl)
			}
			cl.closed()
			if took := time.Since(start); took != c.silent {
				t.Errorf("%+v: closed after %v", c, took)
			}
			n.stop()
		})
	}
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

// TestTakeoverWithDelayedWill: a connection that resumes the session in time
// keeps the will back [MQTT-3.1.3-9]; one that ends the session does not, and no
// will is published twice.
func TestTakeoverWithDelayedWill(t *testing.T) {
	for _, c := range []struct {
		name        string
		clean, gone bool // the former connection is gone when the next one comes
		want        int
	}{
		{"resumed", false, false, 0},
		{"resumed later", false, true, 0},
		{"clean start", true, false, 1},
		{"clean start later", true, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, durable)
				watch := n.join(5, &packet.Connect{ClientID: "watch"})
				watch.subscribe("will", 0)
				connect := &packet.Connect{ClientID: "c", SessionExpiry: 300, HasSessionExpiry: true, Will: &packet.Will{Topic: "will", Delay: 30}}
				first := n.join(5, connect)
				if c.gone {
					first.nc.Close()
					time.Sleep(10 * time.Second)
				}
				connect.Will, connect.CleanStart = nil, c.clean
				next := n.dial(5)
				if a := next.connect(connect); a.SessionPresent == c.clean {
					t.Errorf("session present %v", a.SessionPresent)
				}
				synctest.Wait()
				if len(watch.in) != c.want {
					t.Errorf("%d wills, want %d", len(watch.in), c.want)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if len(watch.in) != c.want {
					t.Errorf("%d wills later, want %d", len(watch.in), c.want)
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

func TestInfoOffline(t *testing.T) {
	n := newNode(t, durable)
	c := n.join(4, &packet.Connect{ClientID: "c"})
	c.subscribe("t", 1)
	c.send(&packet.Disconnect{})
	c.closed()
	for n.m.attached(message.SessionID{ClientID: "c"}) != nil { // the socket closes before the session is left
		runtime.Gosched()
	}
	pub := n.join(4, &packet.Connect{ClientID: "p", CleanStart: true})
	publishAll(pub, "t", 1, 3)
	got, _ := n.m.Get(message.SessionID{ClientID: "c"})
	if got.State != string(queue.Offline) || got.OfflineMessages != 3 || got.CleanSession || got.Online {
		t.Fatalf("%+v", got)
	}
}
