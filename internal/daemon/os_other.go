//go:build !linux

package daemon

// monotonic is for systemd only.
func monotonic() string { return "" }
