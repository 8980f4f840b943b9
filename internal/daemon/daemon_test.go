//go:build unix

package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary plays the child: DAEMON_TEST_ROLE says which.
const envRole = "DAEMON_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		os.Exit(child(role, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

func child(role string, args []string) int {
	n := NewNotifier()
	signals := Catch()
	switch role {
	case "serve": // pid file, then ready until SIGTERM
		p, err := WritePIDFile(args[0])
		if err != nil {
			n.Failed(err)
			return 1
		}
		fmt.Println("before ready")
		if err := n.Ready("serving"); err != nil {
			return 1
		}
		fmt.Println("after ready")
		ctx, cancel := context.WithCancel(context.Background())
		signals.Run(ctx, func(os.Signal) { cancel() }, func() { fmt.Println("reloaded") }, func(os.Signal) {})
		p.Remove()
		return 0
	case "fail":
		n.Failed(errors.New("port 1883 is in use"))
		return 1
	case "die":
		fmt.Fprintln(os.Stderr, "panic: oh no")
		return 2
	case "hang", "stubborn":
		if role == "stubborn" {
			p, err := WritePIDFile(args[0])
			if err != nil {
				return 1
			}
			defer p.Remove()
			fmt.Println("up")
			signals.Run(context.Background(), func(os.Signal) {}, func() {}, func(os.Signal) { os.Exit(3) })
		}
		select {} // ended by the test
	case "lock":
		if _, err := LockDir(args[0]); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("locked")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	case "environment":
		for _, e := range os.Environ() {
			if strings.HasPrefix(e, "MQADMIN_") {
				n.Failed(errors.New("inherited " + e))
				return 1
			}
		}
		sid, _ := unix.Getsid(0)
		_ = n.Ready(strconv.FormatBool(sid == os.Getpid()))
		return 0
	}
	return 9
}

func role(name string) []string { return append(os.Environ(), envRole+"="+name) }

// process starts a child that is not detached and returns its output.
func process(t *testing.T, name string, args ...string) (*exec.Cmd, io.WriteCloser, *bufio.Reader) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = role(name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, in, bufio.NewReader(out)
}

func line(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	got, err := r.ReadString('\n')
	if err != nil || strings.TrimSpace(got) != want {
		t.Fatalf("child wrote %q, %v; want %q", got, err, want)
	}
}

func TestStartStop(t *testing.T) {
	dir := t.TempDir()
	pidfile, output := filepath.Join(dir, "run", "broker.pid"), filepath.Join(dir, "out")
	o := StartOptions{Path: os.Args[0], Args: []string{pidfile}, Env: role("serve"), Output: output}
	pid, message, err := Start(t.Context(), o)
	if err != nil || message != "serving" {
		t.Fatal(message, err)
	}
	if got, err := Ping(pidfile); got != pid || err != nil {
		t.Fatal(got, err, pid)
	}
	// A second one fails with the reason, and the first is left alone.
	if _, _, err := Start(t.Context(), o); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), fmt.Sprintf("already running: process %d", pid)) {
		t.Error(err)
	}
	if err := Stop(t.Context(), pidfile, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pidfile); !os.IsNotExist(err) {
		t.Error(err)
	}
	if err := Stop(t.Context(), pidfile, time.Second); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), pidfile) {
		t.Error(err)
	}
	if b, err := os.ReadFile(output); err != nil || string(b) != "after ready\n" {
		t.Errorf("%q %v", b, err)
	}
}

func TestStartFails(t *testing.T) {
	for _, tt := range []struct{ role, want string }{
		{"fail", "did not start: port 1883 is in use"},
		{"die", "did not start: panic: oh no"},
	} {
		_, _, err := Start(t.Context(), StartOptions{Path: os.Args[0], Env: role(tt.role)})
		if !errors.Is(err, ErrNotReady) || err.Error() != tt.want {
			t.Errorf("%s: %v", tt.role, err)
		}
	}
	if _, _, err := Start(t.Context(), StartOptions{Path: "/no/such/program"}); err == nil {
		t.Error("no error for a missing program")
	}
}

func TestStartTimeout(t *testing.T) {
	_, _, err := Start(t.Context(), StartOptions{Path: os.Args[0], Env: role("hang"), Timeout: 100 * time.Millisecond, Kill: true})
	if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "was ended") {
		t.Error(err)
	}
	pid, _, err := Start(t.Context(), StartOptions{Path: os.Args[0], Env: role("hang"), Timeout: 100 * time.Millisecond})
	if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), fmt.Sprintf("process %d goes on", pid)) {
		t.Error(err)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	_, _ = p.Wait()
}

func TestChildHasItsOwnSessionAndNoTraces(t *testing.T) {
	_, message, err := Start(t.Context(), StartOptions{Path: os.Args[0], Env: role("environment")})
	if err != nil || message != "true" {
		t.Error(message, err)
	}
}

func TestStopTimeout(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	cmd, _, out := process(t, "stubborn", pidfile)
	line(t, out, "up")
	if err := Stop(t.Context(), pidfile, 100*time.Millisecond); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	// The second signal is the kill callback's.
	if err := Stop(t.Context(), pidfile, 10*time.Second); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Error(err)
	}
}

func TestReload(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	cmd, _, out := process(t, "serve", pidfile)
	line(t, out, "before ready")
	line(t, out, "after ready")
	for range 2 {
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		line(t, out, "reloaded")
	}
	if err := Stop(t.Context(), pidfile, 10*time.Second); err != nil {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cmd, in, out := process(t, "lock", dir)
	line(t, out, "locked")
	_, err := LockDir(dir)
	want := fmt.Sprintf("data directory is in use: process %d holds %s; stop it or use another directory", cmd.Process.Pid, filepath.Join(dir, "LOCK"))
	if !errors.Is(err, ErrLocked) || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	in.Close()
	_ = cmd.Wait()
	l, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockDir(dir); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
	if err := errors.Join(l.Release(), l.Release()); err != nil {
		t.Error(err)
	}
}

func TestLockSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	cmd, _, out := process(t, "lock", dir)
	line(t, out, "locked")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	l, err := LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}

func TestStalePIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	// The number lives, but the process is not ours: nobody holds the file.
	if err := os.WriteFile(path, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Ping(path); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "process 1, which has ended") {
		t.Error(err)
	}
	p, err := WritePIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := Ping(path); pid != os.Getpid() || err != nil {
		t.Error(pid, err)
	}
	if _, err := WritePIDFile(path); !errors.Is(err, ErrRunning) {
		t.Error(err)
	}
	p.Remove()
}

func TestSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	receive := func(want string) {
		t.Helper()
		b := make([]byte, 1000)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Errorf("%q %v, want %q", b[:n], err, want)
		}
	}
	n := NewNotifier()
	if err := n.Ready("MQTT on :1883\nX=1"); err != nil {
		t.Error(err)
	}
	receive("READY=1\nSTATUS=\"MQTT on :1883\\nX=1\"")
	done := n.Reloading()
	receive("RELOADING=1\nMONOTONIC_USEC=")
	done()
	receive("READY=1")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); n.Watchdog(ctx, func() bool { return true }) }()
	receive("WATCHDOG=1")
	receive("WATCHDOG=1")
	cancel()
	<-ended
}

func TestNotifierWithoutListeners(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n := NewNotifier()
	if err := n.Ready("x"); err != nil || n.Detached() {
		t.Error(err)
	}
	n.Failed(errors.New("x"))
	n.Stopping()
	n.Watchdog(t.Context(), func() bool { t.Error("asked"); return true })
}

func TestRaiseFileLimit(t *testing.T) {
	had, err := RaiseFileLimit(1)
	if err != nil || had < 1 {
		t.Fatal(had, err)
	}
	got, err := RaiseFileLimit(had)
	if err != nil || got != had {
		t.Error(got, err)
	}
}
