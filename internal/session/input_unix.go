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

func (in *input) tryRead(fd uintptr) bool {
	in.room()
	for {
		n, err := readNow(fd, in.buf[in.w:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			in.rest()
			return false
		case err != nil:
			in.rest()
			in.n, in.err = 0, os.NewSyscallError("read", err)
		case n == 0:
			in.rest() // many connections may end at once
			in.n, in.err = 0, io.EOF
		default:
			in.w += n
			in.n, in.err = n, nil
		}
		return true
	}
}
