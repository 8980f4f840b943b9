package daemon

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// monotonic is the clock that systemd compares a reload with.
func monotonic() string {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return ""
	}
	return strconv.FormatInt(t.Nano()/1000, 10)
}
