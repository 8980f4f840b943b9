// Package command is what the commands of mqadmin share: the streams, the
// lazily made connection, and the meaning of errors. A command gets a *Factory
// and nothing else from outside, so a test replaces all of it.
package command

import (
	"bufio"
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
	In                    io.Reader
	Out, Err              io.Writer
	InTTY, OutTTY, ErrTTY bool
}

// Globals are the flags of every command.
type Globals struct {
	Format            string
	Color             string
	Socket, Address   string
	CACert, Cert, Key string
	ServerName        string
	TokenFile         string
	ContextName       string
	Timeout           time.Duration
	Yes               bool
	TimeoutSet        bool
	// Node is the member that a command acts on, through the one we talk to;
	// All: one after the other, all members.
	Node string
	All  bool
	// Watch repeats a command at that interval; 0 runs it once.
	Watch time.Duration
}

// Factory makes what commands need, when they need it.
type Factory struct {
	// Name is how the program was called: mqadmin or vmq-admin.
	Name string
	IO   IO
	Globals
	Getenv func(string) string
	// Dial connects to the broker once; commands call Conn.
	Dial func(ctx context.Context) (grpc.ClientConnInterface, error)
	// Close ends the connection, if one was made.
	Close func()
	// merged collects the results of several members while All is worked on.
	merged *merged
}

// OutputFormat returns the value of --format, which the root has checked.
func (f *Factory) OutputFormat() output.Format {
	if f.Format == "" {
		return output.Human
	}
	return output.Format(f.Format)
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

// Done prints a sentence as the result. Those of several members become rows.
func (f *Factory) Done(s string) error {
	if f.merged == nil {
		return output.Text(f.IO.Out, f.OutputFormat(), s)
	}
	t := f.Table("Result")
	if err := t.Row(s); err != nil {
		return err
	}
	return t.Close()
}

// Table starts a table on stdout. With --all it is the member's part of one
// table, whose first column is Node.
func (f *Factory) Table(columns ...string) *output.Table {
	if f.merged != nil {
		return f.merged.table(columns)
	}
	return f.newTable(columns...)
}

func (f *Factory) newTable(columns ...string) *output.Table {
	t := output.NewTable(f.IO.Out, f.OutputFormat(), columns...)
	if f.colour(f.IO.OutTTY) {
		t.Colour()
	}
	return t
}

// Lines prints a result that is no table, for people. With --all the member's
// name stands before.
func (f *Factory) Lines(write func(io.Writer)) error {
	w := bufio.NewWriter(f.IO.Out)
	if f.merged != nil {
		f.merged.heading(w)
	}
	write(w)
	return w.Flush()
}

// Note tells people something beside the result, on stderr.
func (f *Factory) Note(format string, args ...any) {
	text := output.Escape(fmt.Sprintf(format, args...))
	if f.colour(f.IO.ErrTTY) {
		if rest, ok := strings.CutPrefix(text, "warning: "); ok {
			text = yellow + "warning:" + plain + " " + rest
		}
	}
	fmt.Fprintln(f.IO.Err, text)
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
		if f.merged != nil {
			f.Yes = true // one answer for all members
		}
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
	mark(group, "true", []*cobra.Command{cmd})
	cmd.AddCommand(children...)
	return cmd
}
