package session

import (
	"slices"
	"strings"
	"testing"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
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

func TestNotReady(t *testing.T) {
	n := newNode(t)
	n.router.subscribe = func(Subject, []message.Subscription) ([]SubscribeResult, error) { return nil, ErrNotReady }
	n.router.publish = func(_ *message.Message, _ PublishOptions, d func(PublishResult)) { d(PublishResult{Err: ErrNotReady}) }
	n.router.unsub = ErrNotReady
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
		// SUBSCRIBE and UNSUBSCRIBE are answered in their order: what comes first
		// shows whether there is an UNSUBACK.
		cl.send(&packet.Unsubscribe{PacketID: 3, Filters: []string{"a", "b"}},
			&packet.Subscribe{PacketID: 4, Subscriptions: []message.Subscription{{Filter: "a"}}})
		if c.version == 5 {
			if a := expect[*packet.Unsuback](cl); !slices.Equal(a.Reasons, []packet.Reason{c.q1, c.q1}) {
				t.Errorf("UNSUBACK %v", a.Reasons)
			}
		}
		expect[*packet.Suback](cl)
	}
}

// A CONNECT has a limit of its own: it is read before anybody is known.
func TestMaxConnectSize(t *testing.T) {
	const limit = 100
	for _, c := range []struct {
		size, max, message int
		taken              bool
	}{{limit, limit, 0, true}, {limit + 1, limit, 0, false}, {limit + 1, 0, 0, true}, {limit, 0, limit, true}, {limit + 1, 0, limit, false}, {limit, limit + 1, limit - 1, false}} {
		n := newNode(t, with(func(s *Settings) { s.MaxConnectSize, s.MaxMessageSize = c.max, c.message }))
		const rest = 12 // bytes before the client id's own
		cl := n.dial(4)
		cl.send(&packet.Connect{Version: 4, ClientID: strings.Repeat("x", c.size-rest), CleanStart: true})
		if !c.taken {
			cl.closed()
			if got := n.metric("mqtt_invalid_msg_size_error"); got != 1 {
				t.Errorf("%+v: counted %d times", c, got)
			}
			continue
		}
		if a := expect[*packet.Connack](cl); a.Reason != packet.Success {
			t.Errorf("%+v: CONNACK %v", c, a.Reason)
		}
		if c.message == 0 { // later packets may be larger
			cl.send(&packet.Publish{Topic: "t", Payload: make([]byte, 2*limit)}, &packet.Pingreq{})
			expect[*packet.Pingresp](cl)
		}
	}
}
