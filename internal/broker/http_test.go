package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/mqadmin/mqadmin/internal/apikey"
	"github.com/mqadmin/mqadmin/internal/listener"
)

// curl asks as an operator does: the status and the body.
func curl(t *testing.T, args ...string) (status, body string) {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("needs curl, to ask as others do")
	}
	out, err := exec.CommandContext(t.Context(), path, append([]string{"--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl %q: %v: %s", args, err, out)
	}
	i := bytes.LastIndexByte(out, '\n')
	return string(out[i+1:]), string(out[:i])
}

// Every page of an HTTP listener, asked with curl, and what is no request for
// one of them.
func TestHTTPPages(t *testing.T) {
	b := serveBroker(t, "listener.http.default.max_header_value_length = 100", "listener.http.default.max_request_line_length = 200")
	url := "http://" + addressOf(t, b, "listener.http.default")
	const ok = `{"status":"OK"}`
	for _, c := range []struct {
		path string
		args []string
		want string
		has  string
	}{
		{path: "/metrics", want: "200", has: `vernemq_mqtt_publish_received{node="` + b.name + `",mqtt_version="5"} 0`},
		{path: "/metrics", want: "200", has: `vernemq_raft_fsync_microseconds_bucket{node="` + b.name + `",le="10"}`},
		{path: "/health", want: "200", has: ok},
		{path: "/health/ping", want: "200", has: ok},
		{path: "/health/listeners", want: "200", has: ok},
		{path: "/health/listeners_full_cluster", want: "200", has: ok},
		{path: "/status.json", want: "200", has: `[{"` + b.name + `":{"num_online":0,`},
		{path: "/status", want: "200", has: "<title>Status</title>"},
		{path: "/status/status.js", want: "200", has: "use strict"},
		{path: "/status/status.css", want: "200", has: "font"},
		{path: "/metrics", args: []string{"--head"}, want: "200", has: "text/plain"},
		{path: "/metrics", args: []string{"--data", "x"}, want: "413"},
		{path: "/health", args: []string{"-X", "POST"}, want: "405"},
		{path: "/health", args: []string{"-X", "DELETE"}, want: "405"},
		{path: "/health", args: []string{"-H", "X-Long: " + strings.Repeat("x", 101)}, want: "431"},
		{path: "/health?" + strings.Repeat("x", 200), want: "414"},
		{path: "/", want: "404"},
		{path: "/api/v1/session/show", want: "404"},
		{path: "/status/../../etc/passwd", args: []string{"--path-as-is"}, want: "307"},
	} {
		if status, body := curl(t, append(c.args, url+c.path)...); status != c.want || !strings.Contains(body, c.has) {
			t.Errorf("%s %.40q: %s %.300s", c.path, c.args, status, body)
		}
	}
	var nodes []map[string]map[string]any
	if _, body := curl(t, url+"/status.json"); json.Unmarshal([]byte(body), &nodes) != nil || len(nodes[0][b.name]["listeners"].([]any)) != 2 {
		t.Errorf("%s", body)
	}
	if err := b.listeners.Suspend(listener.Key{Type: "tcp", Name: "default"}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/health":                        `503 {"reasons":["Listeners are not ready: [mqtt]"],"status":"DOWN"}`,
		"/health/listeners":              `503 {"reason":"Listeners are not ready: [mqtt]","status":"DOWN"}`,
		"/health/listeners_full_cluster": `503 {"reasons":["Listeners are not ready: [mqtt]"],"status":"DOWN"}`,
		"/health/ping":                   "200 " + ok,
	} {
		if status, body := curl(t, url+path); strings.TrimSpace(status+" "+body) != want {
			t.Errorf("%s with a suspended listener: %s %s", path, status, body)
		}
	}
}

// Keys open what they are for, on the listener whose settings ask for them: its
// own go before those of all listeners. Whoever tries too many waits.
func TestHTTPKeys(t *testing.T) {
	b := serveBroker(t, "http_module.vmq_metrics_http.auth.mode = apikey", "http_module.vmq_health_http.auth.mode = apikey",
		"listener.http.default.http_module.vmq_health_http.auth.mode = noauth", "listener.http.default.http_module.vmq_status_http.auth.mode = apikey",
		"listener.http.all = 127.0.0.1:0", "admin.max_failed_logins = 3")
	own, all := "http://"+addressOf(t, b, "listener.http.default"), "http://"+addressOf(t, b, "listener.http.all")
	secret := func(scope string) string {
		t.Helper()
		s, _, err := b.keys.Create(t.Context(), apikey.Request{Scope: scope})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	metricsKey, statusKey := secret(apikey.Metrics), secret(apikey.Status)
	for _, c := range []struct {
		url  string
		args []string
		want string
	}{
		{own + "/metrics", []string{"--user", metricsKey + ":"}, "200"},
		{all + "/metrics", []string{"--header", "x-api-key: " + metricsKey}, "200"},
		{own + "/health", nil, "200"},
		{all + "/health", nil, "401"},
		{own + "/status.json", []string{"--user", statusKey + ":any"}, "200"},
		{own + "/status", []string{"--user", statusKey + ":"}, "200"},
		{own + "/status.json", nil, "401"},
		{all + "/status.json", nil, "200"},
		{own + "/metrics", []string{"--user", statusKey + ":"}, "401"},
		{own + "/metrics", []string{"--user", "wrong:"}, "401"},
		{own + "/metrics", []string{"--user", "wrong:"}, "401"},
		{own + "/metrics", []string{"--user", metricsKey + ":"}, "429"},
	} {
		if status, body := curl(t, append(c.args, c.url)...); status != c.want {
			t.Errorf("%s %q: %s %.200s", c.url, c.args, status, body)
		}
	}
	if n := metric(b, "http_requests_refused"); n != 6 {
		t.Errorf("%d refusals counted", n)
	}
}

// Prometheus' own checker reads what is served. It also has opinions: those about
// VerneMQ's names are left to VerneMQ.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool, of Debian's package prometheus")
	}
	b := metricsBroker(t)
	_, text := curl(t, "http://"+addressOf(t, b, "listener.http.default")+"/metrics")
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if e, isExit := errors.AsType[*exec.ExitError](err); err != nil && (!isExit || e.ExitCode() != 3) { // 3 is for opinions
		t.Fatalf("%v: %s", err, out)
	}
	opinions := []string{ // names as VerneMQ has them, and units as in its names
		`counter metrics should have "_total" suffix`, "use base unit", `non-counter metrics should not have "_total" suffix`,
		"should not have", "metric names should not contain abbreviated units",
	}
	for line := range strings.Lines(string(out)) {
		if !slices.ContainsFunc(opinions, func(o string) bool { return strings.Contains(line, o) }) {
			t.Errorf("%s", line)
		}
	}
}
