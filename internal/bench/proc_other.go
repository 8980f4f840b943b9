//go:build !linux

package bench

import (
	"errors"
	"os/exec"
	"time"
)

var errNoProc = errors.New("brokers are measured through /proc, which only Linux has")

func cpuSeconds(int) (float64, error) { return 0, errNoProc }

func residentBytes(int) (int64, error) { return 0, errNoProc }

func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }

func dieWithUs(*exec.Cmd) {}
