package session

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// column is one field of a row, in the order in which columns are printed.
type column struct{ name, usage string }

// columns are vmq-admin's fields; a test keeps them equal to those of
// SessionRow.
func columns() []column {
	return []column{
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

const defaultLimit = 100

type showOptions struct {
	fields     []string
	filters    []*pb.SessionFilter
	limit      uint32
	rowTimeout int // milliseconds
}

// columnFlag collects what one column's flag was given: nothing (show the
// column), =value or =~regular expression (filter).
type columnFlag struct {
	name string
	o    *showOptions
}

func (c *columnFlag) String() string { return "" }
func (c *columnFlag) Type() string   { return "" }
func (c *columnFlag) Set(s string) error {
	if s == kv.Column {
		if !slices.Contains(c.o.fields, c.name) {
			c.o.fields = append(c.o.fields, c.name)
		}
		return nil
	}
	f := &pb.SessionFilter{Field: c.name, Operator: pb.SessionFilter_OPERATOR_EQUAL, Value: s}
	if re, ok := strings.CutPrefix(s, "~"); ok {
		f.Operator, f.Value = pb.SessionFilter_OPERATOR_MATCH, re
	}
	c.o.filters = append(c.o.filters, f)
	return nil
}

func newShow(f *command.Factory, runF func(context.Context, *showOptions) error) *cobra.Command {
	o := &showOptions{}
	cmd := &cobra.Command{
		Use:                   "show [--<field>[=<value> | =~<regular expression>]]...",
		DisableFlagsInUseLine: true,
		Short:                 "List sessions, with the columns and filters that you name",
		Long: "A field's flag alone adds its column. With a value it is a filter: only rows whose field equals it, or with\n" +
			"=~ contains a match of the regular expression (RE2). All filters must pass. Without a column: " +
			strings.Join(defaultColumns(), ", ") + ".\nRows are ordered by mountpoint, client id and node. " +
			"One row per session; per subscription when one of its fields\nis asked for; per queued message likewise.",
		Example: "  mqadmin session show\n" +
			"  mqadmin session show --client_id --is_online --offline_messages --is_online=false\n" +
			"  mqadmin session show --client_id --topic --client_id=~^sensor- --limit=1000",
		Args: kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.rowTimeout <= 0 {
				return command.Usage("--rowtimeout must be a positive number of milliseconds")
			}
			if o.limit == 0 {
				return command.Usage("--limit must be a positive number of rows")
			}
			o.order()
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return show(cmd.Context(), f, o)
		},
	}
	fs := cmd.Flags()
	for _, c := range columns() {
		kv.Optional(fs.VarPF(&columnFlag{c.name, o}, c.name, "", c.usage), kv.Column)
		_ = cmd.RegisterFlagCompletionFunc(c.name, cobra.NoFileCompletions)
	}
	fs.Uint32Var(&o.limit, "limit", defaultLimit, "most rows to print")
	fs.IntVar(&o.rowTimeout, "rowtimeout", 100, "milliseconds that reading one session may take")
	command.MarkReading(cmd)
	return cmd
}

// order sorts the chosen columns into the documented order.
func (o *showOptions) order() {
	if len(o.fields) == 0 {
		o.fields = defaultColumns()
		return
	}
	var sorted []string
	for _, c := range columns() {
		if slices.Contains(o.fields, c.name) {
			sorted = append(sorted, c.name)
		}
	}
	o.fields = sorted
}

func show(ctx context.Context, f *command.Factory, o *showOptions) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	stream, err := pb.NewSessionServiceClient(conn).ShowSessions(ctx, &pb.ShowSessionsRequest{
		Fields:     o.fields,
		Filters:    o.filters,
		Limit:      o.limit,
		RowTimeout: durationpb.New(time.Duration(o.rowTimeout) * time.Millisecond),
	})
	if err != nil {
		return err
	}
	var summary *pb.ShowSessionsSummary
	cells := newCells(o.fields)
	var t *output.Table // begun with the first answer, so that an error leaves stdout empty
	for summary == nil {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the broker ended the list without a summary")
		}
		if err != nil {
			return err
		}
		if t == nil {
			t = f.Table(o.fields...)
		}
		for _, row := range resp.GetRows() {
			if err := t.Row(cells(row)...); err != nil {
				return err
			}
		}
		summary = resp.GetSummary()
	}
	if err := t.Close(); err != nil {
		return err
	}
	return report(f, summary)
}

// report says on stderr what the rows are a part of.
func report(f *command.Factory, s *pb.ShowSessionsSummary) error {
	f.Note("showing %d of %d", s.GetShown(), s.GetTotal())
	if n := s.GetSkipped(); n > 0 {
		f.Note("warning: %d sessions took too long to read and are left out; --rowtimeout gives them more time", n)
	}
	if len(s.GetFailures()) == 0 {
		return nil
	}
	var names []string
	for _, n := range s.GetFailures() {
		names = append(names, n.GetNode()+" ("+n.GetMessage()+")")
	}
	return command.Partial("no answer from %s", strings.Join(names, ", "))
}

// newCells returns a func that takes the columns out of a row.
func newCells(fields []string) func(*pb.SessionRow) []any {
	var fds []protoreflect.FieldDescriptor
	all := (*pb.SessionRow)(nil).ProtoReflect().Descriptor().Fields()
	for _, name := range fields {
		fds = append(fds, all.ByName(protoreflect.Name(name)))
	}
	return func(row *pb.SessionRow) []any {
		m := row.ProtoReflect()
		out := make([]any, len(fds))
		for i, fd := range fds {
			if m.Has(fd) {
				out[i] = m.Get(fd).Interface()
			}
		}
		return out
	}
}
