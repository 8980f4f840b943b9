package listener

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/pires/go-proxyproto"
)

// refusalTime is what reading, answering and closing a refused connection may
// take.
const refusalTime = time.Second

// maxRefusedRequest is how much of a refused HTTP request is read, and of what
// a refused client sends behind its first packet.
const maxRefusedRequest = 16 << 10

// busy answers an HTTP request beyond max_connections.
const busy = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 10\r\nContent-Length: 0\r\n\r\n"

// turnAway ends a connection for which there is no room. It is told so where
// that is cheap: on plain listeners, and only to as many at a time as there are
// slots.
func (e *entry) turnAway(c net.Conn) {
	answer := e.answer()
	if answer == nil {
		c.Close()
		return
	}
	select {
	case e.slots <- struct{}{}:
	default:
		e.unanswered.Inc()
		c.Close()
		return
	}
	e.mu.Lock()
	e.conns[c] = struct{}{} // Stop closes it
	e.mu.Unlock()
	e.wg.Go(func() { // ends with the deadline at the latest
		defer func() {
			c.Close()
			e.mu.Lock()
			delete(e.conns, c)
			e.mu.Unlock()
			<-e.slots
		}()
		_ = c.SetDeadline(time.Now().Add(refusalTime))
		conn := c
		if e.cfg.ProxyProtocol {
			conn = e.proxyConn(c)
		}
		answer(conn)
		linger(c)
	})
}

// answer returns how refused connections are told; nil if they are not.
func (e *entry) answer() func(net.Conn) {
	switch {
	case e.cfg.Type.secure():
		return nil // a handshake is what the limit protects from
	case e.cfg.Type.served():
		return refuseRequest
	default:
		return e.o.Refuse
	}
}

// refuseRequest reads an HTTP request and answers that it comes too much.
func refuseRequest(c net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(io.LimitReader(c, maxRefusedRequest)))
	if err != nil {
		return
	}
	r.Body.Close()
	_, _ = io.WriteString(c, busy)
}

// linger lets the other side read the answer: closing a socket with unread
// bytes would cut it off. It waits for the other side to close.
func linger(c net.Conn) {
	w, ok := c.(interface{ CloseWrite() error })
	if !ok || w.CloseWrite() != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c, maxRefusedRequest)
}

// proxyConn expects a PROXY header on c.
func (e *entry) proxyConn(c net.Conn) *proxyproto.Conn {
	return proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE),
		proxyproto.SetReadHeaderTimeout(e.cfg.HandshakeTimeout))
}

// buffers sets the sizes of a socket's buffers. A system that refuses keeps its
// own: the connection works either way.
func (e *entry) buffers(c net.Conn) {
	s, ok := c.(interface {
		SetReadBuffer(bytes int) error
		SetWriteBuffer(bytes int) error
	})
	if !ok {
		return
	}
	if n := e.cfg.ReceiveBuffer; n > 0 {
		_ = s.SetReadBuffer(n)
	}
	if n := e.cfg.SendBuffer; n > 0 {
		_ = s.SetWriteBuffer(n)
	}
}
