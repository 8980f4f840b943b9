package hook

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Errors of the Registry.
var (
	// ErrNoHooks: the value implements none of the hook interfaces.
	ErrNoHooks = errors.New("plugin implements no hook")
	// ErrAttached: a plugin of that name is attached already.
	ErrAttached = errors.New("plugin is attached already")
	// ErrUnknownPlugin: a listener's chain names a plugin that is not attached.
	ErrUnknownPlugin = errors.New("plugin is not enabled")
	// ErrDuplicate: a listener's chain names a plugin twice.
	ErrDuplicate = errors.New("plugin is named twice")
)

// Options are what a Registry needs; all may be zero.
type Options struct {
	Logger  *slog.Logger
	Metrics *metrics.Registry
	// OnPanic is told of a plugin's panic, with its stack, for the crash log.
	OnPanic func(plugin string, p Point, value any, stack []byte)
}

// Registry holds the attached plugins in the order in which they are asked.
type Registry struct {
	log     *slog.Logger
	metrics *metrics.Registry
	onPanic func(plugin string, p Point, value any, stack []byte)

	mu      sync.Mutex // guards what follows
	plugins []*plugin
	chains  map[chainKey]*Chain
}

// chainKey is the configuration of a chain, so that equal listeners share one.
type chainKey struct{ auth, authz string }

// plugin is one attached plugin.
type plugin struct {
	name   string
	value  any
	points []Point
	errors *metrics.Counter
}

// New returns a Registry without plugins. Its chains refuse what is asked.
func New(o Options) *Registry {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnPanic == nil {
		o.OnPanic = func(string, Point, any, []byte) {}
	}
	return &Registry{log: o.Logger, metrics: o.Metrics, onPanic: o.OnPanic, chains: map[chainKey]*Chain{}}
}

// Attach appends a plugin to the order. From the return on, the next call of
// every chain asks it. The name is that of the setting, such as "vmq_acl".
func (r *Registry) Attach(name string, value any) error {
	points := pointsOf(value)
	if len(points) == 0 {
		return fmt.Errorf("attaching %s: %w", name, ErrNoHooks)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.find(name) >= 0 {
		return fmt.Errorf("attaching %s: %w", name, ErrAttached)
	}
	r.plugins = append(r.plugins, &plugin{
		name: name, value: value, points: points,
		errors: r.metrics.Counter("plugin_hook_errors", "Hook calls that a plugin failed to answer.",
			metrics.Label{Name: "plugin", Value: name}),
	})
	r.rebuild()
	return nil
}

// Detach removes a plugin; calls under way finish. It reports whether there was
// one of that name. Listeners whose chain names it refuse what it would have
// decided.
func (r *Registry) Detach(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.find(name)
	if i < 0 {
		return false
	}
	r.plugins = slices.Delete(slices.Clone(r.plugins), i, i+1)
	r.rebuild()
	return true
}

// PluginInfo describes an attached plugin.
type PluginInfo struct {
	Name   string
	Points []Point
}

// Plugins lists the attached plugins in order.
func (r *Registry) Plugins() []PluginInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]PluginInfo, len(r.plugins))
	for i, p := range r.plugins {
		out[i] = PluginInfo{Name: p.name, Points: slices.Clone(p.points)}
	}
	return out
}

// Chain returns the chain of a listener: auth names the plugins that
// auth_on_register and on_auth ask (listener.<type>.<name>.auth_plugins), authz
// those of auth_on_publish and auth_on_subscribe, each in that order; an empty
// list stands for all attached plugins in their order, those attached later
// included. The other hooks always reach every plugin.
func (r *Registry) Chain(auth, authz []string) (*Chain, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range [][]string{auth, authz} {
		for i, name := range list {
			if slices.Contains(list[:i], name) {
				return nil, fmt.Errorf("chain of %s: %w", name, ErrDuplicate)
			}
			if r.find(name) < 0 {
				return nil, fmt.Errorf("chain of %s: %w", name, ErrUnknownPlugin)
			}
		}
	}
	key := chainKey{fmt.Sprintf("%q", auth), fmt.Sprintf("%q", authz)}
	if c, ok := r.chains[key]; ok {
		return c, nil
	}
	c := &Chain{registry: r, auth: slices.Clone(auth), authz: slices.Clone(authz)}
	c.table.Store(r.build(c))
	r.chains[key] = c
	return c, nil
}

// Default returns the chain of listeners that choose no plugins themselves.
func (r *Registry) Default() *Chain {
	c, _ := r.Chain(nil, nil) // empty lists name nothing unknown
	return c
}

// find returns the position of a plugin or -1; r.mu is held.
func (r *Registry) find(name string) int {
	return slices.IndexFunc(r.plugins, func(p *plugin) bool { return p.name == name })
}

// rebuild gives every chain a new table; r.mu is held.
func (r *Registry) rebuild() {
	for _, c := range r.chains {
		c.table.Store(r.build(c))
	}
}

// chosen returns the named plugins that are attached, or all; r.mu is held.
func (r *Registry) chosen(names []string) []*plugin {
	if len(names) == 0 {
		return r.plugins
	}
	var out []*plugin
	for _, name := range names {
		if i := r.find(name); i >= 0 {
			out = append(out, r.plugins[i])
		}
	}
	return out
}

// build makes the table of a chain; r.mu is held.
func (r *Registry) build(c *Chain) *table {
	t := &table{}
	auth, authz := r.chosen(c.auth), r.chosen(c.authz)
	t.authOnRegister = subscribers[AuthOnRegister](auth)
	t.onAuth = subscribers[OnAuth](auth)
	t.authOnPublish = subscribers[AuthOnPublish](authz)
	t.authOnSubscribe = subscribers[AuthOnSubscribe](authz)
	t.onRegister = subscribers[OnRegister](r.plugins)
	t.onPublish = subscribers[OnPublish](r.plugins)
	t.onSubscribe = subscribers[OnSubscribe](r.plugins)
	t.onUnsubscribe = subscribers[OnUnsubscribe](r.plugins)
	t.onDeliver = subscribers[OnDeliver](r.plugins)
	t.onOfflineMessage = subscribers[OnOfflineMessage](r.plugins)
	t.onMessageDrop = subscribers[OnMessageDrop](r.plugins)
	t.onClientWakeup = subscribers[OnClientWakeup](r.plugins)
	t.onClientOffline = subscribers[OnClientOffline](r.plugins)
	t.onClientGone = subscribers[OnClientGone](r.plugins)
	t.onSessionExpired = subscribers[OnSessionExpired](r.plugins)
	t.onTopicUnsubscribed = subscribers[OnTopicUnsubscribed](r.plugins)
	t.mark()
	for _, p := range r.plugins {
		if _, prompt := p.value.(Prompt); !prompt {
			for _, point := range p.points {
				t.waits[point] = true
			}
		}
	}
	return t
}

// subscribers returns those plugins that implement T; nil when none does.
func subscribers[T any](plugins []*plugin) []subscriber[T] {
	var out []subscriber[T]
	for _, p := range plugins {
		if v, ok := p.value.(T); ok {
			out = append(out, subscriber[T]{plugin: p, call: v})
		}
	}
	return out
}

// implements adds p to points when v has that hook.
func implements[T any](points []Point, v any, p Point) []Point {
	if _, ok := v.(T); ok {
		return append(points, p)
	}
	return points
}

// pointsOf lists the hooks that v implements.
func pointsOf(v any) []Point {
	var ps []Point
	ps = implements[AuthOnRegister](ps, v, PointAuthOnRegister)
	ps = implements[AuthOnPublish](ps, v, PointAuthOnPublish)
	ps = implements[AuthOnSubscribe](ps, v, PointAuthOnSubscribe)
	ps = implements[OnRegister](ps, v, PointOnRegister)
	ps = implements[OnPublish](ps, v, PointOnPublish)
	ps = implements[OnSubscribe](ps, v, PointOnSubscribe)
	ps = implements[OnUnsubscribe](ps, v, PointOnUnsubscribe)
	ps = implements[OnDeliver](ps, v, PointOnDeliver)
	ps = implements[OnAuth](ps, v, PointOnAuth)
	ps = implements[OnOfflineMessage](ps, v, PointOnOfflineMessage)
	ps = implements[OnMessageDrop](ps, v, PointOnMessageDrop)
	ps = implements[OnClientWakeup](ps, v, PointOnClientWakeup)
	ps = implements[OnClientOffline](ps, v, PointOnClientOffline)
	ps = implements[OnClientGone](ps, v, PointOnClientGone)
	ps = implements[OnSessionExpired](ps, v, PointOnSessionExpired)
	return implements[OnTopicUnsubscribed](ps, v, PointOnTopicUnsubscribed)
}
