package broker

import (
	"net"
	"syscall"
	"testing"
)

// TestConnectionsInheritKeepAlive compares an accepted connection with one of
// an ordinary net.Listen.
func TestConnectionsInheritKeepAlive(t *testing.T) {
	options := map[string][2]int{
		"SO_KEEPALIVE": {syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}, "TCP_KEEPIDLE": {syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE},
		"TCP_KEEPINTVL": {syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL}, "TCP_KEEPCNT": {syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT},
		"TCP_NODELAY": {syscall.IPPROTO_TCP, syscall.TCP_NODELAY},
	}
	read := func(listen func(network, address string) (net.Listener, error)) map[string]int {
		l, err := listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		if err := raw.Control(func(fd uintptr) {
			for name, o := range options {
				if got[name], err = syscall.GetsockoptInt(int(fd), o[0], o[1]); err != nil {
					t.Error(name, err)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	want, got := read(net.Listen), read(listen)
	for name, v := range want {
		if got[name] != v || v == 0 {
			t.Errorf("%s is %d, with net.Listen %d", name, got[name], v)
		}
	}
}
