package broker

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// keepAlive are the probes of net: a dead peer is noticed after some two
// minutes.
const (
	keepAliveIdle  = 15 * time.Second
	keepAliveCount = 9
)

// listenSocket is net.Listen, with the keep-alive probes set once: connections
// inherit them from the socket that accepts them, and net would make four
// system calls for each.
func listenSocket(network, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	if network != "unix" {
		lc.Control = keepAlive
	}
	return lc.Listen(context.Background(), network, address)
}

func keepAlive(_, _ string, raw syscall.RawConn) (err error) {
	cerr := raw.Control(func(fd uintptr) {
		idle := int(keepAliveIdle / time.Second)
		err = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, idle),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, idle),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAliveCount),
		)
	})
	return errors.Join(cerr, err)
}
