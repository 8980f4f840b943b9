// Package peer is the one cluster port. Everything that two nodes say to each
// other goes through it, so that a firewall needs one line, a stranger meets
// one handshake, and no unauthenticated byte ever reaches a decoder: TLS 1.3,
// then a mutual proof of distributed_cookie bound to that very TLS session.
// Above that it offers three things: a stream layer for Raft, a listener and
// connections for gRPC, and message links, which carry publishes in order,
// acknowledged and without duplicates across reconnects.
package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// TLS holds configured certificates (listener.vmqs.*). Both sides must show
// one of the CA, in addition to the cookie. Host names are not compared: the
// node id is proven instead.
type TLS struct {
	// Certificate is called at each handshake, so that files can be renewed.
	Certificate func() (*tls.Certificate, error)
	CA          *x509.CertPool
}

// Config is what New needs. Zero durations and sizes mean the default that
// stands behind each.
type Config struct {
	Identity Identity
	Secret   Secret
	// TLS is nil when no certificates are configured: the port then makes its
	// own at each start.
	TLS *TLS
	// Dial opens a connection to host:port.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Receiver may be given later, with SetReceiver.
	Receiver Receiver
	// OnLink hears of every link that came up or went down, in order, from one
	// goroutine. incarnation is the peer's.
	OnLink func(node message.NodeID, incarnation uint32, up bool)
	// Spool may be nil: frames for an absent peer then wait in memory only and
	// are done when the peer has them.
	Spool   Spool
	Logger  *slog.Logger
	Metrics *metrics.Registry

	// HandshakeTimeout limits TLS and proof together (5 s).
	HandshakeTimeout time.Duration
	// MaxHandshakes limits connections that have not yet proven themselves
	// (64); one remote host may hold half of them.
	MaxHandshakes int
	// KeepAlive is the silence after which a link is dead (1 s).
	KeepAlive time.Duration
	// AckTimeout (link_ack_timeout) is how long a link may stand without any
	// acknowledgement while frames await one (2 s).
	AckTimeout time.Duration
	// MinBackoff and MaxBackoff bound the pause between attempts to connect a
	// link (100 ms, 2 s).
	MinBackoff, MaxBackoff time.Duration
	// MaxFrame (incoming_clustering_buffer_size) is the largest frame accepted,
	// in bytes (64 MiB).
	MaxFrame int
	// BufferSize (outgoing_clustering_buffer_size) is how many bytes of frames
	// may wait for one peer in memory, sent or not (64 MiB).
	BufferSize int
	// ReceiveWindow is how many bytes of received frames may await the
	// Receiver's done, per peer, before reading pauses (16 MiB).
	ReceiveWindow int
}

// Port is the cluster port of one node. Its methods may be called from any
// goroutine.
type Port struct{}

// New makes a port that neither listens nor dials yet.
func New(c Config) (*Port, error) { return nil, ErrClosed }

// Run accepts connections from the listeners until ctx ends or Close is
// called, and returns nil then; or the error of a listener that failed.
func (p *Port) Run(ctx context.Context, listeners ...net.Listener) error { return ErrClosed }

// Close ends all links and connections and waits for every goroutine. Frames
// not yet done fail with ErrClosed.
func (p *Port) Close() error { return nil }

// Identity returns what this node tells about itself now.
func (p *Port) Identity() Identity { return Identity{} }

// SetIdentity changes it: after a join (cluster, generation) or when the node
// takes a new incarnation. Connections that were made under another cluster,
// generation or incarnation are closed; links come back by themselves.
func (p *Port) SetIdentity(id Identity) {}

// SetReceiver sets who takes incoming frames. Until then links of peers are
// held waiting.
func (p *Port) SetReceiver(r Receiver) {}

// SetMembers says who belongs to the cluster; this node itself may be in the
// list. One link is kept to each other member; the link to one that is no
// longer there is closed and its frames fail with ErrClosed.
func (p *Port) SetMembers(members []Member) {}

// Up reports whether frames flow to the node.
func (p *Port) Up(node message.NodeID) bool { return false }

// Send hands a frame to the link to a member. It never blocks. Frames of one
// sender arrive in order. done (may be nil) is called exactly once, without
// locks held, possibly before Send returns, and must not block. With a nil
// error the code is the peer's answer, or CodeAccepted from the spool.
func (p *Port) Send(to message.NodeID, f Frame, done func(Code, error)) {
	if done != nil {
		done(0, ErrClosed)
	}
}

// StreamLayer returns the carrier for raft.NewNetworkTransport. Its Addr is
// advertise (host:port). Peers are dialled by host:port or by node id (16
// hexadecimal digits, looked up among the members). There is one per port.
func (p *Port) StreamLayer(advertise string) raft.StreamLayer { return nil }

// GRPC returns the listener for the internal grpc.Server, which must be made
// with grpc.Creds(ServerCredentials()).
func (p *Port) GRPC() net.Listener { return nil }

// ServerCredentials returns what makes CallerFrom work in handlers.
func ServerCredentials() credentials.TransportCredentials { return nil }

// Conn returns the connection for calls to a member: one per member, made at
// the first call, kept until the member is removed. Do not close it.
func (p *Port) Conn(ctx context.Context, node message.NodeID) (*grpc.ClientConn, error) {
	return nil, ErrClosed
}

// DialAddress connects to a node that need not be a member, of any cluster,
// and returns who it is: discovery before a join. Errors are RefusedErrors or
// wrap the network's error. The caller closes the connection.
func (p *Port) DialAddress(ctx context.Context, address string) (*grpc.ClientConn, Identity, error) {
	return nil, Identity{}, ErrClosed
}
