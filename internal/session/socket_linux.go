//go:build linux && !race

package session

import (
	"syscall"
	"unsafe"
)

// readNow reads a socket that does not block. The scheduler is not told, as
// syscall.Read does: that costs as much again as the call, and at low rates it
// wakes the runtime's monitor thread for each packet. b must not be empty.
func readNow(fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch e {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, e
		}
	}
}

// writeNow writes to a socket that does not block, as readNow reads.
func writeNow(fd uintptr, b []byte) (int, error) {
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
