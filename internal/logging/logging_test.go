package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func files(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWhereRecordsGo(t *testing.T) {
	for _, tt := range []struct {
		console      string
		stdout, file []string
	}{
		{"off", nil, nil},
		{"file", nil, []string{"info", "warning", "error"}},
		{"console", []string{"info", "warning", "error"}, nil},
		{"both", []string{"info", "warning", "error"}, []string{"info", "warning", "error"}},
	} {
		t.Run(tt.console, func(t *testing.T) {
			dir := t.TempDir()
			var stdout bytes.Buffer
			console, errorFile := filepath.Join(dir, "sub", "console.log"), filepath.Join(dir, "error.log")
			l, err := New(Options{
				Console: tt.console, Stdout: &stdout, ConsoleFormat: "json", Level: slog.LevelInfo,
				ConsoleFile: File{Path: console, Format: "json"},
				Error:       true, ErrorFile: File{Path: errorFile, Format: "json"},
			})
			if err != nil {
				t.Fatal(err)
			}
			l.Debug("d")
			l.Info("i")
			l.Warn("w")
			l.Error("e")
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			fileText := ""
			if tt.file != nil {
				fileText = read(t, console)
			}
			if d := cmp.Diff(tt.stdout, levels(t, stdout.String())); d != "" {
				t.Error("stdout", d)
			}
			if d := cmp.Diff(tt.file, levels(t, fileText)); d != "" {
				t.Error("file", d)
			}
			if d := cmp.Diff([]string{"error"}, levels(t, read(t, errorFile))); d != "" {
				t.Error("error file", d)
			}
		})
	}
}

func levels(t *testing.T, text string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(text) {
		var r struct{ Level string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		out = append(out, r.Level)
	}
	return out
}

func TestLevelChangesWhileRunning(t *testing.T) {
	var b bytes.Buffer
	l, err := New(Options{Console: "console", Stdout: &b, Level: LevelNotice})
	if err != nil {
		t.Fatal(err)
	}
	l.Info("hidden")
	l.Log(t.Context(), LevelCritical, "shown")
	l.Level.Set(slog.LevelDebug)
	l.Debug("now")
	if s := b.String(); strings.Contains(s, "hidden") || !strings.Contains(s, "level=critical msg=shown") || !strings.Contains(s, "level=debug msg=now") {
		t.Error(s)
	}
}

func TestParseLevel(t *testing.T) {
	if l, err := ParseLevel("warning"); l != slog.LevelWarn || err != nil {
		t.Error(l, err)
	}
	if _, err := ParseLevel("loud"); !errors.Is(err, ErrLevel) {
		t.Error(err)
	}
}

func TestNewNamesAFileThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "x", "error.log")
	_, err := New(Options{Console: "file", ConsoleFile: File{Path: filepath.Join(dir, "ok.log")}, Error: true, ErrorFile: File{Path: path}})
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
}

func TestRotateBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r, err := openRotating(File{Path: filepath.Join(dir, "a.log"), Size: 25, Keep: 2})
		if err != nil {
			t.Fatal(err)
		}
		for range 9 {
			if _, err := r.Write([]byte("0123456789")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // virtual; backups are named by the millisecond
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, filepath.Join(dir, "a.log")); got != "0123456789" {
			t.Errorf("%q", got)
		}
		backups := files(t, filepath.Join(dir, "a-*"))
		if len(backups) != 2 {
			t.Fatal(backups)
		}
		for _, b := range backups {
			if got := read(t, b); len(got) != 20 {
				t.Errorf("%s: %q", b, got)
			}
		}
	})
}

func TestRotateByClockAndCompress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r, err := openRotating(File{Path: filepath.Join(dir, "a.log"), Schedule: "$D0", Keep: 5, Compress: true})
		if err != nil {
			t.Fatal(err)
		}
		r.Write([]byte("monday\n"))
		time.Sleep(23 * time.Hour)
		r.Write([]byte("still monday\n"))
		time.Sleep(2 * time.Hour)
		r.Write([]byte("tuesday\n"))
		r.Close()
		if got := read(t, filepath.Join(dir, "a.log")); got != "tuesday\n" {
			t.Errorf("%q", got)
		}
		if b := files(t, filepath.Join(dir, "a-*time.log.gz")); len(b) != 1 {
			t.Error(files(t, filepath.Join(dir, "*")))
		}
	})
}

func TestRotateAfterRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(path, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(path, before, before); err != nil {
		t.Fatal(err)
	}
	r, err := openRotating(File{Path: path, Schedule: "$D0", Keep: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.Write([]byte("new\n"))
	r.Close()
	if got := read(t, path); got != "new\n" {
		t.Errorf("%q", got)
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	l, err := New(Options{Console: "file", ConsoleFile: File{Path: path}})
	if err != nil {
		t.Fatal(err)
	}
	l.Info("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Info("two")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Info("three")
	l.Close()
	if moved, now := read(t, path+".1"), read(t, path); strings.Count(moved, "\n") != 2 || !strings.Contains(now, "three") {
		t.Errorf("%q %q", moved, now)
	}
}

func TestCrash(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "crash.log")
	var stdout bytes.Buffer
	l, err := New(Options{Console: "console", Stdout: &stdout, Crash: true, CrashFile: File{Path: path}, CrashMaxMessage: 200})
	if err != nil {
		t.Fatal(err)
	}
	l.Crash("client a\x1b[1m", errors.New("boom"), bytes.Repeat([]byte("frame\n"), 1000))
	l.Close()
	got := read(t, path)
	if len(got) > 200 || !strings.Contains(got, `connection="client a\x1b[1m" reason="boom"`) || !strings.HasSuffix(got, "… (cut)\n") {
		t.Errorf("%d %q", len(got), got)
	}
	if s := stdout.String(); strings.Contains(s, "frame") || !strings.Contains(s, "boom") {
		t.Error(s)
	}
}

func TestCrashWithoutCrashLog(t *testing.T) {
	var stdout bytes.Buffer
	l, err := New(Options{Console: "console", Stdout: &stdout})
	if err != nil {
		t.Fatal(err)
	}
	l.Crash("c", "boom", []byte("frame"))
	if s := stdout.String(); !strings.Contains(s, "frame") {
		t.Error(s)
	}
}

func TestHCLog(t *testing.T) {
	var b bytes.Buffer
	l := HCLog(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelInfo})))
	l.Named("raft").With("id", 7).Warn("lost leader", "error", errors.New("gone"), "n", hclog.Fmt("%d/%d", 1, 2))
	l.Debug("hidden")
	got := b.String()
	if !strings.Contains(got, `level=WARN msg="lost leader" component=raft id=7 error=gone n=1/2`) || strings.Contains(got, "hidden") {
		t.Error(got)
	}
}

func TestSchedule(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tt := range []struct{ schedule, from, want string }{
		{"$D0", "2026-11-23 10:00", "2026-11-24 00:00"}, // a Monday
		{"$D0", "2026-11-23 00:00", "2026-11-24 00:00"},
		{"$D23", "2026-11-23 10:00", "2026-11-23 23:00"},
		{"$D4H30", "2026-11-23 10:00", "2026-11-24 04:30"},
		{"$W0D23", "2026-11-23 10:00", "2026-11-29 23:00"},
		{"$W5D16", "2026-11-27 16:00", "2026-12-04 16:00"},
		{"$M1D5", "2026-11-23 10:00", "2026-12-01 05:00"},
		{"$M31D0", "2026-11-23 10:00", "2026-11-30 00:00"},
		{"$H30", "2026-11-23 10:31", "2026-11-23 11:30"},
		{"$H0", "2026-11-23 10:00", "2026-11-23 11:00"},
	} {
		s, err := ParseSchedule(tt.schedule)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(at(tt.from)); !got.Equal(at(tt.want)) {
			t.Errorf("%s from %s: %s, want %s", tt.schedule, tt.from, got, tt.want)
		}
	}
	for _, bad := range []string{"$", "D0", "$D24", "$W7", "$M0D1", "$M32", "$H60", "$D0 ", "daily"} {
		if _, err := ParseSchedule(bad); !errors.Is(err, ErrSchedule) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if s, err := ParseSchedule("off"); err != nil || !s.Next(time.Now()).IsZero() {
		t.Error(s, err)
	}
}
