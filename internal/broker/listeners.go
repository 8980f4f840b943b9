package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/listener"
	"github.com/mqadmin/mqadmin/internal/session"
	"github.com/mqadmin/mqadmin/internal/web"
)

// openListeners makes the manager of MQTT listeners; startListeners opens them
// once everything below serves.
func (b *Broker) openListeners() {
	b.hooks = hook.New(hook.Options{
		Logger: b.log.With("part", "hook"), Metrics: b.metrics,
		OnPanic: func(plugin string, p hook.Point, value any, stack []byte) {
			b.log.Crash("plugin "+plugin+" in "+p.String(), value, stack)
		},
	})
	b.listeners = listener.New(listener.Options{
		Listen: net.Listen, Serve: b.serve, ReadFile: os.ReadFile,
		OnPanic: func(value any, stack []byte, info *listener.Info) {
			b.log.Crash("connection from "+info.Peer.String(), value, stack)
		},
		Logger: b.log.With("part", "listener"), Metrics: b.metrics,
	})
}

func (b *Broker) startListeners() error {
	for _, l := range b.cfg.Listeners() {
		if !l.MQTT() {
			continue
		}
		if err := b.listeners.Start(listenerConfig(l)); err != nil {
			return err
		}
	}
	return nil
}

// refuseUnserved stops a start whose listeners ask for protection that nothing
// here gives: a security setting is never ignored.
func refuseUnserved(cfg *config.Config) error {
	for _, l := range cfg.Listeners() {
		key := "listener." + l.Type + "." + l.Name
		switch {
		case l.Type == "https":
			return fmt.Errorf("%w: %s: HTTPS is not served by this version; use listener.http on loopback behind a proxy with TLS", config.ErrConfig, key)
		case l.Cluster() && l.TLS != nil && l.TLS.CRLFile != "":
			return fmt.Errorf("%w: %s.crlfile: revoked certificates are not checked between nodes by this version; renew the authority instead", config.ErrConfig, key)
		}
	}
	return nil
}

// refreshRevoked reads certificates and revocation lists again at the interval
// of crl_refresh_interval, until ctx ends.
func (b *Broker) refreshRevoked(ctx context.Context) {
	interval := b.cfg.Duration("crl_refresh_interval")
	listsRevoked := func(l config.Listener) bool { return l.MQTT() && l.TLS != nil && l.TLS.CRLFile != "" }
	if interval <= 0 || interval == config.Never || !slices.ContainsFunc(b.cfg.Listeners(), listsRevoked) {
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
		if err := b.listeners.Reload(); err != nil {
			b.log.Error("revoked certificates could not be read again; the former lists stay in force", "error", err)
		}
	}
}

// serve runs one MQTT connection.
func (b *Broker) serve(conn net.Conn, info *listener.Info) {
	chain := b.hooks.Default()
	if len(info.AuthPlugins)+len(info.AuthzPlugins) > 0 {
		var err error
		if chain, err = b.hooks.Chain(info.AuthPlugins, info.AuthzPlugins); err != nil {
			b.log.Error("a listener's plugins cannot be used; its clients are refused", "listener", info.Key.String(), "error", err)
			chain = nil
		}
	}
	b.sessions.Serve(conn, session.ListenerInfo{
		Name: info.Name, Type: string(info.Type), Mountpoint: info.Mountpoint, AllowedVersions: info.AllowedProtocols,
		Anonymous: info.AllowAnonymousOverride, Chain: chain, Peer: info.Peer, Local: info.Local,
		Certificate: info.Certificate, Identity: info.Identity, HasIdentity: info.Identity != "",
		MaxConnectionLifetime: info.MaxConnectionLifetime,
		WebSocket:             info.Type == "ws" || info.Type == "wss",
	})
}

// mqttAddresses lists where clients connect.
func (b *Broker) mqttAddresses() string {
	var out []string
	for _, st := range b.listeners.List() {
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

// serveHTTP serves metrics and health on the HTTP listeners.
func (b *Broker) serveHTTP(ctx context.Context, group *errgroup.Group) error {
	handler, err := web.Handler(web.Config{
		Node: b.name, Namespace: b.cfg.String("prometheus_namespace"),
		Readiness: readiness{b}, Metrics: b.metrics, Status: statusPage{b}, Logger: b.log.With("part", "web"),
	})
	if err != nil {
		return err
	}
	for _, l := range b.cfg.Listeners() {
		if l.Type != "http" {
			continue
		}
		ln, err := net.Listen(l.Network, l.Address)
		if err != nil {
			return bindError("listener.http."+l.Name, l.Address, err)
		}
		srv := web.Server(handler, b.log.With("part", "web"))
		group.Go(func() error {
			if err := web.Serve(ctx, srv, ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving HTTP on %s: %w", l.Address, err)
			}
			return nil
		})
	}
	return nil
}

// readiness says whether a load balancer should send clients here.
type readiness struct{ b *Broker }

// Node implements web.Readiness.
func (r readiness) Node() []string {
	var why []string
	if !r.b.router.Ready() {
		why = append(why, "Routing tables are not loaded")
	}
	if s := r.b.settings.load(); !r.b.meta.Status().Quorum && !s.AllowRegister {
		why = append(why, "No quorum")
	}
	return why
}

// Listeners implements web.Readiness.
func (r readiness) Listeners() []web.Listener {
	types := map[listener.Type]string{"tcp": "mqtt", "ssl": "mqtts", "ws": "mqttws", "wss": "mqttwss"}
	var out []web.Listener
	for _, st := range r.b.listeners.List() {
		name := types[st.Config.Type]
		if name == "" {
			name = string(st.Config.Type)
		}
		out = append(out, web.Listener{
			Type: name, Status: string(st.State), Address: st.Address, Port: st.Port,
			Mountpoint: st.Config.Mountpoint, MaxConnections: st.Config.MaxConnections,
		})
	}
	return out
}

// Offline implements web.Readiness.
func (r readiness) Offline() []string {
	var out []string
	for _, m := range r.b.cluster.Members().Members {
		if !m.Running {
			out = append(out, m.Name)
		}
	}
	return out
}

// statusPage is this node's part of /status.json.
type statusPage struct{ b *Broker }

// Nodes implements web.Status.
func (s statusPage) Nodes(ctx context.Context) []web.NodeStatus {
	st, err := nodeAPI(s).Status(ctx)
	if err != nil {
		return nil
	}
	n := web.NodeStatus{
		Name: st.Node, Online: st.NumOnline, Offline: st.NumOffline, MessagesIn: st.MsgIn, MessagesOut: st.MsgOut,
		QueueIn: st.QueueIn, QueueOut: st.QueueOut, QueueDrop: st.QueueDrop, QueueUnhandled: st.QueueUnhandled,
		Subscriptions: st.NumSubscriptions, Retained: st.NumRetained, MatchesLocal: st.MatchesLocal, MatchesRemote: st.MatchesRemote,
		Version: st.Version, Members: map[string]bool{}, Listeners: readiness(s).Listeners(),
	}
	for _, m := range s.b.cluster.Members().Members {
		n.Members[m.Name] = m.Running
	}
	return []web.NodeStatus{n}
}
