package session

import (
	"time"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// exchange is the enhanced authentication of a connection whose CONNECT named
// a method (MQTT 5.0 §4.12). It belongs to the reader.
type exchange struct {
	method string
	// connect waits for the end of the first exchange; nil afterwards.
	connect  *packet.Connect
	assigned string
	// step is that of the exchange under way, nil without one.
	step   *hook.Auth
	rounds int
	user   string // the name that was proved
}

// authenticate begins the exchange that a CONNECT asks for. The client has
// mqtt_connect_timeout for all of it.
func (c *conn) authenticate(p *packet.Connect, assigned string) bool {
	c.client = c.hookRegister(p).Client
	c.auth = &exchange{method: p.AuthMethod, connect: p, assigned: assigned}
	return c.beginAuth(p.AuthData, p.User, false)
}

func (c *conn) beginAuth(data []byte, user []message.UserProperty, again bool) bool {
	x := c.auth
	x.rounds = 0
	x.step = &hook.Auth{Client: c.client, Method: x.method, Reauthenticate: again}
	return c.authRound(data, user)
}

// onAuth handles AUTH from the client.
func (c *conn) onAuth(p *packet.Auth) bool {
	c.m.count.received[packet.TypeAuth].inc(c.version, p.Reason)
	x := c.auth
	switch {
	case x == nil: // [MQTT-4.12.0-7]
		return c.fail(packet.ProtocolError, "no authentication method was agreed on")
	case p.Method != x.method: // [MQTT-4.12.0-5] [MQTT-4.12.1-1]
		return c.fail(packet.BadAuthenticationMethod, "not the method of the CONNECT")
	case (p.Reason == packet.ReAuthenticate) == (x.step != nil): // [MQTT-4.12.0-3]
		return c.fail(packet.ProtocolError, "AUTH does not fit the exchange")
	case x.step == nil:
		c.limitAuth()
		return c.beginAuth(p.Data, p.User, true)
	}
	return c.authRound(p.Data, p.User)
}

// authRound has one step answered.
func (c *conn) authRound(data []byte, user []message.UserProperty) bool {
	x := c.auth
	if x.rounds++; x.rounds > c.set.AuthMaxRounds {
		c.m.count.authRounds.Inc()
		return c.fail(packet.NotAuthorized, "authentication takes too many steps")
	}
	x.step.Data, x.step.User = data, user
	res := c.l.Chain.OnAuth(c.ctx, x.step)
	if !res.Allowed() {
		c.m.log.Info("client was refused", "client", c.id.String(), "peer", c.l.Peer, "method", x.method,
			"reason", res.Reason.String(), "text", res.Text)
		return c.refuseBy(res) // [MQTT-4.12.0-4] [MQTT-4.12.1-2]
	}
	if x.step.Answer.Continue { // [MQTT-4.12.0-2]
		return c.sendAuth(packet.ContinueAuthentication)
	}
	return c.authenticated()
}

// authenticated ends an exchange: the first with CONNACK, the others with AUTH.
func (c *conn) authenticated() bool {
	x := c.auth
	name := x.step.Answer.Username
	if p := x.connect; p != nil {
		if c.l.HasIdentity && name != "" && name != c.l.Identity {
			return c.fail(packet.NotAuthorized, "the certificate names another user")
		}
		x.connect, x.user = nil, name
		ok := c.admit(p, x.assigned)
		x.step = nil // only now: CONNACK has its answer
		return ok
	}
	if name != x.user {
		return c.fail(packet.NotAuthorized, "the connection belongs to another user")
	}
	c.mu.Lock()
	if c.reauth != nil {
		c.reauth.Stop()
		c.reauth = nil
	}
	c.mu.Unlock()
	ok := c.sendAuth(packet.Success)
	x.step = nil
	return ok
}

// sendAuth writes AUTH with the method of the CONNECT [MQTT-4.12.0-5].
func (c *conn) sendAuth(r packet.Reason) bool {
	a := &c.auth.step.Answer
	c.m.count.sent[packet.TypeAuth].inc(c.version, r)
	return c.answer(&packet.Auth{Reason: r, Method: c.auth.method, Data: a.Data, User: a.User})
}

// limitAuth gives a re-authentication mqtt_connect_timeout; meanwhile the
// client may go on with everything else.
func (c *conn) limitAuth() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end == nil {
		c.reauth = time.AfterFunc(c.set.ConnectTimeout, func() {
			c.terminate(ending{reason: packet.NotAuthorized, tell: true, text: "re-authentication took too long"})
		})
	}
}

// early handles what comes after CONNECT and before CONNACK, which only an
// exchange leaves room for.
func (c *conn) early(p packet.Packet) bool {
	switch p := p.(type) {
	case *packet.Auth:
		return c.onAuth(p)
	case *packet.Disconnect: // the client gives up; there is no session yet
		c.m.count.received[packet.TypeDisconnect].inc(c.version, p.Reason)
		c.terminate(ending{reason: p.Reason})
		return false
	}
	return c.fail(packet.ProtocolError, "only AUTH may precede CONNACK") // [MQTT-3.1.2-30]
}
