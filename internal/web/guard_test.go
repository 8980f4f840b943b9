package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// keys are Keys: key → scope.
type keys map[string]string

func (k keys) Check(remote, key, scope string) error {
	switch {
	case remote == "192.0.2.66:1":
		return fmt.Errorf("%w from there", ErrLimited)
	case k[key] != scope:
		return errors.New("unknown")
	}
	return nil
}

// Each page of a protected module wants a key of the module's scope, brought in
// one of the two ways, and no other page does.
func TestAPIKeys(t *testing.T) {
	scopes := map[string]string{ModuleMetrics: "metrics", ModuleHealth: "health", ModuleStatus: "status"}
	pages := map[string][]string{
		ModuleMetrics: {"/metrics"},
		ModuleHealth:  {"/health", "/health/ping", "/health/listeners", "/health/listeners_full_cluster"},
		ModuleStatus:  {"/status", "/status/status.js", "/status/status.css", "/status.json"},
	}
	for module, scope := range scopes {
		reg := metrics.New()
		c := Config{Readiness: &fake{}, Status: &fake{}, Keys: keys{"good": scope, "other": "mgmt"}, Registry: reg}
		for m := range scopes {
			c.Modules = append(c.Modules, Module{Name: m, APIKey: m == module})
		}
		h := newHandler(t, c)
		for m, paths := range pages {
			for _, path := range paths {
				for _, tc := range []struct {
					name          string
					user, header  string
					authorization string
					want          int
				}{
					{name: "no key", want: http.StatusUnauthorized},
					{name: "header", header: "good", want: http.StatusOK},
					{name: "basic", user: "good", want: http.StatusOK},
					{name: "wrong", user: "bad", want: http.StatusUnauthorized},
					{name: "other scope", header: "other", want: http.StatusUnauthorized},
					{name: "basic goes first", user: "bad", header: "good", want: http.StatusUnauthorized},
					{name: "another scheme", authorization: "Bearer good", header: "good", want: http.StatusUnauthorized},
				} {
					r := httptest.NewRequest(http.MethodGet, path, nil)
					if tc.user != "" {
						r.SetBasicAuth(tc.user, "any")
					}
					if tc.authorization != "" {
						r.Header.Set("Authorization", tc.authorization)
					}
					r.Header.Set("X-Api-Key", tc.header)
					want := tc.want
					if m != module {
						want = http.StatusOK
					}
					w := httptest.NewRecorder()
					h.ServeHTTP(w, r)
					if w.Code != want || (want == http.StatusUnauthorized) != strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Basic ") {
						t.Errorf("%s protected, %s, %s: %d, want %d", module, path, tc.name, w.Code, want)
					}
				}
			}
		}
		if n := count(reg, "http_requests_refused"); n != int64(5*len(pages[module])) {
			t.Errorf("%s: %d refusals counted", module, n)
		}
	}
}

func TestTooManyWrongKeys(t *testing.T) {
	h := newHandler(t, Config{Readiness: &fake{}, Modules: []Module{{ModuleHealth, true}}, Keys: keys{"good": "health"}})
	r := httptest.NewRequest(http.MethodGet, "/health", nil)
	r.Header.Set("X-Api-Key", "good")
	r.RemoteAddr = "192.0.2.66:1"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestWithoutKeysNobodyIsLetIn(t *testing.T) {
	h := newHandler(t, Config{Readiness: &fake{}, Modules: []Module{{ModuleHealth, true}}})
	r := httptest.NewRequest(http.MethodGet, "/health", nil)
	r.SetBasicAuth("any", "")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("%d", w.Code)
	}
}

func TestBodiesAreRefused(t *testing.T) {
	reg := metrics.New()
	h := newHandler(t, Config{Readiness: &fake{}, Registry: reg})
	for _, length := range []int64{1, 1 << 40, -1} {
		r := httptest.NewRequest(http.MethodGet, "/health/ping", strings.NewReader("x"))
		r.ContentLength = length
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusRequestEntityTooLarge || w.Header().Get("Connection") != "close" {
			t.Errorf("length %d: %d", length, w.Code)
		}
	}
	if n := count(reg, "http_requests_too_large"); n != 3 {
		t.Errorf("%d counted", n)
	}
}

func count(r *metrics.Registry, name string) (n int64) {
	for _, s := range r.Samples() {
		if s.Name == name {
			n += s.Value
		}
	}
	return n
}
