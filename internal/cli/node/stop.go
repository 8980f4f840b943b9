package node

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

func newStop(f *command.Factory, runF func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "End the broker's process",
		Long: "Disconnects its clients, keeps what they wait for, and ends the process, as broker stop does. The node stays a member\n" +
			"with its identity, and the others wait for it: to take it out of the cluster use cluster leave. It is started again\n" +
			"on its host: broker start.",
		Example: "  mqadmin node stop",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context())
			}
			return stop(cmd.Context(), f)
		},
	}
	command.MarkDestructive(cmd)
	return cmd
}

func stop(ctx context.Context, f *command.Factory) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	client := pb.NewNodeServiceClient(conn)
	st, err := client.GetNodeStatus(ctx, &pb.GetNodeStatusRequest{})
	if err != nil {
		return err
	}
	if err := f.Confirm(fmt.Sprintf("%s disconnects %d clients and ends. Go on?", st.GetNode(), st.GetNumOnline())); err != nil {
		return err
	}
	if _, err := client.StopNode(ctx, &pb.StopNodeRequest{}); err != nil {
		return err
	}
	return f.Done("Done")
}

func newStart(f *command.Factory, runF func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start",
		Short: "See to it that the broker runs",
		Long: "A broker that answers runs already, which is all that there is to do. One whose process has ended is started on its\n" +
			"host: broker start.",
		Example: "  mqadmin node start",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context())
			}
			return start(cmd.Context(), f)
		},
	}
	return cmd
}

func start(ctx context.Context, f *command.Factory) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	p, err := pb.NewNodeServiceClient(conn).PingNode(ctx, &pb.PingNodeRequest{})
	if err != nil {
		return err
	}
	f.Note("note: %s runs already", p.GetNode())
	return f.Done("Done")
}

// newUpgrade says what to do instead: there is no hot upgrade of a process.
func newUpgrade(runF func() error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Why there is no hot upgrade",
		Long: "A running process is not upgraded. Install the new version, then restart one member after the other: clients go to the\n" +
			"others meanwhile, and nothing that was acknowledged is lost.",
		Example: "  mqadmin node upgrade --help",
		Args:    kv.NoWords,
		RunE: func(*cobra.Command, []string) error {
			if runF != nil {
				return runF()
			}
			return &command.Failure{
				Code: command.ExitFailed, Reason: "UNSUPPORTED", Message: "a running broker cannot be upgraded",
				Hint: "install the new version, then, one member after the other: broker restart",
			}
		},
	}
	fs := cmd.Flags()
	fs.Bool("upgrade-now", false, "as without it")
	fs.String("instruction-file", "", "names Erlang's instructions; there are none")
	command.MarkOffline(cmd)
	return cmd
}
