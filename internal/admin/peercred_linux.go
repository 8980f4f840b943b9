package admin

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// peerCredentials returns the user and primary group of the process at the
// other end of a unix socket.
func peerCredentials(c net.Conn) (uid int, gids []int, err error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return 0, nil, errors.New("not a unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, nil, err
	}
	return int(cred.Uid), []int{int(cred.Gid)}, nil
}
