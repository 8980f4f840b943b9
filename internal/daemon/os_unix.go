//go:build unix

package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

var errWouldBlock error = unix.EWOULDBLOCK

// lockFile takes an exclusive lock without waiting.
func lockFile(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func processExists(pid int) bool {
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

func terminate(pid int) error {
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return fmt.Errorf("stopping process %d: %w", pid, err)
	}
	return nil
}

// detach makes the child the leader of a session of its own, without a
// terminal, so that neither Ctrl-C nor a hang-up reaches it.
func detach(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return nil
}

// dup2 lets standard output and error go to f.
func dup2(f *os.File) error {
	for _, fd := range []int{1, 2} {
		if err := unix.Dup2(int(f.Fd()), fd); err != nil {
			return fmt.Errorf("redirecting output: %w", err)
		}
	}
	return nil
}

// RaiseFileLimit raises the limit of open files to want, as far as the system allows,
// and returns the limit that holds now. It never lowers it.
func RaiseFileLimit(want uint64) (got uint64, err error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("reading the limit of open files: %w", err)
	}
	had := l.Cur
	if had >= want {
		return had, nil
	}
	// Root may raise the hard limit too; others stop at it.
	for _, to := range []unix.Rlimit{{Cur: want, Max: max(want, l.Max)}, {Cur: min(want, l.Max), Max: l.Max}} {
		if err = unix.Setrlimit(unix.RLIMIT_NOFILE, &to); err == nil {
			return to.Cur, nil
		}
	}
	return had, fmt.Errorf("raising the limit of open files: %w", err)
}

func closeOnExec(f *os.File) { unix.CloseOnExec(int(f.Fd())) }
