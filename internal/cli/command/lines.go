package command

import (
	"fmt"
	"io"
	"strings"

	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// Text prints a text of several lines as the result.
func (f *Factory) Text(lines ...string) error {
	if f.OutputFormat() != output.Human {
		return f.Done(strings.Join(lines, "\n"))
	}
	return f.Lines(func(w io.Writer) {
		for _, l := range lines {
			fmt.Fprintln(w, output.Escape(l))
		}
	})
}
