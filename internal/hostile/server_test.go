package hostile

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/broker"
	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/logging"
	"github.com/mqadmin/mqadmin/internal/session"
)

// patience bounds every single wait.
const patience = 20 * time.Second * clustertest.Slowdown

// server is a whole broker in the test's own process, so that its goroutines
// and its memory can be looked at.
type server struct {
	t                *testing.T
	addr, http, logs string
}

// serve runs a broker until the end of the test. It must not have caught a
// panic by then.
func serve(t *testing.T, settings ...string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{t: t, logs: filepath.Join(dir, "log")}
	for _, addr := range []*string{&s.addr, &s.http} {
		free, err := clustertest.FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		*addr = free
	}
	acl := filepath.Join(dir, "acl")
	if err := os.WriteFile(acl, []byte("topic #\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := append([]string{
		"data_dir = " + filepath.Join(dir, "data"), "run_dir = " + filepath.Join(dir, "run"), "log_dir = " + s.logs,
		"allow_anonymous = on", "plugins.vmq_passwd = off", "vmq_acl.acl_file = " + acl, "listener.max_connections = infinity",
		"listener.tcp.default = " + s.addr, "listener.http.default = " + s.http, "listener.vmq.clustering = 127.0.0.1:0",
	}, settings...)
	cfg, err := config.Parse("test.conf", []byte(strings.Join(lines, "\n")+"\n"), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log, err := logging.New(logging.Options{
		Crash: true, CrashFile: logging.File{Path: s.crashLog(), Keep: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Options{Config: cfg, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	serving, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- b.Run(ctx, func(string) { close(serving) }) }()
	select {
	case <-serving:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = log.Close()
		s.uncrashed()
	})
	return s
}

func (s *server) crashLog() string { return filepath.Join(s.logs, "crash.log") }

// uncrashed fails the test if a connection has panicked.
func (s *server) uncrashed() {
	s.t.Helper()
	if text, _ := os.ReadFile(s.crashLog()); len(text) > 0 {
		s.t.Errorf("the broker has caught a panic:\n%s", text)
	}
}

// metric reads one value from /metrics.
func (s *server) metric(name string) (int64, error) {
	r, err := http.Get("http://" + s.http + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		key, _, _ = strings.Cut(key, "{")
		if key == "vernemq_"+name {
			v, err := strconv.ParseFloat(value, 64)
			return int64(v), err
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

// usage is what may leak.
type usage struct {
	goroutines int
	heap       int64 // live bytes, and those of stacks
}

func (u usage) String() string { return fmt.Sprintf("%d goroutines, %d KiB", u.goroutines, u.heap>>10) }

// measure collects what is garbage and counts what is left. It does not ask for
// MemStats.HeapAlloc: that has everything allocated since, too, which is much
// while the broker is busy with a flood.
func measure() usage {
	runtime.GC()
	runtime.GC() // the second frees what finalizers and pools held
	m := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(m)
	return usage{runtime.NumGoroutine(), int64(m[0].Value.Uint64() + m[1].Value.Uint64())}
}

// slack is what may differ although nothing leaks: caches of the store, pools,
// workers that wait for connections, connections of /metrics.
const (
	slackGoroutines = 10 + session.MaxIdleWorkers
	slackHeap       = 4 << 20
)

// recovers waits until what was in use before is in use again, within a tenth
// and slack.
func (s *server) recovers(before usage) {
	s.t.Helper()
	http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var now usage
	err := clustertest.Await(ctx, func() error {
		now = measure()
		switch {
		case now.goroutines > before.goroutines+before.goroutines/10+slackGoroutines:
		case now.heap > before.heap+before.heap/10+slackHeap:
		default:
			return nil
		}
		return fmt.Errorf("before: %v, afterwards: %v", before, now)
	})
	if err != nil {
		s.t.Error(err)
	}
	s.t.Logf("before: %v, afterwards: %v", before, now)
}

// quiet waits until what goes on behind the connections' backs is done.
func (s *server) quiet(goroutines int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := clustertest.Await(ctx, func() error {
		if n := runtime.NumGoroutine(); n > goroutines+slackGoroutines {
			return fmt.Errorf("%d goroutines, before: %d", n, goroutines)
		}
		return nil
	}); err != nil {
		s.t.Error(err)
	}
}

// idle waits until no connection but those of the probe is open.
func (s *server) idle(open int64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := clustertest.Await(ctx, func() error {
		n, err := s.metric("total_active_connections")
		if err == nil && n != open {
			err = fmt.Errorf("%d connections are open, want %d", n, open)
		}
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
}
