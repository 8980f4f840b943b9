//go:build unix

package broker

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mqadmin/mqadmin/internal/config"
)

// buffer_sizes of the cluster port reach the sockets that it accepts.
func TestClusterPortBuffers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sized := &sizedListener{ln, config.BufferSizes{Send: 8 << 10, Receive: 12 << 10}}
	defer sized.Close()
	dialClient(t, "tcp", ln.Addr().String())
	c, err := sized.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var send, receive int
	if err := raw.Control(func(fd uintptr) {
		send, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
		receive, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
	}); err != nil {
		t.Fatal(err)
	}
	// Linux doubles what it is asked for, others round.
	if send < 8<<10 || send > 16<<10 || receive < 12<<10 || receive > 24<<10 {
		t.Errorf("send buffer %d, receive buffer %d", send, receive)
	}
}

// Editing a password file leaves its owner and mode, and a link to it.
func TestPasswdKeepsOwnerAndMode(t *testing.T) {
	path := passwordFile(t, "alice", "first")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	owner := os.Geteuid()
	if owner == 0 {
		owner = 12345
		if err := os.Chown(path, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if code := Main(t.Context(), []string{"broker", "passwd", link, "bob"}, Stdio{In: strings.NewReader("second\n"), Out: &out, Err: &out}); code != 0 {
		t.Fatalf("%s", &out)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); info.Mode() != 0o640 || int(st.Uid) != owner {
		t.Errorf("mode %s, owner %d", info.Mode(), st.Uid)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "\nbob:$7$") {
		t.Errorf("%s, %v", text, err)
	}
}
