package session

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// shared is a node with allow_multiple_sessions.
func shared(t *testing.T, mode queue.DeliverMode) *node {
	return newNode(t, with(func(s *Settings) { s.Mode = mode }), durable)
}

// joinShared connects one more client of the session, with what would end it.
func (n *node) joinShared(version byte, present bool) *client {
	n.t.Helper()
	c := n.dial(version)
	a := c.connect(&packet.Connect{
		ClientID: "c", CleanStart: true, Will: &packet.Will{Topic: "will", Delay: 100, Payload: []byte("w")},
	})
	if a.Reason != packet.Success || a.SessionPresent != present {
		n.t.Fatalf("%+v", a)
	}
	if version == 5 && (!a.HasSessionExpiry || a.SessionExpiry != message.NeverExpires) {
		n.t.Fatalf("the client is not told that its session stays: %+v", a)
	}
	return c
}

func (c *client) payloads(want int) (got []string) {
	c.t.Helper()
	for range want {
		p := expect[*packet.Publish](c)
		got = append(got, string(p.Payload))
		c.send(ackOf(packet.TypePuback, p.PacketID))
	}
	c.alive() // nothing else comes before the answer
	return got
}

func TestAllowMultipleSessions(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, mode := range []queue.DeliverMode{queue.Fanout, queue.Balance} {
			t.Run(fmt.Sprintf("v%d/%d", version, mode), func(t *testing.T) {
				n := shared(t, mode)
				watch := n.join(4, &packet.Connect{ClientID: "", CleanStart: true}) // an id of its own is its own
				watch.subscribe("will", 0)
				a := n.joinShared(version, false)
				a.subscribe("t", 1) // for the session, not for the connection
				b := n.joinShared(version, true)
				a.alive()
				pub := n.join(4, &packet.Connect{ClientID: "pub"})
				publishAll(pub, "t", 1, 4)
				wantA, wantB, word := numbered(4), numbered(4), "fanout"
				if mode == queue.Balance {
					wantA, wantB, word = []string{"msg1", "msg3"}, []string{"msg2", "msg4"}, "balance"
				}
				if d := cmp.Diff(wantA, a.payloads(len(wantA))); d != "" {
					t.Error(d)
				}
				if d := cmp.Diff(wantB, b.payloads(len(wantB))); d != "" {
					t.Error(d)
				}
				id := message.SessionID{ClientID: "c"}
				i, _ := n.m.Get(id)
				if i.NumSessions != 2 || i.DeliverMode != word || len(i.Connections) != 2 || !i.Online || i.CleanSession {
					t.Errorf("%+v", i)
				}
				a.nc.Close() // each connection has its will, without delay while others go on
				expect[*packet.Publish](watch)
				n.registrar.mu.Lock()
				ends := len(n.registrar.ends)
				n.registrar.mu.Unlock()
				if ends != 0 {
					t.Error("the session's end was told while a connection goes on")
				}
				publishAll(pub, "t", 1, 1)
				if d := cmp.Diff(numbered(1), b.payloads(1)); d != "" {
					t.Error(d)
				}
				b.send(&packet.Disconnect{})
				b.closed()
				publishAll(pub, "t", 1, 2)
				c := n.joinShared(version, true)
				if d := cmp.Diff(numbered(2), c.payloads(2)); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

func TestMultipleSessionsDisconnect(t *testing.T) {
	n := shared(t, queue.Fanout)
	a, b := n.joinShared(5, false), n.joinShared(5, true)
	id := message.SessionID{ClientID: "c"}
	if !n.m.Disconnect(id, DisconnectOptions{Reason: packet.AdministrativeAction, Cleanup: true}) {
		t.Fatal("not connected")
	}
	a.ended(packet.AdministrativeAction)
	b.ended(packet.AdministrativeAction)
	if _, ok := n.m.Get(id); ok {
		t.Error("the session is still there")
	}
	n.registrar.mu.Lock()
	defer n.registrar.mu.Unlock()
	if len(n.registrar.ends) != 1 {
		t.Errorf("its end was told %d times", len(n.registrar.ends))
	}
}

// A client that may not be registered now may not share a session either.
func TestMultipleSessionsNotReady(t *testing.T) {
	n := shared(t, queue.Fanout)
	a := n.joinShared(5, false)
	n.registrar.mu.Lock()
	n.registrar.err = ErrNotReady
	n.registrar.mu.Unlock()
	c := n.dial(5)
	if a := c.connect(&packet.Connect{ClientID: "c"}); a.Reason != packet.ServerUnavailable {
		t.Error(a.Reason)
	}
	a.alive()
	a.send(&packet.Disconnect{})
	a.closed()
	n.registrar.mu.Lock()
	defer n.registrar.mu.Unlock()
	n.registrar.err = nil
}
