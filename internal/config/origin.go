package config

import "fmt"

// OriginKind is the kind of place a value comes from.
type OriginKind uint8

// The kinds of origins, weakest first.
const (
	FromDefault OriginKind = iota
	FromFile
	FromEnvironment
	FromFlag
	// FromRuntime is a value that was set while the broker runs.
	FromRuntime
)

// Origin says where a value comes from.
type Origin struct {
	Kind   OriginKind
	File   string
	Line   int    // 1-based
	Column int    // 1-based, in characters
	Name   string // environment variable
	// Everywhere: set at run time on every member.
	Everywhere bool
}

// String gives "default", "file:line", "environment BROKER_X",
// "command line" or "set at run time".
func (o Origin) String() string {
	if o.Kind == FromFile {
		return fmt.Sprintf("%s:%d", o.File, o.Line)
	}
	return o.place()
}

// place names the origin without the line.
func (o Origin) place() string {
	switch o.Kind {
	case FromFile:
		return o.File
	case FromEnvironment:
		return "environment " + o.Name
	case FromFlag:
		return "command line"
	case FromRuntime:
		if o.Everywhere {
			return "set at run time on every member"
		}
		return "set at run time"
	default:
		return "default"
	}
}
