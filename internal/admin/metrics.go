package admin

import (
	"context"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

type metricsService struct {
	pb.UnsafeMetricsServiceServer // a new method must not compile until written
	s                             *Server
}

func (m metricsService) ShowMetrics(ctx context.Context, req *pb.ShowMetricsRequest) (*pb.ShowMetricsResponse, error) {
	pong, err := m.s.cfg.Node.Ping(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range req.GetLabels() {
		if l.GetName() == "" {
			return nil, missing("label", "a label filter has no name")
		}
	}
	var samples []metrics.Sample
	for _, s := range m.s.cfg.Metrics.Samples() {
		if hasLabels(s, req.GetLabels()) {
			samples = append(samples, s)
		}
	}
	if req.GetAggregate() {
		samples = metrics.Aggregate(samples)
	}
	resp := &pb.ShowMetricsResponse{Node: pong.Node, Namespace: m.s.cfg.MetricsNamespace}
	for _, s := range samples {
		resp.Metrics = append(resp.Metrics, metricToProto(s))
	}
	return resp, nil
}

// hasLabels reports whether s has every wanted label; one without labels has
// none, as in vmq-admin.
func hasLabels(s metrics.Sample, want []*pb.Label) bool {
	for _, w := range want {
		found := false
		for _, l := range s.Labels {
			found = found || l.Name == w.GetName() && l.Value == w.GetValue()
		}
		if !found {
			return false
		}
	}
	return true
}

func metricToProto(s metrics.Sample) *pb.Metric {
	out := &pb.Metric{Name: s.Name, Description: s.Help, Value: s.Value, Type: pb.MetricType_METRIC_TYPE_COUNTER}
	switch s.Kind {
	case metrics.KindCounter:
	case metrics.KindGauge:
		out.Type = pb.MetricType_METRIC_TYPE_GAUGE
	case metrics.KindHistogram:
		out.Type = pb.MetricType_METRIC_TYPE_HISTOGRAM
		out.Histogram = histogramToProto(s.Distribution)
	}
	for _, l := range s.Labels {
		out.Labels = append(out.Labels, &pb.Label{Name: l.Name, Value: l.Value})
	}
	return out
}

func histogramToProto(d *metrics.Distribution) *pb.Histogram {
	out := &pb.Histogram{Sum: d.Sum, Count: d.Count}
	for _, b := range d.Buckets {
		out.Buckets = append(out.Buckets, &pb.Bucket{Bound: &b.Bound, Count: b.Count})
	}
	out.Buckets = append(out.Buckets, &pb.Bucket{Count: d.Count}) // the one without bound
	return out
}

func (m metricsService) ResetMetrics(context.Context, *pb.ResetMetricsRequest) (*pb.ResetMetricsResponse, error) {
	m.s.cfg.Metrics.Reset()
	return &pb.ResetMetricsResponse{}, nil
}
