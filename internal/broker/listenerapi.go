package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/listener"
)

// listenerAPI implements admin.Listeners.
type listenerAPI struct{ b *Broker }

// local begins the address of a unix socket.
const local = "local:"

// shownAddress is how an address is written on a command line.
func shownAddress(network, address string) string {
	if network == "unix" {
		return local + address
	}
	return address
}

// List implements admin.Listeners.
func (a listenerAPI) List(context.Context) ([]*pb.Listener, error) {
	var out []*pb.Listener
	for _, st := range a.b.listeners.List() {
		c := st.Config
		l := &pb.Listener{
			Type: c.Type.Shown(), Status: string(st.State), Address: shownAddress(c.Network, st.Address), Port: uint32(st.Port),
			Mountpoint: c.Mountpoint, MaxConns: int64(c.MaxConnections), ActiveConns: &st.Active, AllConns: &st.All, Name: c.Key.String(),
		}
		if t := c.TLS; t != nil {
			l.Tls = &pb.ListenerTLS{
				TlsVersion: strings.Join(t.Versions, ","), Certfile: t.CertFile, Cafile: t.CAFile, Keyfile: t.KeyFile,
				RequireCertificate: t.RequireCertificate, UseIdentityAsUsername: t.UseIdentityAsUsername,
			}
		}
		if c.Type.MQTT() {
			l.AllowAnonymousOverride = c.AllowAnonymousOverride
			for _, v := range c.AllowedProtocols {
				l.AllowedProtocolVersions = append(l.AllowedProtocolVersions, uint32(v))
			}
		}
		out = append(out, l)
	}
	out = append(out, a.clusterPorts()...)
	slices.SortFunc(out, func(x, y *pb.Listener) int {
		return cmp.Or(cmp.Compare(x.GetType(), y.GetType()), cmp.Compare(x.GetAddress(), y.GetAddress()), cmp.Compare(x.GetPort(), y.GetPort()))
	})
	return out, nil
}

// clusterPorts are listeners of another kind: they stay as long as the broker
// runs.
func (a listenerAPI) clusterPorts() []*pb.Listener {
	var out []*pb.Listener
	for i, l := range a.b.clusterListeners() {
		host, port, _ := net.SplitHostPort(a.b.clusterPorts[i].Addr().String())
		n, _ := strconv.ParseUint(port, 10, 16)
		out = append(out, &pb.Listener{
			Type: l.Type, Status: string(listener.Running), Address: host, Port: uint32(n), Mountpoint: l.Mountpoint,
			MaxConns: int64(limit(l.MaxConnections)), Name: "listener." + l.Type + "." + l.Name,
		})
		if t := l.TLS; t != nil {
			out[i].Tls = &pb.ListenerTLS{
				TlsVersion: strings.Join(tlsVersions(t), ","), Certfile: t.CertFile, Cafile: t.CAFile, Keyfile: t.KeyFile, RequireCertificate: true,
			}
		}
	}
	return out
}

// clusterListeners are those of the settings, in the order of clusterPorts.
func (b *Broker) clusterListeners() []config.Listener {
	return slices.DeleteFunc(b.cfg.Listeners(), func(l config.Listener) bool { return !l.Cluster() })
}

// Start implements admin.Listeners.
func (a listenerAPI) Start(_ context.Context, r admin.ListenerStart) error {
	address := r.Address + ":" + strconv.Itoa(r.Port)
	if slices.Contains([]string{"vmq", "vmqs"}, r.Type) {
		return badListener("there is one cluster port, that of the configuration file", address)
	}
	if key, err := a.find(r.ListenerAddress); err == nil {
		return admin.NewError(pb.ErrorReason_ERROR_REASON_LISTENER_EXISTS, fmt.Sprintf("%s listens on %s already", key, address), "address", address)
	}
	l, err := a.b.live.config().RunListener(r.Type, address, r.Options)
	if err != nil {
		return badListener(err.Error(), address)
	}
	c := listenerConfig(a.b.live.config(), l)
	if _, err := a.b.hooks.Chain(c.AuthPlugins, c.AuthzPlugins); err != nil {
		return badListener(err.Error(), address)
	}
	if err := a.b.listeners.Start(c); err != nil {
		return listenerError(err, address)
	}
	a.b.log.Info("a listener was started", "listener", c.Key.String(), "address", address)
	a.rewatch()
	return nil
}

// rewatch follows the certificates of the listeners that there are now.
func (a listenerAPI) rewatch() {
	if w := a.b.files.Load(); w != nil {
		w.refresh()
	}
}

func badListener(text, address string) error {
	return admin.NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, text, "argument", "address", "value", address)
}

// listenerError gives an error of the listeners its reason.
func listenerError(err error, address string) error {
	reason := pb.ErrorReason_ERROR_REASON_LISTENER_FAILED
	switch {
	case err == nil:
		return nil
	case errors.Is(err, listener.ErrExists):
		reason = pb.ErrorReason_ERROR_REASON_LISTENER_EXISTS
	case errors.Is(err, listener.ErrUnknown):
		reason = pb.ErrorReason_ERROR_REASON_LISTENER_UNKNOWN
	case errors.Is(err, listener.ErrConfig):
		reason = pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT
	case errors.Is(err, listener.ErrClosed):
		reason = pb.ErrorReason_ERROR_REASON_SHUTTING_DOWN
	}
	return &admin.Error{Reason: reason, Err: err, Metadata: map[string]string{"address": address}}
}

// find names the listener at an address.
func (a listenerAPI) find(at admin.ListenerAddress) (listener.Key, error) {
	address := at.Address + ":" + strconv.Itoa(at.Port)
	if key, ok := a.b.listeners.Find(strings.TrimPrefix(at.Address, local), at.Port); ok {
		return key, nil
	}
	for _, l := range a.clusterPorts() {
		if l.GetAddress() == at.Address && int(l.GetPort()) == at.Port {
			return listener.Key{}, badListener(address+" is the cluster port; to end it, stop the node: mqadmin node stop", address)
		}
	}
	return listener.Key{}, admin.NewError(pb.ErrorReason_ERROR_REASON_LISTENER_UNKNOWN, "there is no listener on "+address, "address", address)
}

// on runs an operation on the listener at an address.
func (a listenerAPI) on(at admin.ListenerAddress, fn func(listener.Key) error) error {
	key, err := a.find(at)
	if err != nil {
		return err
	}
	return listenerError(fn(key), at.Address+":"+strconv.Itoa(at.Port))
}

// Stop implements admin.Listeners.
func (a listenerAPI) Stop(_ context.Context, at admin.ListenerAddress, kill bool) error {
	return a.on(at, func(k listener.Key) error { return a.b.listeners.Stop(k, kill) })
}

// Restart implements admin.Listeners.
func (a listenerAPI) Restart(_ context.Context, at admin.ListenerAddress) error {
	return a.on(at, a.b.listeners.Resume)
}

// Delete implements admin.Listeners.
func (a listenerAPI) Delete(_ context.Context, at admin.ListenerAddress) error {
	defer a.rewatch()
	return a.on(at, a.b.listeners.Delete)
}
