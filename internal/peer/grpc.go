package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"github.com/mqadmin/mqadmin/internal/message"
)

// identified passes on what the port's handshake established: TLS is already
// there, and gRPC learns who is at the other end.
type identified struct{}

var _ credentials.TransportCredentials = identified{}

func (identified) auth(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, ok := raw.(*conn)
	if !ok {
		return nil, nil, errors.New("connection did not come through the cluster port")
	}
	return raw, AuthInfo{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		Identity:       c.peer, Member: c.member,
	}, nil
}

func (i identified) ClientHandshake(_ context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return i.auth(raw)
}

func (i identified) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return i.auth(raw)
}

func (identified) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "mqadmin-peer"}
}

func (i identified) Clone() credentials.TransportCredentials { return i }

func (identified) OverrideServerName(string) error { return nil }

// ServerCredentials returns what makes CallerFrom work in handlers.
func ServerCredentials() credentials.TransportCredentials { return identified{} }

// GRPC returns the listener for the internal grpc.Server, which must be made
// with grpc.Creds(ServerCredentials()).
func (p *Port) GRPC() net.Listener { return p.renew(&p.grpc) }

// Conn returns the connection for calls to a member: one per member, made at
// the first call, kept until the member is removed. Do not close it. It
// connects at the first call through it, and again whenever needed.
func (p *Port) Conn(_ context.Context, node message.NodeID) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if c := p.clients[node]; c != nil {
		return c, nil
	}
	if _, ok := p.members[node]; !ok {
		return nil, fmt.Errorf("connecting to node %s: %w", node, ErrUnknownNode)
	}
	c, err := p.newClient(node.String(), func(ctx context.Context) (net.Conn, error) {
		m, ok := p.member(node)
		if !ok {
			return nil, ErrUnknownNode
		}
		return asNet(p.dial(ctx, KindGRPC, m.Address, node, false))
	})
	if err != nil {
		return nil, err
	}
	p.clients[node] = c
	return c, nil
}

// DialAddress connects to a node that need not be a member, of any cluster,
// and returns who it is: discovery before a join. Errors are RefusedErrors or
// wrap the network's error. The caller closes the connection.
func (p *Port) DialAddress(ctx context.Context, address string) (*grpc.ClientConn, Identity, error) {
	first, err := p.dial(ctx, KindGRPC, address, 0, true)
	if err != nil {
		return nil, Identity{}, err
	}
	var once sync.Once
	taken := make(chan struct{})
	c, err := p.newClient(address, func(ctx context.Context) (net.Conn, error) {
		mine := false
		once.Do(func() { mine = true; close(taken) })
		if mine {
			return first, nil
		}
		return asNet(p.dial(ctx, KindGRPC, address, first.peer.Node, true))
	})
	if err != nil {
		first.cut()
		return nil, Identity{}, err
	}
	c.Connect()
	// Before gRPC has taken it nobody else would close the first connection, and
	// the other side would wait for a preface that never comes.
	select {
	case <-taken:
		return c, first.peer, nil
	case <-ctx.Done():
		c.Close() //nolint:errcheck // it was never used
		once.Do(first.cut)
		return nil, Identity{}, ctx.Err()
	}
}

// asNet keeps a nil *conn from becoming a net.Conn that is not nil.
func asNet(c *conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (p *Port) newClient(name string, dial func(context.Context) (net.Conn, error)) (*grpc.ClientConn, error) {
	c, err := grpc.NewClient("passthrough:///"+name,
		grpc.WithTransportCredentials(identified{}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithConnectParams(grpc.ConnectParams{
			// A short pause that does not grow: calls resume with the link. To end a
			// longer one there is only ClientConn.ResetConnectBackoff, which reads a
			// map of gRPC's without its lock.
			Backoff:           backoff.Config{BaseDelay: p.cfg.MinBackoff, Multiplier: 1, Jitter: 0.2, MaxDelay: p.cfg.MinBackoff},
			MinConnectTimeout: p.cfg.HandshakeTimeout,
		}))
	if err != nil {
		return nil, fmt.Errorf("preparing calls to %s: %w", name, err)
	}
	return c, nil
}
