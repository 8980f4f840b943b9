package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
)

// dial connects to a node and proves the cookie. expect is the node that must
// answer, 0 for any. Refusals are RefusedErrors.
func (p *Port) dial(ctx context.Context, kind Kind, address string, expect message.NodeID, anyCluster bool) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.HandshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(p.ctx, cancel)
	defer stop()
	raw, err := p.cfg.Dial(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", address, err)
	}
	cut := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	own := hello{kind: byte(kind), anyCluster: anyCluster, versions: p.versions, target: expect, id: p.Identity()}
	c, err := p.prove(ctx, raw, address, own)
	if !cut() && err == nil {
		err = fmt.Errorf("connecting to %s: %w", address, context.Cause(ctx))
	}
	if err != nil {
		raw.Close()
		if ctx.Err() != nil && !errors.As(err, new(*RefusedError)) {
			err = fmt.Errorf("connecting to %s: no answer to the handshake: %w", address, context.Cause(ctx))
		}
		return nil, err
	}
	if !p.track(c, own.id) {
		if p.ctx.Err() != nil {
			return nil, ErrClosed
		}
		return nil, fmt.Errorf("connecting to %s: this node's cluster or incarnation changed meanwhile", address)
	}
	return c, nil
}

// prove is the dialer's side of the handshake.
func (p *Port) prove(ctx context.Context, raw net.Conn, address string, own hello) (*conn, error) {
	t := tls.Client(raw, p.client)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, tlsRefusal(address, err)
	}
	s, err := newSession(p.cfg.Secret, t)
	if err != nil {
		return nil, err
	}
	proof, err := s.write(t, labelDialer, nil, own)
	if err != nil {
		return nil, answerRefusal(address, err)
	}
	h, _, err := s.read(t, labelAcceptor, proof)
	if err != nil {
		return nil, answerRefusal(address, err)
	}
	st := status(h.kind)
	if st == statusOK {
		st = recheck(own, h)
	}
	if st != statusOK {
		return nil, refusal(st, address, own, h)
	}
	version, _ := h.versions.common(own.versions)
	_, member := p.member(h.id.Node)
	return &conn{
		Conn: t, raw: raw, kind: Kind(own.kind), peer: h.id, version: version,
		member: member && h.id.Cluster == own.id.Cluster,
	}, nil
}

// recheck is what the dialer makes sure of itself when the acceptor agreed.
func recheck(own, h hello) status {
	_, common := h.versions.common(own.versions)
	switch {
	case !common:
		return statusVersion
	case own.target != 0 && h.id.Node != own.target:
		return statusNode
	case !own.anyCluster && h.id.Cluster != own.id.Cluster:
		return statusCluster
	}
	return statusOK
}

// tlsRefusal explains why TLS did not come about.
func tlsRefusal(address string, err error) error {
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header):
		return &RefusedError{
			Address: address, Reason: ErrNotPeer,
			Detail: "something else than a cluster port answers: check host and port (44053 unless configured otherwise)",
		}
	case errors.Is(err, ErrCertificate):
		return &RefusedError{
			Address: address, Reason: ErrCertificate,
			Detail: fmt.Sprintf("its certificate is not of our CA (%v): check listener.vmqs.* on both nodes", err),
		}
	case remoteAlert(err):
		return &RefusedError{
			Address: address, Reason: ErrCertificate,
			Detail: fmt.Sprintf("it refused TLS (%v): configure listener.vmqs.* on both nodes or on none", err),
		}
	case hungUp(err):
		return &RefusedError{
			Address: address, Reason: ErrNotPeer,
			Detail: "it hung up before TLS was set up: something else than a cluster port, or one that is too busy; check host and port (44053 unless configured otherwise)",
		}
	}
	return fmt.Errorf("connecting to %s: %w", address, err)
}

// answerRefusal explains why the acceptor's record did not come after ours.
func answerRefusal(address string, err error) error {
	switch {
	case remoteAlert(err):
		return &RefusedError{
			Address: address, Reason: ErrCertificate,
			Detail: fmt.Sprintf("it refused our certificate (%v): check listener.vmqs.* on both nodes", err),
		}
	case errors.Is(err, ErrCookie):
		return &RefusedError{
			Address: address, Reason: ErrCookie,
			Detail: "its proof of distributed_cookie is wrong: it is not a node of this cluster, or somebody stands in between",
		}
	case hungUp(err):
		return &RefusedError{
			Address: address, Reason: ErrCookie,
			Detail: "it hung up when we proved distributed_cookie: set the same distributed_cookie on both nodes and restart the one that was wrong",
		}
	case errors.Is(err, ErrProtocol):
		return &RefusedError{
			Address: address, Reason: ErrNotPeer,
			Detail: "something else than a cluster port answers: check host and port (44053 unless configured otherwise)",
		}
	}
	return fmt.Errorf("connecting to %s: waiting for its proof: %w", address, err)
}
