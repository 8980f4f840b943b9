package audit

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/clitest"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

func TestOutput(t *testing.T) {
	at := timestamppb.New(time.Unix(1_800_000_000, 0))
	var req *pb.ShowAuditRequest
	api := &clitest.API{ShowAuditFunc: func(r *pb.ShowAuditRequest, send func(*pb.ShowAuditResponse)) error {
		req = r
		send(&pb.ShowAuditResponse{Entries: []*pb.AuditEntry{{
			Time: at, Node: "a@h", Caller: "uid 0 (root)", Method: "MetricsService/ResetMetrics", Arguments: "{}", Code: "OK",
			Took: durationpb.New(1500 * time.Microsecond),
		}}})
		send(&pb.ShowAuditResponse{Entries: []*pb.AuditEntry{{
			Time: at, Node: "a@h", Caller: "node b@h", For: "key 01\x1b[2J", Remote: "10.0.0.1:5", Target: "c@h",
			Method: "ClusterService/LeaveCluster", Arguments: `{"node":"c@h"}`, Code: "Unavailable", Error: "no\nquorum",
		}}})
		return nil
	}}
	for _, format := range output.Formats() {
		f, stdout, _ := clitest.Factory(t, api)
		f.Format = format
		if err := clitest.Execute(t, newShow(f, nil), "--since=1h", "--caller=x", "--method", "y", "--failed", "--limit=7"); err != nil {
			t.Error(err)
		}
		clitest.Golden(t, "show."+format, stdout.String())
	}
	if req.GetLimit() != 7 || req.GetCaller() != "x" || req.GetMethod() != "y" || !req.GetFailed() || time.Since(req.GetSince().AsTime()) < time.Hour {
		t.Errorf("%v", req)
	}
	for _, args := range [][]string{{"--limit=0"}, {"--since=-1h"}, {"x"}} {
		f, _, _ := clitest.Factory(t, api)
		if err := clitest.Execute(t, newShow(f, nil), args...); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
