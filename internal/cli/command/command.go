// Package command is what the commands of mqadmin share: the streams, the
// lazily made connection, and the meaning of errors. A command gets a *Factory
// and nothing else from outside, so a test replaces all of it.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// IO are the streams of the process and what is behind them.
type IO struct {
	In            io.Reader
	Out, Err      io.Writer
	InTTY, OutTTY bool
}

// Globals are the flags of every command.
type Globals struct {
	Format                string
	Socket, Address       string
	CACert, Cert, Key     string
	ServerName            string
	Timeout               time.Duration
	Yes                   bool
	TimeoutSet, FormatSet bool
}

// Factory makes what commands need, when they need it.
type Factory struct {
	// Name is how the program was called: mqadmin or vmq-admin.
	Name string
	IO   IO
	Globals
	Getenv func(string) string
	// Conn connects to the broker once; closing is Close's.
	Conn func(ctx context.Context) (grpc.ClientConnInterface, error)
	// Close ends the connection, if one was made.
	Close func()
}

// OutputFormat returns the checked value of --format.
func (f *Factory) OutputFormat() output.Format {
	format, err := output.ParseFormat(f.Format)
	if err != nil {
		return output.Human // the root refused it before
	}
	return format
}

// DefaultTimeout bounds a call when --timeout is not given.
const DefaultTimeout = 10 * time.Second

// CompletionTimeout is how long a shell waits for candidates from the broker.
const CompletionTimeout = 300 * time.Millisecond

// Context gives a call its deadline.
func (f *Factory) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	d := f.Timeout
	if d == 0 {
		d = DefaultTimeout
	}
	return context.WithTimeout(ctx, d)
}

// LongContext is for operations that take as long as they take and report
// progress: only an explicit --timeout ends them.
func (f *Factory) LongContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.TimeoutSet {
		return f.Context(ctx)
	}
	return context.WithCancel(ctx)
}

// Done prints a sentence as the result.
func (f *Factory) Done(s string) error { return output.Text(f.IO.Out, f.OutputFormat(), s) }

// Table starts a table on stdout.
func (f *Factory) Table(columns ...string) *output.Table {
	return output.NewTable(f.IO.Out, f.OutputFormat(), columns...)
}

// Note tells people something beside the result, on stderr.
func (f *Factory) Note(format string, args ...any) {
	fmt.Fprintln(f.IO.Err, output.Escape(fmt.Sprintf(format, args...)))
}

// Destructive is the annotation of commands that end or delete something.
const Destructive = "mqadmin_destructive"

// MarkDestructive annotates cmd.
func MarkDestructive(cmd *cobra.Command) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[Destructive] = "true"
}

// ErrRefused is returned by Confirm when the answer at the prompt was no.
var ErrRefused = errors.New("refused at the prompt; nothing was changed")

// Confirm asks before something is ended or deleted, but only a person: without
// a terminal on both sides it goes on, as vmq-admin does.
func (f *Factory) Confirm(question string) error {
	if f.Yes || !f.IO.InTTY || !f.IO.OutTTY {
		return nil
	}
	fmt.Fprintf(f.IO.Err, "%s [y/N] ", output.Escape(question))
	var answer strings.Builder
	b := make([]byte, 1)
	for answer.Len() < 16 {
		if n, err := f.IO.In.Read(b); n == 0 || err != nil || b[0] == '\n' {
			break
		}
		answer.WriteByte(b[0])
	}
	switch strings.ToLower(strings.TrimSpace(answer.String())) {
	case "y", "yes":
		return nil
	}
	return ErrRefused
}

// NewGroup returns a command that only has subcommands.
func NewGroup(use, short, long, example string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: kv.Group,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}
