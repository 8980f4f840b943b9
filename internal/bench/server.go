package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// The brokers that are compared.
const (
	Ours      = "broker"
	Mosquitto = "mosquitto"
	Mochi     = "mochi"
)

// Server is a broker process.
type Server struct {
	Name    string
	Address string
	cmd     *exec.Cmd
	output  tail
	exited  chan struct{}
}

// PID is the number of its process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Launcher starts brokers, each time with a configuration and data of its own.
type Launcher struct {
	// Bin is the directory with our broker.
	Bin string
	// Self is this program, which runs mochi when its first argument is
	// MochiRole.
	Self string
	// Mosquitto is the path of the program; empty without it.
	Mosquitto string
	// Dir is where the brokers' directories are made.
	Dir string
	// Environ is added to our broker's environment.
	Environ []string
	runs    int
}

// Names are the brokers that can be started.
func (l *Launcher) Names() []string {
	names := []string{Ours, Mochi}
	if l.Mosquitto != "" {
		names = append(names, Mosquitto)
	}
	return names
}

// startTime bounds a broker's start, stopTime its end.
const (
	startTime = 30 * time.Second
	stopTime  = 10 * time.Second
)

// Start runs a broker and returns when it accepts clients.
func (l *Launcher) Start(ctx context.Context, name string) (*Server, error) {
	l.runs++
	dir := filepath.Join(l.Dir, fmt.Sprintf("%d-%s", l.runs, name))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	addr, err := clustertest.FreeAddress()
	if err != nil {
		return nil, err
	}
	s := &Server{Name: name, Address: addr, exited: make(chan struct{})}
	if s.cmd, err = l.command(name, dir, addr); err != nil {
		return nil, err
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	dieWithUs(s.cmd)
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is in what it printed
		close(s.exited)
	}()
	if err := s.await(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("%s does not serve: %w:\n%s", name, err, s.output.String())
	}
	return s, nil
}

// await connects until somebody answers.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	return clustertest.Await(ctx, func() error {
		select {
		case <-s.exited:
			cancel()
			return errors.New("it has ended")
		default:
		}
		c, err := dial(ctx, login{address: s.Address, version: packet.V311, id: "bench-await"})
		if err == nil {
			c.abort()
		}
		return err
	})
}

// Stop ends the process and waits for its end.
func (s *Server) Stop() {
	_ = s.cmd.Process.Signal(os.Interrupt)
	select {
	case <-s.exited:
	case <-time.After(stopTime):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

// Output is the end of what it printed.
func (s *Server) Output() string { return s.output.String() }

// queueLimit is the same for every broker: above what any run has on its way,
// so that nothing is dropped. inflightLimit is that of QoS 1 and 2.
const (
	queueLimit    = 100_000
	inflightLimit = 100
)

func (l *Launcher) command(name, dir, addr string) (*exec.Cmd, error) {
	switch name {
	case Ours:
		n, err := clustertest.New(clustertest.Config{Bin: l.Bin, Dir: dir, Name: "bench@127.0.0.1", MQTT: addr, Settings: []string{
			fmt.Sprintf("max_online_messages = %d", queueLimit),
			fmt.Sprintf("max_offline_messages = %d", queueLimit),
			fmt.Sprintf("max_inflight_messages = %d", inflightLimit),
			"listener.max_connections = 20000",
		}})
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(filepath.Join(l.Bin, "broker"), n.Args("console")...)
		cmd.Env = append(os.Environ(), l.Environ...)
		return cmd, nil
	case Mochi:
		return exec.Command(l.Self, MochiRole, addr), nil
	case Mosquitto:
		host, port, _ := strings.Cut(addr, ":")
		conf := filepath.Join(dir, "mosquitto.conf")
		lines := []string{
			"listener " + port + " " + host, "allow_anonymous true", "persistence false", "log_type error", "set_tcp_nodelay true",
			fmt.Sprintf("max_queued_messages %d", queueLimit), fmt.Sprintf("max_inflight_messages %d", inflightLimit),
		}
		if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			return nil, err
		}
		return exec.Command(l.Mosquitto, "-c", conf), nil
	}
	return nil, fmt.Errorf("no broker is called %q", name)
}

// FindMosquitto returns the path of mosquitto, or why it is not measured.
func FindMosquitto() (path string, err error) {
	if path, err = exec.LookPath("mosquitto"); err == nil {
		return path, nil
	}
	const debian = "/usr/sbin/mosquitto" // not on every user's PATH
	if _, err2 := os.Stat(debian); err2 == nil {
		return debian, nil
	}
	return "", err
}

// tail keeps the end of what a process prints.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const size = 8 << 10
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - size; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
