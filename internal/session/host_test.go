package session

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// fakePlugin is a subscriber without a connection.
type fakePlugin struct {
	mu   sync.Mutex
	got  []string
	done []func()
	gone int
}

func (p *fakePlugin) Deliver(m *message.Message, qos byte, done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, fmt.Sprint(m.Topic, " ", qos))
	p.done = append(p.done, done)
}

func (p *fakePlugin) Gone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone++
}

// take returns what was delivered since the last time, and how to acknowledge.
func (p *fakePlugin) take() (got []string, done []func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	got, done = p.got, p.done
	p.got, p.done = nil, nil
	return got, done
}

func wantGot(t *testing.T, p *fakePlugin, want ...string) (done []func()) {
	t.Helper()
	synctest.Wait()
	got, done := p.take()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("the plugin got %q, want %q", got, want)
	}
	return done
}

// A plugin publishes to clients and gets what they publish, at its pace.
func TestHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, with(func(s *Settings) { s.MaxInflight = 2 }))
		h := NewHost(n.m)
		defer h.Close()
		id := message.SessionID{ClientID: "bridge"}
		p := &fakePlugin{}
		n.router.retained["in/kept"] = &message.Message{Topic: "in/kept", QoS: 1, Retain: true}
		if err := h.Subscribe(t.Context(), id, []message.Subscription{{Filter: "in/#", QoS: 2}}, p); err != nil {
			t.Fatal(err)
		}
		for _, done := range wantGot(t, p, "in/kept 1") {
			done()
		}

		c := n.join(packet.V5, &packet.Connect{ClientID: "c", CleanStart: true})
		c.subscribe("out", 1)
		routed := make(chan error, 1)
		h.Publish(&message.Message{Topic: "out", QoS: 1, Payload: []byte("x")}, func(err error) { routed <- err })
		if err := <-routed; err != nil {
			t.Error(err)
		}
		if got := expect[*packet.Publish](c); got.Topic != "out" || got.QoS != 1 {
			t.Errorf("%+v", got)
		}

		for i, qos := range []byte{0, 1, 2, 2, 1} {
			c.send(&packet.Publish{Topic: fmt.Sprint("in/", i), QoS: qos, PacketID: uint16(i + 10)})
			if qos > 0 {
				expect[*packet.Ack](c)
			}
			if qos == 2 {
				c.send(&packet.Ack{Kind: packet.TypePubrel, PacketID: uint16(i + 10)})
				expect[*packet.Ack](c)
			}
		}
		done := wantGot(t, p, "in/0 0", "in/1 1", "in/2 2") // the window is two
		done[2]()
		done[2]() // twice is once
		next := wantGot(t, p, "in/3 2")
		done[1]()
		last := wantGot(t, p, "in/4 1")
		next[0]()
		last[0]()
		synctest.Wait()
		info, ok := n.queues.Info(id)
		if !ok || info.Inflight != 0 || info.Pending != 0 {
			t.Errorf("after all acknowledgements: %+v", info)
		}
		n.m.Each(func(i Info) bool {
			if i.Plugin != (i.ID == id) {
				t.Errorf("%s: plugin %v", i.ID, i.Plugin)
			}
			return true
		})

		if err := h.Unsubscribe(t.Context(), id, []string{"in/#"}); err != nil {
			t.Fatal(err)
		}
		c.send(&packet.Publish{Topic: "in/x", QoS: 1, PacketID: 20})
		expect[*packet.Ack](c)
		wantGot(t, p)
		if err := h.Unsubscribe(t.Context(), id, nil); err != nil {
			t.Fatal(err)
		}
		if _, ok := n.queues.Info(id); ok {
			t.Error("the session is there after its end")
		}
		if err := h.Unsubscribe(t.Context(), id, nil); !errors.Is(err, queue.ErrNoSession) {
			t.Errorf("ending it twice: %v", err)
		}
		c.nc.Close()
		n.m.Disconnect(message.SessionID{ClientID: "c"}, DisconnectOptions{Reason: packet.AdministrativeAction})
	})
}

// A client that takes the id of a plugin's session has it.
func TestHostIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		h := NewHost(n.m)
		id := message.SessionID{ClientID: "bridge"}
		p := &fakePlugin{}
		if err := h.Subscribe(t.Context(), id, []message.Subscription{{Filter: "in/#", QoS: 1}}, p); err != nil {
			t.Fatal(err)
		}
		c := n.join(packet.V311, &packet.Connect{ClientID: "bridge", CleanStart: true})
		synctest.Wait()
		if p.gone != 1 {
			t.Errorf("told %d times", p.gone)
		}
		if subs := n.router.Subscriptions(id); len(subs) != 0 {
			t.Errorf("the client inherits %v", subs)
		}
		// The other way round: the plugin takes the client's.
		other := &fakePlugin{}
		if err := h.Subscribe(t.Context(), id, []message.Subscription{{Filter: "in/#"}}, other); err != nil {
			t.Fatal(err)
		}
		c.closed()
		n.m.Disconnect(id, DisconnectOptions{Reason: packet.AdministrativeAction})
		synctest.Wait()
		if other.gone != 1 {
			t.Error("an administrator's disconnect does not reach the plugin")
		}
		h.Close()
		if err := h.Subscribe(t.Context(), id, nil, p); !errors.Is(err, ErrShutdown) {
			t.Errorf("after Close: %v", err)
		}
	})
}
