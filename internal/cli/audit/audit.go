// Package audit has the command that reads the audit log.
package audit

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// New returns the command "audit".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("audit", "See who did what",
		"The audit log has every call that changed something or was refused: who, what, and how it ended.",
		"  mqadmin audit show",
		newShow(f, nil))
}

type showOptions struct {
	limit          uint32
	since          time.Duration
	caller, method string
	failed         bool
}

func newShow(f *command.Factory, runF func(context.Context, showOptions) error) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the newest entries of the audit log",
		Long: "One row per call, oldest first, from the log of the node that answers and its rotated files; --all merges those\n" +
			"of all members. Secrets among the arguments are ***. What is written down is told by log.audit, log.audit.reads.",
		Example: "  mqadmin audit show\n" +
			"  mqadmin audit show --since=24h --caller=root --failed\n" +
			"  mqadmin audit show --method=LeaveCluster --limit=10",
		Args: kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.limit == 0:
				return command.Usage("--limit must be a positive number of rows")
			case o.since < 0:
				return command.Usage("--since must be a positive time, such as 24h")
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return show(cmd.Context(), f, o)
		},
	}
	fs := cmd.Flags()
	fs.Uint32Var(&o.limit, "limit", 100, "most rows to print, the newest")
	fs.DurationVar(&o.since, "since", 0, "only calls of that last time, such as 24h")
	fs.StringVar(&o.caller, "caller", "", "only callers whose name contains this")
	fs.StringVar(&o.method, "method", "", "only calls whose name contains this")
	fs.BoolVar(&o.failed, "failed", false, "only calls that failed")
	command.MarkPerNode(cmd)
	command.MarkReading(cmd)
	return cmd
}

func show(ctx context.Context, f *command.Factory, o showOptions) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	req := &pb.ShowAuditRequest{Limit: o.limit, Caller: o.caller, Method: o.method, Failed: o.failed}
	if o.since > 0 {
		req.Since = timestamppb.New(time.Now().Add(-o.since))
	}
	stream, err := pb.NewAuditServiceClient(conn).ShowAudit(ctx, req)
	if err != nil {
		return err
	}
	var t *output.Table // begun with the first answer, so that an error leaves stdout empty
	for {
		resp, err := stream.Recv()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if t == nil {
			t = f.Table("Node", "Time", "Caller", "For", "Remote", "Method", "Arguments", "Target", "Code", "Error", "Took")
		}
		if err != nil {
			return t.Close()
		}
		for _, e := range resp.GetEntries() {
			if err := t.Row(row(e)...); err != nil {
				return err
			}
		}
	}
}

func row(e *pb.AuditEntry) []any {
	return []any{
		e.GetNode(), e.GetTime().AsTime(), e.GetCaller(), text(e.GetFor()), text(e.GetRemote()), e.GetMethod(), text(e.GetArguments()),
		text(e.GetTarget()), e.GetCode(), text(e.GetError()), e.GetTook().AsDuration().Seconds(),
	}
}

// text is no value when it is empty.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}
