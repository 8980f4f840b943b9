package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// entry is one listener. Its goroutines are the accept loop, ended by shut, and
// one per connection, ended by Serve; wg has them all.
type entry struct {
	cfg     Config
	o       *Options
	log     *slog.Logger
	secrets *secrets // nil without TLS
	wg      sync.WaitGroup

	handler http.Handler  // http and https
	slots   chan struct{} // one for each refusal that is being answered

	active, all, refusedHere, failedHere atomic.Int64
	refused, unanswered, failed          *metrics.Counter

	mu    sync.Mutex // guards what follows
	st    State
	bound string // what the last open bound
	acc   *acceptor
	web   *http.Server          // ws and wss
	conns map[net.Conn]struct{} // with those that are being refused
}

// tlsError is the gauge of a listener with certificates.
const tlsError = "listener_tls_error"

// label tells the listener's metrics from those of others.
func (e *entry) label() metrics.Label {
	return metrics.Label{Name: "listener", Value: string(e.cfg.Type) + "." + e.cfg.Name}
}

// newEntry prepares a listener without opening it.
func newEntry(c Config, o *Options) (*entry, error) {
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = DefaultHandshakeTimeout
	}
	e := &entry{
		cfg: c, o: o, log: o.Logger.With("listener", c.Key.String()), st: Stopped, bound: c.Address,
		conns: map[net.Conn]struct{}{}, slots: make(chan struct{}, c.MaxRefusals),
	}
	e.refused = o.Metrics.Counter("listener_connections_refused", "Connections refused because of max_connections.", e.label())
	e.unanswered = o.Metrics.Counter("listener_refusals_unanswered", "Refused connections closed without an answer because of max_connection_refusals.", e.label())
	e.failed = o.Metrics.Counter("listener_connections_failed", "Connections closed before MQTT began: PROXY header, TLS, WebSocket.", e.label())
	if c.TLS != nil {
		var err error
		if e.secrets, err = newSecrets(c.Key.String(), *c.TLS, o.ReadFile); err != nil {
			return nil, err
		}
		o.Metrics.Gauge(tlsError, "1 while the certificate files of a listener cannot be used as they are.", func() int64 {
			if e.secrets.failed.Load() {
				return 1
			}
			return 0
		}, e.label())
	}
	if !c.Type.MQTT() {
		var err error
		if e.handler, err = o.Handler(&e.cfg); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// open binds and serves; it does nothing for a running listener.
func (e *entry) open() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.st == Running {
		return nil
	}
	ln, err := e.o.Listen(e.cfg.Network, e.cfg.Address)
	if err != nil {
		return &BindError{Key: e.cfg.Key, Network: e.cfg.Network, Address: e.cfg.Address, Err: err}
	}
	acc := &acceptor{Listener: ln, e: e, done: make(chan struct{}), ended: make(chan struct{})}
	e.acc, e.st, e.bound = acc, Running, ln.Addr().String()
	if e.cfg.Type.served() {
		srv := e.newServer()
		e.web = srv
		e.wg.Go(func() {
			defer close(acc.ended)
			_ = srv.Serve(e.webListener(acc)) // ends with the acceptor
		})
		return nil
	}
	e.wg.Go(func() {
		defer close(acc.ended)
		e.accept(acc)
	})
	return nil
}

// accept is the accept loop of listeners without HTTP. Where nothing has to be
// waited for before MQTT begins, it goes there by itself: a goroutine, with the
// stack that it needs, would cost more than what there is to do.
func (e *entry) accept(acc *acceptor) {
	handshakes := e.cfg.ProxyProtocol || e.secrets != nil
	for {
		c, err := acc.Accept()
		if err != nil {
			return
		}
		if _, socket := c.(syscall.Conn); socket && !handshakes {
			e.establish(c)
		} else {
			go e.establish(c)
		}
	}
}

// webListener puts PROXY protocol and TLS over an acceptor for net/http, which
// runs both on the connection's goroutine.
func (e *entry) webListener(ln net.Listener) net.Listener {
	if e.cfg.ProxyProtocol {
		ln = &proxyproto.Listener{
			Listener: ln, ReadHeaderTimeout: e.cfg.HandshakeTimeout,
			ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
				return proxyproto.REQUIRE, nil
			},
		}
	}
	if e.secrets != nil {
		ln = tls.NewListener(ln, e.secrets.server)
	}
	return ln
}

// shut closes the listening socket, waits for the accept loop and, with kill,
// closes the connections. The lock is not held while waiting: the loop may be
// about to admit a last connection.
func (e *entry) shut(kill bool) {
	e.mu.Lock()
	acc, web := e.acc, e.web
	e.acc, e.web = nil, nil
	e.mu.Unlock()
	if acc != nil {
		acc.stop()
		if web != nil {
			e.endRequests(web)
		}
		<-acc.ended
	}
	e.mu.Lock()
	if e.st == Running {
		e.st = Suspended
	}
	var victims []net.Conn
	if kill {
		e.st = Stopped
		victims = slices.Collect(maps.Keys(e.conns))
	}
	e.mu.Unlock()
	for _, c := range victims {
		c.Close()
	}
}

// requestGrace is how long the requests of a stopped HTTP listener may go on.
const requestGrace = time.Second

// endRequests ends what net/http has. Upgraded connections are no longer the
// server's.
func (e *entry) endRequests(srv *http.Server) {
	if !e.cfg.Type.MQTT() {
		ctx, cancel := context.WithTimeout(context.Background(), requestGrace)
		defer cancel()
		_ = srv.Shutdown(ctx) // what did not finish in time is closed next
	}
	_ = srv.Close()
}

// state returns the current state.
func (e *entry) state() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.st
}

// status returns what listener show prints.
func (e *entry) status() Status {
	e.mu.Lock()
	st, bound := e.st, e.bound
	e.mu.Unlock()
	host, port := hostPort(e.cfg.Network, bound)
	if given, _ := hostPort(e.cfg.Network, e.cfg.Address); given != "" {
		host = given // the system writes 0.0.0.0 as ::
	}
	return Status{
		Config: e.cfg, State: st, Address: host, Port: port,
		Active: e.active.Load(), All: e.all.Load(), Refused: e.refusedHere.Load(), Failed: e.failedHere.Load(),
	}
}

// admit counts a new connection in, unless there are too many.
func (e *entry) admit(c net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cfg.MaxConnections > 0 && e.active.Load() >= int64(e.cfg.MaxConnections) {
		e.refused.Inc()
		e.refusedHere.Add(1)
		return false
	}
	e.conns[c] = struct{}{}
	e.active.Add(1)
	e.all.Add(1)
	e.wg.Add(1)
	return true
}

// forget counts a connection out, once.
func (e *entry) forget(c net.Conn) {
	e.mu.Lock()
	_, known := e.conns[c]
	delete(e.conns, c)
	e.mu.Unlock()
	if known {
		e.active.Add(-1)
		e.wg.Done()
	}
}

// establish brings a connection to where MQTT begins, and gives it to Serve.
func (e *entry) establish(c net.Conn) {
	ended := func() {
		c.Close()
		e.forget(c)
	}
	conn, info, err := e.prepare(c)
	if err != nil {
		e.reject(c.RemoteAddr(), err)
		ended()
		return
	}
	e.serve(conn, info, ended)
}

// reject counts a connection that never came to speak MQTT. It is logged at
// debug level only: anybody can cause any number of them.
func (e *entry) reject(peer net.Addr, err error) {
	e.failed.Inc()
	e.failedHere.Add(1)
	e.log.Debug("connection closed before MQTT", "peer", peer.String(), "error", err)
}

// serve calls Serve and keeps its panic to this connection.
func (e *entry) serve(conn net.Conn, info *Info, ended func()) {
	defer func() {
		if v := recover(); v != nil {
			e.o.OnPanic(v, debug.Stack(), info)
			ended()
		}
	}()
	e.o.Serve(conn, info, ended)
}

// acceptor is the listening socket as the accept loops see it: it keeps the
// limit, outlives temporary errors, and ends only when it is stopped.
type acceptor struct {
	net.Listener
	e     *entry
	done  chan struct{} // closed by stop
	ended chan struct{} // closed when the accept loop has returned
	once  sync.Once
}

// Bounds of the pause after a failed accept, such as "too many open files".
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// Accept returns the next admitted connection, or net.ErrClosed.
func (a *acceptor) Accept() (net.Conn, error) {
	pause := minPause
	for {
		raw, err := a.Listener.Accept()
		if err == nil {
			a.e.buffers(raw)
			if c := a.counted(raw); a.e.admit(c) {
				return c, nil
			}
			a.e.turnAway(raw)
			pause = minPause
			continue
		}
		if a.stopped() || errors.Is(err, net.ErrClosed) {
			return nil, net.ErrClosed
		}
		a.e.log.Error("accepting a connection failed; trying again", "error", err, "pause", pause)
		select {
		case <-a.done:
			return nil, net.ErrClosed
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// counted wraps connections that net/http has.
func (a *acceptor) counted(c net.Conn) net.Conn {
	if a.e.cfg.Type.served() {
		return &webConn{Conn: c, e: a.e}
	}
	return c
}

// stopped reports whether stop was called.
func (a *acceptor) stopped() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// stop makes Accept return.
func (a *acceptor) stop() {
	a.once.Do(func() {
		close(a.done)
		a.Listener.Close()
	})
}

// Close is what net/http calls at the end.
func (a *acceptor) Close() error {
	a.stop()
	return nil
}

// webConn is a connection of net/http, which may close it
// without any handler having run, so the count hangs on Close.
type webConn struct {
	net.Conn
	e    *entry
	once sync.Once
}

// NetConn returns the connection below.
func (c *webConn) NetConn() net.Conn { return c.Conn }

// Close closes the connection and counts it out.
func (c *webConn) Close() error {
	c.once.Do(func() {
		c.Conn.Close()
		c.e.forget(c)
	})
	return nil
}
