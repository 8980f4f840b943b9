//go:build unix

package broker

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives a new file the owner of the one that it replaces.
func keepOwner(path string, former fs.FileInfo) error {
	st, ok := former.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() && int(st.Gid) == os.Getegid() {
		return nil
	}
	if err := os.Chown(path, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("the file belongs to user %d and group %d, and would no longer: %w; run this as that user or as root", st.Uid, st.Gid, err)
	}
	return nil
}
