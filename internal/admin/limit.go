package admin

import (
	"context"
	"net"
	"sync"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// limited is a listener with at most so many connections; further ones wait in
// the system's queue.
type limited struct {
	net.Listener
	slots  chan struct{}
	waited *metrics.Counter
	done   chan struct{} // closed by Close
	once   sync.Once
}

func limit(l net.Listener, n int, waited *metrics.Counter) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n), waited: waited, done: make(chan struct{})}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	default:
		l.waited.Inc()
		select {
		case l.slots <- struct{}{}:
		case <-l.done:
			return nil, net.ErrClosed
		}
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, release: func() { <-l.slots }}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	once    sync.Once
	release func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}

// inside returns the connection that a listener of ours has wrapped.
func inside(c net.Conn) net.Conn {
	if l, ok := c.(*limitedConn); ok {
		return l.Conn
	}
	return c
}

// enter takes a place among the calls that run, and returns what gives it back.
func (s *Server) enter(ctx context.Context) (func(), error) {
	select {
	case s.slots <- struct{}{}:
	default:
		s.waited.Inc()
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return func() { <-s.slots }, nil
}
