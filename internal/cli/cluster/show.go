package cluster

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

type showOptions struct{ check, wait bool }

func newShow(f *command.Factory, runF func(context.Context, showOptions) error) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:     "show",
		Aliases: []string{"status"},
		Short:   "List the members and what they are",
		Long: "One row per member, ordered by name. Running means connected to the answering node and ready for clients;\n" +
			"Applied is the last change of the shared metadata that the member has made its own, Lag how many it misses. Sessions\n" +
			"and Queued count sessions and waiting messages; Since is when it began to run or went away. For scripts: --check\n" +
			"exits with 8 unless there is a majority and every member runs, --wait-ready waits for that as long as --timeout.",
		Example: "  mqadmin cluster show\n  mqadmin cluster show --check --format json\n  mqadmin cluster show --wait-ready --timeout 60s",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return show(cmd.Context(), f, o)
		},
	}
	cmd.Flags().BoolVar(&o.check, "check", false, "exit with 8 unless all is well")
	cmd.Flags().BoolVar(&o.wait, "wait-ready", false, "wait until all is well, as long as --timeout")
	command.MarkReading(cmd)
	return cmd
}

// waitInterval is how often --wait-ready asks.
const waitInterval = 200 * time.Millisecond

func show(ctx context.Context, f *command.Factory, o showOptions) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	resp, err := members(ctx, f, o)
	if err != nil {
		return err
	}
	t := f.Table("Node", "Running", "Role", "Applied", "Lag", "Version", "Address", "State", "Sessions", "Queued", "Since")
	for _, m := range resp.GetMembers() {
		err := t.Row(m.GetNode(), m.GetRunning(), roleName(m.GetRole()), optional(m.Applied), optional(m.Lag),
			m.GetVersion(), m.GetAddress(), state(m), number(m.Sessions), number(m.Queued), since(m))
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
	if why := trouble(resp); why != "" && (o.check || o.wait) {
		return &command.Failure{Code: command.ExitCheck, Reason: "CHECK_FAILED", Message: why}
	}
	return nil
}

// members asks until all is well, if it is told to. Who is not there yet may
// answer later; when the time is up, the last answer counts.
func members(ctx context.Context, f *command.Factory, o showOptions) (*pb.ShowClusterResponse, error) {
	ask := func() (*pb.ShowClusterResponse, error) {
		conn, err := f.Conn(ctx)
		if err != nil {
			return nil, err
		}
		return pb.NewClusterServiceClient(conn).ShowCluster(ctx, &pb.ShowClusterRequest{})
	}
	resp, err := ask()
	tick := time.NewTicker(waitInterval)
	defer tick.Stop()
	for o.wait && (err != nil || trouble(resp) != "") {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return resp, err
		}
		if next, e := ask(); ctx.Err() == nil {
			resp, err = next, e
		}
	}
	return resp, err
}

// trouble says what a script should know; "" when all is well.
func trouble(resp *pb.ShowClusterResponse) string {
	if !resp.GetHasQuorum() {
		return resp.GetNode() + " sees no majority of the members"
	}
	var away []string
	for _, m := range resp.GetMembers() {
		switch {
		case !m.GetRunning():
			away = append(away, m.GetNode()+" does not run")
		case m.GetDiverged():
			away = append(away, m.GetNode()+" has diverged")
		case m.GetRole() == pb.MemberRole_MEMBER_ROLE_NON_VOTER:
			away = append(away, m.GetNode()+" does not vote yet")
		}
	}
	return strings.Join(away, ", ")
}

func number(v *int64) any {
	if v == nil {
		return nil
	}
	return *v
}

func since(m *pb.Member) any {
	if m.GetSince() == nil {
		return nil
	}
	return m.GetSince().AsTime()
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
