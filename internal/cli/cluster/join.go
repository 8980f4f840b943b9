package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

type joinOptions struct{ discovery string }

func newJoin(f *command.Factory, runF func(context.Context, joinOptions) error) *cobra.Command {
	var o joinOptions
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Make this node a member of another node's cluster",
		Long: "Run it on the node that joins, and name any member of the cluster. The two must have the same\n" +
			"distributed_cookie. Sessions, subscriptions and retained messages of this node come along; its settings, keys\n" +
			"and bans give way to the cluster's. Do not run it on a node that has other members: it is refused.\n" +
			"A join that fails leaves both sides as they were.",
		Example: "  mqadmin cluster join discovery-node=VerneMQ@192.168.100.124\n" +
			"  mqadmin cluster join discovery-node=VerneMQ@192.168.100.124:44053\n" +
			"  mqadmin cluster join VerneMQ@192.168.100.124",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return join(cmd.Context(), f, o)
		},
	}
	kv.Bind(cmd, kv.Arg{
		Key: "discovery-node", Usage: "a member of the cluster, name@host or name@host:port",
		Value: &o.discovery, Required: true, Bare: true,
	})
	return cmd
}

func join(ctx context.Context, f *command.Factory, o joinOptions) error {
	ctx, cancel := f.LongContext(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	stream, err := pb.NewClusterServiceClient(conn).JoinCluster(ctx, &pb.JoinClusterRequest{DiscoveryNode: o.discovery})
	if err != nil {
		return err
	}
	report := f.Progress()
	defer report.Close()
	for {
		resp, err := stream.Recv()
		if err != nil {
			return cut(err)
		}
		if p := resp.GetProgress(); p != nil {
			report.Report(joinLine(p), joinBars(p)...)
		}
		if r := resp.GetResult(); r != nil {
			report.Close()
			if d := r.GetDropped(); len(d) > 0 {
				f.Note("replaced by the cluster's: %s", strings.Join(d, ", "))
			}
			return f.Done("Done")
		}
	}
}

// cut gives the end of a stream that came too early its meaning.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the broker ended the call without a result")
	}
	return err
}

// joinLine is a step of a join in words.
func joinLine(p *pb.JoinProgress) string {
	line := p.GetText()
	if line == "" {
		switch p.GetPhase() {
		case pb.JoinPhase_JOIN_PHASE_CONNECT:
			line = "Connecting"
		case pb.JoinPhase_JOIN_PHASE_CHECK:
			line = "Checking names and versions"
		case pb.JoinPhase_JOIN_PHASE_CATCH_UP:
			line = "Receiving the cluster's metadata"
		case pb.JoinPhase_JOIN_PHASE_PROMOTE:
			line = "Becoming a voter"
		case pb.JoinPhase_JOIN_PHASE_MERGE:
			line = "Merging sessions and retained messages"
		default:
			line = "Joining"
		}
	}
	if p.GetTotal() > 0 {
		line += fmt.Sprintf(" %d/%d", p.GetDone(), p.GetTotal())
	}
	return line
}

// joinBars is the step's part that can be counted.
func joinBars(p *pb.JoinProgress) []command.Bar {
	if p.GetTotal() == 0 {
		return nil
	}
	name := joinLine(&pb.JoinProgress{Phase: p.GetPhase(), Text: p.GetText()})
	return []command.Bar{{Name: name, Done: int64(p.GetDone()), Total: int64(p.GetTotal())}}
}
