package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/listener"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

// serveBroker runs a broker until the end of the test.
func serveBroker(t *testing.T, lines ...string) *Broker {
	t.Helper()
	return runBroker(t, testBroker(t, t.TempDir(), lines...))
}

// runBroker serves until the end of the test.
func runBroker(t *testing.T, b *Broker) *Broker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	serving, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- b.Run(ctx, func(string) { close(serving) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-serving:
	case err := <-done:
		done <- nil
		t.Fatal(err)
	}
	return b
}

// addressOf is where a listener of b listens.
func addressOf(t *testing.T, b *Broker, key string) string {
	t.Helper()
	for _, st := range b.listeners.List() {
		if st.Config.Key.String() != key {
			continue
		}
		if st.Port == 0 {
			return st.Address
		}
		return net.JoinHostPort(st.Address, strconv.Itoa(st.Port))
	}
	t.Fatalf("no listener %s", key)
	return ""
}

// client is an MQTT client of a test.
type client struct {
	t   *testing.T
	nc  net.Conn
	v   byte
	dec packet.Decoder
	buf []byte
}

func dialClient(t *testing.T, network, address string) *client {
	t.Helper()
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, nc)
}

func newClient(t *testing.T, nc net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t: t, nc: nc, dec: packet.Decoder{Client: true}}
}

func (c *client) write(p packet.Packet) {
	c.t.Helper()
	if _, err := c.nc.Write(packet.Append(nil, c.v, p)); err != nil {
		c.t.Fatal(err)
	}
}

// read returns the next packet, or nil when the broker has closed.
func (c *client) read() packet.Packet {
	c.t.Helper()
	b := make([]byte, 4096)
	for {
		c.dec.Version = c.v
		p, n, err := c.dec.Decode(c.buf)
		if err != nil {
			c.t.Fatal(err)
		}
		if p != nil {
			c.buf = c.buf[n:]
			return p
		}
		n, err = c.nc.Read(b)
		c.buf = append(c.buf, b[:n]...)
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			c.t.Fatal("the broker says nothing")
		}
		if n == 0 && err != nil {
			return nil
		}
	}
}

// connect sends CONNECT and returns the reason of the answer.
func (c *client) connect(v byte, id, user, password string) packet.Reason {
	c.t.Helper()
	c.v = v
	c.write(&packet.Connect{
		Version: v, ClientID: id, CleanStart: true, Username: user, HasUsername: user != "",
		Password: []byte(password), HasPassword: password != "",
	})
	ack, ok := c.read().(*packet.Connack)
	if !ok {
		c.t.Fatalf("no CONNACK for %s", id)
	}
	return ack.Reason
}

// subscribe returns the answer for one filter.
func (c *client) subscribe(filter string) packet.Reason {
	c.t.Helper()
	c.write(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: filter, QoS: 1}}})
	ack, ok := c.read().(*packet.Suback)
	if !ok {
		c.t.Fatal("no SUBACK")
	}
	return ack.Reasons[0]
}

// publish sends a message of QoS 1 and waits for its acknowledgement.
func (c *client) publish(topic string) packet.Reason {
	c.t.Helper()
	c.write(&packet.Publish{QoS: 1, PacketID: 7, Topic: topic, Payload: []byte("x")})
	for {
		switch p := c.read().(type) {
		case *packet.Ack:
			return p.Reason
		case nil:
			c.t.Fatal("closed instead of PUBACK")
		}
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// metric is the value of a counter or gauge.
func metric(b *Broker, name string, labels ...string) int64 {
	var sum int64
next:
	for _, s := range b.metrics.Samples() {
		if s.Name != name {
			continue
		}
		for _, want := range labels {
			has := false
			for _, l := range s.Labels {
				has = has || l.Name+"="+l.Value == want
			}
			if !has {
				continue next
			}
		}
		sum += s.Value
	}
	return sum
}

// await polls for what follows from something that the test has done.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waiting for %s", what)
		}
	}
}

// passwordFile is a file in which alice has the password.
func passwordFile(t *testing.T, user, password string) string {
	t.Helper()
	var out bytes.Buffer
	path := filepath.Join(t.TempDir(), "vmq.passwd")
	code := Main(t.Context(), []string{"broker", "passwd", "-c", path, user}, Stdio{In: strings.NewReader(password + "\n"), Out: &out, Err: &out})
	if code != 0 {
		t.Fatalf("passwd: %s", &out)
	}
	return path
}

// Each listener asks its own plugins; allow_anonymous_override opens one of
// them only.
func TestListenersHaveTheirOwnChains(t *testing.T) {
	acl := filepath.Join(t.TempDir(), "vmq.acl")
	writeFile(t, acl, "topic open/#\n")
	b := serveBroker(
		t, "allow_anonymous = off", "plugins.vmq_passwd = on", "vmq_passwd.password_file = "+passwordFile(t, "alice", "secret"),
		"plugins.vmq_acl = on", "vmq_acl.acl_file = "+acl,
		"listener.tcp.own = 127.0.0.1:0", "listener.tcp.own.auth_plugins = [vmq_passwd]", "listener.tcp.own.authz_plugins = [vmq_passwd]",
		"listener.tcp.free = 127.0.0.1:0", "listener.tcp.free.allow_anonymous_override = on",
		"listener.tcp.other = 127.0.0.1:0", "listener.tcp.other.auth_plugins = [vmq_acl]",
	)
	dial := func(name string) *client { return dialClient(t, "tcp", addressOf(t, b, "listener.tcp."+name)) }
	for _, c := range []struct {
		listener, user, password string
		want                     packet.Reason
	}{
		{"default", "", "", packet.NotAuthorized},
		{"default", "alice", "secret", packet.Success},
		{"default", "alice", "wrong", packet.BadUserNameOrPassword},
		{"own", "alice", "secret", packet.Success},
		{"own", "", "", packet.NotAuthorized},
		{"free", "", "", packet.Success},
		{"other", "alice", "secret", packet.NotAuthorized}, // vmq_acl lets nobody in
	} {
		if got := dial(c.listener).connect(5, "c-"+c.listener, c.user, c.password); got != c.want {
			t.Errorf("%s as %q: %s, want %s", c.listener, c.user, got, c.want)
		}
	}
	all, own := dial("default"), dial("own")
	all.connect(5, "all", "alice", "secret")
	own.connect(5, "own", "alice", "secret")
	if r := all.publish("open/x"); r.Failed() {
		t.Errorf("the ACL of all plugins refuses: %s", r)
	}
	if r := all.publish("closed/x"); !r.Failed() {
		t.Error("the ACL of all plugins allows what it has no line for")
	}
	if r := own.publish("open/x"); r != packet.NotAuthorized { // vmq_passwd authorizes nothing
		t.Errorf("a chain without the ACL: %s", r)
	}
}

// Over the limit a client is told so where that is cheap; a TLS handshake is
// not made.
func TestMaxConnectionsIsAnswered(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "mqtt.sock")
	cert, key := pemFiles(t)
	b := serveBroker(
		t, "listener.max_connections = 1", "listener.tcp.unix = local:"+socket+":0", "listener.ws.w = 127.0.0.1:0",
		"listener.ssl.s = 127.0.0.1:0", "listener.ssl.certfile = "+cert, "listener.ssl.keyfile = "+key,
	)
	tcp, ws, ssl := addressOf(t, b, "listener.tcp.default"), addressOf(t, b, "listener.ws.w"), addressOf(t, b, "listener.ssl.s")
	first := dialClient(t, "tcp", tcp)
	if r := first.connect(4, "first", "", ""); r.Failed() {
		t.Fatal(r)
	}
	for _, full := range []struct{ network, address, listener string }{{"unix", socket, "tcp.unix"}, {"tcp", ws, "ws.w"}, {"tcp", ssl, "ssl.s"}} {
		dialClient(t, full.network, full.address)
		await(t, "a connection", func() bool { return connectionsOf(b, full.listener) == 1 })
	}
	connect := func(v byte) string {
		return string(packet.Append(nil, v, &packet.Connect{Version: v, ClientID: "more", CleanStart: true}))
	}
	busy3, busy5 := "\x20\x02\x00\x03", "\x20\x03\x00\x9f\x00"
	for _, c := range []struct{ network, address, listener, say, want string }{
		{"tcp", tcp, "tcp.default", connect(3), busy3},
		{"tcp", tcp, "tcp.default", connect(4), busy3},
		{"tcp", tcp, "tcp.default", connect(5) + "\xc0\x00", busy5}, // with a PINGREQ behind it
		{"tcp", tcp, "tcp.default", "\xc0\x00", ""},
		{"unix", socket, "tcp.unix", connect(5), busy5},
		{"tcp", ws, "ws.w", "GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 503 "},
		{"tcp", ssl, "ssl.s", "", ""},
	} {
		before := metric(b, "listener_connections_refused", "listener="+c.listener)
		more := dialClient(t, c.network, c.address)
		_, _ = io.WriteString(more.nc, c.say) // it may be closed already
		got, _ := io.ReadAll(more.nc)
		if !strings.HasPrefix(string(got), c.want) || c.want == "" && len(got) > 0 {
			t.Errorf("%s, %q: % x, want % x", c.listener, c.say, got, c.want)
		}
		if n := metric(b, "listener_connections_refused", "listener="+c.listener) - before; n != 1 {
			t.Errorf("%s: %d counted", c.listener, n)
		}
	}
	first.nc.Close()
	await(t, "room", func() bool { return connectionsOf(b, "tcp.default") == 0 })
	if n := metric(b, "active_mqtt_connections"); n != 1 {
		t.Errorf("%d connections in which MQTT may begin, want that of the unix socket", n)
	}
	if r := dialClient(t, "tcp", tcp).connect(4, "again", "", ""); r.Failed() {
		t.Error(r)
	}
}

// connectionsOf is how many connections a listener, type.name, has.
func connectionsOf(b *Broker, key string) int64 {
	kind, name, _ := strings.Cut(key, ".")
	for _, st := range b.listeners.List() {
		if st.Config.Key == (listener.Key{Type: listener.Type(kind), Name: name}) {
			return st.Active
		}
	}
	return -1
}

// HTTPS serves what http_modules says, and a listener's own list goes before it.
func TestHTTPSListener(t *testing.T) {
	cert, key := pemFiles(t)
	b := serveBroker(
		t, "listener.https.s = 127.0.0.1:0", "listener.https.certfile = "+cert, "listener.https.keyfile = "+key,
		"listener.https.s.http_modules = [vmq_health_http]", "http_modules = [vmq_metrics_http]",
	)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	get := func(url string) (int, string) {
		t.Helper()
		resp, err := (&http.Client{Transport: transport}).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	secure, plain := "https://"+addressOf(t, b, "listener.https.s"), "http://"+addressOf(t, b, "listener.http.default")
	if code, body := get(secure + "/health"); code != http.StatusOK || !strings.Contains(body, "OK") {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := get(secure + "/metrics"); code != http.StatusNotFound {
		t.Errorf("metrics on a listener for health: %d", code)
	}
	if code, body := get(plain + "/metrics"); code != http.StatusOK || !strings.Contains(body, "listener_connections_refused") {
		t.Errorf("%d %.200s", code, body)
	}
	if code, _ := get(plain + "/health"); code != http.StatusNotFound {
		t.Errorf("health without its module: %d", code)
	}
}

// dialWS opens a WebSocket with headers of a proxy.
func dialWS(t *testing.T, url string, header http.Header) (net.Conn, error) {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	ws, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{
		Subprotocols: []string{"mqtt"}, HTTPHeader: header, HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		return nil, err
	}
	return websocket.NetConn(context.Background(), ws, websocket.MessageBinary), nil
}

// Behind a trusted proxy the client's address and name are those that it tells.
func TestForwardedFor(t *testing.T) {
	b := serveBroker(
		t, "listener.ws.w = 127.0.0.1:0", "listener.ws.proxy_xff_support = on", "listener.ws.proxy_xff_trusted_intermediate = 127.0.0.0/8, 10.0.0.1",
		"listener.ws.cn = 127.0.0.1:0", "listener.ws.cn.proxy_xff_use_cn_as_username = on", "listener.ws.cn.proxy_xff_cn_header = x-name",
		"listener.ws.far = 127.0.0.1:0", "listener.ws.far.proxy_xff_trusted_intermediate = 10.0.0.1",
	)
	url := func(name string) string { return "ws://" + addressOf(t, b, "listener.ws."+name) + "/mqtt" }
	connect := func(name, id string, header http.Header) {
		t.Helper()
		nc, err := dialWS(t, url(name), header)
		if err != nil {
			t.Fatal(err)
		}
		if r := newClient(t, nc).connect(5, id, "", ""); r.Failed() {
			t.Fatal(r)
		}
	}
	connect("w", "one", http.Header{"X-Forwarded-For": {"6.6.6.6, 1.2.3.4, 10.0.0.1"}})
	connect("cn", "two", http.Header{"X-Forwarded-For": {"2001:db8::1"}, "X-Name": {"device"}})
	got := map[string]string{}
	b.sessions.Each(func(i session.Info) bool {
		got[i.ID.ClientID] = i.Peer.Addr().String() + " " + i.User
		return true
	})
	if d := cmp.Diff(map[string]string{"one": "1.2.3.4 ", "two": "2001:db8::1 device"}, got); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"cn", "far"} {
		if _, err := dialWS(t, url(name), http.Header{"X-Forwarded-For": {"1.2.3.4"}}); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A connection ends after the listener's max_connection_lifetime, with 0x98.
func TestMaxConnectionLifetime(t *testing.T) {
	b := serveBroker(t, "listener.tcp.short = 127.0.0.1:0", "listener.tcp.short.max_connection_lifetime = 50ms")
	c := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.short"))
	if r := c.connect(5, "short", "", ""); r.Failed() {
		t.Fatal(r)
	}
	if d, ok := c.read().(*packet.Disconnect); !ok || d.Reason != packet.AdministrativeAction {
		t.Errorf("%+v", d)
	}
	if p := c.read(); p != nil {
		t.Errorf("after DISCONNECT: %v", p)
	}
}

// Listeners that are suspended, resumed, stopped and started leave the sessions
// of the others, and their own queues, alone.
func TestSuspendedListenersKeepSessions(t *testing.T) {
	acl := filepath.Join(t.TempDir(), "vmq.acl")
	writeFile(t, acl, "topic #\n")
	b := serveBroker(t, "listener.tcp.second = 127.0.0.1:0", "plugins.vmq_acl = on", "vmq_acl.acl_file = "+acl)
	k := listener.Key{Type: listener.TCP, Name: "default"}
	address := addressOf(t, b, k.String())
	kept := dialClient(t, "tcp", address)
	kept.v = 4
	kept.write(&packet.Connect{Version: 4, ClientID: "kept"}) // a durable session
	if ack, ok := kept.read().(*packet.Connack); !ok || ack.Reason.Failed() {
		t.Fatalf("%+v", ack)
	}
	if r := kept.subscribe("a/#"); r.Failed() {
		t.Fatal(r)
	}
	other := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.second"))
	other.connect(4, "other", "", "")
	if err := b.listeners.Suspend(k); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("a suspended listener accepts")
	}
	other.publish("a/1")
	if p, ok := kept.read().(*packet.Publish); !ok || p.Topic != "a/1" {
		t.Fatalf("the session of a suspended listener got %+v", p)
	}
	kept.write(&packet.Ack{Kind: packet.TypePuback, PacketID: 1})
	kept.write(&packet.Pingreq{})
	if _, ok := kept.read().(*packet.Pingresp); !ok { // so the PUBACK was handled
		t.Fatal("no PINGRESP")
	}
	if why := (readiness{b}).Node(); len(why) != 0 {
		t.Error(why)
	}
	if err := b.listeners.Stop(k, true); err != nil { // its connections end, their sessions stay
		t.Fatal(err)
	}
	if p := kept.read(); p != nil {
		t.Errorf("stopped with its connections: %v", p)
	}
	other.publish("a/2")
	if err := b.listeners.Resume(k); err != nil {
		t.Fatal(err)
	}
	again := dialClient(t, "tcp", addressOf(t, b, k.String()))
	again.v = 4
	again.write(&packet.Connect{Version: 4, ClientID: "kept"})
	if ack, ok := again.read().(*packet.Connack); !ok || !ack.SessionPresent {
		t.Fatalf("%+v", ack)
	}
	if p, ok := again.read().(*packet.Publish); !ok || p.Topic != "a/2" {
		t.Errorf("after the restart of its listener the session got %+v", p)
	}
}

// What was killed leaves its socket behind.
func TestUnixSocketOfAKilledBroker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen("unix", path); err == nil {
		t.Error("a socket in use was taken")
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	again, err := listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
