package session

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

func newUnsubscribe(f *command.Factory, runF func(context.Context, *pb.UnsubscribeSessionRequest) error) *cobra.Command {
	req := &pb.UnsubscribeSessionRequest{}
	cmd := &cobra.Command{
		Use:   "unsubscribe",
		Short: "Remove a subscription of a client",
		Long: "Works on clients that are connected and on those that are not; the client is not told, and subscribes again when it\n" +
			"likes. -p tells the plugins of it, as when the client had unsubscribed.",
		Example: "  mqadmin session unsubscribe client-id=sensor-17 topic=commands/#",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), req)
			}
			return Unsubscribe(cmd.Context(), f, req)
		},
	}
	kv.Bind(cmd,
		kv.Arg{Key: "client-id", Usage: "MQTT client id", Value: &req.ClientId, Required: true, Search: ClientIDs(f)},
		kv.Arg{Key: "topic", Usage: "topic filter as the client subscribed to it", Value: &req.Topic, Required: true})
	cmd.Flags().StringVarP(&req.Mountpoint, "mountpoint", "m", "", "mountpoint of the client")
	cmd.Flags().BoolVarP(&req.Plugin, "plugin", "p", false, "tell the plugins (on_topic_unsubscribed)")
	command.MarkDestructive(cmd)
	return cmd
}

// Unsubscribe removes one subscription.
func Unsubscribe(ctx context.Context, f *command.Factory, req *pb.UnsubscribeSessionRequest) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err := pb.NewSessionServiceClient(conn).UnsubscribeSession(ctx, req); err != nil {
		return err
	}
	return f.Done("Done")
}

// Subscribe adds one subscription.
func Subscribe(ctx context.Context, f *command.Factory, clientID, mountpoint, topic, qos string) error {
	n, err := strconv.ParseUint(qos, 10, 8)
	if err != nil || n > 2 {
		return command.Usage("qos %q: valid values are {0|1|2}", qos)
	}
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewSessionServiceClient(conn).SubscribeSession(ctx, &pb.SubscribeSessionRequest{
		ClientId: clientID, Mountpoint: mountpoint, Topic: topic, Qos: uint32(n),
	})
	if err != nil {
		return err
	}
	if resp.GetExisted() {
		f.Note("note: the client had a subscription to %q, which is replaced", topic)
	}
	return f.Done("Done")
}

func newReauthorize(f *command.Factory, runF func(context.Context, *pb.ReauthorizeSessionRequest) error) *cobra.Command {
	req := &pb.ReauthorizeSessionRequest{}
	cmd := &cobra.Command{
		Use:   "reauthorize",
		Short: "Ask the plugins again whether a client may have its subscriptions",
		Long: "For each subscription of the client the plugins are asked anew (auth_on_subscribe), in the name of that user. What\n" +
			"they refuse is removed, what they change is replaced. Use it after a change of ACLs, which else concerns new\n" +
			"subscriptions only.",
		Example: "  mqadmin session reauthorize username=ann client-id=sensor-17",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), req)
			}
			return reauthorize(cmd.Context(), f, req)
		},
	}
	kv.Bind(cmd,
		kv.Arg{Key: "username", Usage: "user in whose name the plugins are asked", Value: &req.Username, Required: true},
		kv.Arg{Key: "client-id", Usage: "MQTT client id", Value: &req.ClientId, Required: true, Search: ClientIDs(f)})
	cmd.Flags().StringVarP(&req.Mountpoint, "mountpoint", "m", "", "mountpoint of the client")
	command.MarkDestructive(cmd)
	return cmd
}

func reauthorize(ctx context.Context, f *command.Factory, req *pb.ReauthorizeSessionRequest) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewSessionServiceClient(conn).ReauthorizeSession(ctx, req)
	if err != nil {
		return err
	}
	for what, filters := range map[string][]string{"removed": resp.GetRemoved(), "replaced": resp.GetReplaced()} {
		if len(filters) > 0 {
			f.Note("%s: %s", what, strings.Join(filters, ", "))
		}
	}
	if len(resp.GetRemoved())+len(resp.GetReplaced()) == 0 {
		return f.Done("Unchanged")
	}
	return f.Done("Done")
}
