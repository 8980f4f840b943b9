// Package metrics has the commands that print and reset a node's counters.
package metrics

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

// New returns the command "metrics".
func New(f *command.Factory) *cobra.Command {
	return command.NewGroup("metrics", "Print and reset counters",
		"Counters and gauges of the node that answers, under VerneMQ's names.",
		"  mqadmin metrics show",
		newShow(f, nil), newReset(f, nil))
}

type showOptions struct {
	descriptions bool
	aggregate    bool
	labels       map[string]*string
	more         []string // name=value
}

// prometheus is a format that only metrics have.
const prometheus output.Format = "prometheus"

// labelNames are the labels that have a flag of their own, as in vmq-admin.
func labelNames() []string { return []string{"mqtt_version", "reason_code", "return_code", "group"} }

func newShow(f *command.Factory, runF func(context.Context, showOptions) error) *cobra.Command {
	o := showOptions{labels: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print all values",
		Long: "One line per metric, ordered by name: type.name = value. Metrics of equal names are summed, unless\n" +
			"--aggregate=false prints one line per combination of labels. A label with a value leaves only the metrics\n" +
			"that have exactly that label; several labels must all be there. --format prometheus prints what /metrics\n" +
			"serves, whatever --aggregate says.",
		Example: "  mqadmin metrics show\n" +
			"  mqadmin metrics show -d\n" +
			"  mqadmin metrics show --aggregate=false --mqtt_version=5\n" +
			"  mqadmin metrics show --describe --label listener=tcp.default\n" +
			"  mqadmin metrics show --format prometheus",
		Args: kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return show(cmd.Context(), f, o)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.descriptions, "with-descriptions", "d", false, "print what each metric counts")
	fs.BoolVar(&o.descriptions, "describe", false, "the same as --with-descriptions")
	fs.BoolVarP(&o.aggregate, "aggregate", "a", true, "sum metrics of equal names")
	kv.Optional(fs.Lookup("aggregate"), "true")
	for _, l := range labelNames() {
		o.labels[l] = fs.String(l, "", "only metrics with this label")
	}
	fs.StringArrayVar(&o.more, "label", nil, "only metrics with this label, name=value; may be repeated")
	command.MoreFormats(cmd, string(prometheus))
	command.MarkPerNode(cmd)
	command.MarkReading(cmd)
	return cmd
}

func show(ctx context.Context, f *command.Factory, o showOptions) error {
	format := f.OutputFormat()
	if format == prometheus && f.All {
		return command.Usage("--format prometheus is of one node at a time: use --node NAME, or have each node scraped")
	}
	req := &pb.ShowMetricsRequest{Aggregate: o.aggregate && format != prometheus}
	for _, name := range labelNames() {
		if v := *o.labels[name]; v != "" {
			req.Labels = append(req.Labels, &pb.Label{Name: name, Value: v})
		}
	}
	for _, l := range o.more {
		name, value, ok := strings.Cut(l, "=")
		if !ok || name == "" {
			return command.Usage("--label %s: expected name=value, such as listener=tcp.default", l)
		}
		req.Labels = append(req.Labels, &pb.Label{Name: name, Value: value})
	}
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	resp, err := pb.NewMetricsServiceClient(conn).ShowMetrics(ctx, req)
	if err != nil {
		return err
	}
	switch format {
	case output.Human:
		return lines(f, o, resp.GetMetrics())
	case prometheus:
		return prometheusText(f.IO.Out, resp)
	default:
		return table(f, o, resp.GetMetrics())
	}
}

// line is one printed value; a histogram makes several.
type line struct {
	name  string
	value string
}

func values(m *pb.Metric) []line {
	if m.GetHistogram() == nil {
		return []line{{m.GetName(), strconv.FormatInt(m.GetValue(), 10)}}
	}
	var out []line
	for _, b := range m.GetHistogram().GetBuckets() {
		bound := "infinity"
		if b.Bound != nil {
			bound = strconv.FormatInt(b.GetBound(), 10)
		}
		out = append(out, line{m.GetName() + "_bucket_" + bound, strconv.FormatUint(b.GetCount(), 10)})
	}
	return append(out,
		line{m.GetName() + "_sum", strconv.FormatInt(m.GetHistogram().GetSum(), 10)},
		line{m.GetName() + "_count", strconv.FormatUint(m.GetHistogram().GetCount(), 10)})
}

func typeName(t pb.MetricType) string {
	return strings.ToLower(strings.TrimPrefix(t.String(), "METRIC_TYPE_"))
}

// lines prints vmq-admin's form, which people grep.
func lines(f *command.Factory, o showOptions, metrics []*pb.Metric) error {
	return f.Lines(func(w io.Writer) {
		for _, m := range metrics {
			if o.descriptions {
				fmt.Fprintf(w, "# %s\n", output.Escape(m.GetDescription()))
			}
			for _, l := range values(m) {
				fmt.Fprintf(w, "%s.%s%s = %s\n", typeName(m.GetType()), output.Escape(l.name), labelText(m.GetLabels()), l.value)
			}
			if o.descriptions {
				fmt.Fprintln(w)
			}
		}
	})
}

func labelText(labels []*pb.Label) string {
	if len(labels) == 0 {
		return ""
	}
	parts := make([]string, len(labels))
	for i, l := range labels {
		parts[i] = fmt.Sprintf("%s=%q", output.Escape(l.GetName()), l.GetValue())
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func table(f *command.Factory, o showOptions, metrics []*pb.Metric) error {
	columns := []string{"type", "name", "value"}
	if !o.aggregate {
		columns = append(columns, "labels")
	}
	if o.descriptions {
		columns = append(columns, "description")
	}
	t := f.Table(columns...)
	for _, m := range metrics {
		for _, l := range values(m) {
			row := []any{typeName(m.GetType()), l.name, json.Number(l.value)}
			if !o.aggregate {
				row = append(row, labelCell(f.OutputFormat(), m.GetLabels()))
			}
			if o.descriptions {
				row = append(row, m.GetDescription())
			}
			if err := t.Row(row...); err != nil {
				return err
			}
		}
	}
	return t.Close()
}

// labelCell is an object for machines and text in CSV.
func labelCell(format output.Format, labels []*pb.Label) any {
	if !format.Structured() {
		return labelText(labels)
	}
	m := map[string]string{}
	for _, l := range labels {
		m[l.GetName()] = l.GetValue()
	}
	return m
}

func newReset(f *command.Factory, runF func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Set the counters to zero",
		Long: "Sets the broker's counters of this node to zero. Gauges and the figures of the runtime stay. Do not use it\n" +
			"where a monitoring system computes rates.",
		Example: "  mqadmin metrics reset",
		Args:    kv.NoWords,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context())
			}
			return reset(cmd.Context(), f)
		},
	}
	command.MarkPerNode(cmd)
	return cmd
}

func reset(ctx context.Context, f *command.Factory) error {
	ctx, cancel := f.Context(ctx)
	defer cancel()
	conn, err := f.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err := pb.NewMetricsServiceClient(conn).ResetMetrics(ctx, &pb.ResetMetricsRequest{}); err != nil {
		return err
	}
	return f.Done("Done")
}
