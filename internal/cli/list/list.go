// Package list is what the commands that list rows share: the flags of columns
// and filters, paging, and how what came is told. A command brings its columns
// and the call that fetches a page.
package list

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// Grammar explains columns and filters in the help of a command.
const Grammar = "A field's flag alone adds its column. With a value it is a filter: only rows whose field equals it; with =~ those\n" +
	"where it contains a match of the regular expression (RE2), with !~ those where it contains none; !=, >, >=, <, <=\n" +
	"compare (quote them), and == is for values that begin with one of these. All filters must pass."

// Column is one field of a row, its name and usage, in the order in which columns are printed.
type Column [2]string

// Options are what the flags of a list were given.
type Options struct {
	// Fields are the columns to print, in their order.
	Fields  []string
	Filters []*pb.Filter
	OrderBy []*pb.Order

	limit    uint32
	token    string
	all      bool
	orderBy  string
	cmd      *cobra.Command
	columns  []Column
	defaults []string
}

const defaultLimit = 100

// Bind gives cmd the flags of a list with these columns, of which defaults are
// printed when none is asked for.
func (o *Options) Bind(cmd *cobra.Command, columns []Column, defaults []string) {
	o.columns, o.defaults = columns, defaults
	fs := cmd.Flags()
	for _, c := range columns {
		kv.Optional(fs.VarPF(&columnFlag{c[0], o}, c[0], "", c[1]), kv.Column)
		if _, ok := cmd.GetFlagCompletionFunc(c[0]); !ok {
			_ = cmd.RegisterFlagCompletionFunc(c[0], cobra.NoFileCompletions)
		}
	}
	o.bindPaging(cmd)
}

// BindPaging gives cmd the flags of a list whose columns are fixed.
func (o *Options) BindPaging(cmd *cobra.Command, columns []string) {
	o.defaults = columns
	for _, c := range columns {
		o.columns = append(o.columns, Column{c})
	}
	o.bindPaging(cmd)
}

func (o *Options) bindPaging(cmd *cobra.Command) {
	o.cmd = cmd
	fs := cmd.Flags()
	fs.Uint32Var(&o.limit, "limit", defaultLimit, "most rows to print")
	fs.BoolVar(&o.all, "all", false, "print all rows")
	fs.StringVar(&o.token, "page-token", "", "go on behind the rows of a former call, which has told this")
	fs.StringVar(&o.orderBy, "order-by", "", "fields by which to order, with commas between; the greatest first with - in front")
	names := make([]string, 0, 2*len(o.columns))
	for _, c := range o.columns {
		names = append(names, c[0], "-"+c[0])
	}
	_ = cmd.RegisterFlagCompletionFunc("order-by", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("page-token", cobra.NoFileCompletions)
}

// operators are what a filter's value may begin with, the longer ones first.
var operators = []struct {
	prefix string
	op     pb.Filter_Operator
}{
	{"!~", pb.Filter_OPERATOR_NOT_MATCH},
	{"!=", pb.Filter_OPERATOR_NOT_EQUAL},
	{">=", pb.Filter_OPERATOR_GREATER_OR_EQUAL},
	{"<=", pb.Filter_OPERATOR_LESS_OR_EQUAL},
	{">", pb.Filter_OPERATOR_GREATER},
	{"<", pb.Filter_OPERATOR_LESS},
	{"~", pb.Filter_OPERATOR_MATCH},
	{"=", pb.Filter_OPERATOR_EQUAL},
}

// columnFlag collects what one column's flag was given: nothing (show the
// column), or a value with an operator in front (filter).
type columnFlag struct {
	name string
	o    *Options
}

func (c *columnFlag) String() string { return "" }
func (c *columnFlag) Type() string   { return "" }
func (c *columnFlag) Set(s string) error {
	if s == kv.Column {
		if !slices.Contains(c.o.Fields, c.name) {
			c.o.Fields = append(c.o.Fields, c.name)
		}
		return nil
	}
	f := &pb.Filter{Field: c.name, Operator: pb.Filter_OPERATOR_EQUAL, Value: s}
	for _, o := range operators {
		if value, ok := strings.CutPrefix(s, o.prefix); ok {
			f.Operator, f.Value = o.op, value
			break
		}
	}
	c.o.Filters = append(c.o.Filters, f)
	return nil
}

// Check checks the flags and brings the columns into their order.
func (o *Options) Check() error {
	switch {
	case o.limit == 0:
		return command.Usage("--limit must be a positive number of rows")
	case o.all && o.cmd.Flags().Changed("limit"):
		return command.Usage("--all and --limit exclude each other")
	}
	var sorted, known []string
	for _, c := range o.columns {
		known = append(known, c[0])
		if slices.Contains(o.Fields, c[0]) {
			sorted = append(sorted, c[0])
		}
	}
	if o.Fields, o.OrderBy = sorted, nil; sorted == nil {
		o.Fields = o.defaults
	}
	for field := range strings.SplitSeq(o.orderBy, ",") {
		if o.orderBy == "" {
			break
		}
		name, descending := strings.CutPrefix(field, "-")
		if name = strings.ReplaceAll(name, "-", "_"); !slices.Contains(known, name) {
			e := fmt.Sprintf("--order-by: there is no field %q", name)
			if s := kv.Suggest(name, known); s != "" {
				e += fmt.Sprintf(" (did you mean %q?)", s)
			}
			return command.Usage("%s", e)
		}
		o.OrderBy = append(o.OrderBy, &pb.Order{Field: name, Descending: descending})
	}
	return nil
}

// Limit is the value of --limit.
func (o *Options) Limit() uint32 { return o.limit }

// Page is what one call asks for.
type Page struct {
	Limit uint32
	Token string
}

// Summary ends the rows of a call. The summaries of the API are some.
type Summary interface {
	GetShown() uint64
	GetTotal() uint64
	GetBefore() uint64
	GetNextPageToken() string
}

// Stream returns the next rows, or with the summary the last.
type Stream[R proto.Message] func() ([]R, Summary, error)

// Fetch begins a call for one page.
type Fetch[R proto.Message] func(context.Context, grpc.ClientConnInterface, Page) (Stream[R], error)

// partial and skipping are what a summary may tell besides.
type (
	partial  interface{ GetFailures() []*pb.NodeFailure }
	skipping interface{ GetSkipped() uint64 }
	expiring interface{ GetExpired() uint64 }
)

// told is what is said about all calls of a list together.
type told struct {
	first, shown, total, skipped, expired uint64
	next                                  string
	failures                              []*pb.NodeFailure
}

func (t *told) add(s Summary) {
	if t.shown == 0 {
		t.first = s.GetBefore()
	}
	t.shown += s.GetShown()
	t.total, t.next = s.GetTotal(), s.GetNextPageToken()
	if p, ok := s.(skipping); ok {
		t.skipped += p.GetSkipped()
	}
	if p, ok := s.(expiring); ok {
		t.expired = p.GetExpired()
	}
	if p, ok := s.(partial); ok {
		t.failures = p.GetFailures()
	}
}

// Show prints the rows as they come. A broker may give fewer at once than were
// asked for; then it is asked again for the rest.
func Show[R proto.Message](ctx context.Context, f *command.Factory, o *Options, fetch Fetch[R]) error {
	left := uint64(o.limit)
	timeout := f.Context
	if o.all {
		left, timeout = math.MaxUint64, f.LongContext
	}
	ctx, cancel := timeout(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	var t *output.Table // begun with the first answer, so that an error leaves stdout empty
	cells := newCells[R](o.Fields)
	all := told{next: o.token}
	for more := true; more; more = all.next != "" && left > 0 {
		next, err := fetch(ctx, conn, Page{uint32(min(left, math.MaxUint32)), all.next})
		if err != nil {
			return err
		}
		sum, err := each(next, func(row R) error {
			if t == nil {
				t = f.Table(o.Fields...)
			}
			return t.Row(cells(row)...)
		})
		if err != nil {
			return err
		}
		all.add(sum)
		left -= min(left, sum.GetShown())
	}
	if t == nil {
		t = f.Table(o.Fields...)
	}
	if err := t.Close(); err != nil {
		return err
	}
	return all.report(f)
}

// each calls fn with the rows of one call.
func each[R proto.Message](next Stream[R], fn func(R) error) (Summary, error) {
	for {
		rows, sum, err := next()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the broker ended the list without a summary")
		}
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if err := fn(r); err != nil {
				return nil, err
			}
		}
		if sum != nil {
			return sum, nil
		}
	}
}

// report says on stderr what the rows are a part of.
func (t *told) report(f *command.Factory) error {
	if t.first > 0 && t.shown > 0 {
		f.Note("showing %d-%d of %d", t.first+1, t.first+t.shown, t.total)
	} else {
		f.Note("showing %d of %d", t.shown, t.total)
	}
	if t.next != "" {
		f.Note("the next ones: --page-token=%s", t.next)
	}
	if t.skipped > 0 {
		f.Note("warning: %d sessions took too long to read and are left out; --rowtimeout gives them more time", t.skipped)
	}
	if t.expired > 0 {
		f.Note("%d expired messages are not shown; %s retain delete-expired removes them", t.expired, f.Name)
	}
	if len(t.failures) == 0 {
		return nil
	}
	var names []string
	for _, n := range t.failures {
		names = append(names, n.GetNode()+" ("+n.GetMessage()+")")
	}
	return command.Partial("no answer from %s", strings.Join(names, ", "))
}

// newCells returns a func that takes the columns out of a row.
func newCells[R proto.Message](fields []string) func(R) []any {
	var zero R
	var fds []protoreflect.FieldDescriptor
	all := zero.ProtoReflect().Descriptor().Fields()
	for _, name := range fields {
		fds = append(fds, all.ByName(protoreflect.Name(name)))
	}
	return func(row R) []any {
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
