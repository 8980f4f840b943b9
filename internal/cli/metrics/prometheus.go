package metrics

import (
	"bufio"
	"fmt"
	"io"
	"math"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// prometheusText writes what the node serves on /metrics: names with its
// namespace, and its name as the first label.
func prometheusText(out io.Writer, resp *pb.ShowMetricsResponse) error {
	w := bufio.NewWriter(out)
	metrics := resp.GetMetrics()
	for len(metrics) > 0 {
		n := 1
		for n < len(metrics) && metrics[n].GetName() == metrics[0].GetName() {
			n++
		}
		if _, err := expfmt.MetricFamilyToText(w, family(resp, metrics[:n])); err != nil {
			return fmt.Errorf("writing %s: %w", metrics[0].GetName(), err)
		}
		metrics = metrics[n:]
	}
	return w.Flush()
}

// family turns the metrics of one name into Prometheus' terms.
func family(resp *pb.ShowMetricsResponse, metrics []*pb.Metric) *dto.MetricFamily {
	name, help := resp.GetNamespace()+metrics[0].GetName(), metrics[0].GetDescription()
	out := &dto.MetricFamily{Name: &name, Help: &help, Type: dto.MetricType_COUNTER.Enum()}
	for _, m := range metrics {
		p := &dto.Metric{Label: []*dto.LabelPair{pair("node", resp.GetNode())}}
		for _, l := range m.GetLabels() {
			p.Label = append(p.Label, pair(l.GetName(), l.GetValue()))
		}
		value := float64(m.GetValue())
		switch m.GetType() {
		case pb.MetricType_METRIC_TYPE_HISTOGRAM:
			out.Type = dto.MetricType_HISTOGRAM.Enum()
			p.Histogram = histogram(m.GetHistogram())
		case pb.MetricType_METRIC_TYPE_GAUGE:
			out.Type = dto.MetricType_GAUGE.Enum()
			p.Gauge = &dto.Gauge{Value: &value}
		default:
			p.Counter = &dto.Counter{Value: &value}
		}
		out.Metric = append(out.Metric, p)
	}
	return out
}

func histogram(h *pb.Histogram) *dto.Histogram {
	sum := float64(h.GetSum())
	out := &dto.Histogram{SampleCount: new(h.GetCount()), SampleSum: &sum}
	for _, b := range h.GetBuckets() {
		bound := math.Inf(1)
		if b.Bound != nil {
			bound = float64(b.GetBound())
		}
		out.Bucket = append(out.Bucket, &dto.Bucket{UpperBound: &bound, CumulativeCount: new(b.GetCount())})
	}
	return out
}

func pair(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }
