package metrics

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/clitest"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

func sample() *pb.ShowMetricsResponse {
	v5 := []*pb.Label{{Name: "mqtt_version", Value: "5"}, {Name: "reason_code", Value: `a"b`}}
	return &pb.ShowMetricsResponse{Node: "a@b", Namespace: "vernemq_", Metrics: []*pb.Metric{
		{Type: pb.MetricType_METRIC_TYPE_COUNTER, Name: "mqtt_publish_received", Description: "PUBLISH packets in.", Labels: v5, Value: 3},
		{Type: pb.MetricType_METRIC_TYPE_GAUGE, Name: "retain_memory", Description: "Bytes.", Value: -1},
		{
			Type: pb.MetricType_METRIC_TYPE_HISTOGRAM, Name: "put_microseconds", Description: "Latency.",
			Histogram: &pb.Histogram{Sum: 100, Count: 10, Buckets: []*pb.Bucket{{Bound: new(int64(10)), Count: 4}, {Count: 10}}},
		},
	}}
}

func TestShow(t *testing.T) {
	for _, format := range append(output.Formats(), "prometheus") {
		f, out, _ := clitest.Factory(t, &clitest.API{ShowMetricsFunc: func(*pb.ShowMetricsRequest) (*pb.ShowMetricsResponse, error) { return sample(), nil }})
		f.Format = format
		if err := clitest.Execute(t, newShow(f, nil), "-d", "--aggregate=false"); err != nil {
			t.Fatal(err)
		}
		clitest.Golden(t, "show."+format, out.String())
	}
}

func TestShowRequests(t *testing.T) {
	label := func(n, v string) *pb.Label { return &pb.Label{Name: n, Value: v} }
	for _, tc := range []struct {
		args []string
		want *pb.ShowMetricsRequest
	}{
		{nil, &pb.ShowMetricsRequest{Aggregate: true}},
		{[]string{"-a"}, &pb.ShowMetricsRequest{Aggregate: true}},
		{[]string{"--aggregate", "false"}, &pb.ShowMetricsRequest{}},
		{[]string{"--reason_code=success", "--mqtt_version", "5"}, &pb.ShowMetricsRequest{
			Aggregate: true, Labels: []*pb.Label{label("mqtt_version", "5"), label("reason_code", "success")},
		}},
		{[]string{"--describe", "--label", "listener=tcp.a=b", "--label=plugin="}, &pb.ShowMetricsRequest{
			Aggregate: true, Labels: []*pb.Label{label("listener", "tcp.a=b"), label("plugin", "")},
		}},
	} {
		f, _, _ := clitest.Factory(t, &clitest.API{ShowMetricsFunc: func(r *pb.ShowMetricsRequest) (*pb.ShowMetricsResponse, error) {
			if d := cmp.Diff(tc.want, r, protocmp.Transform()); d != "" {
				t.Errorf("%q: %s", tc.args, d)
			}
			return &pb.ShowMetricsResponse{}, nil
		}})
		if err := clitest.Execute(t, newShow(f, nil), tc.args...); err != nil {
			t.Errorf("%q: %v", tc.args, err)
		}
	}
}

func TestReset(t *testing.T) {
	called := false
	f, out, _ := clitest.Factory(t, &clitest.API{ResetMetricsFunc: func() error { called = true; return nil }})
	if err := clitest.Execute(t, newReset(f, nil)); err != nil || !called || out.String() != "Done\n" {
		t.Errorf("%v, %v, %q", err, called, out)
	}
}
