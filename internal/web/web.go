// Package web is what listener.http and listener.https serve to machines: Prometheus metrics,
// health for load balancers and orchestrators, and the status as JSON, under
// VerneMQ's paths and with its texts. It holds no rules of its own: what is
// healthy and what is counted, others say through the interfaces here.
package web

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// DefaultNamespace is the default of prometheus_namespace.
const DefaultNamespace = "vernemq_"

// Readiness says whether this node can serve.
type Readiness interface {
	// Node returns why this node cannot serve, such as "Node has not joined
	// cluster"; nothing if it can. Other nodes' troubles are not among them.
	Node() []string
	// Listeners returns all listeners of this node.
	Listeners() []Listener
	// Offline returns the names of the members that are down.
	Offline() []string
}

// Metrics is what /metrics prints; *metrics.Registry is one.
type Metrics interface {
	Samples() []metrics.Sample
}

// Status collects /status.json; it may ask other nodes, until ctx ends, and
// leaves out those that do not answer. The serving node comes first.
type Status interface {
	Nodes(ctx context.Context) []NodeStatus
}

// Listener is one listener in health and status.
type Listener struct {
	// Type is mqtt, mqtts, mqttws, mqttwss, vmq, vmqs, http or https.
	Type string `json:"type"`
	// Status is running, suspended or stopped.
	Status     string `json:"status"`
	Address    string `json:"ip"`
	Port       int    `json:"port"`
	Mountpoint string `json:"mountpoint"`
	// MaxConnections is 0 for no limit.
	MaxConnections int `json:"max_conns"`
}

// NodeStatus is one node in /status.json: the rows of node status, absolute
// counts, and its listeners.
type NodeStatus struct {
	Name           string `json:"-"`
	Online         int64  `json:"num_online"`
	Offline        int64  `json:"num_offline"`
	MessagesIn     int64  `json:"msg_in"`
	MessagesOut    int64  `json:"msg_out"`
	QueueIn        int64  `json:"queue_in"`
	QueueOut       int64  `json:"queue_out"`
	QueueDrop      int64  `json:"queue_drop"`
	QueueUnhandled int64  `json:"queue_unhandled"`
	Subscriptions  int64  `json:"num_subscriptions"`
	Retained       int64  `json:"num_retained"`
	MatchesLocal   int64  `json:"matches_local"`
	MatchesRemote  int64  `json:"matches_remote"`
	Version        string `json:"version"`
	// Members is this node's view: which members it reaches.
	Members   map[string]bool `json:"-"`
	Listeners []Listener      `json:"listeners"`
}

// MarshalJSON adds mystatus, which VerneMQ's status page reads as a list of one
// object.
func (n NodeStatus) MarshalJSON() ([]byte, error) {
	type plain NodeStatus // without this method
	members := n.Members
	if members == nil {
		members = map[string]bool{}
	}
	if n.Listeners == nil {
		n.Listeners = []Listener{}
	}
	return json.Marshal(struct {
		plain
		MyStatus []map[string]bool `json:"mystatus"`
	}{plain(n), []map[string]bool{members}})
}

// Modules that an HTTP listener may serve, in VerneMQ's names.
const (
	ModuleMetrics = "vmq_metrics_http"
	ModuleHealth  = "vmq_health_http"
	ModuleStatus  = "vmq_status_http"
)

// Module is one part of what a listener serves.
type Module struct {
	Name string
	// APIKey demands a key of the module's scope with each request.
	APIKey bool
}

// Config is what the pages need. Status may be nil: /status.json is not there
// then.
type Config struct {
	// Node is the node name, the first label of every metric.
	Node string
	// Namespace is put before the name of every metric; empty for none.
	Namespace string
	Readiness Readiness
	Metrics   Metrics
	Status    Status
	// Modules are what is served; others than the three above are not known and
	// left out.
	Modules []Module
	// Keys check API keys; with nil there are none, so what needs one is
	// refused to everybody.
	Keys Keys
	// Registry counts requests; optional.
	Registry *metrics.Registry
	Logger   *slog.Logger
}

// Limits of single pages.
const (
	statusTimeout = 5 * time.Second
	maxScrapes    = 4
)

// Handler serves the pages.
func Handler(c Config) (http.Handler, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	h := &handler{Config: c, count: newCounters(c.Registry)}
	mux := http.NewServeMux()
	for _, known := range []struct {
		name, scope string
		routes      func() (map[string]http.Handler, error)
	}{
		{ModuleMetrics, "metrics", h.metricsRoutes}, {ModuleHealth, "health", h.healthRoutes}, {ModuleStatus, "status", h.statusRoutes},
	} {
		i := slices.IndexFunc(c.Modules, func(m Module) bool { return m.Name == known.name })
		if i < 0 {
			continue
		}
		routes, err := known.routes()
		if err != nil {
			return nil, err
		}
		for pattern, page := range routes {
			if c.Modules[i].APIKey {
				page = h.withKey(known.scope, page)
			}
			mux.Handle("GET "+pattern, page) // HEAD is among them
		}
	}
	return h.bounded(mux), nil
}

func (h *handler) metricsRoutes() (map[string]http.Handler, error) {
	registry := prometheus.NewRegistry()
	if err := registry.Register(&collector{node: h.Node, namespace: h.Namespace, metrics: h.Metrics}); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return map[string]http.Handler{"/metrics": promhttp.HandlerFor(nodeFirst(registry), promhttp.HandlerOpts{
		ErrorLog:            promLog{h.Logger},
		ErrorHandling:       promhttp.ContinueOnError, // one bad sample hides no other
		MaxRequestsInFlight: maxScrapes,
	})}, nil
}

func (h *handler) healthRoutes() (map[string]http.Handler, error) {
	return map[string]http.Handler{
		"/health":                        http.HandlerFunc(h.health),
		"/health/ping":                   http.HandlerFunc(h.ping),
		"/health/listeners":              http.HandlerFunc(h.listeners),
		"/health/listeners_full_cluster": http.HandlerFunc(h.cluster),
	}, nil
}

func (h *handler) statusRoutes() (map[string]http.Handler, error) {
	if h.Status == nil {
		return nil, nil
	}
	routes := pageRoutes()
	routes["/status.json"] = http.HandlerFunc(h.status)
	return routes, nil
}

type handler struct {
	Config
	count counters
}

// ping answers while the process does.
func (h *handler) ping(w http.ResponseWriter, _ *http.Request) { h.answer(w, "reasons", nil) }

// health fails when this node cannot serve or a listener is not running; not
// when other nodes are down.
func (h *handler) health(w http.ResponseWriter, _ *http.Request) {
	h.answer(w, "reasons", append(h.Readiness.Node(), h.notRunning()...))
}

// listeners fails when a listener is not running.
func (h *handler) listeners(w http.ResponseWriter, _ *http.Request) {
	h.answer(w, "reason", h.notRunning())
}

// cluster fails when a member is down or a listener here is not running.
func (h *handler) cluster(w http.ResponseWriter, _ *http.Request) {
	var reasons []string
	if len(h.Readiness.Offline()) > 0 {
		reasons = append(reasons, "At least one node is offline")
	}
	h.answer(w, "reasons", append(reasons, h.notRunning()...))
}

// notRunning returns the reason if some listener is not running.
func (h *handler) notRunning() []string {
	var types []string
	for _, l := range h.Readiness.Listeners() {
		if l.Status != "running" && !slices.Contains(types, l.Type) {
			types = append(types, l.Type)
		}
	}
	if len(types) == 0 {
		return nil
	}
	slices.Sort(types)
	return []string{"Listeners are not ready: [" + strings.Join(types, ",") + "]"}
}

// answer writes OK, or the reasons under VerneMQ's key for that page: a list
// for "reasons", one text for "reason".
func (h *handler) answer(w http.ResponseWriter, key string, reasons []string) {
	if len(reasons) == 0 {
		h.write(w, http.StatusOK, map[string]any{"status": "OK"})
		return
	}
	var value any = reasons
	if key == "reason" {
		value = strings.Join(reasons, "; ")
	}
	h.write(w, http.StatusServiceUnavailable, map[string]any{"status": "DOWN", key: value})
}

// status writes a list of one object, node name → node.
func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	h.write(w, http.StatusOK, []byNode{h.Status.Nodes(ctx)})
}

// byNode writes nodes as an object in their order, which a map would lose.
type byNode []NodeStatus

// MarshalJSON writes the object.
func (nodes byNode) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, n := range nodes {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(n.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(n)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

// write sends v as JSON.
func (h *handler) write(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		h.Logger.Error("encoding an HTTP answer failed", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n'))
}

// promLog gives promhttp's errors to slog.
type promLog struct{ log *slog.Logger }

// Println logs what went wrong with a scrape.
func (p promLog) Println(v ...any) {
	p.log.Error("exporting metrics", "error", strings.TrimSpace(fmt.Sprintln(v...)))
}
