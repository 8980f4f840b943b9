package broker

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/admin/admintest"
	"github.com/mqadmin/mqadmin/internal/apikey"
	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/meta"
)

// TestKeysOpenEveryMember makes a key on one of two members and uses it on the
// other's admin listener, which strangers try in all ways.
func TestKeysOpenEveryMember(t *testing.T) {
	ca := admintest.New(t)
	certFile, keyFile := ca.Issue("broker", "")
	address, err := clustertest.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	const cookie = "distributed_cookie = a-cookie-of-some-length"
	dir := t.TempDir()
	a := serveBroker(t, "nodename = a@127.0.0.1", cookie)
	b := runBroker(t, testBroker(t, dir, "nodename = b@127.0.0.1", cookie, "admin.listener = "+address,
		"admin.certfile = "+certFile, "admin.keyfile = "+keyFile, "admin.max_failed_logins = 5"))
	ctx := t.Context()
	old, _, err := b.keys.Create(ctx, apikey.Request{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := clusterAPI{b}.Join(ctx, "a@"+a.address, func(admin.JoinProgress) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Dropped) != 1 || !strings.HasPrefix(res.Dropped[0], "API key ") {
		t.Errorf("dropped %q", res.Dropped)
	}
	root, _, err := a.keys.Create(ctx, apikey.Request{CreatedBy: "test"})
	if err != nil {
		t.Fatal(err)
	}
	viewer, _, err := a.keys.Create(ctx, apikey.Request{Role: "viewer", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	const expired = "a-key-that-has-expired"
	if _, err := a.meta.PutKey(ctx, &meta.Key{Hash: sha256.Sum256([]byte(expired)), Scope: apikey.Management, Role: "admin", Expires: 1}); err != nil {
		t.Fatal(err)
	}
	await(t, "the keys on the other member", func() bool { return len(b.meta.View().Keys()) == 3 })

	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: ca.Pool, ServerName: "localhost", MinVersion: tls.VersionTLS13,
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reset := func(token string) error {
		ctx := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		_, err := pb.NewMetricsServiceClient(conn).ResetMetrics(ctx, &pb.ResetMetricsRequest{})
		return err
	}
	ping := func(token, node string) (string, error) {
		ctx := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token, "mqadmin-node", node)
		p, err := pb.NewNodeServiceClient(conn).PingNode(ctx, &pb.PingNodeRequest{})
		return p.GetNode(), err
	}
	if err := reset(root); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"a@127.0.0.1", "b@127.0.0.1"} {
		if got, err := ping(root, name); got != name || err != nil {
			t.Errorf("%s answered for %s: %v", got, name, err)
		}
	}
	if _, err := ping(viewer, ""); err != nil {
		t.Error(err)
	}
	if err := reset(viewer); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a viewer: %v", err)
	}
	for name, token := range map[string]string{"expired": expired, "of the former cluster": old, "wrong": "x"} {
		if err := reset(token); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	plaintext(t, address)
	limited := func() bool { return strings.Contains(reset("y").Error(), "too many failed logins") }
	await(t, "the limit of failed logins", limited)
	if err := reset(root); status.Code(err) != codes.Unauthenticated || b.metrics.Counter("api_key_limited", "").Value() == 0 {
		t.Errorf("after too many failures: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "log", "audit.log"))
	if err != nil || !strings.Contains(string(log), `"method":"MetricsService/ResetMetrics"`) || strings.Contains(string(log), root) {
		t.Errorf("%v in the audit log:\n%s", err, log)
	}
}

// plaintext speaks HTTP/2 without TLS to a TLS port, which must hang up.
func plaintext(t *testing.T, address string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(c) // an alert of TLS, or nothing
	if ctx.Err() != nil || len(got) > 7 {
		t.Errorf("plaintext got %q, %v", got, ctx.Err())
	}
}
