//go:build unix && (!linux || race)

package session

import (
	"errors"
	"syscall"
)

// readNow reads a socket that does not block. The race detector sees what goes
// through syscall.Read and syscall.Write.
func readNow(fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, err := syscall.Read(int(fd), b)
		e, _ := errors.AsType[syscall.Errno](err)
		switch {
		case err == nil:
			return n, 0
		case e != syscall.EINTR:
			return 0, e
		}
	}
}

// writeNow writes to a socket that does not block.
func writeNow(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }
