package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

func flagNames(cmd *cobra.Command) []string {
	var names []string
	visit := func(f *pflag.Flag) { names = append(names, f.Name) }
	cmd.LocalFlags().VisitAll(visit)
	cmd.InheritedFlags().VisitAll(visit)
	return names
}

// help prints a command's page. It is our own because cobra's template shows
// keys as flags and the sentinel of optional values.
func help(cmd *cobra.Command, out io.Writer) {
	w := bufio.NewWriter(out)
	page(cmd, w)
	_ = w.Flush() // help that cannot be written has nobody to tell
}

func page(cmd *cobra.Command, w io.Writer) {
	program := cmd.Root().Name()
	fmt.Fprintf(w, "%s\n", strings.TrimSpace(cmd.Long))
	if !cmd.Runnable() {
		return // a topic
	}
	fmt.Fprintf(w, "\nUsage:\n  %s\n", usageLine(cmd))
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(w, "\nAlso:\n  %s\n", strings.Join(cmd.Aliases, ", "))
	}
	if cmd.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", strings.ReplaceAll(cmd.Example, "  mqadmin ", "  "+program+" "))
	}
	subcommands(w, cmd)
	section(w, "Keys", cmd.LocalFlags(), func(f *pflag.Flag) bool { return f.Annotations[kv.KeyFlag] != nil })
	section(w, "Fields", cmd.LocalFlags(), isField)
	section(w, "Flags", cmd.LocalNonPersistentFlags(), func(f *pflag.Flag) bool {
		return f.Annotations[kv.KeyFlag] == nil && !isField(f) && f.Name != "help"
	})
	global := cmd.InheritedFlags()
	if !cmd.HasParent() {
		global = cmd.PersistentFlags()
	}
	section(w, "Global flags", global, func(f *pflag.Flag) bool { return f.Name != "help" })
}

func usageLine(cmd *cobra.Command) string {
	own := cmd.Use
	if cmd.HasAvailableSubCommands() {
		if own == cmd.Name() {
			return cmd.CommandPath() + " <command>"
		}
		return cmd.Parent().CommandPath() + " " + own + "\n  " + cmd.CommandPath() + " <command>"
	}
	if cmd.HasParent() {
		return cmd.Parent().CommandPath() + " " + cmd.Use
	}
	return cmd.Use
}

func isField(f *pflag.Flag) bool { return kv.IsOptional(f) && f.NoOptDefVal == kv.Column }

func subcommands(w io.Writer, cmd *cobra.Command) {
	var commands, topics [][2]string
	for _, c := range cmd.Commands() {
		switch {
		case c.IsAdditionalHelpTopicCommand():
			topics = append(topics, [2]string{c.Name(), c.Short})
		case c.IsAvailableCommand():
			commands = append(commands, [2]string{c.Name(), c.Short})
		}
	}
	columns(w, "Commands", commands)
	columns(w, "Topics", topics)
}

func section(w io.Writer, title string, flags *pflag.FlagSet, keep func(*pflag.Flag) bool) {
	var rows [][2]string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || !keep(f) {
			return
		}
		rows = append(rows, [2]string{flagSpelling(f), flagUsage(f)})
	})
	columns(w, title, rows)
}

func flagSpelling(f *pflag.Flag) string {
	if f.Annotations[kv.KeyFlag] != nil {
		return f.Name + "="
	}
	s := "--" + f.Name
	if f.Shorthand != "" {
		s = "-" + f.Shorthand + ", " + s
	}
	switch {
	case kv.IsOptional(f) && f.Value.Type() == "duration":
		s += "[=" + f.NoOptDefVal + "]"
	case isField(f), f.Value.Type() == "bool" && f.DefValue == "false":
	case f.Value.Type() == "bool":
		s += "={true|false}"
	default:
		s += " <" + f.Value.Type() + ">"
	}
	return s
}

func flagUsage(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "0", "0s":
		return f.Usage
	}
	return f.Usage + " (default " + f.DefValue + ")"
}

func columns(w io.Writer, title string, rows [][2]string) {
	if len(rows) == 0 {
		return
	}
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, r := range rows {
		fmt.Fprintf(w, "  %-*s  %s\n", width, r[0], r[1])
	}
}
