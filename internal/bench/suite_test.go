//go:build unix

package bench

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test program be the processes that a suite starts.
func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == LoadRole:
		err = RunLoad(ctx, os.Stdin, os.Stdout)
	case len(os.Args) == 3 && os.Args[1] == MochiRole:
		err = RunMochi(ctx, os.Args[2])
	default:
		stop()
		os.Exit(m.Run())
	}
	stop()
	if err != nil {
		panic(err)
	}
}

func newLauncher(t *testing.T) *Launcher {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &Launcher{Self: self, Dir: t.TempDir()}
}

func TestSuiteMeasuresAndLeavesNoProcess(t *testing.T) {
	var log strings.Builder
	s := &Suite{Launcher: newLauncher(t), Rounds: 2, Brokers: []string{Mochi}, Log: &log}
	spec := short(t, "", Spec{Kind: Flow, Shape: Pair, Version: 4, Publishers: 1, Subscribers: 1, Window: 4})
	servers := map[string]*Server{}
	sc := Scenario{Name: "small", Spec: spec}
	if _, err := s.one(t.Context(), sc, servers, Mochi); err != nil {
		t.Fatal(err)
	}
	pid := servers[Mochi].PID()
	stopAll(servers)
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("the broker still runs")
	}
	all, err := s.Run(t.Context(), sc, sc)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Fatalf("%d measurements", len(all))
	}
	m := all[1]
	if n, ok := m.Median(Mochi, func(r Result) float64 { return float64(r.Units) }); !ok || n == 0 || len(m.Rounds) != 2 {
		t.Errorf("measured %+v, log %s", m, log.String())
	}
}

func TestFailedRunIsReported(t *testing.T) {
	var log strings.Builder
	s := &Suite{Launcher: newLauncher(t), Rounds: 1, Brokers: []string{Mochi}, Log: &log}
	spec := short(t, "", Spec{Kind: "nothing"})
	all, err := s.Run(t.Context(), Scenario{Name: "small", Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	m := all[0]
	if !strings.Contains(m.Failures[Mochi], "no kind of run") || !strings.Contains(log.String(), "no kind of run") {
		t.Errorf("failures %v, log %s", m.Failures, log.String())
	}
}

func TestServerThatDoesNotStart(t *testing.T) {
	l := newLauncher(t)
	l.Mosquitto = "/bin/false"
	began := time.Now()
	if _, err := l.Start(t.Context(), Mosquitto); err == nil {
		t.Error("a broker that ended at once serves")
	}
	if d := time.Since(began); d > startTime/2 {
		t.Errorf("noticed after %v", d)
	}
}
