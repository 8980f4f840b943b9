package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/windows"
)

var errWouldBlock error = windows.ERROR_LOCK_VIOLATION

// lockFile locks a byte far behind the content, because Windows lets nobody read
// what is locked.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{OffsetHigh: 1})
}

func processExists(pid int) bool {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return errors.Is(err, windows.ERROR_ACCESS_DENIED)
	}
	defer func() { _ = windows.CloseHandle(h) }()
	var code uint32
	const stillActive = 259
	return windows.GetExitCodeProcess(h, &code) == nil && code == stillActive
}

func terminate(pid int) error {
	return fmt.Errorf("stopping process %d: %w", pid, ErrUnsupported)
}

func detach(*exec.Cmd) error { return ErrUnsupported }

func dup2(*os.File) error { return ErrUnsupported }

// RaiseFileLimit does nothing: Windows has no such limit.
func RaiseFileLimit(want uint64) (got uint64, err error) { return want, nil }

func closeOnExec(f *os.File) { windows.CloseOnExec(windows.Handle(f.Fd())) }
