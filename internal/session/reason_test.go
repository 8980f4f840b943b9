package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// decider is a plugin that answers everything as it is told.
type decider struct {
	register, publish, subscribe hook.Result
}

func (d *decider) AuthOnRegister(context.Context, *hook.Register) (*hook.RegisterModifiers, hook.Result) {
	return nil, d.register
}

func (d *decider) AuthOnPublish(context.Context, *hook.Publish) (*hook.PublishModifiers, hook.Result) {
	return nil, d.publish
}

func (d *decider) AuthOnSubscribe(context.Context, *hook.Subscribe) (*hook.SubscribeModifiers, hook.Result) {
	return nil, d.subscribe
}

func deciding(t *testing.T) (*node, *decider) {
	d := &decider{register: hook.Allow(), publish: hook.Allow(), subscribe: hook.Allow()}
	return authenticating(t, d), d
}

// TestEveryEndIsTold: MQTT 5 clients get a DISCONNECT with a reason before
// every close that the server causes, 3.x ones none.
func TestEveryEndIsTold(t *testing.T) {
	id := message.SessionID{ClientID: "c"}
	for _, c := range []struct {
		name string
		set  func(*Settings)
		keep uint16
		end  func(n *node, c *client)
		want packet.Reason
	}{
		{"malformed packet", nil, 0, func(_ *node, c *client) { _, _ = c.nc.Write([]byte{0xC0, 1, 0}) }, packet.MalformedPacket},
		{"a packet of servers", nil, 0, func(_ *node, c *client) { _, _ = c.nc.Write([]byte{0xD0, 0}) }, packet.ProtocolError},
		{"[MQTT-3.1.0-2] second CONNECT", nil, 0, func(_ *node, c *client) { c.send(&packet.Connect{Version: c.version, ClientID: "c"}) }, packet.ProtocolError},
		{"[MQTT-3.3.2-2] wildcard in a topic", nil, 0, func(_ *node, c *client) { c.send(&packet.Publish{Topic: "a/#"}) }, packet.TopicNameInvalid},
		{"invalid filter", nil, 0, func(_ *node, c *client) {
			c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "a#"}}})
		}, packet.TopicFilterInvalid},
		{"packet too large", func(s *Settings) { s.MaxMessageSize = 100 }, 0, func(_ *node, c *client) {
			c.send(&packet.Publish{Topic: "t", Payload: make([]byte, 100)})
		}, packet.PacketTooLarge},
		{"keep-alive", nil, 10, func(*node, *client) {}, packet.KeepAliveTimeout},
		{"taken over", nil, 0, func(n *node, _ *client) { n.m.Disconnect(id, DisconnectOptions{Reason: packet.SessionTakenOver}) }, packet.SessionTakenOver},
		{"by an administrator", nil, 0, func(n *node, _ *client) { n.m.Disconnect(id, DisconnectOptions{Reason: packet.AdministrativeAction}) }, packet.AdministrativeAction},
		{"the queue goes", nil, 0, func(n *node, _ *client) { n.queues.Delete(id) }, packet.AdministrativeAction},
		{"panic", nil, 0, func(n *node, c *client) {
			n.router.publish = func(*message.Message, PublishOptions, func(PublishResult)) { panic("boom") }
			c.send(&packet.Publish{Topic: "t"})
		}, packet.UnspecifiedError},
		{"shutdown", nil, 0, func(n *node, _ *client) {
			n.wg.Go(func() { _ = n.m.Shutdown(context.Background(), packet.ServerShuttingDown, "") })
		}, packet.ServerShuttingDown},
	} {
		for _, version := range []byte{packet.V31, packet.V311, packet.V5} {
			t.Run(c.name+"/"+string('0'+version), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newNode(t, with(func(s *Settings) {
						if c.set != nil {
							c.set(s)
						}
					}))
					cl := n.join(version, &packet.Connect{ClientID: "c", CleanStart: true, KeepAlive: c.keep})
					c.end(n, cl)
					if version == packet.V5 {
						if d := expect[*packet.Disconnect](cl); d.Reason != c.want {
							t.Errorf("%v", d.Reason)
						}
					}
					cl.closed()
					n.stop()
				})
			})
		}
	}
}

// TestConnectIsAnswered: whoever waits for CONNACK when the connection ends
// gets one that says why, in the words of its version.
func TestConnectIsAnswered(t *testing.T) {
	for _, c := range []struct {
		version      byte
		reason, want packet.Reason
	}{
		{packet.V31, packet.UseAnotherServer, packet.ServerUnavailable},
		{packet.V311, packet.ServerShuttingDown, packet.ServerUnavailable},
		{packet.V5, packet.ServerShuttingDown, packet.ServerUnavailable}, // CONNACK has no 0x8B
		{packet.V5, packet.UseAnotherServer, packet.UseAnotherServer},
	} {
		n := newNode(t)
		watch := n.join(packet.V5, &packet.Connect{ClientID: "watch"})
		watch.subscribe("will", 0)
		asked := make(chan struct{})
		n.registrar.registered = func() {
			defer close(asked)
			go func() { _ = n.m.Shutdown(context.Background(), c.reason, "other.example") }()
			expect[*packet.Disconnect](watch) // it has begun
			for _, conn := range n.m.snapshot() {
				<-conn.ctx.Done()
			}
		}
		cl := n.dial(c.version)
		a := cl.connect(&packet.Connect{ClientID: "c", CleanStart: true, Will: &packet.Will{Topic: "will"}})
		if a.Reason != c.want || a.SessionPresent || c.version == packet.V5 && a.ServerReference != "other.example" {
			t.Errorf("version %d: %+v", c.version, a)
		}
		cl.closed()
		<-asked // the answer may come before the registration has seen the end
	}
}

// snapshot returns the connections that there are.
func (m *Manager) snapshot() []*conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*conn
	for c := range m.conns {
		out = append(out, c)
	}
	return out
}

// TestReasonsOfPlugins: whatever reason a plugin has, the client gets one that
// its packet may carry.
func TestReasonsOfPlugins(t *testing.T) {
	const server = "other.example:1883"
	for _, c := range []struct {
		reason, connack, puback, suback packet.Reason
	}{
		{packet.NotAuthorized, packet.NotAuthorized, packet.NotAuthorized, packet.NotAuthorized},
		{packet.Banned, packet.Banned, packet.NotAuthorized, packet.NotAuthorized},
		{packet.QuotaExceeded, packet.QuotaExceeded, packet.QuotaExceeded, packet.QuotaExceeded},
		{packet.PayloadFormatInvalid, packet.PayloadFormatInvalid, packet.PayloadFormatInvalid, packet.NotAuthorized},
		{packet.TopicFilterInvalid, packet.NotAuthorized, packet.NotAuthorized, packet.TopicFilterInvalid},
		{packet.MaximumConnectTime, packet.NotAuthorized, packet.NotAuthorized, packet.NotAuthorized},
		{packet.UseAnotherServer, packet.UseAnotherServer, packet.NotAuthorized, packet.NotAuthorized},
	} {
		n, d := deciding(t)
		cl := n.join(packet.V5, &packet.Connect{ClientID: "c", CleanStart: true})
		no := hook.Deny(c.reason, "because")
		no.ServerReference = server
		d.register, d.publish, d.subscribe = no, no, no
		cl.send(&packet.Publish{Topic: "t", QoS: 1, PacketID: 1}, &packet.Publish{Topic: "t", QoS: 2, PacketID: 2})
		for range 2 { // [MQTT-3.4.2-1] [MQTT-3.5.2-1]
			if a := expect[*packet.Ack](cl); a.Reason != c.puback || a.ReasonString != "because" {
				t.Errorf("%v: %+v", c.reason, a)
			}
		}
		if a := cl.subscribe("f", 0); a.Reasons[0] != c.suback || a.ReasonString != "because" { // [MQTT-3.9.3-2]
			t.Errorf("%v: %+v", c.reason, a)
		}
		for i, version := range []byte{packet.V311, packet.V5, packet.V311, packet.V5} {
			next := n.dial(version)
			connect := &packet.Connect{ClientID: "d", CleanStart: true}
			if i >= 2 { // the client is welcome and its will is not
				d.register, connect.Will = hook.Allow(), &packet.Will{Topic: "will"}
			}
			a := next.connect(connect)
			if version == packet.V5 && (a.Reason != c.connack || a.ReasonString != "because" || a.ServerReference != server) { // [MQTT-3.2.2-8]
				t.Errorf("%v: %+v", c.reason, a)
			}
			if version != packet.V5 && (!a.Reason.Failed() || a.ReasonString != "") { // another code than 0 to 5 is a decoding error
				t.Errorf("%v: %+v", c.reason, a)
			}
			next.closed()
		}
	}
}

// TestProblemInformation: with Request Problem Information 0 only CONNACK,
// DISCONNECT and PUBLISH say more than a code [MQTT-3.1.2-29].
func TestProblemInformation(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		n, d := deciding(t)
		cl := n.dial(packet.V5)
		cl.send(&packet.Connect{Version: packet.V5, ClientID: "c", CleanStart: true, ReceiveMaximum: 10, RequestProblem: wanted})
		expect[*packet.Connack](cl)
		cl.subscribe("t", 0)
		user := []message.UserProperty{{Name: "a", Value: "b"}}
		cl.send(&packet.Publish{Topic: "t", Properties: &message.Properties{User: user}})
		if p := expect[*packet.Publish](cl); p.Properties == nil || !cmp.Equal(p.Properties.User, user) {
			t.Errorf("%+v", p)
		}
		d.publish, d.subscribe = hook.Deny(packet.NotAuthorized, "no"), hook.Deny(packet.NotAuthorized, "no")
		cl.send(&packet.Publish{Topic: "t", QoS: 1, PacketID: 1})
		if a := expect[*packet.Ack](cl); (a.ReasonString == "no") != wanted {
			t.Errorf("%v: %+v", wanted, a)
		}
		if a := cl.subscribe("u", 0); (a.ReasonString == "no") != wanted {
			t.Errorf("%v: %+v", wanted, a)
		}
		cl.send(&packet.Publish{Topic: "a/#"})
		if d := expect[*packet.Disconnect](cl); d.ReasonString == "" {
			t.Error("DISCONNECT may say more, and did not")
		}
	}
}

// TestResponseInformation: [MQTT-3.1.2-28].
func TestResponseInformation(t *testing.T) {
	for _, c := range []struct {
		setting, id string
		ask         bool
		want        string
	}{
		{"answers/%c", "c", true, "answers/c"},
		{"answers/%c", "c", false, ""},
		{"", "c", true, ""},
		{"a%c/%u/%m/x", "c", true, "a%c/user/mp/x"},
		{"answers/%c", "a/b", true, ""},
		{"answers/%c", "#", true, ""},
		{"answers", "#", true, "answers"},
	} {
		n := newNode(t, with(func(s *Settings) { s.ResponseInformation = c.setting }), func(n *node) { n.info.Mountpoint = "mp" })
		a := n.dial(packet.V5).connect(&packet.Connect{ClientID: c.id, CleanStart: true, RequestResponse: c.ask, Username: "user", HasUsername: true})
		if a.ResponseInfo != c.want {
			t.Errorf("%+v: %q", c, a.ResponseInfo)
		}
	}
}

// TestMaximumPacketSizeOfAnswers: reason strings are left out before an answer
// is too large, and one that is too large without them ends the connection.
func TestMaximumPacketSizeOfAnswers(t *testing.T) {
	n, d := deciding(t)
	n.set.ReceiveMaxBroker = 100 // so that CONNACK says something
	n.set.TopicAliasMaxClient = 7
	cl := n.dial(packet.V5)
	const limit = 16
	a := cl.connect(&packet.Connect{ClientID: "c", CleanStart: true, MaximumPacketSize: limit})
	if a.Reason != packet.Success || a.ReceiveMaximum != 100 || a.TopicAliasMaximum != 7 {
		t.Fatalf("%+v", a)
	}
	d.publish = hook.Deny(packet.NotAuthorized, "a text that does not fit")
	cl.send(&packet.Publish{Topic: "t", QoS: 1, PacketID: 1})
	if a := expect[*packet.Ack](cl); a.Reason != packet.NotAuthorized || a.ReasonString != "" { // [MQTT-3.4.2-2]
		t.Errorf("%+v", a)
	}
	var many packet.Subscribe
	many.PacketID = 1
	for range limit {
		many.Subscriptions = append(many.Subscriptions, message.Subscription{Filter: "f"})
	}
	cl.send(&many)
	if d := expect[*packet.Disconnect](cl); d.Reason != packet.PacketTooLarge || d.ReasonString != "" { // [MQTT-3.14.2-3]
		t.Errorf("%+v", d)
	}
	cl.closed()

	d.publish = hook.Allow()
	for _, c := range []struct {
		limit uint32
		want  packet.Reason
	}{{8, packet.PacketTooLarge}, {4, 0}} { // CONNACK with what it has to say does not fit; nor does any
		cl := n.dial(packet.V5)
		cl.send(&packet.Connect{
			Version: packet.V5, ClientID: "small", CleanStart: true, ReceiveMaximum: 10, RequestProblem: true,
			MaximumPacketSize: c.limit, Will: &packet.Will{Topic: "will"},
		})
		if c.want != 0 {
			if a := expect[*packet.Connack](cl); a.Reason != c.want {
				t.Errorf("%+v", a)
			}
		}
		cl.closed()
	}
	n.stop()
	if got := n.metric("queue_message_in"); got != 0 {
		t.Errorf("%d messages were queued: wills of clients that were never accepted", got)
	}
}

// TestDisconnectChangesExpiry: DISCONNECT may change the session expiry, and
// with it when the will is due, but not from 0 (MQTT 5.0 §3.14.2.2.2).
func TestDisconnectChangesExpiry(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after uint32
		reason        packet.Reason
		will          time.Duration // negative: never
		gone          time.Duration
	}{
		{"shorter, with will", 100, 10, packet.DisconnectWithWill, 10 * time.Second, 10 * time.Second},
		{"longer, with will", 10, 100, packet.DisconnectWithWill, 30 * time.Second, 100 * time.Second},
		{"at once, with will", 100, 0, packet.DisconnectWithWill, 0, 0},
		{"[MQTT-3.14.4-3] without will", 100, 10, packet.NormalDisconnection, -1, 10 * time.Second},
		{"an error has the will published", 100, 60, packet.AdministrativeAction, 30 * time.Second, 60 * time.Second},
		{"not from 0", 0, 10, packet.NormalDisconnection, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				watch := n.join(packet.V5, &packet.Connect{ClientID: "watch"})
				watch.subscribe("will", 0)
				cl := n.join(packet.V5, &packet.Connect{
					ClientID: "c", SessionExpiry: c.before, HasSessionExpiry: true, Will: &packet.Will{Topic: "will", Delay: 30},
				})
				start := time.Now()
				cl.send(&packet.Disconnect{Reason: c.reason, SessionExpiry: c.after, HasSessionExpiry: true})
				if c.before == 0 {
					if d := expect[*packet.Disconnect](cl); d.Reason != packet.ProtocolError {
						t.Error(d.Reason)
					}
				}
				cl.closed()
				if c.will >= 0 {
					expect[*packet.Publish](watch)
					if took := time.Since(start); took != c.will {
						t.Errorf("will after %v, want %v", took, c.will)
					}
				}
				if left := c.gone - time.Since(start) - time.Second; left > 0 {
					time.Sleep(left)
					synctest.Wait()
					if _, ok := n.queues.Info(message.SessionID{ClientID: "c"}); !ok {
						t.Error("it is gone early")
					}
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if _, ok := n.queues.Info(message.SessionID{ClientID: "c"}); ok {
					t.Error("after its expiry it is still there")
				}
				if len(watch.in) != 0 {
					t.Errorf("unexpected %+v", <-watch.in)
				}
				n.stop()
			})
		})
	}
}
