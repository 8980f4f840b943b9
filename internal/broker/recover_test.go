package broker

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mqadmin/mqadmin/internal/logging"
)

func TestAPanicInACallEndsThatCallOnly(t *testing.T) {
	var out bytes.Buffer
	log, err := logging.New(logging.Options{
		Console: "console", Stdout: &out, Crash: true, CrashFile: logging.File{Path: filepath.Join(t.TempDir(), "crash.log"), Keep: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	b := &Broker{log: log}
	_, err = b.recoverUnary(context.Background(), nil, &grpc.UnaryServerInfo{FullMethod: "/x/Y"}, func(context.Context, any) (any, error) { panic("boom") })
	if status.Code(err) != codes.Internal {
		t.Errorf("unary: %v", err)
	}
	err = b.recoverStream(nil, nil, &grpc.StreamServerInfo{FullMethod: "/x/Z"}, func(any, grpc.ServerStream) error { panic("boom") })
	if status.Code(err) != codes.Internal {
		t.Errorf("stream: %v", err)
	}
	if !bytes.Contains(out.Bytes(), []byte("/x/Y")) || !bytes.Contains(out.Bytes(), []byte("/x/Z")) {
		t.Errorf("the log says nothing of the calls: %s", out.String())
	}
}
