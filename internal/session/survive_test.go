package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// flush waits until the disk has everything that was committed before.
func (n *node) flush() {
	n.t.Helper()
	done := make(chan error, 1)
	b := n.store.NewBatch()
	b.PutMeta("flush", nil)
	n.store.Commit(b, func(err error) { done <- err })
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
}

// crashAndRestart cuts the power and starts again after down.
func (c *crash) crashAndRestart(n *node, down time.Duration) *node {
	c.now()
	time.Sleep(down) // virtual
	return c.restart(n)
}

// watcher makes a durable session that waits offline for the topic; call it in
// a synctest bubble.
func (n *node) watcher(filter string) {
	n.t.Helper()
	c := n.join(5, &packet.Connect{ClientID: "watch", SessionExpiry: message.NeverExpires, HasSessionExpiry: true})
	c.subscribe(filter, 1)
	c.send(&packet.Disconnect{})
	c.closed()
	synctest.Wait() // the session notices after the connection is closed
}

// watch connects that session.
func (n *node) watch() *client {
	n.t.Helper()
	return n.join(5, &packet.Connect{ClientID: "watch", SessionExpiry: message.NeverExpires, HasSessionExpiry: true})
}

// Wills are on disk when CONNACK is written, of clean sessions too, and are
// published after a crash when they are due: a connection that was up has
// ended with the process.
func TestWillSurvivesCrash(t *testing.T) {
	const down = 20 * time.Second
	for _, c := range []struct {
		name          string
		version       byte
		expiry, delay uint32
		// left is how long the client had been gone at the crash; negative: it was
		// connected, or left properly.
		left     time.Duration
		properly bool
		resumed  bool
		want     time.Duration // after the start; negative: never
	}{
		{name: "clean 3.1.1", version: 4, left: -1},
		{name: "clean 5", version: 5, left: -1},
		{name: "durable", version: 5, expiry: 1000, left: -1},
		{name: "delayed, was connected", version: 5, expiry: 1000, delay: 30, left: -1, want: 30 * time.Second},
		{name: "delayed, time goes on", version: 5, expiry: 1000, delay: 30, left: 4 * time.Second, want: 6 * time.Second},
		{name: "delayed, due meanwhile", version: 5, expiry: 1000, delay: 30, left: 14 * time.Second},
		{name: "cut by the session's end", version: 5, expiry: 40, delay: 60, left: 5 * time.Second, want: 15 * time.Second},
		{name: "resumed in time", version: 5, expiry: 1000, delay: 30, left: 4 * time.Second, resumed: true, want: -1},
		{name: "left properly", version: 5, expiry: 1000, left: -1, properly: true, want: -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, crash := newCrash(t)
				n.watcher("will")
				p := &packet.Connect{ClientID: "c", CleanStart: c.expiry == 0, Will: &packet.Will{Topic: "will", Payload: []byte("w"), QoS: 1, Delay: c.delay}}
				p.SessionExpiry, p.HasSessionExpiry = c.expiry, c.version == 5
				cl := n.join(c.version, p)
				switch {
				case c.properly:
					cl.send(&packet.Disconnect{})
					cl.closed()
					synctest.Wait() // as in watcher
					n.flush()
				case c.left >= 0:
					cl.nc.Close()
					time.Sleep(c.left)
				}
				next := crash.crashAndRestart(n, down)
				start := time.Now()
				w := next.watch()
				if c.resumed {
					p.Will = nil
					next.join(c.version, p)
				}
				if c.want < 0 {
					time.Sleep(time.Hour)
					synctest.Wait()
					if len(w.in) > 0 {
						t.Errorf("got %#v", <-w.in)
					}
				} else if got := expect[*packet.Publish](w); string(got.Payload) != "w" || time.Since(start) != c.want {
					t.Errorf("%q after %v, want it after %v", got.Payload, time.Since(start), c.want)
				} else {
					w.send(ackOf(packet.TypePuback, got.PacketID))
				}
				next.stop()
			})
		})
	}
}

// A will that was published is not published again by the next start.
func TestWillIsPublishedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newCrash(t)
		n.watcher("will")
		n.join(4, &packet.Connect{ClientID: "c", CleanStart: true, Will: &packet.Will{Topic: "will", QoS: 1}})
		after := c.crashAndRestart(n, time.Second)
		synctest.Wait()
		after.flush()
		again := c.restart(after)
		w := again.watch()
		p := expect[*packet.Publish](w)
		w.send(ackOf(packet.TypePuback, p.PacketID), &packet.Pingreq{})
		expect[*packet.Pingresp](w)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(w.in) > 0 {
			t.Errorf("again: %#v", <-w.in)
		}
		again.stop()
	})
}

// What is left of a message's expiry goes on while the broker is down.
func TestMessageExpirySurvivesCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newCrash(t)
		n.watcher("e")
		pub := n.join(5, &packet.Connect{ClientID: "p"})
		for i, expiry := range []uint32{25, 60} {
			pub.send(&packet.Publish{Topic: "e", QoS: 1, PacketID: uint16(i + 1), Expiry: expiry, HasExpiry: true})
			expect[*packet.Ack](pub)
		}
		time.Sleep(10 * time.Second)
		next := c.crashAndRestart(n, 20*time.Second)
		w := next.watch()
		if p := expect[*packet.Publish](w); !p.HasExpiry || p.Expiry != 30 {
			t.Errorf("%d seconds are left of 60, want 30", p.Expiry)
		}
		if n := next.metric("queue_message_expired"); n != 1 {
			t.Errorf("%d messages expired, want 1", n)
		}
		next.stop()
	})
}

// A session's expiry goes on while the broker is down; one that was connected
// has been offline since the start.
func TestSessionExpirySurvivesCrash(t *testing.T) {
	for name, want := range map[string]time.Duration{"offline": 20 * time.Second, "connected": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, c := newCrash(t)
				cl := n.join(5, &packet.Connect{ClientID: "c", SessionExpiry: 60, HasSessionExpiry: true})
				if name == "offline" {
					cl.nc.Close()
				}
				time.Sleep(20 * time.Second)
				next := c.crashAndRestart(n, 20*time.Second)
				id := message.SessionID{ClientID: "c"}
				time.Sleep(want - time.Second)
				synctest.Wait()
				if _, ok := next.queues.Info(id); !ok {
					t.Error("the session has ended early")
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if _, ok := next.queues.Info(id); ok {
					t.Error("the session has not ended")
				}
				next.flush()
				if r, err := next.store.Session(id); r != nil || err != nil {
					t.Errorf("its record is on disk: %+v %v", r, err)
				}
				next.stop()
			})
		})
	}
}
