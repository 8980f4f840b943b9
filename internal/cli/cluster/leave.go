package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

type leaveOptions struct {
	node         string
	killSessions bool
	interval     int // seconds
	timeout      int // seconds
	acceptRisk   string
}

// riskQuorumLoss is the only value of --accept-risk.
const riskQuorumLoss = "quorum-loss"

func newLeave(f *command.Factory, runF func(context.Context, leaveOptions) error) *cobra.Command {
	var o leaveOptions
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Take a member out of service and out of the cluster",
		Long: "Without node= it is the node that answers. Without -k the node only takes no new connections any more and stays a member: the first step. With -k its\n" +
			"clients are sent to the other members, its queues move there, and it leaves the cluster and stops. A node that\n" +
			"cannot be reached is removed, and its durable sessions go on elsewhere. Do not use it to restart a node:\n" +
			"that is broker restart.",
		Example: "  mqadmin cluster leave\n" +
			"  mqadmin cluster leave node=VerneMQ@192.168.100.124\n" +
			"  mqadmin cluster leave node=VerneMQ@192.168.100.124 -k -i 5 -t 60",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return leave(cmd.Context(), f, o)
		},
	}
	kv.Bind(cmd, kv.Arg{
		Key: "node", Usage: "the member that leaves", Value: &o.node, Complete: f.NodeNames(),
	})
	cmd.Flags().BoolVarP(&o.killSessions, "kill_sessions", "k", false, "close its sessions, move its queues and remove it")
	o.bind(cmd)
	return cmd
}

// newForceLeave is emqttd_ctl's word.
func newForceLeave(f *command.Factory) *cobra.Command {
	o := leaveOptions{killSessions: true}
	cmd := &cobra.Command{
		Use:     "force-leave",
		Short:   "Take a member out of the cluster",
		Long:    "The same as cluster leave node=<node> -k: a node that can be reached hands over its queues, one that cannot is removed.",
		Example: "  mqadmin cluster force-leave VerneMQ@192.168.100.124",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return leave(cmd.Context(), f, o)
		},
	}
	kv.Bind(cmd, kv.Arg{Key: "node", Usage: "the member that leaves", Value: &o.node, Required: true, Bare: true, Complete: f.NodeNames()})
	o.bind(cmd)
	return cmd
}

func (o *leaveOptions) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.IntVarP(&o.interval, "summary-interval", "i", 5, "seconds between two reports of progress")
	fs.IntVarP(&o.timeout, "timeout", "t", 60, "seconds to wait for its sessions to go offline")
	fs.StringVar(&o.acceptRisk, "accept-risk", "", "go on although this may happen: {quorum-loss}")
	_ = cmd.RegisterFlagCompletionFunc("accept-risk", cobra.FixedCompletions([]string{riskQuorumLoss}, cobra.ShellCompDirectiveNoFileComp))
	command.MarkDestructive(cmd)
}

func (o leaveOptions) validate() error {
	switch {
	case o.interval <= 0:
		return command.Usage("--summary-interval must be a positive number of seconds")
	case o.timeout <= 0:
		return command.Usage("--timeout must be a positive number of seconds")
	case o.acceptRisk != "" && o.acceptRisk != riskQuorumLoss:
		return command.Usage("--accept-risk %q: valid values are {%s}", o.acceptRisk, riskQuorumLoss)
	}
	return nil
}

func (o leaveOptions) request() *pb.LeaveClusterRequest {
	r := &pb.LeaveClusterRequest{
		Node:            o.node,
		KillSessions:    o.killSessions,
		SummaryInterval: durationpb.New(time.Duration(o.interval) * time.Second),
		Timeout:         durationpb.New(time.Duration(o.timeout) * time.Second),
	}
	if o.acceptRisk == riskQuorumLoss {
		r.AcceptRisks = []pb.Risk{pb.Risk_RISK_QUORUM_LOSS}
	}
	return r
}

func (o leaveOptions) question() string {
	if o.killSessions {
		return fmt.Sprintf("%s closes its sessions, hands over its queues and leaves the cluster. Go on?", o.node)
	}
	return fmt.Sprintf("%s takes no new connections any more. Go on?", o.node)
}

func leave(ctx context.Context, f *command.Factory, o leaveOptions) error {
	if o.node == "" {
		name, err := answering(ctx, f)
		if err != nil {
			return err
		}
		o.node = name
	}
	if err := f.Confirm(o.question()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	stream, err := pb.NewClusterServiceClient(conn).LeaveCluster(ctx, o.request())
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
			report.Report(leaveLine(p), leaveBars(p)...)
		}
		if r := resp.GetResult(); r != nil {
			report.Close()
			return f.Done(leaveText(r.GetOutcome()))
		}
	}
}

// leaveText is VerneMQ's, because scripts look for it.
func leaveText(o pb.LeaveOutcome) string {
	if o == pb.LeaveOutcome_LEAVE_OUTCOME_CORDONED {
		return "Done! Use -k to teardown and migrate existing sessions!"
	}
	return "Done"
}

// leaveLine is a step of a leave in words; that of a migration is VerneMQ's.
func leaveLine(p *pb.LeaveProgress) string {
	if p.GetText() != "" {
		return p.GetText()
	}
	switch p.GetPhase() {
	case pb.LeavePhase_LEAVE_PHASE_CORDON:
		return "Suspending listeners"
	case pb.LeavePhase_LEAVE_PHASE_DRAIN:
		return fmt.Sprintf("Waiting for %d sessions to go offline", p.GetSessionsOnline())
	case pb.LeavePhase_LEAVE_PHASE_MIGRATE:
		return fmt.Sprintf("Migrated %d/%d queues and %d/%d messages",
			p.GetQueuesDone(), p.GetQueuesTotal(), p.GetMessagesDone(), p.GetMessagesTotal())
	case pb.LeavePhase_LEAVE_PHASE_REMOVE:
		return "Removing the member"
	default:
		return "Leaving"
	}
}

// leaveBars are what a migration has to move.
func leaveBars(p *pb.LeaveProgress) []command.Bar {
	if p.GetText() != "" || p.GetPhase() != pb.LeavePhase_LEAVE_PHASE_MIGRATE {
		return nil
	}
	return []command.Bar{
		{Name: "queues", Done: p.GetQueuesDone(), Total: p.GetQueuesTotal()},
		{Name: "messages", Done: p.GetMessagesDone(), Total: p.GetMessagesTotal()},
	}
}

// answering returns the name of the node that answers.
func answering(ctx context.Context, f *command.Factory) (string, error) {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return "", err
	}
	pong, err := pb.NewNodeServiceClient(conn).PingNode(ctx, &pb.PingNodeRequest{})
	return pong.GetNode(), err
}
