package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// Exit codes. ExitCodes has the same list for people.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitPartial     = 3
	ExitNotAllowed  = 4
	ExitUnreachable = 5
	ExitTimeout     = 6
	ExitRefused     = 7
	ExitCheck       = 8
	ExitInterrupted = 130
	ExitTerminated  = 143
)

// ExitCodes is the text of mqadmin help exit-codes.
const ExitCodes = `  0    done, or there was nothing to do
  1    the operation failed
  2    wrong usage: unknown command, key, flag or value
  3    partly done: some nodes or items failed
  4    not allowed
  5    the broker cannot be reached, or the cluster has no leader
  6    timed out; the work may go on
  7    refused at the prompt
  8    a check came out false
  130  interrupted (SIGINT)
  143  terminated (SIGTERM)`

// codeExits is the one table from status code to exit code; what is not in it
// is ExitFailed.
var codeExits = map[codes.Code]int{
	codes.OK:               ExitOK,
	codes.InvalidArgument:  ExitUsage,
	codes.Unauthenticated:  ExitNotAllowed,
	codes.PermissionDenied: ExitNotAllowed,
	codes.Unavailable:      ExitUnreachable,
	codes.DeadlineExceeded: ExitTimeout,
	codes.Canceled:         ExitInterrupted,
}

// Failure is an error of mqadmin itself, with its exit code.
type Failure struct {
	Code    int
	Reason  string // for --format json, such as UNREACHABLE
	Message string
	Hint    string
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// Usage returns a usage error.
func Usage(format string, args ...any) error {
	return &Failure{Code: ExitUsage, Reason: "USAGE", Message: fmt.Sprintf(format, args...)}
}

// Partial says that a part was not done, after the result was printed.
func Partial(format string, args ...any) error {
	return &Failure{Code: ExitPartial, Reason: "PARTIAL", Message: fmt.Sprintf(format, args...)}
}

// Explain finds out what an error means to whoever ran the command: path is the
// command's words without the program's name, program how it was called. An
// interrupt, as the cause of ctx, goes before whatever it brought about.
func Explain(ctx context.Context, err error, program, path string) *Failure {
	if cause := context.Cause(ctx); cause != nil {
		return interrupted(cause)
	}
	f := explain(err, program)
	if path != "" {
		f.Message = path + ": " + f.Message
	}
	if f.Code == ExitUsage && f.Hint == "" {
		f.Hint = fmt.Sprintf("run %q", strings.TrimSpace(program+" "+path)+" --help")
	}
	return f
}

func interrupted(cause error) *Failure {
	if strings.HasPrefix(cause.Error(), "terminated") { // signal.NotifyContext names the signal
		return &Failure{Code: ExitTerminated, Reason: "TERMINATED", Message: "terminated"}
	}
	return &Failure{Code: ExitInterrupted, Reason: "INTERRUPTED", Message: "interrupted"}
}

func explain(err error, program string) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return new(*f)
	}
	if e, ok := errors.AsType[*kv.Error](err); ok {
		return &Failure{Code: ExitUsage, Reason: "USAGE", Message: e.Message, Hint: e.Hint}
	}
	if errors.Is(err, ErrRefused) {
		return &Failure{Code: ExitRefused, Reason: "REFUSED", Message: err.Error()}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = status.FromContextError(context.DeadlineExceeded).Err()
	}
	st, ok := status.FromError(err)
	if !ok {
		return &Failure{Code: ExitFailed, Reason: "FAILED", Message: err.Error()}
	}
	return fromStatus(st, program)
}

func fromStatus(st *status.Status, program string) *Failure {
	f := &Failure{Code: ExitFailed, Message: st.Message()}
	if c, ok := codeExits[st.Code()]; ok {
		f.Code = c
	}
	f.Reason = reasonOfCode(st.Code())
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			f.Reason = info.GetReason()
			f.Hint = hint(info, program)
		}
	}
	if f.Message == context.DeadlineExceeded.Error() { // the broker has the same deadline, and may see its end first
		f.Reason = reasonOfCode(codes.DeadlineExceeded)
	}
	switch f.Reason {
	case "DEADLINE_EXCEEDED":
		f.Message, f.Hint = "no answer in time; the work may go on", "a longer time can be given: --timeout 60s"
	case "UNAVAILABLE":
		f.Message = "the broker went away: " + f.Message
	}
	return f
}

// reasonOfCode is the upper-case name of a status that came without a reason,
// such as DEADLINE_EXCEEDED.
func reasonOfCode(c codes.Code) string {
	var b strings.Builder
	for i, r := range c.String() {
		if r >= 'A' && r <= 'Z' && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// Report writes a failure to stderr: for people "error: …" and "hint: …", for
// machines one object.
func (f *Factory) Report(e *Failure) {
	w := f.IO.Err
	if format := f.OutputFormat(); format.Structured() {
		pairs := []output.Pair{{Name: "code", Value: e.Reason}, {Name: "message", Value: e.Message}}
		if e.Hint != "" {
			pairs = append(pairs, output.Pair{Name: "hint", Value: e.Hint})
		}
		_ = output.Object(w, format, "error", pairs...) // there is nobody else to tell
		return
	}
	on, hint, off := "", "", ""
	if f.colour(f.IO.ErrTTY) {
		on, hint, off = red, cyan, plain
	}
	fmt.Fprintf(w, "%serror:%s %s\n", on, off, output.Escape(e.Message))
	if e.Hint != "" {
		fmt.Fprintf(w, "%shint:%s %s\n", hint, off, output.Escape(e.Hint))
	}
}
