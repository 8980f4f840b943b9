package listener

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

func TestProxyProtocol(t *testing.T) {
	src := &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 4567}
	dst := &net.TCPAddr{IP: net.IPv4(10, 9, 9, 9), Port: 1883}
	for _, c := range []struct {
		name  string
		typ   Type
		v     byte
		local bool
		cn    string
	}{
		{name: "v1", typ: TCP, v: 1},
		{name: "v2", typ: TCP, v: 2},
		{name: "v2 with CN", typ: TCP, v: 2, cn: "device"},
		{name: "v2 of the proxy itself", typ: TCP, v: 2, local: true},
		{name: "v1 over ws", typ: WS, v: 1},
		{name: "v2 with CN over ws", typ: WS, v: 2, cn: "device"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEcho()
			_, addr := start(t, Options{Serve: e.serve}, Config{Key: Key{c.typ, "p"}, ProxyProtocol: true, ProxyCN: true})
			h := proxyproto.HeaderProxyFromAddrs(c.v, src, dst)
			if c.local {
				h = &proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}
			}
			if c.cn != "" {
				tlv, err := tlvparse.PP2SSL{
					Client: tlvparse.PP2_BITFIELD_CLIENT_SSL | tlvparse.PP2_BITFIELD_CLIENT_CERT_CONN,
					TLV:    []proxyproto.TLV{{Type: proxyproto.PP2_SUBTYPE_SSL_CN, Value: []byte(c.cn)}, {Type: proxyproto.PP2_SUBTYPE_SSL_VERSION, Value: []byte("TLSv1.3")}},
				}.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				if err := h.SetTLVs([]proxyproto.TLV{tlv}); err != nil {
					t.Fatal(err)
				}
			}
			conn := dial(t, "tcp", addr)
			if _, err := h.WriteTo(conn); err != nil {
				t.Fatal(err)
			}
			if c.typ == WS {
				conn = dialWS(t, "ws://"+addr+"/mqtt", conn)
			}
			roundTrip(t, conn)
			i, served := <-e.infos, <-e.conns
			want := "10.1.2.3:4567"
			if c.local {
				want = served.RemoteAddr().String()
			}
			if i.Peer.String() != want || served.RemoteAddr().String() != want || i.Identity != c.cn {
				t.Errorf("%+v, remote %s", i, served.RemoteAddr())
			}
			if _, ok := Unwrap(served).(*net.TCPConn); !ok {
				t.Errorf("below %T is %T", served, Unwrap(served))
			}
		})
	}
}

func TestProxyProtocolIsRequired(t *testing.T) {
	e := newEcho()
	m, addr := start(t, Options{Serve: e.serve}, Config{Key: tcpKey, ProxyProtocol: true, HandshakeTimeout: 50 * time.Millisecond})
	silent := dial(t, "tcp", addr)
	c := dial(t, "tcp", addr)
	if _, err := c.Write([]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00")); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, c)
	wantClosed(t, silent)
	await(t, m, "two failures", func(s Status) bool { return s.Failed == 2 && s.Active == 0 })
	if len(e.infos) != 0 {
		t.Error("served without PROXY header")
	}
}

// secure returns the files and options of a TLS listener, and its CA.
func secure(t *testing.T) (*files, *TLS, *ca) {
	t.Helper()
	a := newCA(t)
	f := &files{}
	cert, key, _ := a.issue(t, "server")
	f.set("cert", cert)
	f.set("key", key)
	f.set("ca", pemOf("CERTIFICATE", a.cert.Raw))
	return f, &TLS{CertFile: "cert", KeyFile: "key"}, a
}

// trust returns a client configuration.
func trust(t *testing.T, a *ca, cert, key []byte) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(a.cert)
	if cert != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

func dialTLS(t *testing.T, addr string, c *tls.Config) *tls.Conn {
	t.Helper()
	c = c.Clone()
	c.ServerName = "127.0.0.1"
	return tls.Client(dial(t, "tcp", addr), c)
}

func TestTLS(t *testing.T) {
	f, o, a := secure(t)
	e := newEcho()
	m, addr := start(t, Options{Serve: e.serve, ReadFile: f.read}, Config{Key: Key{SSL, "s"}, TLS: o})
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := trust(t, a, nil, nil)
		cfg.MinVersion, cfg.MaxVersion = v, v
		c := dialTLS(t, addr, cfg)
		roundTrip(t, c)
		if i := <-e.infos; i.Certificate != nil || i.Identity != "" {
			t.Errorf("%+v", i)
		}
		if _, ok := Unwrap(<-e.conns).(*net.TCPConn); !ok {
			t.Error("the TCP connection cannot be reached")
		}
	}
	wantClosed(t, func() net.Conn { // plain MQTT on a TLS port
		c := dial(t, "tcp", addr)
		c.Write([]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"))
		b := make([]byte, 64)
		c.Read(b) // the alert
		return c
	}())
	await(t, m, "the failure", func(s Status) bool { return s.Failed == 1 })
}

func TestTLSHandshakeTimeout(t *testing.T) {
	f, o, _ := secure(t)
	e := newEcho()
	m, addr := start(t, Options{Serve: e.serve, ReadFile: f.read},
		Config{Key: Key{SSL, "s"}, TLS: o, HandshakeTimeout: 50 * time.Millisecond})
	wantClosed(t, dial(t, "tcp", addr))
	await(t, m, "the failure", func(s Status) bool { return s.Failed == 1 && s.Active == 0 })
}

func TestClientCertificates(t *testing.T) {
	f, o, a := secure(t)
	good, goodKey, _ := a.issue(t, "alice")
	bad, badKey, badCert := a.issue(t, "mallory")
	nameless, namelessKey, _ := a.issue(t, "")
	foreign, foreignKey, _ := newCA(t).issue(t, "alice")
	f.set("crl", a.crl(t, badCert))
	o.CAFile, o.CRLFile, o.RequireCertificate, o.UseIdentityAsUsername = "ca", "crl", true, true
	for _, typ := range []Type{SSL, WSS} {
		t.Run(string(typ), func(t *testing.T) {
			e := newEcho()
			_, addr := start(t, Options{Serve: e.serve, ReadFile: f.read}, Config{Key: Key{typ, "s"}, TLS: o})
			for name, c := range map[string]*tls.Config{
				"none": trust(t, a, nil, nil), "revoked": trust(t, a, bad, badKey),
				"nameless": trust(t, a, nameless, namelessKey), "foreign": trust(t, a, foreign, foreignKey),
			} {
				conn := dialTLS(t, addr, c)
				conn.Write([]byte("GET /mqtt HTTP/1.0\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")) // fails or not, the answer tells
				b := make([]byte, 1000)
				if n, err := conn.Read(b); err == nil && !strings.Contains(string(b[:n]), "403") {
					t.Errorf("%s: %q", name, b[:n])
				}
			}
			conn := net.Conn(dialTLS(t, addr, trust(t, a, good, goodKey)))
			if typ == WSS {
				conn = dialWS(t, "ws://"+addr+"/mqtt", conn) // TLS is on already
			}
			roundTrip(t, conn)
			if i := <-e.infos; i.Identity != "alice" || i.Certificate == nil || i.Certificate.Subject.CommonName != "alice" {
				t.Errorf("%+v", i)
			}
			if len(e.infos) != 0 {
				t.Error("a client with a bad certificate was served")
			}
		})
	}
}

func TestCertificateReload(t *testing.T) {
	f, o, a := secure(t)
	e := newEcho()
	m, addr := start(t, Options{Serve: e.serve, ReadFile: f.read}, Config{Key: Key{SSL, "s"}, TLS: o})
	serverName := func() string {
		c := dialTLS(t, addr, trust(t, a, nil, nil))
		roundTrip(t, c)
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := serverName(); got != "server" {
		t.Fatal(got)
	}
	cert, key, _ := a.issue(t, "renewed")
	f.set("cert", cert)
	if err := m.Reload(); err == nil || !strings.Contains(err.Error(), "listener.ssl.s.certfile") {
		t.Errorf("certificate without its key: %v", err)
	}
	if got := serverName(); got != "server" {
		t.Errorf("after a failed reload: %s", got)
	}
	f.set("key", key)
	if err := m.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := serverName(); got != "renewed" {
		t.Errorf("after the reload: %s", got)
	}
}

func TestTLSConfigErrors(t *testing.T) {
	f, base, a := secure(t)
	f.set("junk", []byte("junk"))
	other := newCA(t)
	f.set("othercrl", other.crl(t))
	f.set("pkcs8", pemOf("ENCRYPTED PRIVATE KEY", []byte("x")))
	_ = a
	for name, c := range map[string]struct {
		change func(*TLS)
		want   string
	}{
		"cert missing":   {func(o *TLS) { o.CertFile = "none" }, "listener.ssl.s.certfile: open none"},
		"key missing":    {func(o *TLS) { o.KeyFile = "none" }, "listener.ssl.s.keyfile: open none"},
		"cert junk":      {func(o *TLS) { o.CertFile = "junk" }, "listener.ssl.s.certfile: junk"},
		"encrypted":      {func(o *TLS) { o.KeyFile = "pkcs8" }, "listener.ssl.s.keyfile: pkcs8: encrypted PKCS #8"},
		"version":        {func(o *TLS) { o.Versions = []string{"tlsv1.1"} }, "listener.ssl.s.tls_version"},
		"cipher":         {func(o *TLS) { o.Ciphers = []string{"RC4-SHA"} }, "listener.ssl.s.ciphers"},
		"no CA":          {func(o *TLS) { o.RequireCertificate = true }, "listener.ssl.s.cafile"},
		"CA missing":     {func(o *TLS) { o.CAFile = "none" }, "listener.ssl.s.cafile"},
		"CA junk":        {func(o *TLS) { o.CAFile = "junk" }, "listener.ssl.s.cafile: junk: no PEM"},
		"CRL missing":    {func(o *TLS) { o.CAFile, o.CRLFile = "ca", "none" }, "listener.ssl.s.crlfile"},
		"CRL junk":       {func(o *TLS) { o.CAFile, o.CRLFile = "ca", "junk" }, "listener.ssl.s.crlfile"},
		"CRL of another": {func(o *TLS) { o.CAFile, o.CRLFile = "ca", "othercrl" }, "not signed"},
	} {
		o := *base
		c.change(&o)
		m := New(Options{ReadFile: f.read, Listen: func(string, string) (net.Listener, error) {
			t.Errorf("%s: bound", name)
			return nil, net.ErrClosed
		}})
		if err := m.Start(Config{Key: Key{SSL, "s"}, TLS: &o}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCipherNames(t *testing.T) {
	for _, name := range []string{
		"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305",
		"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	} {
		s := &secrets{cfg: TLS{Ciphers: []string{name}}}
		c := &tls.Config{}
		if err := s.ciphers(c); err != nil || len(c.CipherSuites) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// dialWS opens a WebSocket, over conn if there is one already.
func dialWS(t *testing.T, url string, conn net.Conn) net.Conn {
	t.Helper()
	o := &websocket.DialOptions{Subprotocols: []string{"mqtt"}}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	if conn != nil {
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	}
	o.HTTPClient = &http.Client{Transport: transport}
	ws, _, err := websocket.Dial(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	if ws.Subprotocol() != "mqtt" {
		t.Errorf("subprotocol %q", ws.Subprotocol())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return websocket.NetConn(ctx, ws, websocket.MessageBinary)
}

func TestWebSocket(t *testing.T) {
	e := newEcho()
	m, addr := start(t, Options{Serve: e.serve}, Config{Key: Key{WS, "w"}, MaxConnections: 3})
	for _, path := range []string{"/mqtt", "/"} {
		c := dialWS(t, "ws://"+addr+path, nil)
		roundTrip(t, c)
		i, served := <-e.infos, <-e.conns
		if i.Key.Type != WS || !i.Peer.IsValid() || served.RemoteAddr().String() != i.Peer.String() {
			t.Errorf("%+v", i)
		}
		c.Close()
	}
	await(t, m, "the end of both", func(s Status) bool { return s.Active == 0 && s.All == 2 })
	for _, r := range []struct{ request, want string }{
		{"GET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404"},
		{"POST /mqtt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "405"},
		{"GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "400"},
		{"GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: close\r\nSec-WebSocket-Protocol: chat\r\n\r\n", "400"},
		{"GET /mqtt HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n", "431"},
		{"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00\r\n\r\n", "400"},
	} {
		c := dial(t, "tcp", addr)
		c.Write([]byte(r.request)) // the server may close before it has read all
		b := make([]byte, 100)
		n, _ := c.Read(b)
		if !strings.HasPrefix(string(b[:n]), "HTTP/1.1 "+r.want) {
			t.Errorf("%.40q: %q", r.request, b[:n])
		}
		c.Close()
	}
	await(t, m, "the end of all", func(s Status) bool { return s.Active == 0 && s.Failed == 6 })
}

func TestWebSocketTextIsRefused(t *testing.T) { // [MQTT-6.0.0-1]
	e := newEcho()
	_, addr := start(t, Options{Serve: e.serve}, Config{Key: Key{WS, "w"}})
	ws, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqttv3.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if err := ws.Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("%v", err)
	}
}

func TestWebSocketCloseByServer(t *testing.T) {
	m, addr := start(t, Options{Serve: func(c net.Conn, _ *Info, ended func()) { c.Close(); ended() }}, Config{Key: Key{WS, "w"}})
	ws, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("%v", err)
	}
	await(t, m, "the end", func(s Status) bool { return s.Active == 0 })
}

func TestForwarded(t *testing.T) {
	proxy, second := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for _, c := range []struct {
		name, peer, xff, cn, want string
		useCN, ok                 bool
	}{
		{name: "no header", peer: "10.0.0.1", want: "10.0.0.1:9", ok: true},
		{name: "one hop", peer: "10.0.0.1", xff: "1.2.3.4", want: "1.2.3.4:0", ok: true},
		{name: "two proxies", peer: "10.0.0.1", xff: "1.2.3.4, 10.0.0.2", want: "1.2.3.4:0", ok: true},
		{name: "forged front", peer: "10.0.0.1", xff: "6.6.6.6, 1.2.3.4", want: "1.2.3.4:0", ok: true},
		{name: "junk", peer: "10.0.0.1", xff: "1.2.3.4, junk", want: "10.0.0.1:9", ok: true},
		{name: "direct", peer: "10.0.0.9", xff: "1.2.3.4"},
		{name: "cn", peer: "10.0.0.2", xff: "1.2.3.4", useCN: true, cn: "dev", want: "1.2.3.4:0", ok: true},
		{name: "cn missing", peer: "10.0.0.2", xff: "1.2.3.4", useCN: true},
	} {
		f := &Forwarded{Trusted: []netip.Prefix{netip.PrefixFrom(proxy, 32), netip.PrefixFrom(second, 32)}, UseCN: c.useCN, CNHeader: "x-ssl-client-cn"}
		r := httptest.NewRequest(http.MethodGet, "/mqtt", nil)
		if c.xff != "" {
			r.Header.Set("X-Forwarded-For", c.xff)
		}
		if c.cn != "" {
			r.Header.Set("X-SSL-Client-CN", c.cn)
		}
		info := &Info{Peer: netip.AddrPortFrom(netip.MustParseAddr(c.peer), 9)}
		ok := f.apply(r, info)
		if ok != c.ok || ok && (info.Peer.String() != c.want || info.Identity != c.cn) {
			t.Errorf("%s: %v, %v, %q", c.name, ok, info.Peer, info.Identity)
		}
	}
}
