// Package retain has the commands that show and delete retained messages.
package retain

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/list"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// New returns the command "retain".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("retain", "Show and delete retained messages",
		"The last message of each topic that was published with the retain flag. Every member has all of them.",
		"  mqadmin retain show",
		newShow(f, nil), newDelete(f, nil), newDeleteExpired(f))
}

// columns are the fields of RetainedRow; a test keeps them equal.
func columns() []list.Column {
	return []list.Column{
		{"payload", "payload"},
		{"topic", "topic; with a value, a topic filter that it must match"},
		{"mountpoint", "mountpoint, empty by default"},
		{"qos", "QoS it was published with"},
		{"payload_size", "bytes of the payload"},
		{"publisher", "client id of the publisher"},
		{"expires_at", "when it expires, Unix ms"},
	}
}

type showOptions struct {
	list.Options
	rowTimeout int // milliseconds; there is nothing to wait for
}

// request separates --topic=FILTER, which is a topic filter as in vmq-admin,
// from the filters on fields, and restricts to the default mountpoint unless
// another one is asked for.
func (o *showOptions) request() (*pb.ShowRetainedRequest, error) {
	req := &pb.ShowRetainedRequest{Fields: o.Fields, OrderBy: o.OrderBy}
	mountpoint := false
	for _, f := range o.Filters {
		if f.GetField() == "topic" && f.GetOperator() == pb.Filter_OPERATOR_EQUAL {
			if req.GetTopicFilter() != "" {
				return nil, command.Usage("--topic=FILTER is given twice")
			}
			req.TopicFilter = f.GetValue()
			continue
		}
		mountpoint = mountpoint || f.GetField() == "mountpoint"
		req.Filters = append(req.Filters, f)
	}
	if !mountpoint {
		req.Filters = append(req.Filters, &pb.Filter{Field: "mountpoint", Operator: pb.Filter_OPERATOR_EQUAL})
	}
	return req, nil
}

func newShow(f *command.Factory, runF func(context.Context, *pb.ShowRetainedRequest) error) *cobra.Command {
	o := &showOptions{}
	cmd := &cobra.Command{
		Use:                   "show [--<field>[=<value>]]...",
		DisableFlagsInUseLine: true,
		Short:                 "List retained messages, with the columns and filters that you name",
		Long: list.Grammar + "\nThe value of --topic is a topic filter. Without a column: payload, topic; without --mountpoint=… those of the\n" +
			"default mountpoint, with '--mountpoint=~.*' those of all.\n\nRows are ordered by mountpoint and topic. Messages that have expired are not shown.",
		Example: "  mqadmin retain show\n" +
			"  mqadmin retain show --topic=sensors/# --topic --payload --limit=1000\n" +
			"  mqadmin retain show --topic --payload_size --order-by=-payload_size\n" +
			"  mqadmin retain show --topic --mountpoint '--mountpoint=~.*'",
		Args: kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.rowTimeout <= 0 {
				return command.Usage("--rowtimeout must be a positive number of milliseconds")
			}
			if err := o.Check(); err != nil {
				return err
			}
			req, err := o.request()
			if err != nil {
				return err
			}
			if runF != nil {
				return runF(cmd.Context(), req)
			}
			return show(cmd.Context(), f, o, req)
		},
	}
	o.Bind(cmd, columns(), []string{"payload", "topic"})
	cmd.Flags().IntVar(&o.rowTimeout, "rowtimeout", 100, "accepted for vmq-admin's sake: no row takes time")
	_ = cmd.RegisterFlagCompletionFunc("topic", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return Topics(f)(cmd.Context(), typed), cobra.ShellCompDirectiveNoFileComp
	})
	command.MarkReading(cmd)
	return cmd
}

func show(ctx context.Context, f *command.Factory, o *showOptions, req *pb.ShowRetainedRequest) error {
	return list.Show(ctx, f, &o.Options, func(ctx context.Context, conn grpc.ClientConnInterface, p list.Page) (list.Stream[*pb.RetainedRow], error) {
		req.Limit, req.PageToken = p.Limit, p.Token
		stream, err := pb.NewRetainServiceClient(conn).ShowRetained(ctx, req)
		if err != nil {
			return nil, err
		}
		return func() ([]*pb.RetainedRow, list.Summary, error) {
			resp, err := stream.Recv()
			if s := resp.GetSummary(); s != nil {
				return resp.GetRows(), s, err
			}
			return resp.GetRows(), nil, err
		}, nil
	})
}

type deleteOptions struct {
	topic, mountpoint string
	dryRun            bool
}

func newDelete(f *command.Factory, runF func(context.Context, deleteOptions) error) *cobra.Command {
	var o deleteOptions
	cmd := &cobra.Command{
		Use:   "delete",
		Short: "Delete the retained message of a topic, or of all that match a filter",
		Long: "Clients that subscribe from now on do not get it; those that have it are not told. A topic without one is no\n" +
			"error. A filter with wildcards deletes all that match, and without a terminal needs --yes.",
		Example: "  mqadmin retain delete --topic=sensors/17\n" +
			"  mqadmin retain delete -t sensors/# --dry-run\n" +
			"  mqadmin retain delete -t sensors/# --yes",
		Args: kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.topic == "" {
				return command.Usage("no topic was given: --topic=<topic>")
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return remove(cmd.Context(), f, o)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.topic, "topic", "t", "", "topic, or filter with wildcards")
	fs.StringVarP(&o.mountpoint, "mountpoint", "m", "", "mountpoint")
	fs.BoolVar(&o.dryRun, "dry-run", false, "change nothing, tell how many it would be")
	_ = cmd.RegisterFlagCompletionFunc("mountpoint", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("topic", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return Topics(f)(cmd.Context(), typed), cobra.ShellCompDirectiveNoFileComp
	})
	command.MarkDestructive(cmd)
	return cmd
}

func remove(ctx context.Context, f *command.Factory, o deleteOptions) error {
	wild := strings.ContainsAny(o.topic, "+#")
	if !o.dryRun {
		if wild && !f.Yes && (!f.IO.InTTY || !f.IO.OutTTY) {
			return command.Usage("%q may match many topics: --yes is required when nobody can be asked", o.topic)
		}
		if err := f.Confirm(fmt.Sprintf("The retained messages of %q are deleted. Go on?", o.topic)); err != nil {
			return err
		}
	}
	timeout := f.Context
	if wild {
		timeout = f.LongContext
	}
	ctx, cancel := timeout(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewRetainServiceClient(conn).DeleteRetained(ctx, &pb.DeleteRetainedRequest{
		Topic: o.topic, Mountpoint: o.mountpoint, ValidateOnly: o.dryRun,
	})
	if err != nil {
		return err
	}
	if o.dryRun {
		return f.Done(fmt.Sprintf("%d retained messages would be deleted", resp.GetDeleted()))
	}
	switch n := resp.GetDeleted(); {
	case n == 0:
		f.Note("note: there was no retained message")
	case wild:
		f.Note("%d retained messages were deleted", n)
	}
	return f.Done("Done")
}

func newDeleteExpired(f *command.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete-expired",
		Short:   "Delete retained messages whose expiry has passed",
		Long:    "No client gets them any more; deleting them frees the memory that they take. Those of all mountpoints are meant.",
		Example: "  mqadmin retain delete-expired",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.Confirm("Expired retained messages are deleted. Go on?"); err != nil {
				return err
			}
			ctx, cancel := f.LongContext(cmd.Context())
			defer cancel()
			conn, err := f.Conn(ctx)
			if err != nil {
				return err
			}
			resp, err := pb.NewRetainServiceClient(conn).DeleteExpiredRetained(ctx, &pb.DeleteExpiredRetainedRequest{})
			if err != nil {
				return err
			}
			t := f.Table("expired")
			if err := t.Row(resp.GetExpired()); err != nil {
				return err
			}
			return t.Close()
		},
	}
	command.MarkDestructive(cmd)
	return cmd
}

// Topics completes topics that have a retained message.
func Topics(f *command.Factory) func(context.Context, string) []string {
	return func(ctx context.Context, typed string) []string {
		ctx, cancel := context.WithTimeout(ctx, command.CompletionTimeout)
		defer cancel()
		conn, err := f.Conn(ctx)
		if err != nil {
			return nil
		}
		req := &pb.ShowRetainedRequest{Fields: []string{"topic"}}
		if typed != "" { // what begins so lies between the two
			req.Filters = []*pb.Filter{
				{Field: "topic", Operator: pb.Filter_OPERATOR_GREATER_OR_EQUAL, Value: typed},
				{Field: "topic", Operator: pb.Filter_OPERATOR_LESS, Value: typed + "\U0010FFFF"},
			}
		}
		stream, err := pb.NewRetainServiceClient(conn).ShowRetained(ctx, req)
		if err != nil {
			return nil
		}
		var topics []string
		for {
			resp, err := stream.Recv()
			if err != nil || resp.GetSummary() != nil {
				return topics
			}
			for _, r := range resp.GetRows() {
				if output.Escape(r.GetTopic()) == r.GetTopic() { // others cannot be typed
					topics = append(topics, r.GetTopic())
				}
			}
		}
	}
}
