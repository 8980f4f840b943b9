package graphite

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func registry() *metrics.Registry {
	r := metrics.New()
	v4, v5 := metrics.Label{Name: "mqtt_version", Value: "4"}, metrics.Label{Name: "mqtt_version", Value: "5"}
	r.Counter("mqtt_puback_sent", "PUBACK packets.", v4).Add(2)
	r.Counter("mqtt_puback_sent", "PUBACK packets.", v5, metrics.Label{Name: "reason_code", Value: "success"}).Add(3)
	r.Gauge("listener_tls_error", "Trouble.", func() int64 { return -1 }, metrics.Label{Name: "listener", Value: "ssl.a b\n"})
	r.Histogram("put_microseconds", "Latency.", []int64{10, 100}).Observe(50)
	return r
}

func TestLines(t *testing.T) {
	at := time.Unix(1700000000, 999)
	got := string(lines(registry().Samples(), Settings{}, at))
	want := `listener.tls.error -1 1700000000
mqtt.puback.sent 5 1700000000
put.microseconds.count 1 1700000000
put.microseconds.sum 50 1700000000
put.microseconds.bucket.10 0 1700000000
put.microseconds.bucket.100 1 1700000000
put.microseconds.bucket.inf 1 1700000000
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	got = string(lines(registry().Samples(), Settings{APIKey: "key", Prefix: "a.b", IncludeLabels: true}, at))
	want = "key.a.b." + strings.ReplaceAll(strings.TrimSuffix(want, "\n"), "\n", "\nkey.a.b.") + `
key.a.b.listener.tls.error.listener_ssl_a_b_ -1 1700000000
key.a.b.mqtt.puback.sent.mqtt_version_4 2 1700000000
key.a.b.mqtt.puback.sent.mqtt_version_5.reason_code_success 3 1700000000
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// server is a Graphite server on pipes.
type server struct {
	mu       sync.Mutex
	settings Settings
	down     error
	dialled  []string
	times    []time.Time
	conn     net.Conn // the newest
	pushes   int      // lines of mqtt.puback.sent
}

func (s *server) dial(_ context.Context, network, address string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialled, s.times = append(s.dialled, network+" "+address), append(s.times, time.Now())
	if s.down != nil {
		return nil, s.down
	}
	client, conn := net.Pipe()
	s.conn = conn
	go func() {
		for in := bufio.NewScanner(conn); in.Scan(); {
			if strings.HasPrefix(in.Text(), "mqtt.puback.sent ") {
				s.set(func(s *server) { s.pushes++ })
			}
		}
	}()
	return client, nil
}

func (s *server) set(fn func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s)
}

// take returns how many pushes and connections there were since the last call.
func (s *server) take() (pushes, dialled int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pushes, dialled = s.pushes, len(s.dialled)
	s.pushes, s.dialled = 0, nil
	return pushes, dialled
}

func start(t *testing.T, s *server, reg *metrics.Registry) {
	t.Helper()
	p := New(Config{
		Settings: func() Settings { s.mu.Lock(); defer s.mu.Unlock(); return s.settings },
		Samples:  reg.Samples, Dial: s.dial, Metrics: reg,
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func after(d time.Duration) {
	time.Sleep(d) // in a bubble: virtual time
	synctest.Wait()
}

func defaults() Settings {
	return Settings{
		Enabled: true, Host: "localhost", Port: 2003, Interval: 20 * time.Second,
		ConnectTimeout: 5 * time.Second, ReconnectTimeout: 16 * time.Second,
	}
}

func TestPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{settings: defaults()}
		reg := registry()
		start(t, s, reg)
		after(time.Millisecond)
		if d := cmp.Diff([]string{"tcp localhost:2003"}, s.dialled); d != "" {
			t.Error(d)
		}
		after(time.Minute + time.Second)
		if pushes, dialled := s.take(); pushes != 4 || dialled != 1 {
			t.Errorf("%d pushes over %d connections in a minute", pushes, dialled)
		}
		s.set(func(s *server) { s.settings.Interval = time.Second })
		after(10500 * time.Millisecond)
		if pushes, _ := s.take(); pushes < 9 || pushes > 11 {
			t.Errorf("%d pushes with a shorter interval", pushes)
		}
		s.set(func(s *server) { s.settings.Port = 2004 })
		after(2 * time.Second)
		if pushes, dialled := s.take(); pushes == 0 || dialled != 1 {
			t.Errorf("another address: %d pushes, %d connections", pushes, dialled)
		}
		s.set(func(s *server) { s.settings.Enabled = false })
		after(time.Minute)
		if pushes, dialled := s.take(); pushes > 1 || dialled != 0 {
			t.Errorf("switched off: %d pushes, %d connections", pushes, dialled)
		}
		s.set(func(s *server) { s.settings.Enabled = true })
		after(2 * time.Second)
		if pushes, dialled := s.take(); pushes == 0 || dialled != 1 {
			t.Errorf("switched on: %d pushes, %d connections", pushes, dialled)
		}
	})
}

// A server that closes between two pushes costs none of them; one that cannot be
// reached is tried again after ever longer pauses.
func TestReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{settings: defaults()}
		reg := registry()
		start(t, s, reg)
		after(time.Second)
		s.conn.Close()
		after(20 * time.Second)
		if pushes, dialled := s.take(); pushes != 2 || dialled != 2 {
			t.Errorf("after it was closed: %d pushes, %d connections", pushes, dialled)
		}
		if n := value(reg, "graphite_push_errors"); n != 0 {
			t.Errorf("%d errors", n)
		}
		s.set(func(s *server) { s.down, s.times = errors.New("refused"), nil; s.conn.Close() })
		after(10 * time.Minute)
		if n := len(s.times); n < 6 || n > 8 {
			t.Fatalf("%d attempts in ten minutes", n)
		}
		for i, want := range []time.Duration{16, 32, 64, 128, 128} {
			pause := s.times[i+1].Sub(s.times[i])
			if pause < want*time.Second*3/4 || pause > want*time.Second*5/4+time.Second {
				t.Errorf("pause %d is %v, want about %d s", i, pause, want)
			}
		}
		if n := value(reg, "graphite_push_errors"); n != int64(len(s.times)) {
			t.Errorf("%d errors, %d attempts", n, len(s.times))
		}
		s.set(func(s *server) { s.down = nil })
		after(3 * time.Minute)
		if pushes, dialled := s.take(); pushes == 0 || dialled == 0 {
			t.Errorf("when it is back: %d pushes, %d connections", pushes, dialled)
		}
	})
}

// deaf is a connection on which nothing is ever taken.
type deaf struct{ net.Conn }

func TestAServerThatReadsNothingHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{settings: defaults()}
		reg := registry()
		var dials atomic.Int64
		p := New(Config{Settings: func() Settings { return s.settings }, Samples: reg.Samples, Metrics: reg, Dial: func(context.Context, string, string) (net.Conn, error) {
			dials.Add(1)
			client, _ := net.Pipe()
			return deaf{client}, nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		after(4 * time.Second)
		if n := value(reg, "graphite_push_errors"); n != 0 {
			t.Errorf("before the time is over: %d errors", n)
		}
		after(time.Second)
		if n := value(reg, "graphite_push_errors"); n != 1 || dials.Load() != 1 {
			t.Errorf("%d errors, %d connections", n, dials.Load())
		}
		after(21 * time.Second) // in the midst of the next write
		cancel()
		began := time.Now()
		<-done
		if d := time.Since(began); d > 0 {
			t.Errorf("stopping took %v", d)
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
