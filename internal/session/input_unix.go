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

func (in *input) tryRead(fd uintptr) bool {
	in.room()
	for {
		n, err := syscall.Read(int(fd), in.buf[in.w:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			in.rest()
			return false
		case err != nil:
			in.n, in.err = 0, os.NewSyscallError("read", err)
		case n == 0:
			in.n, in.err = 0, io.EOF
		default:
			in.w += n
			in.n, in.err = n, nil
		}
		return true
	}
}
