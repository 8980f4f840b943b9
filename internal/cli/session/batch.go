package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// batchOptions are those of disconnect clients and disconnect batch.
type batchOptions struct {
	clientIDs  string
	count      string
	exclude    []string
	nodes      []string
	mountpoint string
	cleanup    bool
	dryRun     bool
}

func newClients(f *command.Factory, runF func(context.Context, *pb.DisconnectSessionsRequest) error) *cobra.Command {
	o := &batchOptions{}
	cmd := &cobra.Command{
		Use:   "clients",
		Short: "Close the connections of several clients",
		Long: "As session disconnect does, for each of the client ids, which have commas between them. A client that does not\n" +
			"exist is no error. An id with a comma in it is for session disconnect.",
		Example: "  mqadmin session disconnect clients client-ids=sensor-17,sensor-18\n" +
			"  mqadmin session disconnect clients client-ids=sensor-17,sensor-18 -c",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), f, runF) },
	}
	kv.Bind(cmd, kv.Arg{Key: "client-ids", Usage: "MQTT client ids, with commas between them", Value: &o.clientIDs, Required: true})
	o.bind(cmd)
	return cmd
}

func newBatch(f *command.Factory, runF func(context.Context, *pb.DisconnectSessionsRequest) error) *cobra.Command {
	o := &batchOptions{}
	cmd := &cobra.Command{
		Use:   "batch",
		Short: "Close the connections of some number of clients",
		Long: "Closes that many connections, whichever they are, on all members or on those that are named: clients that come back\n" +
			"are spread anew by the load balancer. The number is that of all members together. Clients of -f are left alone.",
		Example: "  mqadmin session disconnect batch count=100\n" +
			"  mqadmin session disconnect batch count=100 -f backend,monitor -n VerneMQ@192.168.100.124\n" +
			"  mqadmin session disconnect batch count=100 --dry-run",
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), f, runF) },
	}
	kv.Bind(cmd, kv.Arg{Key: "count", Usage: "most connections to close", Value: &o.count, Required: true})
	fs := cmd.Flags()
	fs.StringSliceVarP(&o.exclude, "filter-client-ids", "f", nil, "client ids to leave alone, with commas between them")
	fs.StringSliceVarP(&o.nodes, "node", "n", nil, "members whose connections to close, with commas between them")
	_ = cmd.RegisterFlagCompletionFunc("node", command.Complete(f.NodeNames()))
	_ = cmd.RegisterFlagCompletionFunc("filter-client-ids", cobra.NoFileCompletions)
	o.bind(cmd)
	return cmd
}

func (o *batchOptions) bind(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&o.mountpoint, "mountpoint", "m", "", "mountpoint of the clients")
	fs.BoolVarP(&o.cleanup, "cleanup", "c", false, "also delete their subscriptions and queued messages")
	fs.BoolVar(&o.dryRun, "dry-run", false, "change nothing, tell how many it would be")
	_ = cmd.RegisterFlagCompletionFunc("mountpoint", cobra.NoFileCompletions)
	command.MarkDestructive(cmd)
}

func (o *batchOptions) request() (*pb.DisconnectSessionsRequest, error) {
	req := &pb.DisconnectSessionsRequest{Mountpoint: o.mountpoint, Cleanup: o.cleanup, ValidateOnly: o.dryRun}
	if o.clientIDs != "" {
		for id := range strings.SplitSeq(o.clientIDs, ",") {
			if id == "" {
				return nil, command.Usage("client-ids %q: there is an empty one", o.clientIDs)
			}
			req.ClientIds = append(req.ClientIds, id)
		}
		return req, nil
	}
	n, err := strconv.ParseUint(o.count, 10, 32)
	if err != nil || n == 0 {
		return nil, command.Usage("count %q is no positive number", o.count)
	}
	req.Count, req.ExcludeClientIds, req.Nodes = uint32(n), o.exclude, o.nodes
	return req, nil
}

func (o *batchOptions) run(ctx context.Context, f *command.Factory, runF func(context.Context, *pb.DisconnectSessionsRequest) error) error {
	req, err := o.request()
	if err != nil {
		return err
	}
	if runF != nil {
		return runF(ctx, req)
	}
	if !o.dryRun {
		if err := f.Confirm(question(req)); err != nil {
			return err
		}
	}
	ctx, cancel := f.LongContext(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	stream, err := pb.NewSessionServiceClient(conn).DisconnectSessions(ctx, req)
	if err != nil {
		return err
	}
	report := f.Progress()
	defer report.Close()
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the broker ended the call without a result")
		}
		if err != nil {
			return err
		}
		if p := resp.GetProgress(); p != nil && !o.dryRun {
			report.Report(fmt.Sprintf("Disconnected %d/%d", p.GetDone(), p.GetTotal()),
				command.Bar{Name: "Disconnected", Done: int64(p.GetDone()), Total: int64(p.GetTotal())})
		}
		if r := resp.GetResult(); r != nil {
			report.Close()
			return o.finish(f, r)
		}
	}
}

func question(req *pb.DisconnectSessionsRequest) string {
	who := fmt.Sprintf("%d clients", len(req.GetClientIds()))
	if req.GetCount() > 0 {
		who = fmt.Sprintf("up to %d clients", req.GetCount())
	}
	if req.GetCleanup() {
		return fmt.Sprintf("The connections, subscriptions and queued messages of %s are ended and deleted. Go on?", who)
	}
	return fmt.Sprintf("The connections of %s are closed. Go on?", who)
}

// finish prints the result; what failed is told after it.
func (o *batchOptions) finish(f *command.Factory, r *pb.DisconnectResult) error {
	for _, id := range r.GetUnknownClientIds() {
		f.Note("note: there was nothing to do for client id %q", id)
	}
	text := "Done"
	if o.dryRun {
		text = fmt.Sprintf("%d connections would be closed", r.GetDisconnected())
	} else {
		f.Note("%d connections were closed", r.GetDisconnected())
	}
	if err := f.Done(text); err != nil {
		return err
	}
	if r.GetFailed() == 0 && len(r.GetFailures()) == 0 {
		return nil
	}
	var why []string
	for _, n := range r.GetFailures() {
		why = append(why, n.GetNode()+" ("+n.GetMessage()+")")
	}
	return command.Partial("%d sessions could not be ended; %s", r.GetFailed(), strings.Join(why, ", "))
}
