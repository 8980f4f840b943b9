package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// watch repeats a command until it is interrupted, which is how it is meant to
// end. On a terminal every result replaces the one before; elsewhere they
// follow each other, with what parts two results of that format between them.
// Only the first failure ends it: a broker that is away for a moment comes back.
func (f *Factory) watch(ctx context.Context, once func() error) error {
	out := f.IO.Out
	defer func() { f.IO.Out = out }()
	tick := time.NewTicker(f.Watch)
	defer tick.Stop()
	for n := 0; ; n++ {
		var result bytes.Buffer
		f.IO.Out = &result
		err := once()
		if ctx.Err() != nil {
			return watchEnd(ctx)
		}
		if err != nil && (n == 0 || explain(err, f.Name).Code == ExitUsage) {
			return err
		}
		if err != nil {
			f.Report(explain(err, f.Name))
		} else if err := f.show(out, result.Bytes(), n); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return watchEnd(ctx)
		}
	}
}

// watchEnd: an interrupt is the ordinary end, a signal to terminate is not.
func watchEnd(ctx context.Context) error {
	if cause := context.Cause(ctx); interrupted(cause).Code != ExitInterrupted {
		return cause
	}
	return nil
}

// show writes the n-th result.
func (f *Factory) show(out io.Writer, result []byte, n int) error {
	var err error
	switch format := f.OutputFormat(); {
	case f.IO.OutTTY && format == output.Human:
		lines := strings.ReplaceAll(string(result), "\n", "\x1b[K\n")
		_, err = fmt.Fprintf(out, "\x1b[H%s\x1b[J", lines)
	case n > 0 && format == output.YAML:
		_, err = fmt.Fprintf(out, "---\n%s", result)
	case n > 0 && (format == output.Human || format == output.CSV):
		_, err = fmt.Fprintf(out, "\n%s", result)
	default:
		_, err = out.Write(result)
	}
	return err
}
