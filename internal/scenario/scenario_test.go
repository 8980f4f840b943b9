package scenario

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// broker runs a server that somebody else wrote, so that the counting is
// tested apart from our own broker.
func broker(t *testing.T) string {
	t.Helper()
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler), InlineClient: true})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0"})
	if err := s.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return l.Address()
}

func TestRunCountsEveryMessage(t *testing.T) {
	for _, version := range []byte{4, 5} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cfg := Config{
			Brokers: []string{broker(t)}, Messages: 500, Consumers: 2, Publishers: 2, Plain: true, QoS: 1, QoSSet: true, Version: version, Window: 4,
		}
		if version == 5 {
			cfg.QoS = 0 // this server's v5 QoS 1 traffic can stop for ever
		}
		rep, err := Run(ctx, cfg, func(Progress) {})
		if err != nil {
			t.Fatal(err)
		}
		if !rep.Perfect(500) || rep.Sum() != 1000 {
			t.Errorf("version %d: %+v", version, rep)
		}
	}
}

func TestTallyFindsFaults(t *testing.T) {
	cfg := Config{Brokers: []string{"a", "b"}, Messages: 3}
	if err := cfg.defaults(); err != nil {
		t.Fatal(err)
	}
	ta := newTally(cfg)
	ta.take(0, payload(cfg, 0))
	ta.take(1, payload(cfg, 0))
	ta.take(1, payload(cfg, 1))
	ta.take(0, []byte("noise"))
	rep := ta.report(0)
	if rep.Duplicates != 1 || rep.Missing != 1 || rep.Wrong != 1 || rep.Unique != 2 || rep.Sum() != 4 || rep.Perfect(3) {
		t.Errorf("%+v", rep)
	}
}

func TestNobodyThere(t *testing.T) {
	if _, err := Run(t.Context(), Config{Brokers: []string{"127.0.0.1:1"}}, nil); err == nil {
		t.Error("a run without a broker succeeded")
	}
	if _, err := Run(t.Context(), Config{}, nil); err == nil {
		t.Error("a run without addresses succeeded")
	}
}

// TestAgainst runs the whole scenario against brokers that are running, named
// in SCENARIO_BROKERS as host:port,host:port.
func TestAgainst(t *testing.T) {
	list := os.Getenv("SCENARIO_BROKERS")
	if list == "" {
		t.Skip("SCENARIO_BROKERS is not set")
	}
	for _, version := range []byte{4, 5} {
		rep, err := Run(t.Context(), Config{Brokers: strings.Split(list, ","), Version: version}, func(p Progress) { t.Logf("%+v", p) })
		t.Logf("version %d: %+v, %v", version, rep, err)
		if err != nil || !rep.Perfect(20_000) {
			t.Error("not every message arrived exactly once")
		}
	}
}
