// Package plugin has the commands about the broker's plugins.
package plugin

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// New returns the command "plugin".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("plugin", "Show plugins and turn them on and off",
		"Plugins are built into the broker. What is turned on or off here is so until the broker stops; plugins.NAME in the\n"+
			"configuration file decides at the start.",
		"  mqadmin plugin show",
		newShow(f, nil), newSwitch(f, true, nil), newSwitch(f, false, nil))
}

func plugins(ctx context.Context, f *command.Factory) ([]*pb.Plugin, error) {
	conn, err := f.Conn(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := pb.NewPluginServiceClient(conn).ShowPlugins(ctx, &pb.ShowPluginsRequest{})
	return resp.GetPlugins(), err
}

func names(f *command.Factory) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), command.CompletionTimeout)
		defer cancel()
		list, _ := plugins(ctx, f) // without a broker there are no candidates
		var out []string
		for _, p := range list {
			out = append(out, p.GetPlugin())
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func hooks(f *command.Factory) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), command.CompletionTimeout)
		defer cancel()
		list, _ := plugins(ctx, f) // as above
		var out []string
		for _, p := range list {
			out = append(out, p.GetHooks()...)
		}
		slices.Sort(out)
		return slices.Compact(out), cobra.ShellCompDirectiveNoFileComp
	}
}

type showOptions struct {
	plugin, hook string
	internal     bool
}

func newShow(f *command.Factory, runF func(context.Context, showOptions) error) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:   "show",
		Short: "List those that are turned on",
		Long: "A row for each plugin and hook, in the order in which plugins are asked. --internal shows those that are turned off,\n" +
			"too, and what is no plugin of the settings.",
		Example: "  mqadmin plugin show\n  mqadmin plugin show --hook=auth_on_register",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return show(cmd.Context(), f, o)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.plugin, "plugin", "", "only this one")
	fs.StringVar(&o.hook, "hook", "", "only those that have this hook")
	fs.BoolVar(&o.internal, "internal", false, "with those that are turned off, and built-in ones")
	_ = cmd.RegisterFlagCompletionFunc("plugin", names(f))
	_ = cmd.RegisterFlagCompletionFunc("hook", hooks(f))
	command.MarkPerNode(cmd)
	command.MarkReading(cmd)
	return cmd
}

func show(ctx context.Context, f *command.Factory, o showOptions) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	list, err := plugins(ctx, f)
	if err != nil {
		return err
	}
	if o.plugin != "" && !slices.ContainsFunc(list, func(p *pb.Plugin) bool { return p.GetPlugin() == o.plugin }) {
		return &command.Failure{Code: command.ExitFailed, Reason: "PLUGIN_UNKNOWN", Message: "there is no plugin " + o.plugin, Hint: "they are listed by: " + f.Name + " plugin show --internal"}
	}
	t := f.Table("Plugin", "Type", "Hook(s)", "M:F/A")
	for _, p := range list {
		hidden := !p.GetEnabled() || p.GetType() == "internal"
		if o.plugin != "" && p.GetPlugin() != o.plugin || hidden && !o.internal && o.plugin == "" {
			continue
		}
		kind := p.GetType()
		if !p.GetEnabled() {
			kind += " (off)"
		}
		for i, h := range p.GetHooks() {
			if o.hook != "" && h != o.hook {
				continue
			}
			if err := t.Row(p.GetPlugin(), kind, h, p.GetFunctions()[i]); err != nil {
				return err
			}
		}
	}
	return t.Close()
}

type switchOptions struct {
	name, path, module, function, hook string
	arity                              int
}

func (o switchOptions) check() error {
	foreign := "plugins of other makers cannot be loaded: --name takes a built-in one"
	switch {
	case o.module != "" || o.function != "" || o.hook != "" || o.arity != 0:
		return command.Usage("%s", foreign)
	case o.path != "":
		return command.Usage("--path: %s", foreign)
	case o.name == "":
		return command.Usage("no plugin is named: --name=vmq_acl")
	}
	return nil
}

func newSwitch(f *command.Factory, on bool, runF func(context.Context, switchOptions) error) *cobra.Command {
	var o switchOptions
	cmd := &cobra.Command{
		Use: "disable", Short: "Turn one off",
		Long: "The plugin is asked no more, until the broker stops. Without any plugin that authenticates or authorizes, nothing is\n" +
			"allowed but what allow_anonymous says.",
		Example: "  mqadmin plugin disable --name=vmq_passwd",
		Args:    kv.NoWords,
	}
	if on {
		cmd.Use, cmd.Short = "enable", "Turn one on"
		cmd.Long = "The plugin is asked from now on, until the broker stops. Only built-in plugins can be turned on; Erlang modules and\n" +
			"paths are refused."
		cmd.Example = "  mqadmin plugin enable --name=vmq_acl"
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.check(); err != nil {
			return err
		}
		if runF != nil {
			return runF(cmd.Context(), o)
		}
		return turn(cmd.Context(), f, o.name, on)
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.name, "name", "n", "", "the plugin")
	fs.StringVarP(&o.path, "path", "p", "", "refused: there are built-in plugins only")
	fs.StringVarP(&o.module, "module", "m", "", "refused, as --path")
	fs.StringVarP(&o.function, "function", "f", "", "refused, as --path")
	fs.IntVarP(&o.arity, "arity", "a", 0, "refused, as --path")
	fs.StringVar(&o.hook, "hook", "", "refused, as --path")
	_ = cmd.RegisterFlagCompletionFunc("name", names(f))
	command.MarkPerNode(cmd)
	if !on {
		command.MarkDestructive(cmd)
	}
	return cmd
}

func turn(ctx context.Context, f *command.Factory, name string, on bool) error {
	if !on {
		if err := f.Confirm("Clients that only " + name + " lets in are refused from now on. Go on?"); err != nil {
			return err
		}
	}
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	client := pb.NewPluginServiceClient(conn)
	var changed bool
	if on {
		var resp *pb.EnablePluginResponse
		resp, err = client.EnablePlugin(ctx, &pb.EnablePluginRequest{Plugin: name})
		changed = resp.GetChanged()
	} else {
		var resp *pb.DisablePluginResponse
		resp, err = client.DisablePlugin(ctx, &pb.DisablePluginRequest{Plugin: name})
		changed = resp.GetChanged()
	}
	if err != nil {
		return err
	}
	if !changed {
		state := map[bool]string{true: "on", false: "off"}[on]
		f.Note("note: %s was %s already", name, state)
	}
	return f.Done("Done")
}
