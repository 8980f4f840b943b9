//go:build unix

package listener

import (
	"net"
	"syscall"
	"testing"
)

func TestBuffers(t *testing.T) {
	sizes := func(c Config) (send, receive int) {
		e := newEcho()
		c.Key = tcpKey
		_, addr := start(t, Options{Serve: e.serve}, c)
		roundTrip(t, dial(t, "tcp", addr))
		raw, err := (<-e.conns).(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			send, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
			receive, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
		}); err != nil {
			t.Fatal(err)
		}
		return send, receive
	}
	// Linux doubles what it is asked for, others round.
	send, receive := sizes(Config{SendBuffer: 8 << 10, ReceiveBuffer: 12 << 10})
	if send < 8<<10 || send > 16<<10 || receive < 12<<10 || receive > 24<<10 {
		t.Errorf("send buffer %d, receive buffer %d", send, receive)
	}
	plainSend, plainReceive := sizes(Config{})
	if plainSend <= send || plainReceive <= receive {
		t.Errorf("without the setting: %d and %d", plainSend, plainReceive)
	}
}
