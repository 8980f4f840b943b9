package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	realbroker "github.com/mqadmin/mqadmin/internal/broker"
	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/logging"
)

// realNode is a broker of this process.
type realNode struct {
	dir, name string

	stop context.CancelFunc
	done chan error
}

func (n *realNode) socket() string { return filepath.Join(n.dir, "run", "s") }

func (n *realNode) file() string { return filepath.Join(n.dir, "broker.conf") }

// start runs the broker and returns when it serves.
func (n *realNode) start(t *testing.T) {
	t.Helper()
	read := func() (*config.Config, error) { return config.Load(n.file(), config.Options{}) }
	cfg, err := read()
	if err != nil {
		t.Fatal(err)
	}
	o, err := cfg.Logging()
	if err != nil {
		t.Fatal(err)
	}
	log, err := logging.New(o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := realbroker.New(realbroker.Options{Config: cfg, Logger: log, Reread: read})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	serving := make(chan struct{})
	n.stop, n.done = stop, make(chan error, 1)
	go func() { n.done <- b.Run(ctx, func(string) { close(serving) }); log.Close() }()
	select {
	case <-serving:
	case err := <-n.done:
		t.Fatal(err)
	}
}

// end stops the broker, once.
func (n *realNode) end(t *testing.T) {
	if n.stop == nil {
		return
	}
	n.stop()
	n.stop = nil
	if err := <-n.done; err != nil {
		t.Error(n.name, err)
	}
}

// newRealNode writes the configuration of a broker that listens on free ports.
func newRealNode(t *testing.T, i int, settings ...string) *realNode {
	t.Helper()
	dir, err := os.MkdirTemp("", "mq") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	n := &realNode{dir: dir, name: fmt.Sprintf("n%d@127.0.0.1", i)}
	lines := append([]string{
		"nodename = " + n.name, "data_dir = " + dir + "/data", "run_dir = " + dir + "/run", "log_dir = " + dir + "/log", "admin.socket = " + n.socket(),
		"distributed_cookie = a-cookie-of-some-length", "listener.tcp.default = 127.0.0.1:0", "listener.vmq.clustering = 127.0.0.1:0",
		"listener.http.default = 127.0.0.1:0", "allow_anonymous = on", "plugins.vmq_passwd = off", "vmq_acl.acl_file = " + dir + "/acl",
	}, settings...)
	for name, text := range map[string]string{n.file(): strings.Join(lines, "\n") + "\n", dir + "/acl": "topic #\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestRealScript runs scripts against a cluster of three real brokers, which
// they share: each leaves it as it was. Scripts of files that begin with stop_
// come last, because they end brokers.
func TestRealScript(t *testing.T) {
	nodes := []*realNode{newRealNode(t, 1), newRealNode(t, 2), newRealNode(t, 3)}
	for _, n := range nodes {
		n.start(t)
		t.Cleanup(func() { n.end(t) })
	}
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(run(t, nodes[0], "cluster", "show"))
	for _, n := range nodes[1:] {
		run(t, n, "cluster", "join", "n1@"+address)
	}
	for _, n := range nodes {
		run(t, n, "cluster", "show", "--wait-ready", "--timeout", "30s")
	}
	var mu sync.Mutex // one script at a time
	t.Run("running", func(t *testing.T) { scripts(t, nodes, &mu, files(t, false)) })
	t.Run("stopping", func(t *testing.T) { scripts(t, nodes, &mu, files(t, true)) })
}

func scripts(t *testing.T, nodes []*realNode, mu *sync.Mutex, list []string) {
	testscript.Run(t, testscript.Params{
		Files: list, RequireExplicitExec: true, RequireUniqueNames: true, UpdateScripts: os.Getenv("UPDATE_GOLDEN") != "",
		Setup: func(env *testscript.Env) error {
			mu.Lock()
			env.Defer(mu.Unlock)
			for i, n := range nodes {
				id := fmt.Sprint(i + 1)
				env.Setenv("NODE"+id, n.name)
				env.Setenv("SOCKET"+id, n.socket())
				env.Setenv("DIR"+id, n.dir)
			}
			env.Setenv("MQADMIN_SOCKET", nodes[0].socket())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitCode, "makecert": makeCertificate,
			"ended": func(ts *testscript.TestScript, _ bool, args []string) { // waits until a broker has stopped
				for _, n := range nodes {
					if n.name == args[0] {
						ts.Check(<-n.done)
						n.stop()
						n.stop = nil
						return
					}
				}
				ts.Fatalf("no node %s", args[0])
			},
		},
	})
}

// files lists the scripts that end brokers, or the others.
func files(t *testing.T, stopping bool) []string {
	all, err := filepath.Glob(filepath.Join("testdata", "real", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(f string) bool { return strings.HasPrefix(filepath.Base(f), "stop_") != stopping })
}

// run runs one command line against a node and returns what it prints.
func run(t *testing.T, n *realNode, words ...string) string {
	t.Helper()
	var out strings.Builder
	if code := Run(t.Context(), append([]string{"mqadmin", "--socket", n.socket()}, words...), System{
		In: strings.NewReader(""), Out: &out, Err: &out, Getenv: func(string) string { return "" },
	}); code != 0 {
		t.Fatalf("%v: exit %d: %s", words, code, &out)
	}
	return out.String()
}

// makeCertificate writes a certificate for 127.0.0.1 and its key: makecert
// cert.pem key.pem.
func makeCertificate(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	name := pkix.Name{CommonName: "test"}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: name, Issuer: name, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(100, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	ts.Check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for i, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: keyDER}} {
		ts.Check(os.WriteFile(ts.MkAbs(args[i]), pem.EncodeToMemory(block), 0o600))
	}
}
