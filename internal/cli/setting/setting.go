// Package setting has the commands about settings: set, show, describe, and
// config.
package setting

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// New returns the commands "set", "show", "describe" and "config".
func New(f *command.Factory) []*cobra.Command {
	return []*cobra.Command{
		newSet(f, nil), newShow(f, nil), newDescribe(f, nil),
		command.NewGroup("config", "Show and reset settings",
			"The settings of the broker that answers: from the file, the environment, the command line, or set at run time.",
			"  mqadmin config show",
			newConfigShow(f, nil), newConfigReset(f, nil)),
	}
}

// scope are the flags that say whose settings are meant.
type scope struct {
	node string
	all  bool
}

func (s *scope) bind(f *command.Factory, cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&s.node, "node", "n", "", "the member that is meant, instead of the one that answers")
	fs.BoolVarP(&s.all, "all", "a", false, "every member")
	_ = cmd.RegisterFlagCompletionFunc("node", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return nodeNames(cmd.Context(), f), cobra.ShellCompDirectiveNoFileComp
	})
}

func (s *scope) check() error {
	if s.node != "" && s.all {
		return command.Usage("--all and --node exclude each other")
	}
	return nil
}

func nodeNames(ctx context.Context, f *command.Factory) []string {
	ctx, cancel := context.WithTimeout(ctx, command.CompletionTimeout)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return nil
	}
	resp, err := pb.NewClusterServiceClient(conn).ShowCluster(ctx, &pb.ShowClusterRequest{})
	if err != nil {
		return nil
	}
	var names []string
	for _, m := range resp.GetMembers() {
		names = append(names, m.GetNode())
	}
	return names
}

// known asks the broker for its settings, for completion.
func known(ctx context.Context, f *command.Factory) []*pb.Setting {
	ctx, cancel := context.WithTimeout(ctx, command.CompletionTimeout)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return nil
	}
	resp, err := pb.NewSettingServiceClient(conn).ShowSettings(ctx, &pb.ShowSettingsRequest{})
	if err != nil || len(resp.GetNodes()) == 0 {
		return nil
	}
	return resp.GetNodes()[0].GetSettings()
}

// keyNames completes names of settings that were not typed yet.
func keyNames(f *command.Factory) cobra.CompletionFunc {
	return func(cmd *cobra.Command, words []string, _ string) ([]string, cobra.ShellCompDirective) {
		var out []string
		for _, s := range known(cmd.Context(), f) {
			if !slices.Contains(words, s.GetKey()) {
				out = append(out, s.GetKey())
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// changeWords completes key= with what can be set, and key=word with the words
// that the setting accepts.
func changeWords(f *command.Factory) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		key, _, hasValue := strings.Cut(typed, "=")
		var out []string
		for _, s := range known(cmd.Context(), f) {
			switch {
			case !s.GetRuntime():
			case !hasValue:
				out = append(out, s.GetKey()+"=\tis "+s.GetValue())
			case s.GetKey() == key:
				for _, w := range s.GetWords() {
					out = append(out, key+"="+w)
				}
			}
		}
		d := cobra.ShellCompDirectiveNoFileComp
		if !hasValue {
			d |= cobra.ShellCompDirectiveNoSpace
		}
		return out, d
	}
}

// someKeys is the Args of commands that take names of settings.
func someKeys(_ *cobra.Command, words []string) error {
	if len(words) == 0 {
		return &kv.Error{Message: "no setting is named", Hint: "name one, as in: mqadmin show max_client_id_size"}
	}
	for i, w := range words {
		switch {
		case strings.Contains(w, "="):
			return &kv.Error{Message: w + ": a value is not expected here", Hint: "to change it: mqadmin set " + w}
		case slices.Contains(words[:i], w):
			return &kv.Error{Message: w + " is named twice"}
		}
	}
	return nil
}
