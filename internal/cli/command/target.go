package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// NodeKey is the metadata key of a call that names the member which shall
// answer it. The one that is asked passes the call on.
const NodeKey = "mqadmin-node"

// Conn returns the connection to the broker. Calls on it are answered by the
// member of --node, if one is named.
func (f *Factory) Conn(ctx context.Context) (grpc.ClientConnInterface, error) {
	conn, err := f.Dial(ctx)
	if err != nil || f.Node == "" {
		return conn, err
	}
	return target{conn, f.Node}, nil
}

// target is a connection on which every call names the member that shall
// answer.
type target struct {
	grpc.ClientConnInterface
	node string
}

func (t target) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return t.ClientConnInterface.Invoke(metadata.AppendToOutgoingContext(ctx, NodeKey, t.node), method, args, reply, opts...)
}

func (t target) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return t.ClientConnInterface.NewStream(metadata.AppendToOutgoingContext(ctx, NodeKey, t.node), desc, method, opts...)
}

// Members returns the names of all members, as the one we talk to knows them.
func (f *Factory) Members(ctx context.Context) ([]string, error) {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Dial(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := pb.NewClusterServiceClient(conn).ShowCluster(ctx, &pb.ShowClusterRequest{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range resp.GetMembers() {
		names = append(names, m.GetNode())
	}
	return names, nil
}

// NodeNames completes the names of members.
func (f *Factory) NodeNames() func(context.Context) []string {
	return func(ctx context.Context) []string {
		ctx, cancel := context.WithTimeout(ctx, CompletionTimeout)
		defer cancel()
		names, _ := f.Members(ctx) // without a broker there are no candidates
		return names
	}
}

// Complete is the completion of a flag whose candidates come from the broker.
func Complete(candidates func(context.Context) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return candidates(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}
}

// Equip gives every command below root the flags of its kind, --node, --all and
// --watch, and runs it as they say. It is called once, when the tree is
// complete. A flag or letter that a command has itself stays the command's.
func (f *Factory) Equip(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		f.Equip(cmd)
		if cmd.RunE == nil || cmd.Annotations[offline] != "" || cmd.Annotations[group] != "" {
			continue
		}
		f.equip(cmd)
	}
}

func (f *Factory) equip(cmd *cobra.Command) {
	fs := cmd.Flags()
	if fs.Lookup("node") == nil {
		fs.StringVarP(&f.Node, "node", freeLetter(cmd, "n"), "", "the member that shall do it, through the one that is asked")
		_ = cmd.RegisterFlagCompletionFunc("node", Complete(f.NodeNames()))
	}
	if cmd.Annotations[perNode] != "" && fs.Lookup("all") == nil {
		fs.BoolVarP(&f.All, "all", freeLetter(cmd, "a"), false, "all members shall do it")
	}
	if cmd.Annotations[reading] != "" && fs.Lookup("watch") == nil {
		fs.DurationVar(&f.Watch, "watch", 0, "do it again and again, every 2s or the time that is given")
		kv.Optional(fs.Lookup("watch"), DefaultWatch.String())
	}
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		once := func() error { return run(cmd, words) }
		switch {
		case f.All && f.Node != "":
			return Usage("--all and --node exclude each other")
		case f.Watch < 0:
			return Usage("--watch must be a positive time, such as 2s")
		case f.All:
			once = func() error { return f.everywhere(cmd.Context(), func() error { return run(cmd, words) }) }
		}
		if f.Watch > 0 {
			return f.watch(cmd.Context(), once)
		}
		return once()
	}
}

// freeLetter returns letter unless cmd uses it.
func freeLetter(cmd *cobra.Command, letter string) string {
	if cmd.Flags().ShorthandLookup(letter) != nil || cmd.InheritedFlags().ShorthandLookup(letter) != nil {
		return ""
	}
	return letter
}

// DefaultWatch is the interval of --watch without a value.
const DefaultWatch = 2 * time.Second

// merged is one result made of those of several members.
type merged struct {
	f     *Factory
	node  string
	whole *output.Table
	parts int
}

// table returns the present member's part of the whole table. Columns are those
// of the first member: all are asked for the same.
func (m *merged) table(columns []string) *output.Table {
	own := len(columns) > 0 && strings.EqualFold(columns[0], "node")
	if m.whole == nil {
		all := columns
		if !own {
			all = append([]string{"Node"}, columns...)
		}
		m.whole = m.f.newTable(all...)
	}
	if own {
		return m.whole.Part()
	}
	return m.whole.Part(m.node)
}

// heading names the member whose lines follow.
func (m *merged) heading(w io.Writer) {
	if m.parts++; m.parts > 1 {
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "Node: %s\n", output.Escape(m.node))
}

// everywhere runs a command on one member after the other and merges what they
// print. That some failed is told at the end; that all did, as the first one's
// error.
func (f *Factory) everywhere(ctx context.Context, run func() error) error {
	names, err := f.Members(ctx)
	if err != nil {
		return err
	}
	slices.Sort(names)
	m := &merged{f: f}
	f.merged = m
	defer func() { f.merged, f.Node = nil, "" }()
	var failed []string
	var first error
	for _, name := range names {
		f.Node, m.node = name, name
		err := run()
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil || errors.Is(err, ErrRefused):
			return err
		}
		failed = append(failed, name+" ("+explain(err, f.Name).Message+")")
		if first == nil {
			first = err
		}
	}
	if len(failed) == len(names) {
		return first
	}
	if m.whole != nil {
		if err := m.whole.Close(); err != nil {
			return err
		}
	}
	if failed == nil {
		return nil
	}
	return Partial("%d of %d members failed: %s", len(failed), len(names), strings.Join(failed, ", "))
}
