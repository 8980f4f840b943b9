package session

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/clitest"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

func TestColumnsAreTheFieldsOfARow(t *testing.T) {
	fds := (*pb.SessionRow)(nil).ProtoReflect().Descriptor().Fields()
	var want, got []string
	for i := range fds.Len() {
		want = append(want, string(fds.Get(i).Name()))
	}
	for _, c := range columns() {
		got = append(got, c[0])
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func filter(field string, op pb.Filter_Operator, value string) *pb.Filter {
	return &pb.Filter{Field: field, Operator: op, Value: value}
}

func TestShowParsing(t *testing.T) {
	const equal, match = pb.Filter_OPERATOR_EQUAL, pb.Filter_OPERATOR_MATCH
	for _, tc := range []struct {
		args    []string
		fields  []string
		filters []*pb.Filter
		limit   uint32
	}{
		{nil, defaultColumns(), nil, 100},
		{[]string{"--topic", "--client_id", "--topic"}, []string{"client_id", "topic"}, nil, 100},
		{[]string{"--user=foo"}, defaultColumns(), []*pb.Filter{filter("user", equal, "foo")}, 100},
		{[]string{"--client_id", "--user", "foo", "--limit=7"}, []string{"client_id"}, []*pb.Filter{filter("user", equal, "foo")}, 7},
		{[]string{"--client-id", "--client_id=~^a=b"}, []string{"client_id"}, []*pb.Filter{filter("client_id", match, "^a=b")}, 100},
		{[]string{"--offline_messages", ">1000", "--user=!~^a", "--peer_port=!=1"}, defaultColumns(), []*pb.Filter{
			filter("offline_messages", pb.Filter_OPERATOR_GREATER, "1000"), filter("user", pb.Filter_OPERATOR_NOT_MATCH, "^a"),
			filter("peer_port", pb.Filter_OPERATOR_NOT_EQUAL, "1"),
		}, 100},
		{[]string{"--waiting_acks=<=5", "--user==>x"}, defaultColumns(), []*pb.Filter{
			filter("waiting_acks", pb.Filter_OPERATOR_LESS_OR_EQUAL, "5"), filter("user", equal, ">x"),
		}, 100},
		{[]string{"--mountpoint="}, defaultColumns(), []*pb.Filter{filter("mountpoint", equal, "")}, 100},
	} {
		var got *showOptions
		f, _, _ := clitest.Factory(t, &clitest.API{})
		err := clitest.Execute(t, newShow(f, func(_ context.Context, o *showOptions) error { got = o; return nil }), tc.args...)
		if err != nil {
			t.Errorf("%q: %v", tc.args, err)
			continue
		}
		if d := cmp.Diff(tc.fields, got.Fields); d != "" {
			t.Errorf("%q: %s", tc.args, d)
		}
		if d := cmp.Diff(tc.filters, got.Filters, protocmp.Transform()); d != "" || got.Limit() != tc.limit {
			t.Errorf("%q: %s limit %d", tc.args, d, got.Limit())
		}
	}
}

func rows() *pb.ShowSessionsResponse {
	return &pb.ShowSessionsResponse{Rows: []*pb.SessionRow{
		{ClientId: new("a"), IsOnline: new(true), PeerPort: new(uint32(5)), Payload: []byte("hi\x1b")},
		{ClientId: new("b\u202e"), IsOnline: new(false), Payload: []byte{0xff}},
	}}
}

func TestShow(t *testing.T) {
	for _, format := range output.Formats() {
		f, out, stderr := clitest.Factory(t, &clitest.API{ShowSessionsFunc: func(_ *pb.ShowSessionsRequest, send func(*pb.ShowSessionsResponse)) error {
			send(rows())
			send(&pb.ShowSessionsResponse{Summary: &pb.ShowSessionsSummary{Shown: 2, Total: 30}})
			return nil
		}})
		f.Format = format
		if err := clitest.Execute(t, newShow(f, nil), "--client_id", "--is_online", "--peer_port", "--payload"); err != nil {
			t.Fatal(err)
		}
		clitest.Golden(t, "show."+format, out.String())
		if stderr.String() != "showing 2 of 30\n" {
			t.Errorf("stderr %q", stderr)
		}
	}
}

func TestAMissingNodeMakesTheAnswerPartial(t *testing.T) {
	f, out, stderr := clitest.Factory(t, &clitest.API{ShowSessionsFunc: func(_ *pb.ShowSessionsRequest, send func(*pb.ShowSessionsResponse)) error {
		send(rows())
		send(&pb.ShowSessionsResponse{Summary: &pb.ShowSessionsSummary{
			Shown: 2, Total: 2, Skipped: 4, Failures: []*pb.NodeFailure{{Node: "n3", Message: "link is down"}},
		}})
		return nil
	}})
	err := clitest.Execute(t, newShow(f, nil), "--client_id")
	if got := command.Explain(t.Context(), err, "mqadmin", ""); got.Code != command.ExitPartial || got.Message != "no answer from n3 (link is down)" {
		t.Errorf("got %+v", got)
	}
	if out.Len() == 0 {
		t.Error("the rows that came were not shown")
	}
	clitest.Golden(t, "partial.stderr", stderr.String())
}

func TestAFailureLeavesStdoutEmpty(t *testing.T) {
	for name, err := range map[string]error{"refused": status.Error(codes.InvalidArgument, "no"), "cut": nil} {
		f, out, _ := clitest.Factory(t, &clitest.API{ShowSessionsFunc: func(*pb.ShowSessionsRequest, func(*pb.ShowSessionsResponse)) error { return err }})
		f.Format = "json"
		if err := clitest.Execute(t, newShow(f, nil)); err == nil || out.Len() > 0 {
			t.Errorf("%s: %v, stdout %q", name, err, out)
		}
	}
}

func TestDisconnect(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want *pb.DisconnectSessionRequest
	}{
		{[]string{"client-id=c"}, &pb.DisconnectSessionRequest{ClientId: "c"}},
		{[]string{"client-id=c", "-c"}, &pb.DisconnectSessionRequest{ClientId: "c", Cleanup: true}},
		{[]string{"-m", "mp", "--cleanup", "--client-id", "c"}, &pb.DisconnectSessionRequest{ClientId: "c", Mountpoint: "mp", Cleanup: true}},
	} {
		f, out, stderr := clitest.Factory(t, &clitest.API{DisconnectFunc: func(r *pb.DisconnectSessionRequest) (*pb.DisconnectSessionResponse, error) {
			if d := cmp.Diff(tc.want, r, protocmp.Transform()); d != "" {
				t.Error(d)
			}
			return &pb.DisconnectSessionResponse{Disconnected: true}, nil
		}})
		if err := clitest.Execute(t, newDisconnect(f, nil), tc.args...); err != nil || out.String() != "Done\n" || stderr.Len() > 0 {
			t.Errorf("%q: %v, %q, %q", tc.args, err, out, stderr)
		}
	}
}

func TestDisconnectParsing(t *testing.T) {
	var got disconnectOptions
	f, _, _ := clitest.Factory(t, &clitest.API{})
	parse := func(args ...string) error {
		return clitest.Execute(t, newDisconnect(f, func(_ context.Context, o disconnectOptions) error { got = o; return nil }), args...)
	}
	if err := parse("client-id=a=b", "-cm", "mp"); err != nil || got != (disconnectOptions{"a=b", "mp", true}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, args := range [][]string{{}, {"a"}, {"client-id="}, {"client_id=a"}, {"client-id=a", "b"}, {"client-id=a", "mountpoint=m"}} {
		if err := parse(args...); err == nil || command.Explain(t.Context(), err, "mqadmin", "").Code != command.ExitUsage {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestOnlyCleanupAsks(t *testing.T) {
	f, _, _ := clitest.Factory(t, &clitest.API{DisconnectFunc: func(*pb.DisconnectSessionRequest) (*pb.DisconnectSessionResponse, error) {
		return &pb.DisconnectSessionResponse{}, nil
	}})
	f.IO.InTTY, f.IO.OutTTY = true, true
	if err := clitest.Execute(t, newDisconnect(f, nil), "client-id=c", "-c"); !errors.Is(err, command.ErrRefused) {
		t.Error(err)
	}
	if err := clitest.Execute(t, newDisconnect(f, nil), "client-id=c"); err != nil {
		t.Error(err)
	}
}
