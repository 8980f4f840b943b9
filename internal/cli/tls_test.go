package cli

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/admin/admintest"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

func TestRemoteBrokerNeedsMutualTLS(t *testing.T) {
	ca, stranger := admintest.New(t), admintest.New(t)
	cert, key := ca.Issue("broker", "")
	cfg, err := admin.ServerTLS(cert, key, ca.File)
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{reg: metrics.New()}
	srv, err := admin.New(admin.Config{Cluster: b, Node: b, Sessions: b, Subscriptions: b, Retained: retained{}, Routes: routes{}, Metrics: b.reg, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l, admin.TLSTransport(cfg)) }()
	defer func() { srv.Close(); <-done }()

	goodCert, goodKey := ca.Issue("ops", "operator")
	badCert, badKey := stranger.Issue("ops", "operator")
	noneCert, noneKey := ca.Issue("mqtt-client", "")
	for name, tc := range map[string]struct {
		line string
		code int
		text string // in stderr
	}{
		"allowed":          {"metrics reset --server-name localhost --cacert " + ca.File + " --cert " + goodCert + " --key " + goodKey, 0, ""},
		"role too low":     {"cluster join a@h --server-name localhost --cacert " + ca.File + " --cert " + goodCert + " --key " + goodKey, 4, "certificate ops has the role operator, and this needs admin"},
		"no role":          {"node ping --server-name localhost --cacert " + ca.File + " --cert " + noneCert + " --key " + noneKey, 4, "organizational unit is viewer"},
		"other authority":  {"node ping --server-name localhost --cacert " + ca.File + " --cert " + badCert + " --key " + badKey, 5, "error: node ping: "},
		"wrong broker":     {"node ping --server-name localhost --cacert " + stranger.File + " --cert " + goodCert + " --key " + goodKey, 5, "unknown authority"},
		"wrong name":       {"node ping --cacert " + ca.File + " --cert " + goodCert + " --key " + goodKey, 5, "cannot reach a broker at 127.0.0.1:"},
		"without any":      {"node ping", 2, "or an API key (--token-file, MQADMIN_TOKEN)"},
		"socket as well":   {"node ping --socket x", 2, "exclude each other"},
		"not an authority": {"node ping --cacert " + goodKey + " --cert " + goodCert + " --key " + goodKey, 2, "no certificate in"},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"mqadmin", "--address", l.Addr().String()}, strings.Fields(tc.line)...)
		code := Run(t.Context(), args, System{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Getenv: func(string) string { return "" }})
		if code != tc.code || !strings.Contains(stderr.String(), tc.text) {
			t.Errorf("%s: exit %d, want %d: %s", name, code, tc.code, &stderr)
		}
	}
}
