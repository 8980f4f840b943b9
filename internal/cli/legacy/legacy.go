// Package legacy has the command lines of emqttd_ctl that mean something here.
// Each is another spelling of a command elsewhere, for people and scripts that
// come from there; arguments are words, in emqttd_ctl's order.
package legacy

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/list"
	"github.com/mqadmin/mqadmin/internal/cli/node"
	"github.com/mqadmin/mqadmin/internal/cli/session"
)

// New returns the commands at the top of the tree.
func New(f *command.Factory) []*cobra.Command {
	return []*cobra.Command{newClients(f), newSessions(f), newSubscriptions(f), newRoutes(f, "routes"), newRoutes(f, "topics"), newStatus(f)}
}

func newStatus(f *command.Factory) *cobra.Command {
	cmd := node.Status(f)
	cmd.Long = "The same as node status."
	cmd.Example = "  mqadmin status"
	return cmd
}

func newClients(f *command.Factory) *cobra.Command {
	return command.NewGroup("clients", "Show and disconnect connected clients",
		"emqttd_ctl's words for session show and session disconnect.",
		"  mqadmin clients list",
		newSessionList(f, listing{
			use: "list", short: "List connected clients", is: "session show --is_online=true", example: "  mqadmin clients list\n  mqadmin clients list --limit=1000",
			columns: clientColumns, filters: []*pb.Filter{equal("is_online", "true")},
		}),
		newSessionList(f, listing{
			use: "show", short: "Show one client", is: "session show --client_id=<client id>, with more columns", example: "  mqadmin clients show sensor-17",
			columns: clientColumns, one: true,
		}),
		newKick(f))
}

func newSessions(f *command.Factory) *cobra.Command {
	all := newSessionList(f, listing{
		use: "list", short: "List sessions, connected or not", is: "session show with other columns", example: "  mqadmin sessions list\n  mqadmin sessions list persistent",
		columns: sessionColumns, kinds: true,
	})
	return command.NewGroup("sessions", "Show sessions",
		"emqttd_ctl's words for session show.",
		"  mqadmin sessions list",
		all,
		newSessionList(f, listing{
			use: "show", short: "Show the session of one client", is: "session show --client_id=<client id>, with more columns", example: "  mqadmin sessions show sensor-17",
			columns: sessionColumns, one: true,
		}))
}

func newSubscriptions(f *command.Factory) *cobra.Command {
	return command.NewGroup("subscriptions", "Show and change subscriptions of clients",
		"emqttd_ctl's words for session show with the columns of subscriptions, and for session unsubscribe.",
		"  mqadmin subscriptions list",
		newSessionList(f, listing{
			use: "list", short: "List the subscriptions of all clients", is: "session show --client_id --topic --qos '--topic=~.'", example: "  mqadmin subscriptions list",
			columns: subscriptionColumns, filters: []*pb.Filter{{Field: "topic", Operator: pb.Filter_OPERATOR_MATCH}},
		}),
		newSessionList(f, listing{
			use: "show", short: "List the subscriptions of one client", is: "session show --client_id=<client id> --topic --qos", example: "  mqadmin subscriptions show sensor-17",
			columns: subscriptionColumns, one: true, filters: []*pb.Filter{{Field: "topic", Operator: pb.Filter_OPERATOR_MATCH}},
		}),
		newAdd(f), newDel(f))
}

// The columns of the lists.
var (
	clientColumns       = []string{"node", "mountpoint", "client_id", "clean_session", "user", "peer_host", "peer_port", "protocol", "session_started_at"}
	sessionColumns      = []string{"node", "mountpoint", "client_id", "is_online", "offline_messages", "online_messages", "clean_session", "queue_started_at", "waiting_acks"}
	subscriptionColumns = []string{"client_id", "mountpoint", "topic", "qos"}
)

func equal(field, value string) *pb.Filter {
	return &pb.Filter{Field: field, Operator: pb.Filter_OPERATOR_EQUAL, Value: value}
}

// listing is one list of sessions.
type listing struct {
	use, short, is, example string
	columns                 []string
	filters                 []*pb.Filter
	one                     bool // of the client that is named
	kinds                   bool // persistent or transient, if that is said
}

func newSessionList(f *command.Factory, l listing) *cobra.Command {
	var client, kind string
	o := &list.Options{}
	cmd := &cobra.Command{Use: l.use, Short: l.short, Long: "The same as " + l.is + ".", Example: l.example}
	switch {
	case l.one:
		kv.Bind(cmd, kv.Arg{Key: "client-id", Usage: "MQTT client id", Value: &client, Required: true, Bare: true, Search: session.ClientIDs(f)})
	case l.kinds:
		kv.Bind(cmd, kv.Arg{Key: "kind", Usage: "{persistent|transient}", Value: &kind, Bare: true, Complete: func(context.Context) []string {
			return []string{"persistent", "transient"}
		}})
	default:
		cmd.Args = kv.NoWords
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filters := l.filters
		if l.one {
			filters = append([]*pb.Filter{equal("client_id", client)}, filters...)
		}
		switch kind {
		case "":
		case "persistent":
			filters = append(filters, equal("clean_session", "false"))
		case "transient":
			filters = append(filters, equal("clean_session", "true"))
		default:
			return command.Usage("kind %q: valid values are {persistent|transient}", kind)
		}
		if err := o.Check(); err != nil {
			return err
		}
		return session.Show(cmd.Context(), f, o, filters)
	}
	o.BindPaging(cmd, l.columns)
	command.MarkReading(cmd)
	return cmd
}

func newKick(f *command.Factory) *cobra.Command {
	var client, mountpoint string
	cmd := &cobra.Command{
		Use: "kick", Short: "Close the connection of a client",
		Long:    "The same as session disconnect client-id=<client id>.",
		Example: "  mqadmin clients kick sensor-17",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return session.Disconnect(cmd.Context(), f, client, mountpoint, false)
		},
	}
	kv.Bind(cmd, kv.Arg{Key: "client-id", Usage: "MQTT client id", Value: &client, Required: true, Bare: true, Search: session.ClientIDs(f)})
	cmd.Flags().StringVarP(&mountpoint, "mountpoint", "m", "", "mountpoint of the client")
	command.MarkDestructive(cmd)
	return cmd
}

func newAdd(f *command.Factory) *cobra.Command {
	var client, topic, qos, mountpoint string
	cmd := &cobra.Command{
		Use: "add", Short: "Subscribe a client to a topic",
		Long: "As if the client had sent SUBSCRIBE, whether it is connected or not; no plugin is asked whether it may. It gets\n" +
			"retained messages. There is no such line in vmq-admin.",
		Example: "  mqadmin subscriptions add sensor-17 commands/# 1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return session.Subscribe(cmd.Context(), f, client, mountpoint, topic, qos)
		},
	}
	kv.Bind(cmd,
		kv.Arg{Key: "client-id", Usage: "MQTT client id", Value: &client, Required: true, Bare: true, Search: session.ClientIDs(f)},
		kv.Arg{Key: "topic", Usage: "topic filter", Value: &topic, Required: true, Bare: true},
		kv.Arg{Key: "qos", Usage: "{0|1|2}", Value: &qos, Required: true, Bare: true, Complete: func(context.Context) []string {
			return []string{"0", "1", "2"}
		}})
	cmd.Flags().StringVarP(&mountpoint, "mountpoint", "m", "", "mountpoint of the client")
	return cmd
}

func newDel(f *command.Factory) *cobra.Command {
	req := &pb.UnsubscribeSessionRequest{Plugin: true}
	cmd := &cobra.Command{
		Use: "del", Short: "Remove a subscription of a client",
		Long:    "The same as session unsubscribe client-id=<client id> topic=<topic> -p.",
		Example: "  mqadmin subscriptions del sensor-17 commands/#",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return session.Unsubscribe(cmd.Context(), f, req)
		},
	}
	kv.Bind(cmd,
		kv.Arg{Key: "client-id", Usage: "MQTT client id", Value: &req.ClientId, Required: true, Bare: true, Search: session.ClientIDs(f)},
		kv.Arg{Key: "topic", Usage: "topic filter as the client subscribed to it", Value: &req.Topic, Required: true, Bare: true})
	cmd.Flags().StringVarP(&req.Mountpoint, "mountpoint", "m", "", "mountpoint of the client")
	command.MarkDestructive(cmd)
	return cmd
}

// routeColumns are the fields of RouteRow; a test keeps them equal.
func routeColumns() []list.Column {
	return []list.Column{
		{"topic", "topic filter that has subscribers"},
		{"node", "node that they are on"},
		{"mountpoint", "mountpoint, empty by default"},
		{"group", "group of a shared subscription"},
	}
}

// newRoutes returns routes or topics, which show the same: in emqttd a topic is
// a filter that somebody has subscribed to.
func newRoutes(f *command.Factory, use string) *cobra.Command {
	short := map[string]string{"routes": "Show which nodes have subscribers of which topic filters", "topics": "Show the topic filters that have subscribers"}[use]
	return command.NewGroup(use, short,
		"One row for each topic filter and node that has subscribers of it; a shared group has rows of its own. Every member\n"+
			"knows all of them.",
		"  mqadmin "+use+" list",
		newRouteList(f, use, "list", false), newRouteList(f, use, "show", true))
}

func newRouteList(f *command.Factory, noun, use string, one bool) *cobra.Command {
	var topic string
	o := &list.Options{}
	cmd := &cobra.Command{
		Use: use, Short: "List topic filters and the nodes of their subscribers", Long: list.Grammar,
		Example: "  mqadmin " + noun + " list\n  mqadmin " + noun + " list --topic --node --group --topic=~^sensors/",
		Args:    kv.NoWords,
	}
	if one {
		cmd.Short, cmd.Long = "List the nodes with subscribers of one topic filter", "The filter as it was subscribed to; it is not matched."
		cmd.Example = "  mqadmin " + noun + " show sensors/#"
		kv.Bind(cmd, kv.Arg{Key: "topic", Usage: "topic filter", Value: &topic, Required: true, Bare: true})
		o.BindPaging(cmd, []string{"topic", "node", "group"})
	} else {
		o.Bind(cmd, routeColumns(), []string{"topic", "node"})
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.Check(); err != nil {
			return err
		}
		filters := o.Filters
		if one {
			filters = []*pb.Filter{equal("topic", topic)}
		}
		return routes(cmd.Context(), f, o, filters)
	}
	command.MarkReading(cmd)
	return cmd
}

func routes(ctx context.Context, f *command.Factory, o *list.Options, filters []*pb.Filter) error {
	return list.Show(ctx, f, o, func(ctx context.Context, conn grpc.ClientConnInterface, p list.Page) (list.Stream[*pb.RouteRow], error) {
		stream, err := pb.NewRouteServiceClient(conn).ShowRoutes(ctx, &pb.ShowRoutesRequest{
			Fields: o.Fields, Filters: filters, OrderBy: o.OrderBy, Limit: p.Limit, PageToken: p.Token,
		})
		if err != nil {
			return nil, err
		}
		return func() ([]*pb.RouteRow, list.Summary, error) {
			resp, err := stream.Recv()
			if s := resp.GetSummary(); s != nil {
				return resp.GetRows(), s, err
			}
			return resp.GetRows(), nil, err
		}, nil
	})
}
