package listener

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// BindError says why a listener could not be opened and what to do about it.
type BindError struct {
	Key              Key
	Network, Address string
	Err              error
}

// Error names the address, the cause and the key to change.
func (e *BindError) Error() string {
	cause := e.Err
	if op, ok := errors.AsType[*net.OpError](e.Err); ok {
		cause = op.Err // without the address, which is named already
	}
	if sys, ok := errors.AsType[*os.SyscallError](cause); ok {
		cause = sys.Err // without "bind:"
	}
	return fmt.Sprintf("cannot listen on %s: %v: %s", e.Address, cause, e.remedy())
}

// Unwrap returns the error of the system.
func (e *BindError) Unwrap() error { return e.Err }

// remedy returns what an operator can do.
func (e *BindError) remedy() string {
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE) && e.Network == "unix":
		return fmt.Sprintf("stop the program that uses the socket or remove the file, or change %s", e.Key)
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return fmt.Sprintf("stop the program that uses the port or set %s to another address", e.Key)
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("this host has no such address; set %s to one that it has", e.Key)
	case errors.Is(e.Err, syscall.EACCES) && e.Network == "unix":
		return fmt.Sprintf("make the directory writable for the broker or change %s", e.Key)
	case errors.Is(e.Err, syscall.EACCES):
		return fmt.Sprintf("ports below 1024 need privileges (CAP_NET_BIND_SERVICE); set %s to a higher port", e.Key)
	case errors.Is(e.Err, syscall.ENOENT):
		return fmt.Sprintf("make the directory of the socket or change %s", e.Key)
	}
	return fmt.Sprintf("check %s", e.Key)
}
