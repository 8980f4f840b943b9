//go:build unix

package broker

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Members of admin.socket.group can only use the socket if it is theirs.
func TestSocketBelongsToItsGroup(t *testing.T) {
	g, err := user.LookupGroup("daemon")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and the group daemon")
	}
	path := filepath.Join(t.TempDir(), "admin.sock")
	ln, err := listenUnix(path, g.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if gid := st.Sys().(*syscall.Stat_t).Gid; strconv.Itoa(int(gid)) != g.Gid || st.Mode().Perm() != 0o660 {
		t.Errorf("group %d, mode %v", gid, st.Mode())
	}
	if _, err := listenUnix(filepath.Join(t.TempDir(), "s"), "no-such-group"); err == nil {
		t.Error("an unknown group is taken")
	}
}
