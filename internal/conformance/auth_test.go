package conformance

import (
	"bytes"
	"context"

	"github.com/xdg-go/scram"

	"github.com/mqadmin/mqadmin/internal/auth"
	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

// authRows are AUTH (§3.15) and enhanced authentication (§4.12).
var authRows = []row{
	{v5: "MQTT-3.15.1-1", where: inBubble, set: withMethod, run: authFlags},
	{v5: "MQTT-3.15.2-1", where: inBubble, set: withMethod, run: authReasons},
	{v5: "MQTT-4.12.0-1", run: unknownMethod},
	{v5: "MQTT-4.12.0-2", where: inBubble, set: withMethod, run: challenged},
	{v5: "MQTT-4.12.0-3", where: inBubble, set: withMethod, run: answersWithContinue},
	{v5: "MQTT-4.12.0-4", where: inBubble, set: withMethod, run: authRejected},
	{v5: "MQTT-4.12.0-5", where: inBubble, set: withMethod, run: methodIsNamed},
	{v5: "MQTT-4.12.0-6", where: inBubble, set: withMethod, run: noMethodNoAuth},
	{v5: "MQTT-4.12.0-7", where: inBubble, set: withMethod, run: authWithoutMethod},
	{v5: "MQTT-4.12.1-1", where: inBubble, set: withMethod, run: reauthenticates},
	{v5: "MQTT-4.12.1-2", where: inBubble, set: withMethod, run: reauthenticationFails},

	{rule: "scram", only5: true, run: scramAuthenticates},
	{rule: "scram-wrong", only5: true, run: scramRefuses},
	{rule: "auth-nothing-else", only5: true, where: inBubble, set: withMethod, run: onlyAuthBeforeConnack},
	{rule: "auth-in-v3", run: authInV3},
}

// method is that of the gatekeeper: whoever says "ask" is asked and has to say
// "right"; "right" at once is enough too.
const method = "question"

func withMethod(s *session.Settings) { s.AuthMethods = []string{method} }

// OnAuth implements hook.OnAuth.
func (gatekeeper) OnAuth(_ context.Context, a *hook.Auth) (hook.AuthAnswer, hook.Result) {
	switch string(a.Data) {
	case "ask":
		return hook.AuthAnswer{Continue: true, Data: []byte("well?")}, hook.Allow()
	case "right":
		return hook.AuthAnswer{Data: []byte("welcome")}, hook.Allow()
	}
	return hook.AuthAnswer{}, hook.Deny(packet.NotAuthorized, "wrong")
}

// by authenticates by a method, with the first data.
func by(name, data string) option {
	return func(p *packet.Connect) { p.HasAuthMethod, p.AuthMethod, p.AuthData = true, name, []byte(data) }
}

func (c *client) auth(r packet.Reason, name, data string) {
	c.send(&packet.Auth{Reason: r, Method: name, Data: []byte(data)})
}

// asked takes the question.
func (c *client) asked() *packet.Auth {
	c.t.Helper()
	a := want[*packet.Auth](c)
	if a.Reason != packet.ContinueAuthentication || a.Method != method || string(a.Data) != "well?" {
		c.t.Fatalf("got %s", describe(a))
	}
	return a
}

func authFlags(e *env) {
	for flags := byte(1); flags < 16; flags++ {
		c := e.join("c", by(method, "right"))
		c.raw(raw(0xF0|flags, 0x19, props(propAuthMethod, method, propAuthData, "right"))...)
		c.refused(packet.MalformedPacket)
	}
}

func authReasons(e *env) {
	for _, code := range []int{0x00, 0x01, 0x80, 0x87, 0xFF} {
		c := e.join("c", by(method, "right"))
		c.raw(raw(0xF0, code, props(propAuthMethod, method, propAuthData, "right"))...)
		c.refused(packet.ProtocolError, packet.MalformedPacket)
	}
	c := e.join("c", by(method, "right")) // those of the broker are checked as they come
	c.auth(packet.ReAuthenticate, method, "ask")
	c.asked()
	c.auth(packet.ContinueAuthentication, method, "right")
	if a := want[*packet.Auth](c); a.Reason != packet.Success {
		e.Errorf("got %s", describe(a))
	}
}

func unknownMethod(e *env) {
	e.dialAs("c", by("nobody knows", "data")).turnedAway(packet.BadAuthenticationMethod, packet.NotAuthorized)
}

func challenged(e *env) {
	c := e.dialAs("c", by(method, "ask"))
	c.asked()
	c.auth(packet.ContinueAuthentication, method, "ask")
	c.asked()
	c.auth(packet.ContinueAuthentication, method, "right")
	c.accepted()
	c.silent()
}

func answersWithContinue(e *env) {
	for _, r := range []packet.Reason{packet.ReAuthenticate, packet.Success} {
		c := e.dialAs("c", by(method, "ask"))
		c.asked()
		c.raw(raw(0xF0, int(r), props(propAuthMethod, method, propAuthData, "right"))...)
		c.rejected()
	}
}

// rejected expects the end before a CONNACK of success: perhaps one that says
// why, and no DISCONNECT.
func (c *client) rejected() {
	c.t.Helper()
	switch p := c.next().Packet.(type) {
	case nil:
	case *packet.Connack:
		if !p.Reason.Failed() {
			c.t.Fatalf("got %s", describe(p))
		}
		c.closed()
	default:
		c.t.Fatalf("got %s", describe(p))
	}
}

func authRejected(e *env) {
	e.dialAs("c", by(method, "wrong")).turnedAway(packet.NotAuthorized)
	c := e.dialAs("c", by(method, "ask"))
	c.asked()
	c.auth(packet.ContinueAuthentication, method, "wrong")
	c.turnedAway(packet.NotAuthorized)
}

func methodIsNamed(e *env) {
	c := e.dialAs("c", by(method, "ask"))
	c.asked() // names it
	c.auth(packet.ContinueAuthentication, method, "right")
	if k := c.accepted().connack; k.AuthMethod != method || string(k.AuthData) != "welcome" {
		e.Errorf("got %s", describe(k))
	}
	for _, other := range []string{"", "other", "Question"} {
		c := e.dialAs("d", by(method, "ask"))
		c.asked()
		c.raw(raw(0xF0, 0x18, props(propAuthMethod, other, propAuthData, "right"))...)
		c.rejected()
	}
}

func noMethodNoAuth(e *env) {
	c := e.join("c")
	if k := c.connack; k.AuthMethod != "" || len(k.AuthData) > 0 {
		e.Errorf("got %s", describe(k))
	}
	c.silent()
}

func authWithoutMethod(e *env) {
	for _, r := range []packet.Reason{packet.ContinueAuthentication, packet.ReAuthenticate} {
		c := e.join("c")
		c.auth(r, method, "right")
		c.refused(packet.ProtocolError)
	}
}

func reauthenticates(e *env) {
	c := e.join("c", by(method, "right"))
	c.subscribe(e.topic("a"), 1)
	c.auth(packet.ReAuthenticate, method, "ask")
	c.asked()
	c.publish(e.topic("a"), "meanwhile", 1)
	c.take(e.topic("a"), "meanwhile", 1)
	c.auth(packet.ContinueAuthentication, method, "right")
	if a := want[*packet.Auth](c); a.Reason != packet.Success || a.Method != method {
		e.Errorf("got %s", describe(a))
	}
	c.silent()
	c.auth(packet.ReAuthenticate, "other", "right")
	c.refused(packet.BadAuthenticationMethod, packet.ProtocolError)
}

func reauthenticationFails(e *env) {
	watch := e.watch()
	c := e.join("c", by(method, "right"), e.will(1))
	c.auth(packet.ReAuthenticate, method, "wrong")
	c.refused(packet.NotAuthorized)
	watch.take(e.topic("w"), "will", 1)
}

func onlyAuthBeforeConnack(e *env) {
	for _, b := range [][]byte{{0xC0, 0}, raw(0x30, e.topic("a"), props()), raw(0x82, uint16(1), props(), e.topic("a"), 0)} {
		c := e.dialAs("c", by(method, "ask"))
		c.asked()
		c.raw(b...)
		c.rejected()
	}
	c := e.dialAs("c", by(method, "ask"))
	c.asked()
	c.send(&packet.Disconnect{})
	c.closed()
}

func authInV3(e *env) {
	if e.five() {
		return
	}
	e.refuses(raw(0xF0), packet.MalformedPacket)
	e.refuses(raw(0xF0, 0x18), packet.MalformedPacket)
}

// talk plays SCRAM-SHA-256 with the broker's password file, and returns the
// client after its last step.
func (e *env) talk(user, pass string) (*client, *scram.ClientConversation, []byte) {
	e.Helper()
	sc, err := scram.SHA256.NewClient(user, pass, "")
	if err != nil {
		e.Fatal(err)
	}
	conv := sc.NewConversation()
	first, err := conv.Step("")
	if err != nil {
		e.Fatal(err)
	}
	c := newClient(e, e.dialTo(theBroker(e).guarded), e.v, e.patience())
	c.connect(e.id("c"), by(auth.SCRAMMethod, first))
	a := want[*packet.Auth](c)
	if a.Method != auth.SCRAMMethod || a.Reason != packet.ContinueAuthentication {
		e.Fatalf("got %s", describe(a))
	}
	second, err := conv.Step(string(a.Data))
	if err != nil {
		e.Fatal(err)
	}
	return c, conv, []byte(second)
}

func scramAuthenticates(e *env) {
	c, conv, last := e.talk(scramName, password)
	c.auth(packet.ContinueAuthentication, auth.SCRAMMethod, string(last))
	k := c.accepted().connack
	if _, err := conv.Step(string(k.AuthData)); err != nil || !conv.Valid() || k.AuthMethod != auth.SCRAMMethod {
		e.Errorf("the broker did not prove itself: %v, %s", err, describe(k))
	}
	c.silent()
}

func scramRefuses(e *env) {
	for user, pass := range map[string]string{scramName: "wrong", "nobody": password} {
		c, _, last := e.talk(user, pass)
		c.auth(packet.ContinueAuthentication, auth.SCRAMMethod, string(last))
		c.turnedAway(packet.NotAuthorized, packet.BadUserNameOrPassword)
	}
	c, _, last := e.talk(scramName, password)
	c.auth(packet.ContinueAuthentication, auth.SCRAMMethod, string(bytes.ToUpper(last)))
	c.turnedAway(packet.NotAuthorized, packet.BadUserNameOrPassword)
}
