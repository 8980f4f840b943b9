package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/clitest"
	"github.com/mqadmin/mqadmin/internal/cli/command"
)

// TestEveryExitCode brings every documented exit code about, through the whole
// command line.
func TestEveryExitCode(t *testing.T) {
	ping := func(err error) *clitest.API {
		return &clitest.API{PingFunc: func() (*pb.PingNodeResponse, error) { return &pb.PingNodeResponse{Ready: true}, err }}
	}
	for want, tc := range map[int]struct {
		api  *clitest.API
		line string
		in   string // typed at a prompt; "" is no terminal
		stop string // the signal that comes during the call
	}{
		command.ExitOK:          {api: ping(nil), line: "node ping"},
		command.ExitFailed:      {api: ping(status.Error(codes.Internal, "x")), line: "node ping"},
		command.ExitUsage:       {api: ping(nil), line: "node ping --format xml"},
		command.ExitPartial:     {api: threeMembers("b@h"), line: "node ping --all"},
		command.ExitNotAllowed:  {api: ping(status.Error(codes.PermissionDenied, "x")), line: "node ping"},
		command.ExitUnreachable: {api: ping(status.Error(codes.Unavailable, "x")), line: "node ping"},
		command.ExitTimeout:     {api: ping(status.Error(codes.DeadlineExceeded, "x")), line: "node ping"},
		command.ExitRefused:     {api: &clitest.API{}, line: "session disconnect client-id=a -c", in: "n\n"},
		command.ExitCheck: {line: "cluster show --check", api: &clitest.API{
			ShowClusterFunc: func(*pb.ShowClusterRequest) (*pb.ShowClusterResponse, error) {
				return &pb.ShowClusterResponse{Members: []*pb.Member{{Node: "a@h"}}}, nil // without a majority
			},
		}},
		command.ExitInterrupted: {line: "node ping", stop: "interrupt signal received"},
		command.ExitTerminated:  {line: "node ping", stop: "terminated signal received"},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		if tc.api == nil {
			tc.api = &clitest.API{PingFunc: func() (*pb.PingNodeResponse, error) {
				cancel(errors.New(tc.stop))
				return nil, status.Error(codes.Canceled, "x")
			}}
		}
		f, _, stderr := clitest.Factory(t, tc.api)
		if tc.in != "" {
			f.IO.In, f.IO.InTTY, f.IO.OutTTY = strings.NewReader(tc.in), true, true
		}
		if got := execute(ctx, f, strings.Fields(tc.line)); got != want {
			t.Errorf("%s: exit %d, want %d: %s", tc.line, got, want, stderr)
		}
		cancel(nil)
	}
}
