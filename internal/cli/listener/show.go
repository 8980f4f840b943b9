package listener

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

type showOptions struct{ tls, mqtt bool }

func newShow(f *command.Factory, runF func(context.Context, showOptions) error) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:   "show",
		Short: "List them with their connections",
		Long: "One row per listener, the cluster port among them, ordered by type, address and port. status is running,\n" +
			"suspended (no new connections) or stopped.",
		Example: "  mqadmin listener show\n  mqadmin listener show --tls --mqtt --format json",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return show(cmd.Context(), f, o)
		},
	}
	cmd.Flags().BoolVarP(&o.tls, "tls", "t", false, "with the TLS options")
	cmd.Flags().BoolVarP(&o.mqtt, "mqtt", "m", false, "with the MQTT options")
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
	resp, err := pb.NewListenerServiceClient(conn).ShowListeners(ctx, &pb.ShowListenersRequest{})
	if err != nil {
		return err
	}
	columns := []string{"type", "status", "address", "port", "mountpoint", "max_conns", "active_conns", "all_conns"}
	if o.tls {
		columns = append(columns, "tls_version", "certfile", "cafile", "keyfile", "require_certificate", "use_identity_as_username", "psk_support", "pskfile")
	}
	if o.mqtt {
		columns = append(columns, "allowed_protocol_versions", "allow_anonymous_override")
	}
	t := f.Table(columns...)
	for _, l := range resp.GetListeners() {
		row := []any{
			l.GetType(), l.GetStatus(), l.GetAddress(), l.GetPort(), l.GetMountpoint(), limit(l.GetMaxConns()),
			number(l.ActiveConns), number(l.AllConns),
		}
		if o.tls {
			row = append(row, tlsCells(l.GetTls())...)
		}
		if o.mqtt {
			row = append(row, mqttCells(l)...)
		}
		if err := t.Row(row...); err != nil {
			return err
		}
	}
	return t.Close()
}

// limit is VerneMQ's word for none.
func limit(n int64) any {
	if n == 0 {
		return "infinity"
	}
	return n
}

func number(n *int64) any {
	if n == nil {
		return nil
	}
	return *n
}

func tlsCells(t *pb.ListenerTLS) []any {
	if t == nil {
		return make([]any, 8)
	}
	return []any{
		t.GetTlsVersion(), t.GetCertfile(), t.GetCafile(), t.GetKeyfile(),
		t.GetRequireCertificate(), t.GetUseIdentityAsUsername(), t.GetPskSupport(), t.GetPskfile(),
	}
}

func mqttCells(l *pb.Listener) []any {
	if !strings.HasPrefix(l.GetType(), "mqtt") {
		return make([]any, 2)
	}
	var versions []string
	for _, v := range l.GetAllowedProtocolVersions() {
		versions = append(versions, strconv.FormatUint(uint64(v), 10))
	}
	return []any{strings.Join(versions, ","), l.GetAllowAnonymousOverride()}
}
