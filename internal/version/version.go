// Package version holds the version that the build stamps into both programs.
package version

import "runtime/debug"

// Version is set by the linker; "" when built without the Makefile.
var Version string

// String returns the stamped version, or the revision that the Go tool
// recorded, or "devel".
func String() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return s.Value[:12]
			}
		}
	}
	return "devel"
}
