package clustertest_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// Documented exit codes of mqadmin and broker.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 5
)

// mistake is something that a new user does wrong.
type mistake struct {
	name string
	do   func(ctx context.Context) clustertest.Result
	code int
	// says are regular expressions that the error, its hint included, must
	// match: the thing that is wrong, and the remedy.
	says []string
}

// check runs the mistake and looks at how the program answers.
func (m mistake) check(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r := m.do(ctx)
	if ctx.Err() != nil {
		t.Fatalf("no end within %v; stderr:\n%s", patience, r.Stderr)
	}
	if r.Code != m.code {
		t.Errorf("exit code %d, want %d", r.Code, m.code)
	}
	if r.Stdout != "" {
		t.Errorf("stdout is %q; errors belong on stderr", r.Stdout)
	}
	line := oneLine(t, r.Stderr, "error: ")
	_, answer, _ := strings.Cut(r.Stderr, "error: ") // and the hint below it
	t.Logf("error: %s", strings.TrimSpace(answer))
	for _, want := range m.says {
		if !regexp.MustCompile(want).MatchString(answer) {
			t.Errorf("the answer does not match %q", want)
		}
	}
	if strings.HasSuffix(line, ".") || strings.Contains(line, "rpc error") || strings.Contains(line, "goroutine") {
		t.Errorf("not a sentence for operators: %s", line)
	}
}

// TestWrongMembership tries what goes wrong with cluster join and leave; the
// membership is the same before and after.
func TestWrongMembership(t *testing.T) {
	skipShort(t)
	pair := startCluster(t, 2)
	single := newNode(t, "n3")
	start(t, single)
	thief := newNode(t, "n4", "distributed_cookie = another-cookie-of-some-length")
	start(t, thief)
	namesake := newNode(t, "n1")
	start(t, namesake)
	nobody, err := clustertest.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	port := nobody[strings.LastIndexByte(nobody, ':'):]
	admin := func(n *clustertest.Node, args ...string) func(context.Context) clustertest.Result {
		return func(ctx context.Context) clustertest.Result { return n.Admin(ctx, args...) }
	}
	for _, m := range []mistake{
		{
			"join unknown host", admin(single, "cluster", "join", "discovery-node=VerneMQ@no-such-host.invalid"), exitFailed,
			[]string{`no-such-host\.invalid`, `discovery-node=VerneMQ@192\.168\.100\.124`},
		},
		{
			"join where nothing listens", admin(single, "cluster", "join", "discovery-node=n9@127.0.0.1"+port), exitFailed,
			[]string{`127\.0\.0\.1` + port, `discovery-node=VerneMQ@192\.168\.100\.124`},
		},
		{
			"join what is no cluster port", admin(single, "cluster", "join", "discovery-node=n1@"+pair[0].MQTT), exitFailed,
			[]string{regexp.QuoteMeta(pair[0].MQTT), `cluster port`},
		},
		{
			"join no node name", admin(single, "cluster", "join", "discovery-node=192.168.100.124"), exitUsage,
			[]string{`192\.168\.100\.124`, `name@host`},
		},
		{"join without a name", admin(single, "cluster", "join"), exitUsage, []string{`discovery-node`}},
		{
			"join itself by name", admin(single, "cluster", "join", "discovery-node="+single.Name), exitFailed,
			[]string{`n3@127\.0\.0\.1`, `itself`, `another node|other cluster`},
		},
		{
			"join itself by address", admin(single, "cluster", "join", "discovery-node=other@"+single.Cluster), exitFailed,
			[]string{`itself`, `another node|other cluster`},
		},
		{
			"join twice", admin(pair[1], "cluster", "join", "discovery-node="+pair[0].Discovery()), exitFailed,
			[]string{`n1@127\.0\.0\.1`, `members of the same cluster already`, `cluster show`},
		},
		{
			"join with other members", admin(pair[0], "cluster", "join", "discovery-node="+single.Discovery()), exitFailed,
			[]string{`n1@127\.0\.0\.1`, `other members \(n2@127\.0\.0\.1\)`, `cluster leave`},
		},
		{
			"join with a wrong cookie", admin(thief, "cluster", "join", "discovery-node="+pair[0].Discovery()), exitFailed,
			[]string{`n1@127\.0\.0\.1`, `distributed_cookie`, `same distributed_cookie`},
		},
		{
			"join under a name that is taken", admin(namesake, "cluster", "join", "discovery-node=n2@"+pair[1].Cluster), exitFailed,
			[]string{`n1@127\.0\.0\.1`, `nodename`},
		},
		{
			"leave unknown node", admin(pair[0], "cluster", "leave", "node=n9@127.0.0.1"), exitFailed,
			[]string{`n9@127\.0\.0\.1`, `n1@127\.0\.0\.1, n2@127\.0\.0\.1`},
		},
		{
			"leave unknown node with -k", admin(pair[0], "cluster", "leave", "node=n9@127.0.0.1", "-k"), exitFailed,
			[]string{`n9@127\.0\.0\.1`, `cluster show`},
		},
		{
			"leave the last node", admin(single, "cluster", "leave", "node=n3@127.0.0.1", "-k"), exitFailed,
			[]string{`n3@127\.0\.0\.1`, `only member`, `broker stop`},
		},
		{"misspelt command", admin(single, "cluster", "shwo"), exitUsage, []string{`did you mean "show"`}},
		{"misspelt key", admin(single, "cluster", "join", "discovery_node=n1@127.0.0.1"), exitUsage, []string{`did you mean "discovery-node"`}},
	} {
		t.Run(m.name, func(t *testing.T) {
			m.check(t)
			awaitMembers(t, pair...)
			for _, n := range []*clustertest.Node{single, thief, namesake} {
				awaitMembers(t, n)
			}
		})
	}
	// All of them still serve.
	for i, n := range append(pair, single, thief, namesake) {
		c := connect(t, who{Addr: n.MQTT, ID: n.Name, Version: versions()[i%2]})
		c.subscribe(t, "a", 2)
		c.publish(t, "a", "served", 2, false)
		c.expect(t, "served")
	}
}

// TestNoBroker asks where nothing runs.
func TestNoBroker(t *testing.T) {
	n := newNode(t, "n1")
	for _, args := range [][]string{{"cluster", "show"}, {"session", "show"}, {"metrics", "show"}, {"node", "ping"}} {
		mistake{
			strings.Join(args, " "), func(ctx context.Context) clustertest.Result { return n.Admin(ctx, args...) },
			exitUnreachable,
			[]string{regexp.QuoteMeta(n.Socket()), `broker start|--socket`},
		}.check(t)
	}
	mistake{"stop", func(ctx context.Context) clustertest.Result { return n.Broker(ctx, "stop") }, exitFailed, []string{`not running`, `broker\.pid`}}.check(t)
	mistake{"ping", func(ctx context.Context) clustertest.Result { return n.Broker(ctx, "ping") }, exitFailed, []string{`n1@127\.0\.0\.1`, `not running`}}.check(t)
}

// TestWrongStart tries what keeps a broker from starting, in the foreground
// and in the background: both say why, and leave nothing behind that runs.
func TestWrongStart(t *testing.T) {
	skipShort(t)
	taken := newNode(t, "taken")
	start(t, taken)
	file := filepath.Join(t.TempDir(), "a-file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		settings []string
		dataDir  string
		code     int
		says     []string
	}{
		{
			"misspelt setting",
			[]string{"max_inflight_mesages = 10"},
			"", exitUsage,
			[]string{`broker\.conf:\d+:\d+`, `max_inflight_mesages`, `did you mean "?max_inflight_messages`},
		},
		{"bad value", []string{"max_inflight_messages = many"}, "", exitUsage, []string{`broker\.conf:\d+:\d+`, `max_inflight_messages`, `many`}},
		{"missing include", []string{"include missing.conf"}, "", exitUsage, []string{`broker\.conf:\d+`, `missing\.conf`}},
		{"webhooks", []string{"plugins.vmq_webhooks = on"}, "", exitUsage, []string{`plugins\.vmq_webhooks`}},
		{
			"MQTT port in use",
			[]string{"listener.tcp.default = " + taken.MQTT},
			"", exitFailed,
			[]string{`listener\.tcp\.default`, regexp.QuoteMeta(taken.MQTT), `in use`},
		},
		{
			"cluster port in use",
			[]string{"listener.vmq.clustering = " + taken.Cluster},
			"", exitFailed,
			[]string{`listener\.vmq\.clustering`, regexp.QuoteMeta(taken.Cluster), `in use`},
		},
		{
			"HTTP port in use",
			[]string{"listener.http.default = " + taken.HTTP},
			"", exitFailed,
			[]string{`listener\.http\.default`, regexp.QuoteMeta(taken.HTTP), `in use`},
		},
		{"data directory is a file", nil, file, exitFailed, []string{regexp.QuoteMeta(file), `data_dir`, `--data-dir`}},
		{"data directory below a file", nil, filepath.Join(file, "data"), exitFailed, []string{regexp.QuoteMeta(file), `data_dir`, `--data-dir`}},
		{
			"data directory of another broker", nil, taken.DataDir(), exitFailed,
			[]string{regexp.QuoteMeta(taken.DataDir()), `in use`, `process \d+`, `stop it or use another directory`},
		},
	} {
		for _, how := range []string{"console", "start"} {
			t.Run(c.name+" "+how, func(t *testing.T) {
				n := newNode(t, "n1", c.settings...)
				args := n.Args(how)
				if c.dataDir != "" {
					args = append(args, "--data-dir", c.dataDir)
				}
				mistake{c.name, func(ctx context.Context) clustertest.Result {
					return clustertest.Run(ctx, filepath.Join(bin(), "broker"), args...)
				}, c.code, c.says}.check(t)
				if r := n.Broker(t.Context(), "ping"); r.Code == 0 {
					t.Error("a broker runs all the same")
				}
				if _, err := os.Stat(n.DataDir()); c.code == exitUsage && err == nil {
					t.Error("a wrong configuration made a data directory")
				}
			})
		}
	}
	c := connect(t, who{Addr: taken.MQTT, ID: "undisturbed", Version: 5})
	c.subscribe(t, "a", 1)
	c.publish(t, "a", "served", 1, false)
	c.expect(t, "served")
	awaitMembers(t, taken)
}

// TestStartTwice starts a broker in the background twice, restarts and stops
// it.
func TestStartTwice(t *testing.T) {
	n := newNode(t, "n1")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	run := func(args ...string) string {
		t.Helper()
		r := n.Broker(ctx, args...)
		if r.Code != 0 {
			t.Fatalf("broker %s: exit code %d: %s", args[0], r.Code, r.Stderr)
		}
		return r.Stdout
	}
	if got := run("start"); !strings.HasPrefix(got, clustertest.ServingLine) {
		t.Errorf("start printed %q", got)
	}
	t.Cleanup(func() { n.Broker(context.Background(), "stop") })
	for _, how := range []string{"start", "console"} {
		mistake{
			how, func(ctx context.Context) clustertest.Result { return n.Broker(ctx, how) },
			exitFailed,
			[]string{`already running`, `\d+`},
		}.check(t)
	}
	awaitMembers(t, n)
	c := connect(t, who{Addr: n.MQTT, ID: "c", Version: 5})
	if got := run("restart"); !strings.Contains(got, "\n"+clustertest.ServingLine) {
		t.Errorf("restart printed %q", got)
	}
	c.awaitEnd(t)
	if got := run("ping"); got != "pong\n" {
		t.Errorf("ping printed %q", got)
	}
	begin := time.Now()
	if got := run("stop"); got != "ok\n" {
		t.Errorf("stop printed %q", got)
	}
	within(t, "stop", time.Since(begin), 3*time.Second*slowdown)
	if r := n.Broker(ctx, "ping"); r.Code != exitFailed {
		t.Errorf("ping after stop: %+v", r)
	}
}
