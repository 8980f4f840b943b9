package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Run accepts connections from the listeners until ctx ends or Close is
// called, and returns nil then; or the error of a listener that failed. It
// closes the listeners.
func (p *Port) Run(ctx context.Context, listeners ...net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(p.ctx, cancel)
	defer stop()
	failed := make(chan error, len(listeners))
	for _, ln := range listeners {
		context.AfterFunc(ctx, func() { ln.Close() })
		go func() { failed <- p.accept(ctx, ln) }()
	}
	var errs []error
	for range listeners {
		errs = append(errs, <-failed)
		cancel()
	}
	<-ctx.Done()
	return errors.Join(errs...)
}

// maxAcceptFailures in a row end a listener; fewer are waited out, such as a
// shortage of file descriptors.
const maxAcceptFailures = 20

func (p *Port) accept(ctx context.Context, ln net.Listener) error {
	failures := 0
	for {
		raw, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				raw.Close()
			}
			return nil
		}
		if err != nil {
			failures++
			if errors.Is(err, net.ErrClosed) || failures > maxAcceptFailures {
				return fmt.Errorf("accepting on the cluster port %s: %w", ln.Addr(), err)
			}
			p.log.Warn("cluster port cannot accept", slog.String("error", err.Error()))
			wait(ctx, 100*time.Millisecond)
			continue
		}
		failures = 0
		if !p.spawn(func() { p.receive(raw) }) {
			raw.Close()
		}
	}
}

// wait returns after d or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// receive takes a stranger through the handshake and hands it on.
func (p *Port) receive(raw net.Conn) {
	host := hostOf(raw.RemoteAddr())
	if !p.doorman.enter(host) {
		raw.Close()
		p.doorman.refused("busy", raw.RemoteAddr(), nil, Identity{})
		return
	}
	c := p.admit(raw)
	p.doorman.leave(host)
	if c != nil {
		p.dispatch(c)
	}
}

// admit is the acceptor's side of the handshake. It returns nil when the
// connection was refused and closed.
func (p *Port) admit(raw net.Conn) *conn {
	if !p.trackStranger(raw) {
		raw.Close()
		return nil
	}
	defer p.untrackStranger(raw)
	raw.SetDeadline(time.Now().Add(p.cfg.HandshakeTimeout))
	t := tls.Server(raw, p.server)
	if err := t.HandshakeContext(p.ctx); err != nil {
		return p.turnAway(raw, reasonOf(err, true), err, Identity{})
	}
	s, err := newSession(p.cfg.Secret, t)
	if err != nil {
		return p.turnAway(raw, "tls", err, Identity{})
	}
	h, proof, err := s.read(t, labelDialer, nil)
	if err != nil {
		return p.turnAway(raw, reasonOf(err, false), err, Identity{})
	}
	own := p.Identity()
	_, member := p.member(h.id.Node)
	st := judge(own, p.versions, h, member)
	if _, err = s.write(t, labelAcceptor, proof, hello{kind: byte(st), versions: p.versions, target: h.id.Node, id: own}); err != nil {
		return p.turnAway(raw, reasonOf(err, false), err, h.id)
	}
	if st != statusOK {
		return p.turnAway(raw, verdicts[st].label, nil, h.id)
	}
	raw.SetDeadline(time.Time{})
	version, _ := h.versions.common(p.versions)
	c := &conn{
		Conn: t, raw: raw, kind: Kind(h.kind), peer: h.id, version: version,
		member: member && h.id.Cluster == own.Cluster,
	}
	if !p.track(c, own) {
		return nil
	}
	if c.member {
		p.heard(h.id)
	}
	return c
}

func (p *Port) turnAway(raw net.Conn, reason string, err error, id Identity) *conn {
	raw.Close()
	if p.ctx.Err() == nil {
		p.doorman.refused(reason, raw.RemoteAddr(), err, id)
	}
	return nil
}

// dispatch hands a proven connection to whom it is for.
func (p *Port) dispatch(c *conn) {
	p.mu.Lock()
	raftL, grpcL := p.raft, p.grpc
	p.mu.Unlock()
	switch c.kind {
	case KindRaft:
		raftL.deliver(c)
	case KindGRPC:
		grpcL.deliver(c)
	case KindLink:
		p.serveLink(c)
	}
}

func (p *Port) trackStranger(raw net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.strangers[raw] = struct{}{}
	}
	return !p.closed
}

func (p *Port) untrackStranger(raw net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.strangers, raw)
}

// track registers a proven connection that was made as own. It closes it and
// returns false when the port was closed or became another identity meanwhile.
func (p *Port) track(c *conn, own Identity) bool {
	p.mu.Lock()
	closed := p.closed || p.stale(c.kind, own)
	if !closed {
		p.conns[c] = struct{}{}
		c.release = func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.conns, c)
		}
	}
	p.mu.Unlock()
	if closed {
		c.cut()
	}
	return !closed
}
