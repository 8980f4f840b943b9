package setting

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

type setOptions struct {
	scope
	changes []*pb.SettingChange
	dryRun  bool
}

func newSet(f *command.Factory, runF func(context.Context, setOptions) error) *cobra.Command {
	var o setOptions
	cmd := &cobra.Command{
		Use:   "set key=<value>... [flags]",
		Short: "Change settings of a running broker",
		Long: "Gives settings other values, checked as in the configuration file, all of a line or none. What needs a restart is\n" +
			"refused. A note says whether connections that are open keep the former value. Values that are set hold until the\n" +
			"broker stops: what shall stay belongs into the file.",
		Example: "  mqadmin set max_client_id_size=50\n" +
			"  mqadmin set allow_anonymous=off max_message_rate=100 --all\n" +
			"  mqadmin set log.console.level=debug -n VerneMQ@192.168.100.124",
		DisableFlagsInUseLine: true,
		Args:                  func(_ *cobra.Command, words []string) (err error) { o.changes, err = parse(words); return err },
		ValidArgsFunction:     changeWords(f),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return set(cmd.Context(), f, o)
		},
	}
	o.bind(f, cmd)
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "check the values and change nothing")
	command.MarkDestructive(cmd)
	return cmd
}

// parse reads key=value words.
func parse(words []string) ([]*pb.SettingChange, error) {
	if len(words) == 0 {
		return nil, &kv.Error{Message: "no setting is named", Hint: "name one and its value, as in: mqadmin set max_client_id_size=50"}
	}
	var out []*pb.SettingChange
	seen := map[string]bool{}
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		switch {
		case !ok:
			return nil, &kv.Error{Message: fmt.Sprintf("%q has no value", w), Hint: "write key=value; to see the value: mqadmin show " + w}
		case key == "":
			return nil, &kv.Error{Message: fmt.Sprintf("%q names no setting", w)}
		case value == "":
			return nil, &kv.Error{Message: key + " has an empty value", Hint: "to go back to the file's value: mqadmin config reset key=" + key}
		case seen[key]:
			return nil, &kv.Error{Message: key + " is given twice"}
		}
		seen[key] = true
		out = append(out, &pb.SettingChange{Key: key, Value: value})
	}
	return out, nil
}

func set(ctx context.Context, f *command.Factory, o setOptions) error {
	if o.all && !o.dryRun {
		if err := f.Confirm(fmt.Sprintf("%d settings change on every member. Go on?", len(o.changes))); err != nil {
			return err
		}
	}
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewSettingServiceClient(conn).SetSettings(ctx, &pb.SetSettingsRequest{
		Changes: o.changes, Node: o.node, All: o.all, ValidateOnly: o.dryRun,
	})
	if err != nil {
		return err
	}
	verb := "set"
	if o.dryRun {
		verb = "would be set"
	}
	return changed(f, resp.GetNodes(), o.all, verb)
}

// changed prints what became of settings: a sentence each, as vmq-admin does, or
// for several members a table.
func changed(f *command.Factory, nodes []*pb.NodeSettingsChanged, all bool, verb string) error {
	notes(f, nodes)
	if !all {
		var lines []string
		for _, n := range nodes {
			for _, c := range n.GetChanges() {
				lines = append(lines, sentence(c, verb))
			}
		}
		if lines == nil {
			return f.Done("nothing was set")
		}
		return f.Text(lines...)
	}
	failed := 0
	t := f.Table("Node", "Node Down/Unreachable", "Result")
	for _, n := range nodes {
		result := n.GetError()
		if result == "" {
			var lines []string
			for _, c := range n.GetChanges() {
				lines = append(lines, sentence(c, verb))
			}
			result = strings.Join(lines, "; ")
		} else {
			failed++
		}
		if err := t.Row(n.GetNode(), n.GetUnreachable(), result); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if failed > 0 {
		return command.Partial("%d of %d members have not changed", failed, len(nodes))
	}
	return nil
}

func sentence(c *pb.SettingChanged, verb string) string {
	return fmt.Sprintf("%s %s to %q", c.GetKey(), verb, c.GetValue())
}

// notes tells once per setting what a change does not do.
func notes(f *command.Factory, nodes []*pb.NodeSettingsChanged) {
	told := map[string]bool{}
	for _, n := range nodes {
		for _, c := range n.GetChanges() {
			switch {
			case told[c.GetKey()]:
			case c.GetWarning() != "":
				f.Note("warning: %s has no effect: %s", c.GetKey(), c.GetWarning())
			case c.GetNewConnectionsOnly() && c.GetFormer() != c.GetValue():
				f.Note("note: %s holds for connections made from now on; those that are open keep %q", c.GetKey(), c.GetFormer())
			}
			told[c.GetKey()] = true
		}
	}
}
