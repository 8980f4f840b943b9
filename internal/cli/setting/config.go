package setting

import (
	"context"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// apps completes app=; the broker knows them all.
func apps(f *command.Factory) func(context.Context) []string {
	return func(ctx context.Context) []string {
		var out []string
		seen := map[string]bool{}
		for _, s := range known(ctx, f) {
			if !seen[s.GetApp()] {
				seen[s.GetApp()] = true
				out = append(out, s.GetApp())
			}
		}
		return out
	}
}

// completeKeys completes key=.
func completeKeys(f *command.Factory) func(context.Context) []string {
	return func(ctx context.Context) []string {
		var out []string
		for _, s := range known(ctx, f) {
			out = append(out, s.GetKey())
		}
		return out
	}
}

type configOptions struct {
	scope
	app, key      string
	local, global bool
}

func newConfigShow(f *command.Factory, runF func(context.Context, configOptions) error) *cobra.Command {
	var o configOptions
	cmd := &cobra.Command{
		Use:   "show",
		Short: "List every setting that has a value",
		Long: "A row for each setting, its value in the column of the place that decides: Env for the default, the file, the\n" +
			"environment and the command line, Node if it was set on this member, Global if it was set on every member. Origin\n" +
			"names the place. app= is vmq_server or the name of a plugin.",
		Example: "  mqadmin config show\n" +
			"  mqadmin config show app=vmq_acl\n" +
			"  mqadmin config show app=vmq_server -k max_client_id_size",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return configShow(cmd.Context(), f, o)
		},
	}
	kv.Bind(cmd, kv.Arg{Key: "app", Usage: "only settings of the broker (vmq_server) or of a plugin", Value: &o.app, Complete: apps(f)})
	cmd.Flags().StringVarP(&o.key, "key", "k", "", "only this setting")
	_ = cmd.RegisterFlagCompletionFunc("key", keyNames(f))
	return cmd
}

func configShow(ctx context.Context, f *command.Factory, o configOptions) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	req := &pb.ShowSettingsRequest{App: o.app}
	if o.key != "" {
		req.Keys = []string{o.key}
	}
	resp, err := pb.NewSettingServiceClient(conn).ShowSettings(ctx, req)
	if err != nil {
		return err
	}
	t := f.Table("Config", "Env", "Node", "Global", "Origin")
	for _, n := range resp.GetNodes() {
		for _, s := range n.GetSettings() {
			row := []any{s.GetKey(), nil, nil, nil, s.GetPlace()}
			row[column(s.GetOrigin())] = s.GetValue()
			if err := t.Row(row...); err != nil {
				return err
			}
		}
	}
	return t.Close()
}

// column is that of the scope which decides about a value.
func column(o pb.SettingOrigin) int {
	switch o {
	case pb.SettingOrigin_SETTING_ORIGIN_SET:
		return 2
	case pb.SettingOrigin_SETTING_ORIGIN_SET_ALL:
		return 3
	default:
		return 1
	}
}

func newConfigReset(f *command.Factory, runF func(context.Context, configOptions) error) *cobra.Command {
	var o configOptions
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Take back what was set at run time",
		Long: "The values of the file, the environment and the command line hold again. Without --local and --global everything\n" +
			"that was set is taken back; --local takes only what was set on single members, --global what was set on every\n" +
			"member, and takes that back on every member.",
		Example: "  mqadmin config reset app=vmq_server\n" +
			"  mqadmin config reset key=max_client_id_size --local\n" +
			"  mqadmin config reset --global",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return configReset(cmd.Context(), f, o)
		},
	}
	kv.Bind(cmd,
		kv.Arg{Key: "app", Usage: "only settings of the broker (vmq_server) or of a plugin", Value: &o.app, Complete: apps(f)},
		kv.Arg{Key: "key", Usage: "only this setting", Value: &o.key, Complete: completeKeys(f)})
	fs := cmd.Flags()
	fs.BoolVar(&o.local, "local", false, "only what was set on single members")
	fs.BoolVar(&o.global, "global", false, "only what was set on every member, there")
	o.bind(f, cmd)
	command.MarkDestructive(cmd)
	return cmd
}

func configReset(ctx context.Context, f *command.Factory, o configOptions) error {
	if err := f.Confirm("What was set at run time is taken back. Go on?"); err != nil {
		return err
	}
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	all := o.all || o.global && o.node == ""
	resp, err := pb.NewSettingServiceClient(conn).ResetSettings(ctx, &pb.ResetSettingsRequest{
		App: o.app, Key: o.key, Local: o.local, Global: o.global, Node: o.node, All: all,
	})
	if err != nil {
		return err
	}
	return changed(f, resp.GetNodes(), all, "reset")
}
