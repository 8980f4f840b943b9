package clustertest_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// TestAdminScripts runs mqadmin's lines about sessions, subscriptions and
// retained messages against a cluster of three, which all scripts share, and
// then against what is left of it without a majority.
func TestAdminScripts(t *testing.T) {
	skipShort(t)
	nodes := startCluster(t, 3, "max_client_id_size = 65535", "netsplit_grace = 500ms", "allow_register_during_netsplit = on", "allow_subscribe_during_netsplit = on")
	s := &adminScripts{nodes: nodes, clients: map[string]*client{}}
	t.Cleanup(s.close)
	t.Run("together", func(t *testing.T) { s.run(t, "testdata/script") })
	for _, n := range nodes[1:] {
		n.Kill()
	}
	t.Run("alone", func(t *testing.T) { s.run(t, "testdata/alone") })
}

// adminScripts has the cluster and clients of the scripts.
type adminScripts struct {
	nodes   []*clustertest.Node
	mu      sync.Mutex // guards clients
	clients map[string]*client
}

func (s *adminScripts) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.drop()
	}
}

func (s *adminScripts) run(t *testing.T, dir string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin()+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("MQADMIN_SOCKET", s.nodes[0].Socket())
			for i, n := range s.nodes {
				env.Setenv(fmt.Sprintf("SOCKET%d", i+1), n.Socket())
			}
			for i, word := range []string{strings.Repeat("\x1b[2J\n\u202e", 8180), strings.Repeat("\x1b[2J\u202e\t", 8180)} {
				env.Setenv([]string{"HOSTILE_TOPIC", "HOSTILE_ID"}[i], word)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitCode, "client": s.client, "publish": s.publish, "ended": s.ended, "await": s.await, "lines": countLines,
		},
	})
}

// exitCode runs a command and checks its exit code: code 2 mqadmin cluster join.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code n command [args]")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = strconv.Itoa(e.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// countLines checks how many lines a file, stdout or stderr has: lines 5 stdout.
func countLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines n file")
	}
	if got := strings.Count(ts.ReadFile(args[1]), "\n"); strconv.Itoa(got) != args[0] {
		ts.Fatalf("%s has %d lines, want %s", args[1], got, args[0])
	}
}

// client connects a client and subscribes: client id node {clean|durable}
// [filter]...
func (s *adminScripts) client(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: client id node {clean|durable} [filter]...")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	c, err := tryConnect(who{Addr: s.nodes[n-1].MQTT, ID: args[0], Version: 5, Durable: args[2] == "durable"})
	if neg {
		if err == nil {
			ts.Fatalf("%.40q was let in", args[0])
		}
		return
	}
	ts.Check(err)
	s.mu.Lock()
	s.clients[args[0]] = c
	s.mu.Unlock()
	for _, filter := range args[3:] {
		ts.Check(c.trySubscribe(filter, 1))
	}
}

// publish retains a message by a client: publish id topic payload.
func (s *adminScripts) publish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: publish id topic payload")
	}
	ts.Check(s.named(args[0]).tryPublish(args[1], args[2], 1, true))
}

// ended waits until clients have been disconnected with 0x98.
func (s *adminScripts) ended(ts *testscript.TestScript, neg bool, args []string) {
	for _, id := range args {
		c := s.named(id)
		ts.Check(awaiting(func() error {
			select {
			case <-c.ended:
				return nil
			default:
				return fmt.Errorf("%s is still connected", id)
			}
		}))
		if c.mu.Lock(); c.reason != 0x98 || neg {
			ts.Fatalf("%s was ended with 0x%02X", id, c.reason)
		}
		c.mu.Unlock()
	}
}

func (s *adminScripts) named(id string) *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients[id]
}

// await repeats an mqadmin line until its output contains a text: await text
// command [args].
func (s *adminScripts) await(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(awaiting(func() error {
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			return err
		}
		if strings.Contains(ts.ReadFile("stdout"), args[0]) == neg {
			return fmt.Errorf("%q is in the output: %v", args[0], neg)
		}
		return nil
	}))
}

// awaiting polls until ok returns nil, for as long as tests are patient.
func awaiting(ok func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return clustertest.Await(ctx, ok)
}
