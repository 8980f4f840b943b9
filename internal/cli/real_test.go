package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
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
	dir, name, mqtt, cluster, http string

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
	for _, a := range []*string{&n.mqtt, &n.cluster, &n.http} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*a = l.Addr().String()
		l.Close()
	}
	lines := append([]string{
		"nodename = " + n.name, "data_dir = " + dir + "/data", "run_dir = " + dir + "/run", "log_dir = " + dir + "/log", "admin.socket = " + n.socket(),
		"distributed_cookie = a-cookie-of-some-length", "listener.tcp.default = " + n.mqtt, "listener.vmq.clustering = " + n.cluster,
		"listener.http.default = " + n.http, "allow_anonymous = on", "plugins.vmq_passwd = off", "vmq_acl.acl_file = " + dir + "/acl",
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
	for _, n := range nodes[1:] {
		host, port, _ := net.SplitHostPort(nodes[0].cluster)
		run(t, n, "cluster", "join", "n1@"+host+":"+port)
	}
	for _, n := range nodes {
		awaitReady(t, n, len(nodes))
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
				env.Setenv("MQTT"+id, n.mqtt)
				env.Setenv("DIR"+id, n.dir)
			}
			env.Setenv("MQADMIN_SOCKET", nodes[0].socket())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitCode,
			"stopnode": func(ts *testscript.TestScript, _ bool, args []string) {
				for _, n := range nodes {
					if n.name == args[0] {
						n.end(t)
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

// awaitReady waits until a node sees that many members running.
func awaitReady(t *testing.T, n *realNode, members int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); ; <-tick.C {
		out := run(t, n, "cluster", "show", "--format", "csv")
		if strings.Count(out, ",true,") == members {
			return
		}
		if time.Now().After(end) {
			t.Fatal(out)
		}
	}
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
