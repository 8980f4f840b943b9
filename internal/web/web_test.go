package web

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is Readiness and Status.
type fake struct {
	node, offline []string
	listeners     []Listener
	nodes         []NodeStatus
}

func (f *fake) Node() []string                     { return f.node }
func (f *fake) Offline() []string                  { return f.offline }
func (f *fake) Listeners() []Listener              { return f.listeners }
func (f *fake) Nodes(context.Context) []NodeStatus { return f.nodes }

func newHandler(t *testing.T, c Config) http.Handler {
	t.Helper()
	if c.Metrics == nil {
		c.Metrics = metrics.New()
	}
	if c.Modules == nil {
		c.Modules = []Module{{Name: ModuleMetrics}, {Name: ModuleHealth}, {Name: ModuleStatus}}
	}
	h, err := Handler(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestMetrics(t *testing.T) {
	reg := metrics.New()
	v4, v5 := metrics.Label{Name: "mqtt_version", Value: "4"}, metrics.Label{Name: "mqtt_version", Value: "5"}
	reg.Counter("mqtt_publish_received", "PUBLISH packets in", v4).Add(1_000_000_000_000)
	reg.Counter("mqtt_publish_received", "another help", v5)
	reg.Counter("mqtt_puback_sent", "PUBACK packets out", v5, metrics.Label{Name: "reason_code", Value: `a"b\`}).Inc()
	reg.Gauge("retain_messages", "retained messages", func() int64 { return 7 })
	h := newHandler(t, Config{Node: "VerneMQ@127.0.0.1", Namespace: DefaultNamespace, Metrics: reg, Readiness: &fake{}})
	w := get(h, http.MethodGet, "/metrics")
	want := `# HELP vernemq_mqtt_puback_sent PUBACK packets out
# TYPE vernemq_mqtt_puback_sent counter
vernemq_mqtt_puback_sent{node="VerneMQ@127.0.0.1",mqtt_version="5",reason_code="a\"b\\"} 1
# HELP vernemq_mqtt_publish_received PUBLISH packets in
# TYPE vernemq_mqtt_publish_received counter
vernemq_mqtt_publish_received{node="VerneMQ@127.0.0.1",mqtt_version="4"} 1e+12
vernemq_mqtt_publish_received{node="VerneMQ@127.0.0.1",mqtt_version="5"} 0
# HELP vernemq_retain_messages retained messages
# TYPE vernemq_retain_messages gauge
vernemq_retain_messages{node="VerneMQ@127.0.0.1"} 7
`
	if d := cmp.Diff(want, w.Body.String()); d != "" || w.Code != http.StatusOK {
		t.Errorf("%d: %s", w.Code, d)
	}
	if ct := w.Header().Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
		t.Errorf("content type %s", ct)
	}
	h = newHandler(t, Config{Node: "n@h", Metrics: reg, Readiness: &fake{}})
	if body := get(h, http.MethodGet, "/metrics").Body.String(); !strings.Contains(body, "\nretain_messages{node=\"n@h\"} 7\n") {
		t.Errorf("without namespace:\n%s", body)
	}
}

// bad is a Metrics whose samples contradict each other.
type bad struct{}

func (bad) Samples() []metrics.Sample {
	return []metrics.Sample{
		{Kind: metrics.KindGauge, Name: "twice", Value: 1},
		{Kind: metrics.KindGauge, Name: "twice", Value: 2},
		{Kind: metrics.KindGauge, Name: "good", Value: 3},
	}
}

func TestMetricsSurviveABadSample(t *testing.T) {
	var l strings.Builder
	h := newHandler(t, Config{Node: "n", Metrics: bad{}, Readiness: &fake{}, Logger: slog.New(slog.NewTextHandler(&l, nil))})
	if body := get(h, http.MethodGet, "/metrics").Body.String(); !strings.Contains(body, `good{node="n"} 3`) {
		t.Errorf("%s", body)
	}
	if !strings.Contains(l.String(), "twice") {
		t.Errorf("log: %s", &l)
	}
}

func TestHealth(t *testing.T) {
	up := Listener{Type: "mqtt", Status: "running"}
	down := []Listener{up, {Type: "mqttws", Status: "suspended"}, {Type: "mqtt", Status: "stopped"}, {Type: "mqtt", Status: "suspended"}}
	const ok = `{"status":"OK"}`
	for _, c := range []struct {
		name, path string
		f          fake
		code       int
		body       string
	}{
		{"ping", "/health/ping", fake{node: []string{"x"}, listeners: down}, 200, ok},
		{"good", "/health", fake{listeners: []Listener{up}, offline: []string{"other"}}, 200, ok},
		{"not joined", "/health", fake{node: []string{"Node has not joined cluster"}}, 503, `{"reasons":["Node has not joined cluster"],"status":"DOWN"}`},
		{"listeners down", "/health", fake{listeners: down}, 503, `{"reasons":["Listeners are not ready: [mqtt,mqttws]"],"status":"DOWN"}`},
		{"both", "/health", fake{node: []string{"a"}, listeners: down}, 503, `{"reasons":["a","Listeners are not ready: [mqtt,mqttws]"],"status":"DOWN"}`},
		{"listeners", "/health/listeners", fake{listeners: []Listener{up}, node: []string{"x"}}, 200, ok},
		{"listeners not", "/health/listeners", fake{listeners: down}, 503, `{"reason":"Listeners are not ready: [mqtt,mqttws]","status":"DOWN"}`},
		{"cluster", "/health/listeners_full_cluster", fake{listeners: []Listener{up}}, 200, ok},
		{"cluster not", "/health/listeners_full_cluster", fake{offline: []string{"b"}}, 503, `{"reasons":["At least one node is offline"],"status":"DOWN"}`},
	} {
		w := get(newHandler(t, Config{Readiness: &c.f}), http.MethodGet, c.path)
		if w.Code != c.code || strings.TrimSpace(w.Body.String()) != c.body || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
}

func TestStatusJSON(t *testing.T) {
	f := &fake{nodes: []NodeStatus{
		{Name: "z@1", Online: 3, Version: "1.0", Members: map[string]bool{"z@1": true, "a@2": false}, Listeners: []Listener{
			{Type: "mqtt", Status: "running", Address: "127.0.0.1", Port: 1883, MaxConnections: 10000},
		}},
		{Name: "a@2"},
	}}
	w := get(newHandler(t, Config{Readiness: f, Status: f}), http.MethodGet, "/status.json")
	var got []map[string]map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || len(got[0]) != 2 || len(got[0]["z@1"]) != 15 {
		t.Fatalf("%s", w.Body)
	}
	want := map[string]any{
		"mystatus":  []any{map[string]any{"z@1": true, "a@2": false}},
		"listeners": []any{map[string]any{"type": "mqtt", "status": "running", "ip": "127.0.0.1", "port": 1883.0, "mountpoint": "", "max_conns": 10000.0}},
		"version":   "1.0", "num_online": 3.0,
	}
	for k, v := range want {
		if d := cmp.Diff(v, got[0]["z@1"][k]); d != "" {
			t.Errorf("%s: %s", k, d)
		}
	}
	if !strings.HasPrefix(w.Body.String(), `[{"z@1":`) || !strings.Contains(w.Body.String(), `"listeners":[]`) {
		t.Errorf("the serving node is not first, or an empty list is null: %s", w.Body)
	}
	if w := get(newHandler(t, Config{Readiness: f}), http.MethodGet, "/status.json"); w.Code != http.StatusNotFound {
		t.Errorf("without Status: %d", w.Code)
	}
}

func TestOtherRequests(t *testing.T) {
	h := newHandler(t, Config{Readiness: &fake{}})
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodPost, "/metrics", http.StatusMethodNotAllowed},
		{http.MethodGet, "/", http.StatusNotFound},
		{http.MethodGet, "/health/none", http.StatusNotFound},
		{http.MethodHead, "/health/ping", http.StatusOK},
	} {
		if w := get(h, c.method, c.path); w.Code != c.want || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: %d", c.method, c.path, w.Code)
		}
	}
}

func TestModules(t *testing.T) {
	all := map[string]string{
		ModuleMetrics: "/metrics", ModuleHealth: "/health", ModuleStatus: "/status.json",
	}
	for module := range all {
		h := newHandler(t, Config{Readiness: &fake{}, Status: &fake{}, Modules: []Module{{Name: "vmq_http_mgmt_api"}, {Name: module}}})
		for m, path := range all {
			want := http.StatusNotFound
			if m == module {
				want = http.StatusOK
			}
			if w := get(h, http.MethodGet, path); w.Code != want {
				t.Errorf("%s with %s: %d, want %d", path, module, w.Code, want)
			}
		}
	}
}
