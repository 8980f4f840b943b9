package setting

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
)

type showOptions struct {
	scope
	keys []string
}

func newShow(f *command.Factory, runF func(context.Context, showOptions) error) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:   "show <key>... [flags]",
		Short: "Print values of settings and where they come from",
		Long: "One row per member: its name, a column for each setting, and behind them, as KEY.origin, where each value comes\n" +
			"from: default, the file and line, the environment, the command line, or set at run time. Secrets are hidden.",
		Example: "  mqadmin show max_client_id_size allow_anonymous\n" +
			"  mqadmin show max_client_id_size --all --format json",
		DisableFlagsInUseLine: true,
		Args:                  someKeys,
		ValidArgsFunction:     keyNames(f),
		RunE: func(cmd *cobra.Command, words []string) error {
			o.keys = words
			if err := o.check(); err != nil {
				return err
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return show(cmd.Context(), f, o)
		},
	}
	o.bind(f, cmd)
	return cmd
}

func show(ctx context.Context, f *command.Factory, o showOptions) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewSettingServiceClient(conn).ShowSettings(ctx, &pb.ShowSettingsRequest{Keys: o.keys, Node: o.node, All: o.all})
	if err != nil {
		return err
	}
	columns := append([]string{"node"}, o.keys...)
	for _, key := range o.keys {
		columns = append(columns, key+".origin")
	}
	t := f.Table(columns...)
	var failed []string
	for _, n := range resp.GetNodes() {
		if n.GetError() != "" {
			failed = append(failed, n.GetNode()+": "+n.GetError())
			continue
		}
		row := []any{n.GetNode()}
		for _, s := range n.GetSettings() {
			row = append(row, s.GetValue())
		}
		for _, s := range n.GetSettings() {
			row = append(row, s.GetPlace())
		}
		if err := t.Row(row...); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if failed != nil {
		return command.Partial("%d of %d members did not answer: %s", len(failed), len(resp.GetNodes()), strings.Join(failed, "; "))
	}
	return nil
}

func newDescribe(f *command.Factory, runF func(context.Context, []string) error) *cobra.Command {
	return &cobra.Command{
		Use:   "describe <key>...",
		Short: "Explain settings",
		Long:  "What a setting does, what it accepts, its default, when a change takes effect, its value and where that comes from.",
		Example: "  mqadmin describe max_client_id_size\n" +
			"  mqadmin describe retry_interval allow_anonymous",
		DisableFlagsInUseLine: true,
		Args:                  someKeys,
		ValidArgsFunction:     keyNames(f),
		RunE: func(cmd *cobra.Command, words []string) error {
			if runF != nil {
				return runF(cmd.Context(), words)
			}
			return describe(cmd.Context(), f, words)
		},
	}
}

func describe(ctx context.Context, f *command.Factory, keys []string) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewSettingServiceClient(conn).DescribeSettings(ctx, &pb.DescribeSettingsRequest{Keys: keys})
	if err != nil {
		return err
	}
	var lines []string
	for i, s := range resp.GetSettings() {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, strings.Split(strings.TrimRight(s.GetText(), "\n"), "\n")...)
	}
	return f.Text(lines...)
}
