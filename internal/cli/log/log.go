// Package log has the commands about what the broker logs.
package log

import (
	"context"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// levels completes level=; the broker has the last word.
var levels = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// New returns the command "log".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("log", "Show and change what is logged",
		"Where the broker's log records go, and which of them.",
		"  mqadmin log show config",
		command.NewGroup("show", "Show where records go", "The loggers of the broker.", "  mqadmin log show config", newShowConfig(f, nil)),
		newLevel(f, nil))
}

func newShowConfig(f *command.Factory, runF func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "List the loggers with their levels",
		Long:    "One row for each place that records go to. A logger without a level writes whatever is meant for it.",
		Example: "  mqadmin log show config",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context())
			}
			return showConfig(cmd.Context(), f)
		},
	}
	command.MarkPerNode(cmd)
	command.MarkReading(cmd)
	return cmd
}

func showConfig(ctx context.Context, f *command.Factory) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewLogServiceClient(conn).ShowLoggers(ctx, &pb.ShowLoggersRequest{})
	if err != nil {
		return err
	}
	t := f.Table("logger", "level", "type", "file")
	for _, l := range resp.GetLoggers() {
		if err := t.Row(l.GetLogger(), orNil(l.GetLevel()), l.GetType(), orNil(l.GetFile())); err != nil {
			return err
		}
	}
	return t.Close()
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

type levelOptions struct{ logger, level string }

func newLevel(f *command.Factory, runF func(context.Context, levelOptions) error) *cobra.Command {
	var o levelOptions
	cmd := &cobra.Command{
		Use:   "level",
		Short: "Change what a logger writes",
		Long: "From now on the logger writes records of this level and worse, until the broker stops. That of the console is the\n" +
			"setting log.console.level.",
		Example: "  mqadmin log level logger=console level=debug",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return level(cmd.Context(), f, o)
		},
	}
	kv.Bind(cmd,
		kv.Arg{Key: "logger", Usage: "as in log show config", Value: &o.logger, Required: true, Complete: func(ctx context.Context) []string { return loggers(ctx, f) }},
		kv.Arg{Key: "level", Usage: "debug, info, notice, warning, error, critical, alert or emergency", Value: &o.level, Required: true, Complete: func(context.Context) []string { return levels }})
	command.MarkPerNode(cmd)
	return cmd
}

func loggers(ctx context.Context, f *command.Factory) []string {
	ctx, cancel := context.WithTimeout(ctx, command.CompletionTimeout)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return nil
	}
	resp, err := pb.NewLogServiceClient(conn).ShowLoggers(ctx, &pb.ShowLoggersRequest{})
	if err != nil {
		return nil
	}
	var out []string
	seen := map[string]bool{}
	for _, l := range resp.GetLoggers() {
		if l.GetLevel() != "" && !seen[l.GetLogger()] {
			seen[l.GetLogger()] = true
			out = append(out, l.GetLogger())
		}
	}
	return out
}

func level(ctx context.Context, f *command.Factory, o levelOptions) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err := pb.NewLogServiceClient(conn).SetLogLevel(ctx, &pb.SetLogLevelRequest{Logger: o.logger, Level: o.level}); err != nil {
		return err
	}
	return f.Done("Done")
}
