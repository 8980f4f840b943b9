package conformance

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

// env is what one test works with: a broker, a version, names of its own.
type env struct {
	testing.TB
	v      byte // protocol level of the clients: 3, 4, 5
	prefix string
	stack  *stack // in virtual time only
}

// place is where a test runs.
type place int

const (
	// onSockets: the whole broker, over TCP, shared.
	onSockets place = iota
	// inBubble: a broker of its own in virtual time, over pipes.
	inBubble
)

var serial atomic.Int64

// run runs a test there. set changes the settings of a broker of its own.
func (w place) run(t *testing.T, v byte, set func(*session.Settings), fn func(*env)) {
	prefix := fmt.Sprintf("%d", serial.Add(1))
	if w == onSockets && set == nil {
		theBroker(t)
		fn(&env{TB: t, v: v, prefix: prefix})
		return
	}
	dir := filepath.Join(t.TempDir(), "meta")
	secret()
	synctest.Test(t, func(t *testing.T) {
		s := &stack{t: t, settings: defaults(), fs: vfs.NewMem(), dir: dir}
		if set != nil {
			set(&s.settings)
		}
		s.start()
		t.Cleanup(s.stop)
		fn(&env{TB: t, v: v, prefix: prefix, stack: s})
	})
}

// again is the same with new names.
func (e *env) again() *env {
	n := *e
	n.prefix = fmt.Sprintf("%d", serial.Add(1))
	return &n
}

// topic returns a topic or filter that is this test's own.
func (e *env) topic(name string) string { return "t/" + e.prefix + "/" + name }

// id returns a client identifier of this test's own.
func (e *env) id(name string) string { return e.prefix + name }

func (e *env) nc() net.Conn {
	if e.stack != nil {
		return e.stack.dial()
	}
	return e.dialTo(theBroker(e).open)
}

func (e *env) dialTo(address string) net.Conn {
	e.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		e.Fatal(err)
	}
	return nc
}

// patience bounds waiting for what must come; no test waits for it in vain.
func (e *env) patience() time.Duration {
	if e.stack != nil {
		return time.Hour
	}
	return time.Minute
}

// dial opens a connection and sends nothing.
func (e *env) dial() *client {
	c := newClient(e, e.nc(), e.v, e.patience())
	if e.stack != nil {
		c.settled = synctest.Wait
	}
	return c
}

// option changes a CONNECT.
type option func(*packet.Connect)

// dialAs opens a connection and sends CONNECT for a clean session of that
// name, changed by the options.
func (e *env) dialAs(name string, options ...option) *client {
	e.Helper()
	c := e.dial()
	c.connect(e.id(name), options...)
	return c
}

// connect sends CONNECT.
func (c *client) connect(id string, options ...option) {
	p := &packet.Connect{Version: c.version, ClientID: id, CleanStart: true, ReceiveMaximum: 65535, RequestProblem: true}
	for _, o := range options {
		o(p)
	}
	c.id = p.ClientID
	c.aliasMax.Store(int32(p.TopicAliasMaximum))
	c.send(p)
}

// join connects a client, which must be accepted.
func (e *env) join(name string, options ...option) *client {
	e.Helper()
	c := e.dialAs(name, options...)
	return c.accepted()
}

// accepted takes the CONNACK of success.
func (c *client) accepted() *client {
	c.t.Helper()
	c.connack = want[*packet.Connack](c)
	if c.connack.Reason != packet.Success {
		c.t.Fatalf("CONNACK %v, want success", c.connack.Reason)
	}
	return c
}

// turnedAway takes a CONNACK with one of the reasons, and the end.
func (c *client) turnedAway(reasons ...packet.Reason) {
	c.t.Helper()
	k := want[*packet.Connack](c)
	c.oneOf(k.Reason, reasons...)
	if k.SessionPresent {
		c.t.Error("session present with a refusal")
	}
	c.closed()
}

// resume asks for the session that there is, and for keeping it an hour.
func resume(p *packet.Connect) {
	p.CleanStart = false
	expiry(3600)(p)
}

// kept asks for a fresh session that is kept: in 3.x only without clean
// session, so the name must be new.
func kept(p *packet.Connect) { resume(p) }

// expiry sets the session expiry of MQTT 5.
func expiry(seconds uint32) option {
	return func(p *packet.Connect) {
		if p.Version == packet.V5 {
			p.SessionExpiry, p.HasSessionExpiry = seconds, true
		}
	}
}

func keepAlive(seconds uint16) option {
	return func(p *packet.Connect) { p.KeepAlive = seconds }
}

func will(topic, payload string, qos byte, retain bool) option {
	return func(p *packet.Connect) {
		p.Will = &packet.Will{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain}
	}
}

func retain(p *packet.Publish) { p.Retain = true }

func pid(id uint16) func(*packet.Publish) { return func(p *packet.Publish) { p.PacketID = id } }

func identifier(id uint32) func(*message.Subscription) {
	return func(s *message.Subscription) { s.Identifier = id }
}

// five reports whether the clients speak MQTT 5.
func (e *env) five() bool { return e.v == packet.V5 }

// long is n bytes of text.
func long(n int) string { return strings.Repeat("x", n) }
