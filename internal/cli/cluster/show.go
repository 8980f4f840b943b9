package cluster

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

func newShow(f *command.Factory, runF func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Aliases: []string{"status"},
		Short:   "List the members and what they are",
		Long: "One row per member, ordered by name. Running means connected to the answering node and ready for clients;\n" +
			"Applied is the last change of the shared metadata that the member has made its own, Lag how many it misses.",
		Example: "  mqadmin cluster show\n  mqadmin cluster show --format json",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context())
			}
			return show(cmd.Context(), f)
		},
	}
	command.MarkReading(cmd)
	return cmd
}

func show(ctx context.Context, f *command.Factory) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewClusterServiceClient(conn).ShowCluster(ctx, &pb.ShowClusterRequest{})
	if err != nil {
		return err
	}
	t := f.Table("Node", "Running", "Role", "Applied", "Lag", "Version", "Address", "State")
	for _, m := range resp.GetMembers() {
		err := t.Row(m.GetNode(), m.GetRunning(), roleName(m.GetRole()), optional(m.Applied), optional(m.Lag),
			m.GetVersion(), m.GetAddress(), state(m))
		if err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if !resp.GetHasQuorum() {
		f.Note("warning: %s sees no majority of the members; it serves alone as the allow_*_during_netsplit settings permit", resp.GetNode())
	}
	return nil
}

func optional(v *uint64) any {
	if v == nil {
		return nil
	}
	return *v
}

func roleName(r pb.MemberRole) any {
	switch r {
	case pb.MemberRole_MEMBER_ROLE_LEADER:
		return "leader"
	case pb.MemberRole_MEMBER_ROLE_VOTER:
		return "voter"
	case pb.MemberRole_MEMBER_ROLE_NON_VOTER:
		return "non-voter"
	default:
		return nil
	}
}

func state(m *pb.Member) any {
	var s []string
	if m.GetCordoned() {
		s = append(s, "cordoned")
	}
	if m.GetDiverged() {
		s = append(s, "diverged")
	}
	if s == nil {
		return nil
	}
	return strings.Join(s, " ")
}
