package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/clitest"
	"github.com/mqadmin/mqadmin/internal/cli/command"
)

// threeMembers is a cluster whose members b and, if it is not "", absent do not
// answer.
func threeMembers(absent string) *clitest.API {
	now := ""
	return &clitest.API{
		NodeFunc: func(node string) error {
			now = node
			if node != "" && (node == absent || absent == "all") {
				return status.Error(codes.Unavailable, node+" is away")
			}
			return nil
		},
		ShowClusterFunc: func(*pb.ShowClusterRequest) (*pb.ShowClusterResponse, error) {
			return &pb.ShowClusterResponse{Members: []*pb.Member{{Node: "c@h"}, {Node: "a@h"}, {Node: "b@h"}}}, nil
		},
		PingFunc: func() (*pb.PingNodeResponse, error) { return &pb.PingNodeResponse{Node: now, Ready: true}, nil },
		ShowMetricsFunc: func(*pb.ShowMetricsRequest) (*pb.ShowMetricsResponse, error) {
			return &pb.ShowMetricsResponse{Metrics: []*pb.Metric{{
				Type: pb.MetricType_METRIC_TYPE_GAUGE, Name: "of_" + strings.TrimSuffix(now, "@h"), Value: 1,
			}}}, nil
		},
	}
}

func TestNodeAndAll(t *testing.T) {
	for _, tc := range []struct {
		line, absent   string
		code           int
		stdout, stderr string
	}{
		{line: "metrics show -n b@h", stdout: "gauge.of_b = 1\n"},
		{line: "metrics show --node=b@h -o csv", stdout: "type,name,value\r\ngauge,of_b,1\r\n"},
		{line: "metrics show --all", stdout: "Node: a@h\ngauge.of_a = 1\n\nNode: b@h\ngauge.of_b = 1\n\nNode: c@h\ngauge.of_c = 1\n"},
		{line: "metrics show --all -o jsonl", stdout: `{"Node":"a@h","type":"gauge","name":"of_a","value":1}
{"Node":"b@h","type":"gauge","name":"of_b","value":1}
{"Node":"c@h","type":"gauge","name":"of_c","value":1}
`},
		{
			line: "node ping -a -o json", absent: "b@h", code: 3,
			stdout: `{"type":"table","table":[{"Node":"a@h","Result":"pong"},{"Node":"c@h","Result":"pong"}]}` + "\n",
			stderr: `{"error":{"code":"PARTIAL","message":"node ping: 1 of 3 members failed: b@h (the broker went away: b@h is away)"}}` + "\n",
		},
		{line: "node ping -a", absent: "all", code: 5, stderr: "error: node ping: the broker went away: a@h is away\n"},
		{
			line: "node ping -a -n b@h", code: 2,
			stderr: "error: node ping: --all and --node exclude each other\nhint: run \"mqadmin node ping --help\"\n",
		},
		{line: "version --node x", code: 2, stderr: "error: version: unknown flag: --node\nhint: run \"mqadmin version --help\"\n"},
	} {
		f, stdout, stderr := clitest.Factory(t, threeMembers(tc.absent))
		f.Globals = command.Globals{}
		code := execute(t.Context(), f, strings.Fields(tc.line))
		if code != tc.code || stdout.String() != tc.stdout || stderr.String() != tc.stderr {
			t.Errorf("%s: exit %d, want %d\n%s%s", tc.line, code, tc.code,
				cmp.Diff(tc.stdout, stdout.String()), cmp.Diff(tc.stderr, stderr.String()))
		}
	}
}

// TestWatch: results follow each other in the way of their format, a failure in
// between is told, an interrupt is the ordinary end.
func TestWatch(t *testing.T) {
	for _, tc := range []struct {
		format, want string
		tty          bool
	}{
		{"human", "pong\n\npong\n", false},
		{"human", "\x1b[Hpong\x1b[K\n\x1b[J\x1b[Hpong\x1b[K\n\x1b[J", true},
		{"json", `{"type":"text","text":"pong"}` + "\n" + `{"type":"text","text":"pong"}` + "\n", false},
		{"jsonl", `{"text":"pong"}` + "\n" + `{"text":"pong"}` + "\n", true},
		{"yaml", "text: pong\n---\ntext: pong\n", false},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		calls := 0
		f, stdout, stderr := clitest.Factory(t, &clitest.API{PingFunc: func() (*pb.PingNodeResponse, error) {
			switch calls++; calls {
			case 2:
				return nil, status.Error(codes.Unavailable, "restarting")
			case 4:
				cancel(errors.New("interrupt signal received"))
			}
			return &pb.PingNodeResponse{Ready: true}, nil
		}})
		f.IO.OutTTY = tc.tty
		if code := execute(ctx, f, []string{"node", "ping", "--watch", "1ms", "-o", tc.format}); code != 0 {
			t.Errorf("%s: exit %d: %s", tc.format, code, stderr)
		}
		if stdout.String() != tc.want || !bytes.Contains(stderr.Bytes(), []byte("restarting")) {
			t.Errorf("%s: %q\n%s", tc.format, stdout, stderr)
		}
	}
	f, _, stderr := clitest.Factory(t, &clitest.API{})
	if code := execute(t.Context(), f, []string{"node", "ping", "--watch"}); code != 1 {
		t.Errorf("the first failure: exit %d: %s", code, stderr)
	}
	if code := execute(t.Context(), f, []string{"node", "ping", "--watch=-1s"}); code != 2 {
		t.Errorf("a negative interval: exit %d", code)
	}
}
