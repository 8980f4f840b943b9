// Package node has the commands about the node that answers.
package node

import (
	"context"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// New returns the command "node".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("node", "Look after the node that answers",
		"Figures and liveness of one broker: the one whose socket or address is used.",
		"  mqadmin node status",
		newStatus(f, nil), newPing(f, nil), newStop(f, nil), newStart(f, nil), newUpgrade(nil))
}

// Status returns "status", which is also a command by itself.
func Status(f *command.Factory) *cobra.Command { return newStatus(f, nil) }

func newStatus(f *command.Factory, runF func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Print the main figures",
		Long:    "Sessions, messages, queues, subscriptions and retained messages of this node since it started.",
		Example: "  mqadmin node status",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context())
			}
			return status(cmd.Context(), f)
		},
	}
	command.MarkPerNode(cmd)
	command.MarkReading(cmd)
	return cmd
}

func status(ctx context.Context, f *command.Factory) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	s, err := pb.NewNodeServiceClient(conn).GetNodeStatus(ctx, &pb.GetNodeStatusRequest{})
	if err != nil {
		return err
	}
	t := f.Table("Status", "Value")
	for _, row := range [][]any{
		{"num_online", s.GetNumOnline()},
		{"num_offline", s.GetNumOffline()},
		{"msg_in", s.GetMsgIn()},
		{"msg_out", s.GetMsgOut()},
		{"queue_in", s.GetQueueIn()},
		{"queue_out", s.GetQueueOut()},
		{"queue_drop", s.GetQueueDrop()},
		{"queue_unhandled", s.GetQueueUnhandled()},
		{"num_subscriptions", s.GetNumSubscriptions()},
		{"num_retained", s.GetNumRetained()},
		{"matches_local", s.GetMatchesLocal()},
		{"matches_remote", s.GetMatchesRemote()},
		{"version", s.GetVersion()},
		{"node", s.GetNode()},
		{"ready", s.GetReady()},
		{"started_at", startedAt(s)},
	} {
		if err := t.Row(row...); err != nil {
			return err
		}
	}
	return t.Close()
}

func startedAt(s *pb.GetNodeStatusResponse) any {
	if s.GetStartedAt() == nil {
		return nil
	}
	return s.GetStartedAt().AsTime()
}

func newPing(f *command.Factory, runF func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ping",
		Short:   "Ask whether the broker lives",
		Long:    "Prints pong when the broker answers, ready for clients or not; exits with 5 when nothing answers.",
		Example: "  mqadmin node ping",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context())
			}
			return ping(cmd.Context(), f)
		},
	}
	command.MarkPerNode(cmd)
	command.MarkReading(cmd)
	return cmd
}

func ping(ctx context.Context, f *command.Factory) error {
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
	if !p.GetReady() {
		f.Note("note: %s is not ready for clients", p.GetNode())
	}
	return f.Done("pong")
}
