//go:build !linux

package broker

func processIO() (in, out int64, ok bool) { return 0, 0, false }
