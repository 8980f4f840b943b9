// Package trace has the commands that show the packets of a client.
package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// New returns the command "trace".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("trace", "Show packets as they come and go",
		"For one client, on the member that it is connected to. A limit on packets keeps it from loading the broker.",
		"  mqadmin trace client client-id=alpha --for 1m",
		newClient(f, nil), newStopAll(f, nil))
}

type clientOptions struct {
	client, mountpoint              string
	rateMax, rateInterval, truncate int
	duration                        time.Duration
}

func newClient(f *command.Factory, runF func(context.Context, clientOptions) error) *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use:   "client",
		Short: "Show those of one client",
		Long: "Prints every packet from and to the client, also of connections that it makes later, until it is interrupted, --for\n" +
			"has passed, or more than --rate-max packets come within --rate-interval. Passwords are not shown.",
		Example: "  mqadmin trace client client-id=alpha\n" +
			"  mqadmin trace client client-id=alpha --rate-max=100 --trunc-payload=20 --for 30s",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return client(cmd.Context(), f, o)
		},
	}
	kv.Bind(cmd,
		kv.Arg{Key: "client-id", Usage: "the client", Value: &o.client, Required: true},
		kv.Arg{Key: "mountpoint", Usage: "its namespace", Value: &o.mountpoint})
	fs := cmd.Flags()
	fs.IntVar(&o.rateMax, "rate-max", 10, "more packets than this within --rate-interval end the trace")
	fs.IntVar(&o.rateInterval, "rate-interval", 100, "milliseconds")
	fs.IntVar(&o.truncate, "trunc-payload", 200, "how many bytes of a payload are shown")
	fs.DurationVar(&o.duration, "for", 0, "end after this time; otherwise when interrupted")
	return cmd
}

func (o clientOptions) check() error {
	switch {
	case o.rateMax <= 0 || o.rateMax > math.MaxInt32:
		return command.Usage("--rate-max must be a positive number")
	case o.rateInterval <= 0:
		return command.Usage("--rate-interval must be a positive number of milliseconds")
	case o.truncate < 0 || o.truncate > math.MaxInt32:
		return command.Usage("--trunc-payload must be a number of bytes")
	case o.duration < 0:
		return command.Usage("--for must be a positive time")
	}
	return nil
}

func client(ctx context.Context, f *command.Factory, o clientOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	t := f.Table(columns...)
	if o.duration > 0 {
		timer := time.AfterFunc(o.duration, cancel)
		defer timer.Stop()
	}
	stream, err := pb.NewTraceServiceClient(conn).TraceClient(ctx, &pb.TraceClientRequest{
		ClientId: o.client, Mountpoint: o.mountpoint, RateMax: uint32(o.rateMax),
		RateInterval: durationpb.New(time.Duration(o.rateInterval) * time.Millisecond), TruncPayload: new(uint32(o.truncate)),
	})
	for err == nil {
		var e *pb.TraceClientResponse
		if e, err = stream.Recv(); err == nil {
			err = write(f, t, o, e)
		}
	}
	ended := errors.Is(err, io.EOF) || ctx.Err() != nil && (status.Code(err) == codes.Canceled || errors.Is(err, context.Canceled))
	if !ended { // not by the broker, the time, or whoever looked
		return err
	}
	if f.OutputFormat() == output.Human {
		return nil
	}
	return t.Close()
}

// columns are those of machines.
var columns = []string{"time", "direction", "client_id", "mountpoint", "connection", "packet", "text", "details", "payload", "payload_cut"}

// write prints one event: a line for people, with what belongs to it below, an
// object a line for machines.
func write(f *command.Factory, t *output.Table, o clientOptions, e *pb.TraceClientResponse) error {
	if f.OutputFormat() != output.Human {
		return row(t, o, e)
	}
	var b strings.Builder
	b.WriteString(e.GetTime().AsTime().UTC().Format("2006-01-02T15:04:05.000Z"))
	if e.GetConnection() != "" {
		b.WriteString(" <" + output.Escape(e.GetConnection()) + ">")
	}
	switch e.GetDirection() {
	case pb.TraceDirection_TRACE_DIRECTION_RECEIVED:
		b.WriteString(" MQTT RECV: ")
	case pb.TraceDirection_TRACE_DIRECTION_SENT:
		b.WriteString(" MQTT SEND: ")
	case pb.TraceDirection_TRACE_DIRECTION_UNSPECIFIED:
		b.WriteString(" ")
	}
	if e.GetDirection() != pb.TraceDirection_TRACE_DIRECTION_UNSPECIFIED {
		if o.mountpoint != "" {
			fmt.Fprintf(&b, "MP: %q ", o.mountpoint)
		}
		fmt.Fprintf(&b, "CID: %q ", o.client)
	}
	b.WriteString(output.Escape(e.GetText()) + "\n")
	for _, d := range e.GetDetails() {
		b.WriteString("    " + output.Escape(d) + "\n")
	}
	if e.Payload != nil {
		more := ""
		if e.GetPayloadCut() {
			more = "…"
		}
		b.WriteString("    " + output.Escape(string(e.GetPayload())) + more + "\n")
	}
	_, err := io.WriteString(f.IO.Out, b.String())
	return err
}

// row writes one event as a row, at once.
func row(t *output.Table, o clientOptions, e *pb.TraceClientResponse) error {
	cells := make([]any, len(columns))
	cells[0], cells[6] = e.GetTime().AsTime(), e.GetText()
	if e.GetDirection() != pb.TraceDirection_TRACE_DIRECTION_UNSPECIFIED {
		cells[1] = "sent"
		if e.GetDirection() == pb.TraceDirection_TRACE_DIRECTION_RECEIVED {
			cells[1] = "received"
		}
		cells[2], cells[3], cells[4], cells[5] = o.client, o.mountpoint, e.GetConnection(), e.GetPacket()
	}
	if len(e.GetDetails()) > 0 {
		cells[7] = strings.Join(e.GetDetails(), "\n")
	}
	if e.Payload != nil {
		cells[8], cells[9] = e.GetPayload(), e.GetPayloadCut()
	}
	if err := t.Row(cells...); err != nil {
		return err
	}
	return t.Flush()
}

func newStopAll(f *command.Factory, runF func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "stop_all",
		Short:   "End the trace that runs",
		Long:    "Whoever runs it is told. Without a trace there is nothing to do.",
		Example: "  mqadmin trace stop_all",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context())
			}
			return stopAll(cmd.Context(), f)
		},
	}
	command.MarkPerNode(cmd)
	return cmd
}

func stopAll(ctx context.Context, f *command.Factory) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewTraceServiceClient(conn).StopTraces(ctx, &pb.StopTracesRequest{})
	if err != nil {
		return err
	}
	if resp.GetStopped() == 0 {
		f.Note("note: no trace was running")
	}
	return f.Done("Done")
}
