package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/clitest"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

func TestShow(t *testing.T) {
	api := &clitest.API{ShowClusterFunc: func(*pb.ShowClusterRequest) (*pb.ShowClusterResponse, error) {
		return &pb.ShowClusterResponse{Node: "n1", Members: []*pb.Member{
			{Node: "n1", Running: true, Role: pb.MemberRole_MEMBER_ROLE_LEADER, Applied: new(uint64(9)), Lag: new(uint64(0)), Cordoned: true},
			{Node: "n2", Role: pb.MemberRole_MEMBER_ROLE_NON_VOTER, Diverged: true, Cordoned: true},
			{Node: "n3"},
		}}, nil
	}}
	for _, format := range output.Formats() {
		f, out, stderr := clitest.Factory(t, api)
		f.Format = format
		if err := clitest.Execute(t, newShow(f, nil)); err != nil {
			t.Fatal(err)
		}
		clitest.Golden(t, "show."+format, out.String())
		if stderr.String() != "warning: n1 sees no majority of the members; it serves alone as the allow_*_during_netsplit settings permit\n" {
			t.Errorf("stderr %q", stderr)
		}
	}
}

func TestJoinParsing(t *testing.T) {
	for _, args := range [][]string{
		{"discovery-node=a@h"}, {"--discovery-node", "a@h"}, {"a@h"}, {"--discovery_node=a@h"},
	} {
		var got joinOptions
		f, _, _ := clitest.Factory(t, &clitest.API{})
		err := clitest.Execute(t, newJoin(f, func(_ context.Context, o joinOptions) error { got = o; return nil }), args...)
		if err != nil || got.discovery != "a@h" {
			t.Errorf("%q: %+v, %v", args, got, err)
		}
	}
}

func joinProgress(p *pb.JoinProgress) *pb.JoinClusterResponse {
	return &pb.JoinClusterResponse{Event: &pb.JoinClusterResponse_Progress{Progress: p}}
}

func TestJoinStreamsProgress(t *testing.T) {
	f, out, stderr := clitest.Factory(t, &clitest.API{JoinClusterFunc: func(r *pb.JoinClusterRequest, send func(*pb.JoinClusterResponse)) error {
		if r.GetDiscoveryNode() != "a@h" {
			t.Errorf("got %v", r)
		}
		for p := pb.JoinPhase_JOIN_PHASE_CONNECT; p <= pb.JoinPhase_JOIN_PHASE_MERGE; p++ {
			send(joinProgress(&pb.JoinProgress{Phase: p}))
			send(joinProgress(&pb.JoinProgress{Phase: p})) // nothing new: no line
		}
		send(joinProgress(&pb.JoinProgress{Text: "own words", Done: 1, Total: 2}))
		send(&pb.JoinClusterResponse{Event: &pb.JoinClusterResponse_Result{Result: &pb.JoinResult{}}})
		return nil
	}})
	if err := clitest.Execute(t, newJoin(f, nil), "a@h"); err != nil {
		t.Fatal(err)
	}
	clitest.Golden(t, "join.stderr", stderr.String())
	if out.String() != "Done\n" {
		t.Errorf("stdout %q", out)
	}
}

func TestAStreamWithoutResultIsAnError(t *testing.T) {
	f, out, _ := clitest.Factory(t, &clitest.API{
		JoinClusterFunc:  func(*pb.JoinClusterRequest, func(*pb.JoinClusterResponse)) error { return nil },
		LeaveClusterFunc: func(*pb.LeaveClusterRequest, func(*pb.LeaveClusterResponse)) error { return nil },
	})
	for _, err := range []error{
		clitest.Execute(t, newJoin(f, nil), "a@h"),
		clitest.Execute(t, newLeave(f, nil), "node=a@h"),
	} {
		if err == nil || err.Error() != "the broker ended the call without a result" || out.Len() > 0 {
			t.Errorf("%v, stdout %q", err, out)
		}
	}
}

func TestLeaveParsing(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want leaveOptions
	}{
		{[]string{"node=n"}, leaveOptions{node: "n", interval: 5, timeout: 60}},
		{[]string{"node=n", "-k", "-i", "1", "-t", "2"}, leaveOptions{node: "n", killSessions: true, interval: 1, timeout: 2}},
		{[]string{"--kill-sessions", "node=n", "--accept-risk=quorum-loss"}, leaveOptions{node: "n", killSessions: true, interval: 5, timeout: 60, acceptRisk: "quorum-loss"}},
	} {
		var got leaveOptions
		f, _, _ := clitest.Factory(t, &clitest.API{})
		err := clitest.Execute(t, newLeave(f, func(_ context.Context, o leaveOptions) error { got = o; return nil }), tc.args...)
		if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(leaveOptions{})); err != nil || d != "" {
			t.Errorf("%q: %v %s", tc.args, err, d)
		}
	}
	for _, args := range [][]string{{"node=n", "-i", "0"}, {"node=n", "-t", "-1"}, {"node=n", "--accept-risk=x"}, {"n"}} {
		f, _, _ := clitest.Factory(t, &clitest.API{})
		err := clitest.Execute(t, newLeave(f, func(context.Context, leaveOptions) error { return nil }), args...)
		if err == nil || command.Explain(t.Context(), err, "mqadmin", "").Code != command.ExitUsage {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestLeaveStreamsProgress(t *testing.T) {
	for outcome, want := range map[pb.LeaveOutcome]string{
		pb.LeaveOutcome_LEAVE_OUTCOME_CORDONED:  "Done! Use -k to teardown and migrate existing sessions!\n",
		pb.LeaveOutcome_LEAVE_OUTCOME_LEFT:      "Done\n",
		pb.LeaveOutcome_LEAVE_OUTCOME_FORGOTTEN: "Done\n",
	} {
		f, out, stderr := clitest.Factory(t, &clitest.API{LeaveClusterFunc: func(r *pb.LeaveClusterRequest, send func(*pb.LeaveClusterResponse)) error {
			if d := r.GetSummaryInterval().AsDuration(); d != 2*time.Second || r.GetTimeout() == (*durationpb.Duration)(nil) {
				t.Errorf("got %v", r)
			}
			for p := pb.LeavePhase_LEAVE_PHASE_CORDON; p <= pb.LeavePhase_LEAVE_PHASE_REMOVE; p++ {
				send(&pb.LeaveClusterResponse{Event: &pb.LeaveClusterResponse_Progress{Progress: &pb.LeaveProgress{
					Phase: p, SessionsOnline: 7, QueuesDone: 3, QueuesTotal: 10, MessagesDone: 90, MessagesTotal: 400,
				}}})
			}
			send(&pb.LeaveClusterResponse{Event: &pb.LeaveClusterResponse_Result{Result: &pb.LeaveResult{Outcome: outcome}}})
			return nil
		}})
		if err := clitest.Execute(t, newLeave(f, nil), "node=n", "-i", "2"); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s: stdout %q", outcome, out)
		}
		clitest.Golden(t, "leave.stderr", stderr.String())
	}
}

func TestLeaveAsksAPerson(t *testing.T) {
	f, _, _ := clitest.Factory(t, &clitest.API{})
	f.IO.InTTY, f.IO.OutTTY = true, true
	for _, args := range [][]string{{"node=n"}, {"node=n", "-k"}} {
		if err := clitest.Execute(t, newLeave(f, nil), args...); !errors.Is(err, command.ErrRefused) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestNodeNamesAreCompleted(t *testing.T) {
	f, _, _ := clitest.Factory(t, &clitest.API{ShowClusterFunc: func(*pb.ShowClusterRequest) (*pb.ShowClusterResponse, error) {
		return &pb.ShowClusterResponse{Members: []*pb.Member{{Node: "n1"}, {Node: "n2"}}}, nil
	}})
	if d := cmp.Diff([]string{"n1", "n2"}, f.NodeNames()(t.Context())); d != "" {
		t.Error(d)
	}
}
