package session

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/google/go-cmp/cmp"
	"github.com/xdg-go/scram"

	"github.com/mqadmin/mqadmin/internal/auth"
	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// oath is a plugin with one authentication method, X: the client says "more"
// as often as it likes, then "I am NAME".
type oath struct {
	register func(*hook.Register) (*hook.RegisterModifiers, hook.Result)
}

func (o oath) OnAuth(_ context.Context, a *hook.Auth) (hook.AuthAnswer, hook.Result) {
	steps, _ := a.State.(int)
	if name, ok := strings.CutPrefix(string(a.Data), "I am "); ok {
		return hook.AuthAnswer{Data: fmt.Append(nil, "after ", steps), Username: name, User: a.User}, hook.Allow()
	}
	if string(a.Data) == "more" {
		return hook.AuthAnswer{Continue: true, State: steps + 1, Data: []byte("go on"), User: a.User}, hook.Allow()
	}
	return hook.AuthAnswer{}, hook.Deny(packet.BadUserNameOrPassword, "no")
}

func (oath) AuthOnPublish(context.Context, *hook.Publish) (*hook.PublishModifiers, hook.Result) {
	return nil, hook.Allow()
}

func (o oath) AuthOnRegister(_ context.Context, r *hook.Register) (*hook.RegisterModifiers, hook.Result) {
	if o.register != nil {
		return o.register(r)
	}
	return nil, hook.Pass()
}

// authenticating is a node on which nobody is admitted without a method.
func authenticating(t *testing.T, plugin any, opts ...nodeOption) *node {
	plugins := hook.New(hook.Options{})
	if err := plugins.Attach("method", plugin); err != nil {
		t.Fatal(err)
	}
	return newNode(t, append(opts, func(n *node) {
		n.set.AllowAnonymous = false
		n.set.AuthMethods = []string{"X", auth.SCRAMMethod}
		n.info.Chain = plugins.Default()
	})...)
}

func authConnect(data string) *packet.Connect {
	return &packet.Connect{
		Version: packet.V5, ClientID: "c", CleanStart: true, ReceiveMaximum: 65535, RequestProblem: true,
		HasAuthMethod: true, AuthMethod: "X", AuthData: []byte(data),
	}
}

func step(r packet.Reason, data string) *packet.Auth {
	return &packet.Auth{Reason: r, Method: "X", Data: []byte(data)}
}

// TestAuthExchange plays what may come between CONNECT and CONNACK and ends in
// the packets that the client gets.
func TestAuthExchange(t *testing.T) {
	mine := func(a *packet.Auth) *packet.Auth { a.Method = "Y"; return a }
	for _, c := range []struct {
		name string
		data string
		send []packet.Packet
		want []packet.Reason // of AUTHs, then of CONNACK
	}{
		{"[MQTT-4.12.0-2] one step", "more", []packet.Packet{step(0x18, "I am bob")}, []packet.Reason{0x18, 0}},
		{"at once", "I am bob", nil, []packet.Reason{0}},
		{"more steps", "more", []packet.Packet{step(0x18, "more"), step(0x18, "I am bob")}, []packet.Reason{0x18, 0x18, 0}},
		{"[MQTT-4.12.0-4] refused at once", "junk", nil, []packet.Reason{packet.BadUserNameOrPassword}},
		{"[MQTT-4.12.0-4] refused later", "more", []packet.Packet{step(0x18, "junk")}, []packet.Reason{0x18, packet.BadUserNameOrPassword}},
		{"[MQTT-4.12.0-5] another method", "more", []packet.Packet{mine(step(0x18, "more"))}, []packet.Reason{0x18, packet.BadAuthenticationMethod}},
		{"[MQTT-4.12.0-3] 0x19", "more", []packet.Packet{step(0x19, "more")}, []packet.Reason{0x18, packet.ProtocolError}},
		{"[MQTT-3.1.2-30] PUBLISH", "more", []packet.Packet{&packet.Publish{Topic: "t"}}, []packet.Reason{0x18, packet.ProtocolError}},
		{"[MQTT-3.1.2-30] PINGREQ", "more", []packet.Packet{&packet.Pingreq{}}, []packet.Reason{0x18, packet.ProtocolError}},
		{"[MQTT-3.1.0-2] second CONNECT", "more", []packet.Packet{authConnect("more")}, []packet.Reason{0x18, packet.ProtocolError}},
		{"[MQTT-3.1.2-30] DISCONNECT", "more", []packet.Packet{&packet.Disconnect{}}, []packet.Reason{0x18}},
		{"too many steps", "more", []packet.Packet{step(0x18, "more"), step(0x18, "more"), step(0x18, "I am bob")}, []packet.Reason{0x18, 0x18, 0x18, packet.NotAuthorized}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := authenticating(t, oath{}, with(func(s *Settings) { s.AuthMaxRounds = 3 }))
			cl := n.dial(packet.V5)
			connect := authConnect(c.data)
			connect.Will = &packet.Will{Topic: "will"}
			cl.send(connect)
			var got []packet.Reason
			for i := 0; ; i++ {
				p := cl.recv()
				if a, ok := p.(*packet.Auth); ok {
					got = append(got, a.Reason)
					if a.Method != "X" || string(a.Data) != "go on" { // [MQTT-4.12.0-5]
						t.Fatalf("%+v", a)
					}
					cl.send(c.send[i])
					continue
				}
				if k, ok := p.(*packet.Connack); ok {
					got = append(got, k.Reason)
					if ok := k.Reason == packet.Success; ok != (k.AuthMethod == "X") || ok != (len(k.AuthData) > 0) { // [MQTT-4.12.0-5]
						t.Fatalf("%+v", k)
					}
				}
				break
			}
			if !cmp.Equal(got, c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			accepted := len(got) > 0 && got[len(got)-1] == packet.Success
			if i, ok := n.m.Get(message.SessionID{ClientID: "c"}); ok != accepted || accepted && i.User != "bob" {
				t.Errorf("session %v, user %q", ok, i.User)
			}
			if exceeded := n.metric("mqtt_auth_rounds_exceeded") == 1; exceeded != (c.name == "too many steps") {
				t.Errorf("limit counted: %v", exceeded)
			}
			if !accepted {
				cl.closed()
			}
		})
	}
}

// TestReauthentication plays AUTH on an open connection.
func TestReauthentication(t *testing.T) {
	mine := func(a *packet.Auth) *packet.Auth { a.Method = "Y"; return a }
	for _, c := range []struct {
		name string
		send []packet.Packet
		want []packet.Reason // of AUTHs, then of DISCONNECT
	}{
		{"[MQTT-4.12.1-1]", []packet.Packet{step(0x19, "more"), step(0x18, "I am bob")}, []packet.Reason{0x18, 0}},
		{"twice", []packet.Packet{step(0x19, "I am bob"), step(0x19, "I am bob")}, []packet.Reason{0, 0}},
		{"[MQTT-4.12.1-1] another method", []packet.Packet{mine(step(0x19, "more"))}, []packet.Reason{packet.BadAuthenticationMethod}},
		{"[MQTT-4.12.1-2] refused", []packet.Packet{step(0x19, "junk")}, []packet.Reason{packet.NotAuthorized}},
		{"another user", []packet.Packet{step(0x19, "I am eve")}, []packet.Reason{packet.NotAuthorized}},
		{"0x18 without an exchange", []packet.Packet{step(0x18, "more")}, []packet.Reason{packet.ProtocolError}},
		{"0x19 within one", []packet.Packet{step(0x19, "more"), step(0x19, "more")}, []packet.Reason{0x18, packet.ProtocolError}},
		{"too many steps", []packet.Packet{step(0x19, "more"), step(0x18, "more"), step(0x18, "more")}, []packet.Reason{0x18, 0x18, packet.NotAuthorized}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := authenticating(t, oath{}, with(func(s *Settings) { s.AuthMaxRounds = 2 }))
			cl := n.dial(packet.V5)
			cl.send(authConnect("I am bob"))
			expect[*packet.Connack](cl)
			var got []packet.Reason
			for _, p := range c.send {
				cl.send(p, &packet.Pingreq{}) // the flow of other packets goes on
				switch p := cl.recv().(type) {
				case *packet.Auth:
					got = append(got, p.Reason)
					if p.Method != "X" {
						t.Fatalf("%+v", p)
					}
					expect[*packet.Pingresp](cl)
				case *packet.Disconnect:
					got = append(got, p.Reason)
				}
			}
			if !cmp.Equal(got, c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			if got[len(got)-1].Failed() {
				cl.closed()
			}
		})
	}
}

// TestAuthWithoutMethod: [MQTT-4.12.0-6] [MQTT-4.12.0-7] and methods that are
// not allowed [MQTT-4.12.0-1].
func TestAuthWithoutMethod(t *testing.T) {
	n := newNode(t)
	c := n.join(packet.V5, &packet.Connect{ClientID: "c", CleanStart: true})
	c.send(step(0x19, "more"))
	if d := expect[*packet.Disconnect](c); d.Reason != packet.ProtocolError {
		t.Error(d.Reason)
	}
	c.closed()
	for _, methods := range [][]string{nil, {"Y"}, {"X"}} { // the last is allowed and no plugin has it
		n.set.AuthMethods = methods
		c := n.dial(packet.V5)
		c.send(authConnect("more"))
		if a := expect[*packet.Connack](c); a.Reason != packet.BadAuthenticationMethod || a.AuthMethod != "" {
			t.Errorf("%v: %+v", methods, a)
		}
		c.closed()
	}
}

// TestAuthTimeout: mqtt_connect_timeout is for the whole exchange, and for a
// re-authentication.
func TestAuthTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := authenticating(t, oath{})
		c := n.dial(packet.V5)
		start := time.Now()
		time.Sleep(3 * time.Second)
		c.send(authConnect("more"))
		expect[*packet.Auth](c)
		if a := expect[*packet.Connack](c); a.Reason != packet.NotAuthorized || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %s", a.Reason, time.Since(start))
		}
		c.closed()

		c = n.dial(packet.V5)
		c.send(authConnect("I am bob"))
		expect[*packet.Connack](c)
		c.send(step(0x19, "I am bob"))
		expect[*packet.Auth](c)
		time.Sleep(time.Minute) // this one was over in time
		start = time.Now()
		c.send(step(0x19, "more"))
		expect[*packet.Auth](c)
		if d := expect[*packet.Disconnect](c); d.Reason != packet.NotAuthorized || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %s", d.Reason, time.Since(start))
		}
		c.closed()
		n.stop()
	})
}

// TestAuthAndRegister: a method proves who the client is; plugins may still
// refuse or change it, and a certificate must agree.
func TestAuthAndRegister(t *testing.T) {
	var seen *hook.Register
	plugin := &oath{}
	n := authenticating(t, plugin)
	connect := func() *packet.Connack {
		c := n.dial(packet.V5)
		p := authConnect("I am bob")
		p.Username, p.HasUsername = "somebody", true
		c.send(p)
		return expect[*packet.Connack](c)
	}
	plugin.register = func(r *hook.Register) (*hook.RegisterModifiers, hook.Result) {
		seen = r
		return nil, hook.Pass()
	}
	if a := connect(); a.Reason != packet.Success || seen.Method != "X" || seen.Client.Username != "bob" {
		t.Errorf("%v, %+v", a.Reason, seen)
	}
	plugin.register = func(*hook.Register) (*hook.RegisterModifiers, hook.Result) {
		return nil, hook.Deny(packet.Banned, "")
	}
	if a := connect(); a.Reason != packet.Banned {
		t.Error(a.Reason)
	}
	plugin.register = nil
	n.info.Identity, n.info.HasIdentity = "alice", true
	if a := connect(); a.Reason != packet.NotAuthorized {
		t.Error(a.Reason)
	}
	n.info.Identity = "bob"
	if a := connect(); a.Reason != packet.Success {
		t.Error(a.Reason)
	}
}

// scramClient answers for paho with SCRAM-SHA-256.
type scramClient struct {
	talk *scram.ClientConversation
	done chan struct{}
}

func (s *scramClient) Authenticate(a *paho.Auth) *paho.Auth {
	final, _ := s.talk.Step(string(a.Properties.AuthData))
	return &paho.Auth{ReasonCode: 0x18, Properties: &paho.AuthProperties{AuthMethod: auth.SCRAMMethod, AuthData: []byte(final)}}
}

func (s *scramClient) Authenticated() { s.done <- struct{}{} }

func (s *scramClient) begin(t *testing.T, user, password string) []byte {
	t.Helper()
	c, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	s.talk = c.NewConversation()
	first, err := s.talk.Step("")
	if err != nil {
		t.Fatal(err)
	}
	return []byte(first)
}

// TestSCRAM runs Paho's client against a password file.
func TestSCRAM(t *testing.T) {
	file := auth.NewPasswordFile("users")
	for name, o := range map[string]auth.HashOptions{
		"alice": {SCRAM: true, Iterations: 4096}, "bob": {Iterations: 101}, "j\u00e4ger,=": {SCRAM: true, Iterations: 4096},
	} {
		if err := file.Set(name, []byte("open \u00bd sesame"), o); err != nil {
			t.Fatal(err)
		}
	}
	passwd := auth.NewPasswd(auth.FileOptions{
		Path: "users", ReadFile: func(string) ([]byte, error) { return file.Bytes(), nil }, Metrics: metrics.New(),
	})
	n := authenticating(t, passwd)
	for _, c := range []struct {
		user, password string
		want           byte
	}{
		{"alice", "open \u00bd sesame", 0},
		{"j\u00e4ger,=", "open \u00bd sesame", 0},
		{"alice", "wrong", 0x86},
		{"bob", "open \u00bd sesame", 0x86}, // has no SCRAM entry
		{"nobody", "open \u00bd sesame", 0x86},
	} {
		t.Run(c.user+" "+c.password, func(t *testing.T) {
			s := &scramClient{done: make(chan struct{}, 1)}
			cl := paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(n.pipe()), AuthHandler: s})
			ack, err := cl.Connect(t.Context(), &paho.Connect{
				ClientID: "c", CleanStart: true, KeepAlive: 30,
				Properties: &paho.ConnectProperties{
					AuthMethod: auth.SCRAMMethod, AuthData: s.begin(t, c.user, c.password), RequestProblemInfo: true,
				},
			})
			if ack == nil || ack.ReasonCode != c.want {
				t.Fatalf("%+v, %v", ack, err)
			}
			if c.want != 0 {
				return
			}
			if _, err := s.talk.Step(string(ack.Properties.AuthData)); err != nil || !s.talk.Valid() {
				t.Fatalf("the broker did not prove itself: %v", err)
			}
			<-s.done
			r, err := cl.Authenticate(t.Context(), &paho.Auth{ReasonCode: 0x19, Properties: &paho.AuthProperties{
				AuthMethod: auth.SCRAMMethod, AuthData: s.begin(t, c.user, c.password),
			}})
			if err != nil || !r.Success {
				t.Fatalf("re-authentication: %+v, %v", r, err)
			}
			<-s.done
			if i, _ := n.m.Get(message.SessionID{ClientID: "c"}); i.User != c.user {
				t.Errorf("user %q", i.User)
			}
			_ = cl.Disconnect(&paho.Disconnect{})
			<-cl.Done()
		})
	}
}
