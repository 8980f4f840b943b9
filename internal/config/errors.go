package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrConfig is what every error of this package wraps: the configuration is
// at fault and must be corrected (exit code 2).
var ErrConfig = errors.New("bad configuration")

// Error is one fault at one place.
type Error struct {
	File   string // file name, "environment" or "command line"
	Line   int    // 1-based; 0 when File is not a file
	Column int    // 1-based, in characters
	Msg    string // what is wrong and what was expected
}

// Error gives "file:line:column: message".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// Unwrap makes errors.Is(err, ErrConfig) true.
func (e *Error) Unwrap() error { return ErrConfig }

// Errors are all faults of one configuration, one line each.
type Errors []*Error

// Error joins the faults with newlines.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, x := range e {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As look at each fault.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, x := range e {
		errs[i] = x
	}
	return errs
}

// maxErrors bounds the report about a file that is no configuration at all.
const maxErrors = 50

// report collects errors; it keeps the first maxErrors.
type report struct {
	errs Errors
}

func (r *report) add(o Origin, format string, args ...any) {
	if len(r.errs) > maxErrors {
		return
	}
	e := &Error{File: o.place(), Line: o.Line, Column: o.Column, Msg: fmt.Sprintf(format, args...)}
	if len(r.errs) == maxErrors {
		e.Msg = "too many errors; the rest is not shown"
	}
	r.errs = append(r.errs, e)
}

func (r *report) full() bool { return len(r.errs) > maxErrors }

func (r *report) err() error {
	if len(r.errs) == 0 {
		return nil
	}
	// By place, because it is read beside the file.
	slices.SortStableFunc(r.errs, func(a, b *Error) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	return r.errs
}
