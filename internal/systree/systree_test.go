package systree

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink collects what a Tree publishes.
type sink struct {
	mu       sync.Mutex
	settings Settings
	ready    bool
	err      error
	hold     bool // nothing is done
	held     []func(error)
	got      []string
	last     *message.Message
}

func (s *sink) publish(m *message.Message, done func(error)) {
	s.mu.Lock()
	s.got, s.last = append(s.got, m.Topic+" "+string(m.Payload)), m
	err, hold := s.err, s.hold
	if hold {
		s.held = append(s.held, done)
	}
	s.mu.Unlock()
	if !hold {
		done(err)
	}
}

func (s *sink) set(fn func(*sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s)
}

func (s *sink) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.got
	s.got = nil
	return out
}

// start runs a Tree over s in the bubble of the test.
func start(t *testing.T, s *sink, node string, reg *metrics.Registry) {
	t.Helper()
	tree := New(Config{
		Node: node, Samples: reg.Samples, Publish: s.publish, Metrics: reg,
		Settings: func() Settings { s.mu.Lock(); defer s.mu.Unlock(); return s.settings },
		Ready:    func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.ready },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); tree.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func after(d time.Duration) {
	time.Sleep(d) // in a bubble: virtual time
	synctest.Wait()
}

func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := metrics.New()
		for _, v := range []string{"4", "5"} {
			reg.Counter("mqtt_publish_received", "PUBLISH packets.", metrics.Label{Name: "mqtt_version", Value: v}).Add(3)
		}
		reg.Histogram("put_microseconds", "Latency.", []int64{10}).Observe(7)
		s := &sink{settings: Settings{Enabled: true, Interval: 20 * time.Second, Mountpoint: "mp", QoS: 1, Retain: true}, ready: true}
		start(t, s, "a/b+#@h", reg)
		synctest.Wait()
		after(time.Second - time.Millisecond)
		if got := s.take(); got != nil {
			t.Errorf("before the first second is over: %q", got)
		}
		after(time.Millisecond)
		want := []string{
			"$SYS/a_b__@h/mqtt/publish/received 6",
			"$SYS/a_b__@h/put/microseconds/count 1", "$SYS/a_b__@h/put/microseconds/sum 7",
			"$SYS/a_b__@h/put/microseconds/bucket/10 1", "$SYS/a_b__@h/put/microseconds/bucket/inf 1",
			"$SYS/a_b__@h/systree/publish/errors 0", "$SYS/a_b__@h/systree/rounds/skipped 0",
		}
		if d := cmp.Diff(want, s.take()); d != "" {
			t.Error(d)
		}
		if m := s.last; m.Mountpoint != "mp" || m.QoS != 1 || !m.Retain {
			t.Errorf("%+v", m)
		}
		after(20*time.Second - time.Millisecond)
		if got := s.take(); got != nil {
			t.Errorf("before the interval is over: %q", got)
		}
		after(time.Millisecond)
		if got := s.take(); len(got) != len(want) {
			t.Errorf("second round: %q", got)
		}
	})
}

func TestSettingsTakeEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := metrics.New()
		s := &sink{settings: Settings{Interval: time.Hour}, ready: true}
		start(t, s, "n@h", reg)
		after(time.Hour)
		if got := s.take(); got != nil {
			t.Errorf("disabled: %q", got)
		}
		s.set(func(s *sink) { s.settings.Enabled, s.ready = true, false })
		after(2 * time.Second)
		if got := s.take(); got != nil {
			t.Errorf("before messages can be routed: %q", got)
		}
		s.set(func(s *sink) { s.ready = true })
		after(time.Second)
		if got := s.take(); len(got) != 2 {
			t.Errorf("enabled: %q", got)
		}
		s.set(func(s *sink) { s.settings.Interval = 200 * time.Millisecond })
		after(time.Second)
		s.take()
		after(time.Second)
		if got := s.take(); len(got) != 2*5 {
			t.Errorf("five rounds in a second: %q", got)
		}
	})
}

func TestWhatIsOnItsWayIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := metrics.New()
		s := &sink{settings: Settings{Enabled: true, Interval: time.Second}, ready: true, hold: true}
		start(t, s, "n@h", reg)
		after(10 * time.Second)
		if got := s.take(); len(got) != 2 {
			t.Errorf("%q", got)
		}
		if n := value(reg, "systree_rounds_skipped"); n != 9 {
			t.Errorf("%d rounds skipped", n)
		}
		s.set(func(s *sink) { s.hold = false })
		for _, done := range s.held {
			done(errors.New("no way"))
		}
		if n := value(reg, "systree_publish_errors"); n != 2 {
			t.Errorf("%d errors", n)
		}
		after(time.Second)
		if got := s.take(); !slices.Contains(got, "$SYS/n@h/systree/publish/errors 2") {
			t.Errorf("after the end of the round: %q", got)
		}
	})
}

func value(r *metrics.Registry, name string) int64 {
	for _, s := range r.Samples() {
		if s.Name == name {
			return s.Value
		}
	}
	return -1
}
