//go:build unix

package session

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// prepare makes plain sockets readable without a buffer in wait: the buffer is
// taken when the poller says that there are bytes.
func (in *input) prepare() {
	var sc syscall.Conn
	switch c := in.nc.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	in.raw, in.try = raw, in.tryRead
}

// writeNow writes what the socket takes without waiting, and returns how much
// that was. An error shows at the next ordinary write.
func (c *conn) writeNow(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	if c.out.try == nil {
		c.out.try = c.tryWrite
	}
	c.out.left = b
	err := c.in.raw.Write(c.out.try)
	c.out.left = nil
	if err != nil {
		return 0
	}
	return c.out.n
}

func (c *conn) tryWrite(fd uintptr) bool {
	for {
		n, err := writeNow(fd, c.out.left)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		c.out.n = max(n, 0)
		return true
	}
}

// tryRead is one attempt to read, into small while await waits.
func (in *input) tryRead(fd uintptr) bool {
	if in.awaits {
		return in.result(readNow(fd, in.small[:]))
	}
	in.room()
	done := in.result(readNow(fd, in.buf[in.w:]))
	if in.w += in.n; in.n == 0 {
		in.rest() // many connections may end at once
	}
	return done
}

// result notes how an attempt has ended, unless nothing was there: then it
// reports false.
func (in *input) result(n int, e syscall.Errno) bool {
	in.n, in.err = n, nil
	switch {
	case e == syscall.EAGAIN:
		return false
	case e != 0:
		in.err = os.NewSyscallError("read", e)
	case n == 0:
		in.err = io.EOF
	}
	return true
}
