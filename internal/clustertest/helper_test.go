package clustertest_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// newNode configures a node below a directory of the test; it is killed at
// the end, and what it printed is shown if the test failed.
func newNode(t *testing.T, name string, settings ...string) *clustertest.Node {
	t.Helper()
	n, err := clustertest.New(clustertest.Config{
		Bin: bin(), Dir: filepath.Join(t.TempDir(), name), Name: name + "@127.0.0.1", Settings: settings,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() {
			t.Logf("%s printed last:\n%s", n.Name, n.Tail())
		}
	})
	return n
}

// start runs a node until it serves.
func start(t *testing.T, n *clustertest.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// stop ends a node as an operator does.
func stop(t *testing.T, n *clustertest.Node) {
	t.Helper()
	begin := time.Now()
	if err := n.Stop(patience); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 3*time.Second*slowdown {
		t.Errorf("%s took %v to stop:\n%s", n.Name, took, n.Tail())
	}
}

// startCluster starts size nodes n1, n2, … with the given settings and joins
// them.
func startCluster(t *testing.T, size int, settings ...string) []*clustertest.Node {
	t.Helper()
	nodes := make([]*clustertest.Node, size)
	for i := range nodes {
		nodes[i] = newNode(t, fmt.Sprintf("n%d", i+1), settings...)
	}
	failed := make(chan error, size)
	for _, n := range nodes {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			failed <- n.Start(ctx)
		}()
	}
	for range nodes {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes[1:] {
		if err := n.Join(t.Context(), nodes[0]); err != nil {
			t.Fatal(err)
		}
	}
	awaitMembers(t, nodes...)
	return nodes
}

// awaitMembers waits until every node sees exactly these nodes running.
func awaitMembers(t *testing.T, nodes ...*clustertest.Node) {
	t.Helper()
	await(t, func() error {
		for _, n := range nodes {
			if err := n.AllRunning(t.Context(), nodes...); err != nil {
				return err
			}
		}
		return nil
	})
}

// awaitSession waits until a node answers with one session of that client id
// for which ok returns nil.
func awaitSession(t *testing.T, n *clustertest.Node, id string, ok func(clustertest.Session) error) {
	t.Helper()
	await(t, func() error {
		s, err := sessionOf(t.Context(), n, id)
		if err != nil {
			return err
		}
		if s == nil {
			return fmt.Errorf("%s knows no session of %s", n.Name, id)
		}
		return ok(*s)
	})
}

// awaitGone waits until a node knows no session of that client id.
func awaitGone(t *testing.T, n *clustertest.Node, id string) {
	t.Helper()
	await(t, func() error {
		s, err := sessionOf(t.Context(), n, id)
		if err == nil && s != nil {
			err = fmt.Errorf("%s still lists %+v", n.Name, *s)
		}
		return err
	})
}

func sessionOf(ctx context.Context, n *clustertest.Node, id string) (*clustertest.Session, error) {
	all, err := n.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	for i, s := range all {
		if s.ClientID == id {
			return &all[i], nil
		}
	}
	return nil, nil
}

// offline is a condition for awaitSession.
func offline(node *clustertest.Node, messages int) func(clustertest.Session) error {
	return func(s clustertest.Session) error {
		if s.IsOnline || s.Node != node.Name || s.OfflineMessages != messages {
			return fmt.Errorf("want %d messages offline on %s, got %+v", messages, node.Name, s)
		}
		return nil
	}
}

// consumed is for awaitSession: online there, and everything acknowledged.
func consumed(node *clustertest.Node) func(clustertest.Session) error {
	return func(s clustertest.Session) error {
		if !s.IsOnline || s.Node != node.Name || s.OnlineMessages+s.WaitingAcks > 0 {
			return fmt.Errorf("want everything acknowledged on %s, got %+v", node.Name, s)
		}
		return nil
	}
}

// within fails the test if something took longer than it may and prints how
// long it took.
func within(t *testing.T, what string, took, limit time.Duration) {
	t.Helper()
	t.Logf("%s: %v (at most %v)", what, took.Round(time.Millisecond/10), limit)
	if took > limit {
		t.Errorf("%s took %v, more than %v", what, took, limit)
	}
}

// payloads returns prefix1 … prefixN.
func payloads(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d", prefix, i+1)
	}
	return out
}

// oneLine is the line of text that begins with prefix; the test fails unless
// there is exactly one.
func oneLine(t *testing.T, text, prefix string) string {
	t.Helper()
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	if len(found) != 1 {
		t.Fatalf("want one line that begins with %q, got %q in:\n%s", prefix, found, text)
	}
	return found[0]
}

// untilDeadline leaves a test's child a little less time than the test has, so
// that the child's own report is seen.
func untilDeadline(deadline time.Time) time.Duration {
	return max(time.Until(deadline)-2*time.Second, time.Second)
}

// lockedBuffer is a buffer that a process writes while a test reads.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
