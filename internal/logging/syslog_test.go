package logging

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// syslogOver returns a logger that writes to the other end of a pipe.
func syslogOver(t *testing.T, s Syslog) (*Logger, net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	s.Dial = func(context.Context) (net.Conn, error) { return there, nil }
	l, err := New(Options{Console: "off", Syslog: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		here.Close()
		_ = l.Close()
	})
	return l, here
}

func TestSyslogFormats(t *testing.T) {
	for name, tc := range map[string]struct {
		s      Syslog
		prefix string
		has    string
	}{
		"rfc3164 local":  {Syslog{Facility: 3, App: "broker"}, "<27>", " broker["},
		"rfc3164 stream": {Syslog{Facility: 3, App: "broker", Host: "h", Stream: true}, "<27>", " h broker["},
		"rfc5424":        {Syslog{Facility: 16, App: "b", RFC5424: true}, "<131>1 2", "Z - b "},
	} {
		l, here := syslogOver(t, tc.s)
		l.With("part", "x").Error("it failed", "why", "no")
		b := make([]byte, 1000)
		_ = here.SetDeadline(time.Now().Add(10 * time.Second))
		n, err := here.Read(b)
		got := string(b[:n])
		if err != nil || !strings.HasPrefix(got, tc.prefix) || !strings.Contains(got, tc.has) || !strings.Contains(got, `msg="it failed" part=x why=no`) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if tc.s.Stream != strings.HasSuffix(got, "\n") || strings.Contains(got, "level=") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestSyslogCountsOctetsOnAStream(t *testing.T) {
	c := Syslog{Stream: true, RFC5424: true}
	if got := string(c.frame("abc")); got != "3 abc" {
		t.Error(got)
	}
}

// Who logs is never held up: beyond max_pending records are dropped and counted.
func TestSyslogThatHangsDrops(t *testing.T) {
	block := make(chan struct{})
	var once sync.Once
	l, err := New(Options{Console: "off", Syslog: Syslog{MaxPending: 2, Dial: func(ctx context.Context) (net.Conn, error) {
		once.Do(func() { close(block) })
		<-ctx.Done()
		return nil, ctx.Err()
	}}})
	if err != nil {
		t.Fatal(err)
	}
	l.Info("taken by the goroutine")
	<-block
	for range 5 {
		l.Info("x")
	}
	if n := l.SyslogDropped(); n != 3 {
		t.Errorf("%d were dropped", n)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestLevelsOfLoggers(t *testing.T) {
	l, _ := syslogOver(t, Syslog{Level: slog.LevelWarn})
	if h := l.Handlers(); len(h) != 1 || h[0].Name != "syslog" || h[0].Level() != "warning" {
		t.Errorf("%+v", h)
	}
	if err := l.SetLevel("syslog", LevelNotice); err != nil || l.Handlers()[0].Level() != "notice" {
		t.Error(err)
	}
	if err := l.SetLevel("console", slog.LevelInfo); err == nil {
		t.Error("there is no console")
	}
	for l, want := range map[slog.Level]int{slog.LevelDebug: 7, slog.LevelInfo: 6, LevelNotice: 5, slog.LevelWarn: 4, slog.LevelError: 3, LevelCritical: 2, LevelAlert: 1, LevelEmergency: 0} {
		if got := severity(l); got != want {
			t.Errorf("%v: %d, want %d", l, got, want)
		}
	}
	if n, err := ParseFacility("local7"); n != 23 || err != nil {
		t.Error(n, err)
	}
	if _, err := ParseFacility("nobody"); err == nil {
		t.Error("a facility that does not exist")
	}
}
