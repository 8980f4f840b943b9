//go:build unix && (!linux || race)

package session

import "syscall"

// readNow reads a socket that does not block. The race detector sees what goes
// through syscall.Read and syscall.Write.
func readNow(fd uintptr, b []byte) (int, error) { return syscall.Read(int(fd), b) }

// writeNow writes to a socket that does not block.
func writeNow(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }
