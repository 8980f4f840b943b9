package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mqadmin/mqadmin/internal/apikey"
	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/listener"
	"github.com/mqadmin/mqadmin/internal/session"
	"github.com/mqadmin/mqadmin/internal/web"
)

// openHooks makes what plugins attach to.
func (b *Broker) openHooks() {
	b.hooks = hook.New(hook.Options{
		Logger: b.log.With("part", "hook"), Metrics: b.metrics,
		OnPanic: func(plugin string, p hook.Point, value any, stack []byte) {
			b.log.Crash("plugin "+plugin+" in "+p.String(), value, stack)
		},
	})
	b.chain = b.hooks.Default()
	b.news = hook.NewNews(b.chain, b.cfg.Int("max_plugin_events"), b.metrics)
}

// openListeners makes the manager of listeners; startListeners opens them once
// everything below serves.
func (b *Broker) openListeners() {
	b.listeners = listener.New(listener.Options{
		Listen: b.sys.Listen, Serve: b.serve, Refuse: b.sessions.Refuse, Handler: b.pages, ReadFile: os.ReadFile,
		OnPanic: func(value any, stack []byte, info *listener.Info) {
			b.log.Crash("connection from "+info.Peer.String(), value, stack)
		},
		Logger: b.log.With("part", "listener"), Metrics: b.metrics,
	})
}

// listen opens a socket for clients. A unix socket that a killed broker has left
// behind is replaced; one that somebody serves is not.
func listen(network, address string) (net.Listener, error) {
	if network == "unix" {
		c, err := net.Dial(network, address)
		if err == nil {
			c.Close() // in use: Listen says so
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			os.Remove(address)
		}
	}
	return listenSocket(network, address)
}

// startListeners opens the listeners of the settings, those for machines last.
func (b *Broker) startListeners() error {
	for _, mqtt := range []bool{true, false} {
		for _, l := range b.cfg.Listeners() {
			if l.Cluster() || l.MQTT() != mqtt {
				continue
			}
			c := listenerConfig(b.cfg, l)
			if _, err := b.hooks.Chain(c.AuthPlugins, c.AuthzPlugins); err != nil {
				return fmt.Errorf("%s: %w", c.Key, err)
			}
			if err := b.listeners.Start(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// refreshRevoked reads certificates and revocation lists again at the interval
// of crl_refresh_interval, until ctx ends.
func (b *Broker) refreshRevoked(ctx context.Context) {
	interval := b.cfg.Duration("crl_refresh_interval")
	if interval <= 0 || interval == config.Never {
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		_ = b.reloadSecrets() // logged, and shown by a gauge
	}
}

// serve has one MQTT connection until it calls ended.
func (b *Broker) serve(conn net.Conn, info *listener.Info, ended func()) {
	b.sessions.Serve(conn, b.describe(info), ended)
}

// describe says how a connection came in.
func (b *Broker) describe(info *listener.Info) *session.ListenerInfo {
	chain := b.chain
	if len(info.AuthPlugins)+len(info.AuthzPlugins) > 0 {
		var err error
		if chain, err = b.hooks.Chain(info.AuthPlugins, info.AuthzPlugins); err != nil {
			b.log.Error("a listener's plugins cannot be used; its clients are refused", "listener", info.Key.String(), "error", err)
			chain = nil
		}
	}
	return &session.ListenerInfo{
		Name: info.Name, Type: string(info.Type), Mountpoint: info.Mountpoint, AllowedVersions: info.AllowedProtocols,
		Anonymous: info.AllowAnonymousOverride, Chain: chain, Peer: info.Peer, Local: info.Local,
		Certificate: info.Certificate, Identity: info.Identity, HasIdentity: info.Identity != "",
		MaxConnectionLifetime: info.MaxConnectionLifetime, ForwardConnection: info.ForwardConnectionOpts,
		WebSocket: info.Type == "ws" || info.Type == "wss",
	}
}

// mqttAddresses lists where clients connect.
func (b *Broker) mqttAddresses() string {
	var out []string
	for _, st := range b.listeners.List() {
		if !st.Config.Type.MQTT() {
			continue
		}
		address := st.Address
		if st.Port > 0 {
			address = net.JoinHostPort(st.Address, strconv.Itoa(st.Port))
		}
		out = append(out, address)
	}
	if len(out) == 0 {
		return "no listener"
	}
	return strings.Join(out, ", ")
}

// pages returns what an http or https listener serves.
func (b *Broker) pages(c *listener.Config) (http.Handler, error) {
	modules := make([]web.Module, len(c.Modules))
	for i, name := range c.Modules {
		modules[i] = web.Module{Name: name, APIKey: b.cfg.HTTPAuth(c.Key.String(), name) == "apikey"}
	}
	return web.Handler(web.Config{
		Node: b.name, Namespace: b.cfg.String("prometheus_namespace"), Modules: modules, Keys: httpKeys{b.keys}, Registry: b.metrics,
		Readiness: readiness{b}, Metrics: b.metrics, Status: statusPage{b}, Logger: b.log.With("part", "web"),
	})
}

// httpKeys implements web.Keys.
type httpKeys struct{ ring *apikey.Keyring }

// Check implements web.Keys.
func (k httpKeys) Check(remote, key, scope string) error {
	_, err := k.ring.Check(remote, key, scope)
	if errors.Is(err, apikey.ErrLimited) {
		return fmt.Errorf("%w: %w", web.ErrLimited, err)
	}
	return err
}
