package session

import (
	"context"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

type disconnectOptions struct {
	clientID   string
	mountpoint string
	cleanup    bool
}

func newDisconnect(f *command.Factory, runF func(context.Context, disconnectOptions) error) *cobra.Command {
	var o disconnectOptions
	cmd := &cobra.Command{
		Use:   "disconnect",
		Short: "Close a client's connection, wherever it is",
		Long: "MQTT 5 clients are told that it was an administrative action (0x98), and the will is published. Subscriptions\n" +
			"and queued messages stay for the client's return, unless -c deletes them on every node. A client that does not\n" +
			"exist is no error.",
		Example: "  mqadmin session disconnect client-id=sensor-17\n" +
			"  mqadmin session disconnect client-id=sensor-17 -c",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return disconnect(cmd.Context(), f, o)
		},
	}
	kv.Bind(cmd, kv.Arg{Key: "client-id", Usage: "MQTT client id", Value: &o.clientID, Required: true, Search: ClientIDs(f)})
	cmd.Flags().StringVarP(&o.mountpoint, "mountpoint", "m", "", "mountpoint of the client")
	cmd.Flags().BoolVarP(&o.cleanup, "cleanup", "c", false, "also delete its subscriptions and queued messages")
	command.MarkDestructive(cmd)
	cmd.AddCommand(newClients(f, nil), newBatch(f, nil))
	return cmd
}

// Disconnect ends the session of a client, or with cleanup deletes it.
func Disconnect(ctx context.Context, f *command.Factory, clientID, mountpoint string, cleanup bool) error {
	return disconnect(ctx, f, disconnectOptions{clientID: clientID, mountpoint: mountpoint, cleanup: cleanup})
}

func disconnect(ctx context.Context, f *command.Factory, o disconnectOptions) error {
	if o.cleanup {
		if err := f.Confirm(fmt.Sprintf("The subscriptions and queued messages of %q are deleted. Go on?", o.clientID)); err != nil {
			return err
		}
	}
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewSessionServiceClient(conn).DisconnectSession(ctx, &pb.DisconnectSessionRequest{
		ClientId: o.clientID, Mountpoint: o.mountpoint, Cleanup: o.cleanup,
	})
	if err != nil {
		return err
	}
	if !resp.GetDisconnected() && !resp.GetCleaned() {
		f.Note("note: there was nothing to do for client id %q", o.clientID)
	}
	return f.Done("Done")
}

// ClientIDs completes client ids: those that begin with what was typed.
func ClientIDs(f *command.Factory) func(context.Context, string) []string {
	return func(ctx context.Context, typed string) []string {
		ctx, cancel := context.WithTimeout(ctx, command.CompletionTimeout)
		defer cancel()
		conn, err := f.Conn(ctx)
		if err != nil {
			return nil
		}
		req := &pb.ShowSessionsRequest{Fields: []string{"client_id"}}
		if typed != "" {
			req.Filters = []*pb.Filter{{Field: "client_id", Operator: pb.Filter_OPERATOR_MATCH, Value: "^" + regexp.QuoteMeta(typed)}}
		}
		stream, err := pb.NewSessionServiceClient(conn).ShowSessions(ctx, req)
		if err != nil {
			return nil
		}
		var ids []string
		for {
			resp, err := stream.Recv()
			if err != nil || resp.GetSummary() != nil {
				return ids
			}
			for _, r := range resp.GetRows() {
				if output.Escape(r.GetClientId()) == r.GetClientId() { // others cannot be typed
					ids = append(ids, r.GetClientId())
				}
			}
		}
	}
}
