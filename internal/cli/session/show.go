package session

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/list"
)

// columns are vmq-admin's fields; a test keeps them equal to those of
// SessionRow.
func columns() []list.Column {
	return []list.Column{
		{"node", "node that holds the queue"},
		{"mountpoint", "mountpoint, empty by default"},
		{"client_id", "MQTT client id"},
		{"queue_pid", "name of the queue in logs"},
		{"queue_size", "messages in the queue, waiting or in flight"},
		{"session_pid", "name of the connection in logs"},
		{"is_offline", "no connection"},
		{"is_online", "not offline"},
		{"statename", "{online|offline|wait_for_offline|drain}"},
		{"deliver_mode", "{fanout|balance}"},
		{"offline_messages", "messages stored while offline"},
		{"online_messages", "messages waiting while online"},
		{"num_sessions", "connections with this client id"},
		{"clean_session", "ends with its connection"},
		{"is_plugin", "belongs to a plugin"},
		{"queue_started_at", "when the queue was made, Unix ms"},
		{"user", "user name"},
		{"peer_host", "client's address"},
		{"peer_port", "client's port"},
		{"protocol", "protocol version {3|4|5|131|132}"},
		{"waiting_acks", "messages not acknowledged yet"},
		{"session_started_at", "when the client connected, Unix ms"},
		{"topic", "topic filter (one row per subscription)"},
		{"qos", "QoS of the subscription"},
		{"rap", "retain as published"},
		{"no_local", "no local"},
		{"msg_ref", "id of a queued message (one row per message)"},
		{"msg_qos", "QoS of the message"},
		{"routing_key", "topic of the message"},
		{"dup", "sent before"},
		{"payload", "payload of the message"},
	}
}

// defaultColumns are shown when no column is asked for.
func defaultColumns() []string {
	return []string{"client_id", "is_online", "mountpoint", "peer_host", "peer_port", "user"}
}

type showOptions struct {
	list.Options
	rowTimeout int // milliseconds
}

func newShow(f *command.Factory, runF func(context.Context, *showOptions) error) *cobra.Command {
	o := &showOptions{}
	cmd := &cobra.Command{
		Use:                   "show [--<field>[=<value> | =~<regular expression>]]...",
		DisableFlagsInUseLine: true,
		Short:                 "List sessions, with the columns and filters that you name",
		Long: list.Grammar + "\nWithout a column: " +
			strings.Join(defaultColumns(), ", ") + ".\n\nRows are ordered by mountpoint, client id and node. " +
			"One row per session; per subscription when one of its fields\nis asked for; per queued message likewise.",
		Example: "  mqadmin session show\n" +
			"  mqadmin session show --client_id --is_online --offline_messages --is_online=false\n" +
			"  mqadmin session show --client_id --topic --client_id=~^sensor- --limit=1000\n" +
			"  mqadmin session show --client_id --offline_messages --offline_messages '>1000' --order-by=-offline_messages",
		Args: kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.rowTimeout <= 0 {
				return command.Usage("--rowtimeout must be a positive number of milliseconds")
			}
			if err := o.Check(); err != nil {
				return err
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return show(cmd.Context(), f, o)
		},
	}
	o.Bind(cmd, columns(), defaultColumns())
	fs := cmd.Flags()
	fs.IntVar(&o.rowTimeout, "rowtimeout", 100, "milliseconds that reading one session may take")
	command.MarkReading(cmd)
	return cmd
}

func show(ctx context.Context, f *command.Factory, o *showOptions) error {
	return fetch(ctx, f, &o.Options, &pb.ShowSessionsRequest{
		Filters: o.Filters, RowTimeout: durationpb.New(time.Duration(o.rowTimeout) * time.Millisecond),
	})
}

// Show prints the columns of o for sessions that pass the filters.
func Show(ctx context.Context, f *command.Factory, o *list.Options, filters []*pb.Filter) error {
	return fetch(ctx, f, o, &pb.ShowSessionsRequest{Filters: filters})
}

func fetch(ctx context.Context, f *command.Factory, o *list.Options, req *pb.ShowSessionsRequest) error {
	req.Fields, req.OrderBy = o.Fields, o.OrderBy
	return list.Show(ctx, f, o, func(ctx context.Context, conn grpc.ClientConnInterface, p list.Page) (list.Stream[*pb.SessionRow], error) {
		req.Limit, req.PageToken = p.Limit, p.Token
		stream, err := pb.NewSessionServiceClient(conn).ShowSessions(ctx, req)
		if err != nil {
			return nil, err
		}
		return func() ([]*pb.SessionRow, list.Summary, error) {
			resp, err := stream.Recv()
			if s := resp.GetSummary(); s != nil {
				return resp.GetRows(), s, err
			}
			return resp.GetRows(), nil, err
		}, nil
	})
}
