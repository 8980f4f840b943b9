package session

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
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
	kv.Bind(cmd, kv.Arg{Key: "client-id", Usage: "MQTT client id", Value: &o.clientID, Required: true, Complete: clientIDs(f)})
	cmd.Flags().StringVarP(&o.mountpoint, "mountpoint", "m", "", "mountpoint of the client")
	cmd.Flags().BoolVarP(&o.cleanup, "cleanup", "c", false, "also delete its subscriptions and queued messages")
	command.MarkDestructive(cmd)
	return cmd
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

// clientIDs completes client-id= with the first sessions of the list.
func clientIDs(f *command.Factory) func(context.Context) []string {
	return func(ctx context.Context) []string {
		ctx, cancel := context.WithTimeout(ctx, command.CompletionTimeout)
		defer cancel()
		conn, err := f.Conn(ctx)
		if err != nil {
			return nil
		}
		stream, err := pb.NewSessionServiceClient(conn).ShowSessions(ctx, &pb.ShowSessionsRequest{Fields: []string{"client_id"}})
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
				ids = append(ids, r.GetClientId())
			}
		}
	}
}
