package listener

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pires/go-proxyproto"
)

// hello serves HTTP with who asks.
func hello(*Config) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello "+r.RemoteAddr) }), nil
}

// ask sends a request and returns the answer up to the close.
func ask(c net.Conn, request string) string {
	_, _ = io.WriteString(c, request) // the server may close before it has read all
	b, _ := io.ReadAll(c)
	return string(b)
}

const get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

func TestHTTP(t *testing.T) {
	m, addr := start(t, Options{Handler: hello}, Config{Key: Key{HTTP, "h"}, MaxConnections: 10, MaxRequestLine: 100, MaxHeaderValue: 200})
	for request, want := range map[string]string{
		get + "\r\n": "200",
		"GET /" + strings.Repeat("x", 100) + " HTTP/1.1\r\nHost: x\r\n\r\n": "414",
		get + "X: " + strings.Repeat("x", 201) + "\r\n\r\n":                 "431",
		get + strings.Repeat("X: 123456789\r\n", 3000) + "\r\n":             "431",
		get + "X: " + strings.Repeat("x", 200) + "\r\n\r\n":                 "200",
	} {
		if got := ask(dial(t, "tcp", addr), request); !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("%.60q: %.40q, want %s", request, got, want)
		}
	}
	await(t, m, "the end of all", func(s Status) bool { return s.Active == 0 && s.All == 5 && s.Failed == 0 })
	m.SuspendAll()
	if s := m.List()[0]; s.State != Running {
		t.Errorf("HTTP is %s when the cluster is left", s.State)
	}
	if err := m.Suspend(Key{HTTP, "h"}); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a suspended listener accepts")
	}
	if err := m.ResumeAll(); err != nil {
		t.Fatal(err)
	}
	if got := ask(dial(t, "tcp", bound(m, Key{HTTP, "h"})), get+"\r\n"); !strings.Contains(got, "hello") {
		t.Errorf("resumed: %q", got)
	}
	bad := New(Options{Handler: func(*Config) (http.Handler, error) { return nil, errors.New("no pages") }})
	if err := bad.Start(Config{Key: Key{HTTP, "h"}}); err == nil {
		t.Error("a listener without pages starts")
	}
}

// A client that does not finish its request does not keep its connection.
func TestHTTPSilence(t *testing.T) {
	_, addr := start(t, Options{Handler: hello}, Config{Key: Key{HTTP, "h"}, HandshakeTimeout: 50 * time.Millisecond})
	c := dial(t, "tcp", addr)
	if _, err := io.WriteString(c, strings.TrimSuffix(get, "close\r\n")); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, c)
}

func TestHTTPS(t *testing.T) {
	f, o, a := secure(t)
	client, clientKey, _ := a.issue(t, "scraper")
	o.CAFile, o.RequireCertificate = "ca", true
	m, addr := start(t, Options{Handler: hello, ReadFile: f.read}, Config{Key: Key{HTTPS, "h"}, TLS: o})
	server := func() string {
		c := dialTLS(t, addr, trust(t, a, client, clientKey))
		if got := ask(c, get+"\r\n"); !strings.Contains(got, "hello") {
			t.Errorf("%q", got)
		}
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := server(); got != "server" {
		t.Error(got)
	}
	if got := ask(dialTLS(t, addr, trust(t, a, nil, nil)), get+"\r\n"); strings.Contains(got, "hello") {
		t.Error("served without a client certificate")
	}
	cert, key, _ := a.issue(t, "renewed")
	f.set("cert", cert)
	f.set("key", key)
	if err := m.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := server(); got != "renewed" {
		t.Error(got)
	}
}

func TestHTTPBehindProxyProtocol(t *testing.T) {
	_, addr := start(t, Options{Handler: hello}, Config{Key: Key{HTTP, "h"}, ProxyProtocol: true})
	h := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 4567}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80})
	c := dial(t, "tcp", addr)
	if _, err := h.WriteTo(c); err != nil {
		t.Fatal(err)
	}
	if got := ask(c, get+"\r\n"); !strings.HasSuffix(got, "hello 10.1.2.3:4567") {
		t.Errorf("%q", got)
	}
	if got := ask(dial(t, "tcp", addr), get+"\r\n"); strings.Contains(got, "hello") {
		t.Error("served without PROXY header")
	}
}

// A refused connection behind a proxy has its header in front.
func TestRefusalBehindProxyProtocol(t *testing.T) {
	e := newEcho()
	m, addr := start(t, Options{Serve: e.serve, Refuse: func(c net.Conn) {
		b := make([]byte, 5)
		if _, err := io.ReadFull(c, b); err == nil {
			_, _ = c.Write(append(b, " not"...))
		}
	}}, Config{Key: tcpKey, ProxyProtocol: true, MaxConnections: 1, MaxRefusals: 1})
	held := dial(t, "tcp", addr)
	await(t, m, "the connection", func(s Status) bool { return s.Active == 1 })
	h := proxyproto.HeaderProxyFromAddrs(1, &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 4567}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80})
	c := dial(t, "tcp", addr)
	if _, err := h.WriteTo(c); err != nil {
		t.Fatal(err)
	}
	if got := ask(c, "hello"); got != "hello not" {
		t.Errorf("%q", got)
	}
	held.Close()
}

func TestWebSocketMessageLimit(t *testing.T) {
	e := newEcho()
	_, addr := start(t, Options{Serve: e.serve}, Config{Key: Key{WS, "w"}, MaxFrame: 1000})
	for size, ok := range map[int]bool{1000: true, 1002: false} { // the library lets one byte more pass
		ws, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := ws.Write(t.Context(), websocket.MessageBinary, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		got := 0
		for got < size {
			_, b, err := ws.Read(t.Context())
			if err != nil {
				if ok || websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
					t.Errorf("%d bytes: %v", size, err)
				}
				break
			}
			got += len(b)
		}
		if ok != (got == size) {
			t.Errorf("%d bytes: %d came back", size, got)
		}
		ws.CloseNow()
	}
}

func TestWebSocketRequestBounds(t *testing.T) {
	e := newEcho()
	_, addr := start(t, Options{Serve: e.serve}, Config{Key: Key{WS, "w"}, MaxRequestLine: 100, MaxHeaderValue: 200})
	for request, want := range map[string]string{
		"GET /mqtt?" + strings.Repeat("x", 100) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":       "414",
		"GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + strings.Repeat("x", 201) + "\r\n\r\n": "431",
		"GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":                                        "400",
	} {
		if got := ask(dial(t, "tcp", addr), request); !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("%.60q: %.40q, want %s", request, got, want)
		}
	}
}

func TestCurves(t *testing.T) {
	f, o, a := secure(t)
	o.Curves = []tls.CurveID{tls.CurveP384}
	e := newEcho()
	_, addr := start(t, Options{Serve: e.serve, ReadFile: f.read}, Config{Key: Key{SSL, "s"}, TLS: o})
	for curve, ok := range map[tls.CurveID]bool{tls.CurveP384: true, tls.X25519: false} {
		cfg := trust(t, a, nil, nil)
		cfg.CurvePreferences = []tls.CurveID{curve}
		if err := dialTLS(t, addr, cfg).Handshake(); (err == nil) != ok {
			t.Errorf("%s: %v", curve, err)
		}
	}
}
