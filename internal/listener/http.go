package listener

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Bounds of a request of ws, wss, http and https where none are configured.
const (
	defaultRequestLine = 8000
	defaultHeaderValue = 4096
	// headerRoom is for headers beside the longest one.
	headerRoom = 16 << 10
)

// Bounds in time of http and https.
const (
	requestTimeout = 30 * time.Second
	idleTimeout    = time.Minute
)

// newServer returns the HTTP side of a ws, wss, http or https listener.
func (e *entry) newServer() *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true) // an upgrade exists in HTTP/1.1 only
	srv := &http.Server{
		Protocols:         protocols,
		ReadHeaderTimeout: e.cfg.HandshakeTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, IdleTimeout: idleTimeout,
		ErrorLog:    slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	handler := e.handler
	if e.cfg.Type.web() {
		handler = e.upgrades()
		srv.ReadTimeout, srv.WriteTimeout, srv.IdleTimeout = e.cfg.HandshakeTimeout, e.cfg.HandshakeTimeout, e.cfg.HandshakeTimeout
		srv.ConnState = e.connState
	}
	e.limit(srv, handler)
	return srv
}

// limit bounds requests: net/http knows one bound for all headers together, so
// the request line and each value are looked at once they are read.
func (e *entry) limit(srv *http.Server, next http.Handler) {
	line, value := e.cfg.MaxRequestLine, e.cfg.MaxHeaderValue
	if line == 0 {
		line = defaultRequestLine
	}
	if value == 0 {
		value = defaultHeaderValue
	}
	srv.MaxHeaderBytes = line + value + headerRoom
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status := tooLong(r, line, value); status != 0 {
			w.Header().Set("Connection", "close")
			http.Error(w, http.StatusText(status), status)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tooLong returns the status for a request beyond its bounds, else 0.
func tooLong(r *http.Request, line, value int) int {
	if len(r.Method)+len(r.RequestURI)+len(r.Proto)+len("  ") > line {
		return http.StatusRequestURITooLong
	}
	for _, values := range r.Header {
		for _, v := range values {
			if len(v) > value {
				return http.StatusRequestHeaderFieldsTooLarge
			}
		}
	}
	return 0
}
