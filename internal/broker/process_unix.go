//go:build unix

package broker

import (
	"time"

	"golang.org/x/sys/unix"
)

func usage() (processUsage, bool) {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return processUsage{}, false
	}
	return processUsage{
		cpu:      time.Duration(u.Utime.Nano() + u.Stime.Nano()),
		switches: int64(u.Nvcsw) + int64(u.Nivcsw), //nolint:unconvert // their size depends on the system
	}, true
}
