package apikey

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/clitest"
	"github.com/mqadmin/mqadmin/internal/cli/output"
)

func TestCreateTakesItsArgumentsInAnyOrder(t *testing.T) {
	at := time.Date(2027, 1, 31, 23, 59, 59, 0, time.UTC)
	for _, args := range [][]string{
		{"role=viewer", "expires=2027-01-31T23:59:59Z", "scope=mgmt"},
		{"scope=mgmt", "expires=2027-02-01T00:59:59+01:00", "--role", "viewer"},
		{"expires=" + at.Local().Format(localTime), "role=viewer", "--scope=mgmt"},
	} {
		var got createOptions
		f, _, _ := clitest.Factory(t, &clitest.API{})
		cmd := newCreate(f, func(_ context.Context, o createOptions) error { got = o; return nil })
		if err := clitest.Execute(t, cmd, args...); err != nil || got.scope != "mgmt" || got.role != "viewer" || !got.expiresAt.Equal(at) {
			t.Errorf("%q: %+v, %v", args, got, err)
		}
	}
	for _, args := range [][]string{{"scope=x"}, {"role=root"}, {"expires=tomorrow"}, {"scope=mgmt", "scope=mgmt"}, {"key=x"}} {
		f, _, _ := clitest.Factory(t, &clitest.API{})
		if err := clitest.Execute(t, newCreate(f, nil), args...); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

func TestOutput(t *testing.T) {
	at := timestamppb.New(time.Unix(1_800_000_000, 0))
	api := &clitest.API{
		CreateAPIKeyFunc: func(*pb.CreateApiKeyRequest) (*pb.CreateApiKeyResponse, error) {
			return &pb.CreateApiKeyResponse{Secret: "s3cret", Key: &pb.ApiKey{Id: "0123456789abcdef"}}, nil
		},
		DeleteAPIKeyFunc: func(*pb.DeleteApiKeyRequest) error { return nil },
		ShowAPIKeysFunc: func(*pb.ShowApiKeysRequest) (*pb.ShowApiKeysResponse, error) {
			return &pb.ShowApiKeysResponse{Keys: []*pb.ApiKey{
				{Id: "0123456789abcdef", Scope: "metrics", CreatedAt: at, CreatedBy: "uid 0 (root)"},
				{Id: "fedcba9876543210", Scope: "mgmt", KeyRole: "viewer", ExpiresAt: at, Expired: true, CreatedAt: at, CreatedBy: "evil\x1b[31m"},
			}}, nil
		},
	}
	for _, format := range output.Formats() {
		f, stdout, _ := clitest.Factory(t, api)
		f.Format = format
		if err := clitest.Execute(t, newShow(f, nil), "scope=all"); err != nil {
			t.Error(err)
		}
		clitest.Golden(t, "show."+format, stdout.String())
	}
	f, stdout, stderr := clitest.Factory(t, api)
	for _, run := range []func() error{
		func() error { return clitest.Execute(t, newCreate(f, nil)) },
		func() error { return clitest.Execute(t, newAdd(f, nil), "scope=metrics", "key=k") },
		func() error { return clitest.Execute(t, newDelete(f, nil), "key=k") },
	} {
		if err := run(); err != nil {
			t.Error(err)
		}
	}
	if d := cmp.Diff("s3cret\nok\nok\n", stdout.String()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("note: this key is shown only now; its id is 0123456789abcdef\n", stderr.String()); d != "" {
		t.Error(d)
	}
	if got := keyIDs(f)(t.Context()); len(got) != 2 {
		t.Errorf("%q", got)
	}
}
