package node

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/clitest"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

func TestStatus(t *testing.T) {
	for _, format := range output.Formats() {
		f, out, _ := clitest.Factory(t, &clitest.API{StatusFunc: func() (*pb.GetNodeStatusResponse, error) {
			return &pb.GetNodeStatusResponse{
				NumOnline: 1, NumOffline: 2, MsgIn: 3, MsgOut: 4, QueueIn: 5, QueueOut: 6, QueueDrop: 7, QueueUnhandled: 8,
				NumSubscriptions: 9, NumRetained: 10, MatchesLocal: 11, MatchesRemote: 12, Version: "v", Node: "n", Ready: true,
				StartedAt: timestamppb.New(time.Unix(0, 0)),
			}, nil
		}})
		f.Format = format
		if err := clitest.Execute(t, newStatus(f, nil)); err != nil {
			t.Fatal(err)
		}
		clitest.Golden(t, "status."+format, out.String())
	}
}

func TestPing(t *testing.T) {
	for ready, note := range map[bool]string{true: "", false: "note: n is not ready for clients\n"} {
		f, out, stderr := clitest.Factory(t, &clitest.API{PingFunc: func() (*pb.PingNodeResponse, error) {
			return &pb.PingNodeResponse{Node: "n", Ready: ready}, nil
		}})
		if err := clitest.Execute(t, newPing(f, nil)); err != nil || out.String() != "pong\n" || stderr.String() != note {
			t.Errorf("%v, %q, %q", err, out, stderr)
		}
	}
}
