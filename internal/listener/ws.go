package listener

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/pires/go-proxyproto"
)

// subprotocols that a client may offer [MQTT-6.0.0-3]: the registered one
// [MQTT-6.0.0-4] and what clients of MQTT 3.1 send.
var subprotocols = []string{"mqtt", "mqttv3.1"}

// closeGrace is how long a client has to answer our close frame.
const closeGrace = time.Second

// connKey finds the connection in the context of its request.
type connKey struct{}

// upgrades serves the upgrade on /mqtt, VerneMQ's path, and on / for clients
// that send none.
func (e *entry) upgrades() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", e.upgrade)
	mux.HandleFunc("GET /mqtt", e.upgrade)
	return mux
}

// connState counts connections that end without having been upgraded.
func (e *entry) connState(c net.Conn, s http.ConnState) {
	if s == http.StateClosed {
		e.reject(c.RemoteAddr(), http.ErrAbortHandler)
	}
}

// upgrade makes a WebSocket of the request and serves it until it ends.
func (e *entry) upgrade(w http.ResponseWriter, r *http.Request) {
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	info, status, why := e.webInfo(r, conn)
	if status != 0 {
		http.Error(w, why, status)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: subprotocols,
		// Pages of any origin may connect, as to VerneMQ: MQTT authenticates by
		// itself and no cookie is involved.
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return // answered by Accept; counted by connState
	}
	// The request's context ends with its server, which Suspend closes.
	c := &wsConn{
		Conn: websocket.NetConn(context.WithoutCancel(r.Context()), ws, websocket.MessageBinary),
		ws:   ws, raw: conn, info: info, closed: make(chan struct{}),
	}
	if n := e.cfg.MaxFrame; n > 0 {
		ws.SetReadLimit(n) // of a message; NetConn has taken the library's away
	}
	defer func() {
		_ = c.Close()
		<-c.closed
	}()
	e.serve(c, info, func() {})
}

// webInfo reads who is behind a request. status is 0 if it may be upgraded.
func (e *entry) webInfo(r *http.Request, conn net.Conn) (info *Info, status int, why string) {
	info = &Info{Config: &e.cfg}
	if conn == nil {
		return nil, http.StatusInternalServerError, "connection unknown"
	}
	if !offers(r, subprotocols) {
		return nil, http.StatusBadRequest, "the WebSocket subprotocol must be mqtt"
	}
	inner := conn
	if tc, ok := inner.(*tls.Conn); ok {
		state := tc.ConnectionState()
		if err := e.identify(&state, info); err != nil {
			return nil, http.StatusForbidden, err.Error()
		}
		inner = tc.NetConn()
	}
	if pc, ok := inner.(*proxyproto.Conn); ok {
		if err := e.proxied(pc, info); err != nil {
			return nil, http.StatusBadRequest, err.Error()
		}
	}
	info.Peer, info.Local = addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	if e.cfg.Forwarded != nil && !e.cfg.Forwarded.apply(r, info) {
		return nil, http.StatusForbidden, "not from a trusted proxy, or without the user name it should send"
	}
	return info, 0, ""
}

// offers reports whether the client offers one of the subprotocols.
func offers(r *http.Request, wanted []string) bool {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(strings.TrimSpace(p), w) }) {
				return true
			}
		}
	}
	return false
}

// apply takes the client's address from X-Forwarded-For, and its name if so
// configured. It reports false for a request that did not come from a trusted
// proxy. Each proxy appends to the header, so the client is the last address
// that is not a trusted proxy's; what stands before it may be forged.
func (f *Forwarded) apply(r *http.Request, info *Info) bool {
	if !f.trusts(info.Peer.Addr()) {
		return false
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		addr = addr.Unmap()
		info.Peer = netip.AddrPortFrom(addr, 0)
		if !f.trusts(addr) {
			break
		}
	}
	if f.UseCN {
		info.Identity = r.Header.Get(f.CNHeader)
		return info.Identity != ""
	}
	return true
}

// trusts reports whether an address is a proxy's.
func (f *Forwarded) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(f.Trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}

// wsConn is a WebSocket as a stream of its binary messages.
type wsConn struct {
	net.Conn
	ws     *websocket.Conn
	raw    net.Conn
	info   *Info
	once   sync.Once
	closed chan struct{} // closed when the close handshake is over
}

// NetConn returns the connection below.
func (c *wsConn) NetConn() net.Conn { return c.raw }

// RemoteAddr returns the client's address.
func (c *wsConn) RemoteAddr() net.Addr {
	if c.info.Peer.IsValid() {
		return net.TCPAddrFromAddrPort(c.info.Peer)
	}
	return c.raw.RemoteAddr()
}

// Close sends a close frame and returns at once. A client that does not answer
// it is cut off after a second.
func (c *wsConn) Close() error {
	c.once.Do(func() {
		go func() { // ends after closeGrace at the latest; upgrade waits for it
			defer close(c.closed)
			cut := time.AfterFunc(closeGrace, func() { c.raw.Close() })
			defer cut.Stop()
			_ = c.ws.Close(websocket.StatusNormalClosure, "") // the peer may be gone
			c.raw.Close()
			c.Conn.Close() // stops its timers
		}()
	})
	return nil
}
