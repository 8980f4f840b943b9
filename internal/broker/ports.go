package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/logging"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/version"
)

// openClusterPort binds the cluster port and makes the peer side of it. Off
// loopback it takes a cookie or certificates.
func (b *Broker) openClusterPort() error {
	var certs *peer.TLS
	secured := b.cfg.String("distributed_cookie") != ""
	for _, l := range b.cfg.Listeners() {
		if !l.Cluster() {
			continue
		}
		if l.TLS != nil {
			var err error
			if certs, err = b.peerTLS(l); err != nil {
				return err
			}
		}
		if !l.Loopback() && !secured && certs == nil {
			return fmt.Errorf("listener.%s.%s = %s is reachable from other machines: set distributed_cookie (the same on every node) or certificates for listener.vmqs first", l.Type, l.Name, l.Address)
		}
		ln, err := b.sys.Listen("tcp", l.Address)
		if err != nil {
			return bindError("listener."+l.Type+"."+l.Name, l.Address, err)
		}
		b.onClose(func() { ln.Close() })
		b.clusterPorts = append(b.clusterPorts, &sizedListener{ln, l.BufferSizes})
		if b.address == "" {
			b.address = ln.Addr().String()
		}
	}
	port, err := peer.New(peer.Config{
		Identity: peer.Identity{Node: b.id.node, Name: b.name, Incarnation: b.id.incarnation, Version: version.String(), Address: b.address},
		Secret:   b.sys.Secret(b.cfg.String("distributed_cookie")), TLS: certs,
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return b.sys.Dial(ctx, "tcp", address)
		},
		OnLink: func(node message.NodeID, incarnation uint32, up bool) {
			b.cluster.OnLink(node, incarnation, up)
		},
		HandshakeTimeout: b.cfg.Duration("outgoing_cluster_handshake_ack_timeout"),
		Spool:            spool{b.store}, AckTimeout: b.cfg.Duration("link_ack_timeout"),
		MaxFrame: int(b.cfg.Bytes("incoming_clustering_buffer_size")), BufferSize: int(b.cfg.Bytes("outgoing_clustering_buffer_size")),
		Logger: b.log.With("part", "peer"), Metrics: b.metrics,
	})
	if err != nil {
		return err
	}
	b.port = port
	b.onClose(func() { _ = port.Close() })
	return nil
}

// sizedListener sets the buffers of the sockets that it accepts (buffer_sizes).
type sizedListener struct {
	net.Listener
	sizes config.BufferSizes
}

// Accept returns the next connection. A system that refuses a size keeps its
// own: the connection works either way.
func (l *sizedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok && l.sizes.Receive > 0 {
		_ = tcp.SetReadBuffer(l.sizes.Receive)
		_ = tcp.SetWriteBuffer(l.sizes.Send)
	}
	return c, err
}

// bindError names the address, the cause and the key to change.
func bindError(key, address string, err error) error {
	return fmt.Errorf("%s cannot listen on %s: %w; stop what uses it, or set %s to another address", key, address, err, key)
}

// openMetadata opens this node's replica of the metadata.
func (b *Broker) openMetadata() error {
	layer := b.port.StreamLayer(b.address)
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: layer, MaxPool: 3, MaxRPCsInFlight: 1, Timeout: 10 * time.Second, Logger: logging.HCLog(b.log.With("part", "raft")),
	})
	b.onClose(func() { _ = transport.Close() })
	store, err := meta.Open(meta.Config{
		Dir: b.id.dir, Disk: b.sys.Disk, NodeID: b.id.node, Name: b.name, Address: b.address, Version: version.String(),
		Incarnation: b.id.incarnation,
		OnIncarnation: func(n uint32) {
			if err := b.id.setIncarnation(n); err != nil {
				b.fail(err)
			}
			id := b.port.Identity()
			id.Incarnation = n
			b.port.SetIdentity(id)
		},
		Transport: transport,
		Dialer: meta.DialerFunc(func(ctx context.Context, node message.NodeID) (grpc.ClientConnInterface, error) {
			return b.port.Conn(ctx, node)
		}),
		Observer: &b.gate, Logger: b.log.With("part", "meta"), Metrics: b.metrics,
		NetsplitGrace: b.cfg.Duration("netsplit_grace"), MaxPending: b.cfg.Int("metadata.max_pending_commands"),
		SnapshotBytes: b.cfg.Bytes("metadata.snapshot_min_bytes"),
		Caller: func(ctx context.Context) (message.NodeID, bool) {
			who, ok := peer.CallerFrom(ctx)
			return who.Identity.Node, ok
		},
		OnRemoved: func() { b.leave.Do(func() { close(b.left) }) },
		OnFatal:   b.fail,
	})
	if err != nil {
		return fmt.Errorf("opening the metadata in %s: %w", b.id.dir, err)
	}
	b.meta = store
	b.onClose(func() {
		if err := store.Close(); err != nil && !b.hasLeft() {
			b.log.Warn("the metadata store did not close cleanly", "error", err)
		}
	})
	return nil
}

// prefaceTimeout is how long a node that has proved itself may take to begin
// with HTTP/2.
const prefaceTimeout = 5 * time.Second

// serveInternal serves the calls of other nodes on the cluster port.
func (b *Broker) serveInternal(ctx context.Context, group *errgroup.Group) error {
	srv, err := admin.New(b.adminConfig(func(ctx context.Context) (admin.Identity, bool) {
		who, ok := peer.CallerFrom(ctx)
		if !ok || !b.isMember(who.Identity.Node) {
			return admin.Identity{}, false
		}
		return admin.Identity{Name: "node " + who.Identity.Name, Role: adminRole}, true
	}))
	if err != nil {
		return err
	}
	g := grpc.NewServer(append(srv.ServerOptions(), grpc.Creds(peer.ServerCredentials()), grpc.MaxRecvMsgSize(64<<20),
		grpc.ConnectionTimeout(prefaceTimeout), // Stop waits for connections that have not begun
		grpc.ChainUnaryInterceptor(b.recoverUnary), grpc.ChainStreamInterceptor(b.recoverStream))...)
	b.meta.RegisterGRPC(g)
	b.cluster.RegisterGRPC(g)
	srv.Register(g)
	group.Go(func() error {
		if err := g.Serve(b.port.GRPC()); err != nil && !errors.Is(err, grpc.ErrServerStopped) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, peer.ErrClosed) {
			return fmt.Errorf("serving calls of other nodes: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		g.Stop()
		return nil
	})
	return nil
}

func (b *Broker) isMember(node message.NodeID) bool {
	_, ok := b.meta.Member(node)
	return ok
}

// serveAdmin serves mqadmin on the unix socket and, where configured, on TCP
// with TLS.
func (b *Broker) serveAdmin(group *errgroup.Group) error {
	srv, err := admin.New(b.adminConfig(nil))
	if err != nil {
		return err
	}
	b.admin = srv
	socket := b.cfg.String("admin.socket")
	ln, err := b.sys.ListenAdmin(socket, b.cfg.String("admin.socket.group"))
	if err != nil {
		return err
	}
	creds, err := admin.UnixTransport(b.cfg.String("admin.socket.group"))
	if err != nil {
		return err
	}
	group.Go(func() error { return srv.Serve(ln, creds) })
	address := b.cfg.Address("admin.listener")
	if address.Address == "" {
		return nil
	}
	tlsConfig, err := b.adminTLS()
	if err != nil {
		return err
	}
	tcp, err := b.sys.Listen(address.Network, address.Address)
	if err != nil {
		return bindError("admin.listener", address.Address, err)
	}
	group.Go(func() error { return srv.Serve(tcp, admin.TLSTransport(tlsConfig)) })
	return nil
}

// listenUnix opens a unix socket for the owner and a group, by default that of
// the process. The data
// directory's lock says that no other broker uses a file left at the path.
func listenUnix(path, group string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the run directory: %w", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("admin.socket %s is in use by another broker; give this one a run directory of its own with --run-dir", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the socket of a former broker: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, bindError("admin.socket", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		ln.Close()
		return nil, fmt.Errorf("setting the mode of %s: %w", path, err)
	}
	if err := giveTo(path, group); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// giveTo changes the group of a file, if one is named.
func giveTo(path, group string) error {
	if group == "" {
		return nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return fmt.Errorf("admin.socket.group: %w", err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("admin.socket.group: %w", err)
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return fmt.Errorf("giving %s to the group %s: %w", path, group, err)
	}
	return nil
}
