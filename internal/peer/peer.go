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

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// TLS holds configured certificates (listener.vmqs.*). Both sides must show
// one of the CA, in addition to the cookie. Host names are not compared: the
// node id is proven instead.
type TLS struct {
	// Certificate is called at each handshake, so that files can be renewed.
	Certificate func() (*tls.Certificate, error)
	// CA is called at each handshake, too.
	CA func() *x509.CertPool
	// Check, if there is one, refuses chains that the CA has signed: for revoked
	// certificates.
	Check func(chains [][]*x509.Certificate) error
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

// withDefaults fills in what was left at zero.
func (c Config) withDefaults() Config {
	setDefault(&c.HandshakeTimeout, 5*time.Second)
	setDefault(&c.MaxHandshakes, 64)
	setDefault(&c.KeepAlive, time.Second)
	setDefault(&c.AckTimeout, 2*time.Second)
	setDefault(&c.MinBackoff, 100*time.Millisecond)
	setDefault(&c.MaxBackoff, 2*time.Second)
	setDefault(&c.MaxFrame, 64<<20)
	setDefault(&c.BufferSize, 64<<20)
	setDefault(&c.ReceiveWindow, 16<<20)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}
