package web

import (
	"errors"
	"net/http"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Keys are the API keys of the cluster.
type Keys interface {
	// Check reports whether a key that came from remote, host:port, opens scope.
	// ErrLimited says that it was not looked at.
	Check(remote, key, scope string) error
}

// ErrLimited is an error of Keys: too many wrong keys came from that address.
var ErrLimited = errors.New("too many wrong API keys")

// errNoKey: none was sent, or there are none.
var errNoKey = errors.New("no API key")

// counters are of all listeners together.
type counters struct{ requests, refused, tooLarge *metrics.Counter }

func newCounters(r *metrics.Registry) counters {
	return counters{
		requests: r.Counter("http_requests", "Requests to HTTP listeners."),
		refused:  r.Counter("http_requests_refused", "Requests to HTTP listeners without a valid API key where one is needed."),
		tooLarge: r.Counter("http_requests_too_large", "Requests to HTTP listeners refused because they had a body."),
	}
}

// bounded counts requests, refuses bodies, which no page takes, and adds the
// headers that keep answers out of frames and caches.
func (h *handler) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.count.requests.Inc()
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'")
		if r.ContentLength != 0 { // -1 is one of unknown length
			h.count.tooLarge.Inc()
			header.Set("Connection", "close")
			http.Error(w, "there is nothing here that takes a body", http.StatusRequestEntityTooLarge)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// withKey lets requests through that bring an API key: as user name of HTTP
// Basic, whatever the password, or, without the header Authorization, in
// x-api-key.
func (h *handler) withKey(scope string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("X-Api-Key")
		if r.Header.Get("Authorization") != "" {
			key, _, _ = r.BasicAuth()
		}
		err := errNoKey
		if key != "" && h.Keys != nil {
			err = h.Keys.Check(r.RemoteAddr, key, scope)
		}
		switch {
		case err == nil:
			next.ServeHTTP(w, r)
			return
		case errors.Is(err, ErrLimited):
			w.Header().Set("Retry-After", "60")
			http.Error(w, ErrLimited.Error(), http.StatusTooManyRequests)
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="VerneMQ"`)
			http.Error(w, "an API key of the scope "+scope+" is needed", http.StatusUnauthorized)
		}
		h.count.refused.Inc()
	})
}
