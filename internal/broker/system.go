package broker

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/mqadmin/mqadmin/internal/cluster"
	"github.com/mqadmin/mqadmin/internal/daemon"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
)

// System is what a Broker takes from outside: disk, sockets, and what belongs
// to the whole process. With another one several brokers live in one process,
// on disks and networks that a test breaks.
type System struct {
	// Disk holds data_dir and message_store.directory.
	Disk meta.Disk
	// LockDir makes the data directory and keeps other brokers out of it.
	LockDir func(dir string) (io.Closer, error)
	// Listen opens a socket for clients, nodes or machines.
	Listen func(network, address string) (net.Listener, error)
	// ListenAdmin opens mqadmin's socket for the owner and a group.
	ListenAdmin func(path, group string) (net.Listener, error)
	// Dial reaches the cluster port of another node, and Graphite.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Secret stretches the cookie, which is slow on purpose.
	Secret func(cookie string) peer.Secret
	// Tend looks after the memory of the process until ctx ends. Nil for a
	// process that somebody else looks after.
	Tend func(ctx context.Context)
	// Watch is set if files outside Disk are read again when they change.
	Watch bool
}

// operatingSystem is the one that there is.
func operatingSystem() *System {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	return &System{
		Disk: meta.SystemDisk(),
		LockDir: func(dir string) (io.Closer, error) {
			l, err := daemon.LockDir(dir)
			if err != nil {
				return nil, err
			}
			return closerFunc(l.Release), nil
		},
		Listen: listen, ListenAdmin: listenUnix, Dial: dialer.DialContext, Secret: peer.NewSecret,
		Tend:  func(ctx context.Context) { tendMemory(ctx, newCollector()) },
		Watch: true,
	}
}

// closerFunc is an io.Closer made of a function.
type closerFunc func() error

// Close calls f.
func (f closerFunc) Close() error { return f() }

// Parts are the working parts of a Broker, for tests that look inside a
// running one.
type Parts struct {
	Node     message.NodeID
	Cluster  *cluster.Cluster
	Meta     *meta.Store
	Queues   *queue.Manager
	Sessions *session.Manager
	Port     *peer.Port
	Metrics  *metrics.Registry
}

// Parts returns them; they are there from New until Run returns.
func (b *Broker) Parts() Parts {
	return Parts{
		Node: b.id.node, Cluster: b.cluster, Meta: b.meta, Queues: b.queues, Sessions: b.sessions, Port: b.port, Metrics: b.metrics,
	}
}
