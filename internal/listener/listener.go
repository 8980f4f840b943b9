// Package listener opens, suspends and stops the doors of the broker: tcp, ssl,
// ws, wss and unix sockets for MQTT clients, http and https for machines, with
// PROXY protocol, client certificates and a limit on connections. What comes in
// for MQTT is handed to one func as a net.Conn, requests to an http.Handler;
// nothing here knows MQTT. WebSockets are net/http and coder/websocket.
package listener

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Type is the transport of a listener, as in listener.<type>.<name>.
type Type string

// The types: four for MQTT clients, two for metrics, health and status.
const (
	TCP   Type = "tcp"
	SSL   Type = "ssl"
	WS    Type = "ws"
	WSS   Type = "wss"
	HTTP  Type = "http"
	HTTPS Type = "https"
)

// Shown returns the type as listener show and status.json print it.
func (t Type) Shown() string {
	switch t {
	case TCP:
		return "mqtt"
	case SSL:
		return "mqtts"
	case WS:
		return "mqttws"
	case WSS:
		return "mqttwss"
	case HTTP, HTTPS:
	}
	return string(t)
}

// secure reports whether the type speaks TLS.
func (t Type) secure() bool { return t == SSL || t == WSS || t == HTTPS }

// web reports whether the type speaks WebSocket.
func (t Type) web() bool { return t == WS || t == WSS }

// served reports whether net/http has the accept loop.
func (t Type) served() bool { return t.web() || !t.MQTT() }

// MQTT reports whether MQTT clients connect to the type.
func (t Type) MQTT() bool { return t != HTTP && t != HTTPS }

// Key names a listener: listener.<type>.<name>.
type Key struct {
	Type Type
	Name string
}

// String returns the key as in the configuration.
func (k Key) String() string { return "listener." + string(k.Type) + "." + k.Name }

// Config is one listener with its options resolved.
type Config struct {
	Key
	// Network is tcp or unix, Address what it listens on: see ParseAddress.
	Network, Address string
	Mountpoint       string
	// MaxConnections are served at a time; 0 for no limit. Of those beyond,
	// MaxRefusals are answered at a time, the others closed without a word, as
	// all are before a TLS handshake.
	MaxConnections, MaxRefusals int
	// SendBuffer and ReceiveBuffer are the sizes of the socket's buffers in
	// bytes; 0 leaves them to the system.
	SendBuffer, ReceiveBuffer int
	// HandshakeTimeout bounds PROXY header, TLS handshake and WebSocket upgrade
	// together; 0 for 5 s.
	HandshakeTimeout time.Duration
	// ProxyProtocol expects a PROXY v1 or v2 header on every connection and
	// closes those without. Only for listeners that nobody but the proxy
	// reaches.
	ProxyProtocol bool
	// ProxyCN takes the client certificate's CN that a PROXY v2 header carries
	// as user name.
	ProxyCN bool
	// TLS is for ssl, wss and https only.
	TLS *TLS
	// Forwarded is for ws and wss: X-Forwarded-For of a trusted proxy.
	Forwarded *Forwarded
	// MaxRequestLine and MaxHeaderValue bound the HTTP request of ws, wss, http
	// and https in bytes; 0 for 8000 and 4096.
	MaxRequestLine, MaxHeaderValue int
	// MaxFrame bounds a WebSocket message in bytes; 0 for no limit.
	MaxFrame int64
	// Modules are what an http or https listener serves; for Options.Handler.
	Modules []string

	// The rest is for the session and for listener show.

	// AllowedProtocols are the CONNECT levels; empty for 3, 4, 5 and 131.
	AllowedProtocols       []byte
	AllowAnonymousOverride bool
	// AuthPlugins and AuthzPlugins are the listener's own chains; empty for all.
	AuthPlugins, AuthzPlugins []string
	MaxConnectionLifetime     time.Duration
	ForwardConnectionOpts     bool
}

// Forwarded are the proxy_xff_* options.
type Forwarded struct {
	// Trusted are the networks of the proxies; requests from elsewhere are
	// refused.
	Trusted []netip.Prefix
	// UseCN takes the user name from CNHeader, as set by the proxy.
	UseCN    bool
	CNHeader string
}

// Info tells who has come in by which listener. It is shared by all that look
// at the connection and never changed.
type Info struct {
	// Config of the listener; read only.
	*Config
	// Peer is the client, or the zero value for unix sockets; Local where it
	// was accepted. Both after PROXY protocol and X-Forwarded-For.
	Peer, Local netip.AddrPort
	// Certificate is the client's, verified, nil without one.
	Certificate *x509.Certificate
	// Identity replaces the user name of the CONNECT when it is not empty: the
	// CN of the client certificate, if the listener is configured so.
	Identity string
}

// Status is a listener as listener show prints it.
type Status struct {
	Config Config
	// State is running, suspended or stopped.
	State State
	// Address and Port are what is bound: for unix sockets the path and 0.
	Address string
	Port    int
	// Active connections now, All since the start, Refused because of
	// MaxConnections, Failed before they reached MQTT.
	Active, All, Refused, Failed int64
}

// State of a listener.
type State string

// The states. Suspended listeners accept nothing while their connections go
// on; stopped ones have none.
const (
	Running   State = "running"
	Suspended State = "suspended"
	Stopped   State = "stopped"
)

// Errors of the Manager.
var (
	// ErrUnknown: there is no listener of that name.
	ErrUnknown = errors.New("no such listener")
	// ErrExists: there is a listener of that name.
	ErrExists = errors.New("listener exists already")
	// ErrConfig: options contradict each other.
	ErrConfig = errors.New("invalid listener configuration")
	// ErrClosed: the manager is closed.
	ErrClosed = errors.New("listeners are closed")
)

// DefaultHandshakeTimeout is tls_handshake_timeout's default.
const DefaultHandshakeTimeout = 5 * time.Second

// ParseAddress reads the value of listener.<type>.<name>: "ip:port", split at
// the last colon so that IPv6 needs no brackets, or "local:/path:0" for a unix
// socket. A host name in place of the ip is left to the resolver.
func ParseAddress(s string) (network, address string, err error) {
	if rest, ok := strings.CutPrefix(s, "local:"); ok {
		path, port, ok := cutLast(rest)
		if !ok || port != "0" || !strings.HasPrefix(path, "/") {
			return "", "", fmt.Errorf("address %q: want local:/path/to.sock:0", s)
		}
		return "unix", path, nil
	}
	host, port, ok := cutLast(s)
	if !ok || host == "" || port == "" {
		return "", "", fmt.Errorf("address %q: want ip:port", s)
	}
	for _, c := range port {
		if c < '0' || c > '9' {
			return "", "", fmt.Errorf("address %q: port %q is no number", s, port)
		}
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return "tcp", net.JoinHostPort(host, port), nil
}

// cutLast splits at the last colon.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// check reports options that contradict each other.
func (c *Config) check() error {
	fail := func(msg string) error { return fmt.Errorf("%s: %s: %w", c.Key, msg, ErrConfig) }
	switch {
	case !slices.Contains([]Type{TCP, SSL, WS, WSS, HTTP, HTTPS}, c.Type):
		return fail("the type must be tcp, ssl, ws, wss, http or https")
	case c.Type.secure() && c.TLS == nil:
		return fail("certfile and keyfile are missing")
	case !c.Type.secure() && c.TLS != nil:
		return fail("TLS options need type ssl, wss or https")
	case c.ProxyCN && !c.ProxyProtocol:
		return fail("proxy_protocol_use_cn_as_username needs proxy_protocol = on")
	case c.Forwarded != nil && !c.Type.web():
		return fail("proxy_xff_support needs type ws or wss")
	case c.Forwarded != nil && len(c.Forwarded.Trusted) == 0:
		return fail("proxy_xff_support needs proxy_xff_trusted_intermediate")
	case c.Forwarded != nil && c.Forwarded.UseCN && c.Forwarded.CNHeader == "":
		return fail("proxy_xff_use_cn_as_username needs proxy_xff_cn_header")
	case c.MaxConnections < 0:
		return fail("max_connections must not be negative")
	case c.TLS != nil && c.TLS.UseIdentityAsUsername && !c.TLS.RequireCertificate:
		return fail("use_identity_as_username needs require_certificate = on")
	}
	return nil
}
