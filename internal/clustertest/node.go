// Package clustertest runs brokers as an operator does: the real binaries, as
// processes of their own, on loopback or in network namespaces that the test
// made. Nothing imports it but tests, the demo and the benchmarks.
package clustertest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Config describes one broker process.
type Config struct {
	// Bin is the directory with the broker and mqadmin binaries.
	Bin string
	// Dir is the node's own directory; data, run and log lie below it.
	Dir string
	// Name is the node name, such as n1@127.0.0.1.
	Name string
	// MQTT, Cluster and HTTP are host:port; New fills empty ones with free
	// ports of 127.0.0.1.
	MQTT, Cluster, HTTP string
	// Settings are further lines of the configuration file.
	Settings []string
	// Output gets what the process prints; nil drops it.
	Output io.Writer
}

// Node is a broker process and the directories that outlive it.
type Node struct {
	Config
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of the process, readable once exited is closed
	tail   tail
}

// ServingLine is how the line starts that a broker prints when it serves.
const ServingLine = "broker serves"

// New writes the node's configuration file; Start runs it.
func New(cfg Config) (*Node, error) {
	for _, addr := range []*string{&cfg.MQTT, &cfg.Cluster, &cfg.HTTP} {
		if *addr != "" {
			continue
		}
		free, err := FreeAddress()
		if err != nil {
			return nil, err
		}
		*addr = free
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	acl := filepath.Join(cfg.Dir, "vmq.acl")
	if err := os.WriteFile(acl, []byte("topic #\n"), 0o600); err != nil {
		return nil, err
	}
	lines := append([]string{
		"nodename = " + cfg.Name,
		"distributed_cookie = clustertest-cookie-of-some-length",
		"listener.tcp.default = " + cfg.MQTT,
		"listener.vmq.clustering = " + cfg.Cluster,
		"listener.http.default = " + cfg.HTTP,
		"allow_anonymous = on",
		"plugins.vmq_passwd = off",
		"plugins.vmq_acl = on",
		"vmq_acl.acl_file = " + acl,
	}, cfg.Settings...)
	n := &Node{Config: cfg}
	if err := os.WriteFile(n.ConfigFile(), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	return n, nil
}

// ConfigFile is the path of the node's configuration.
func (n *Node) ConfigFile() string { return filepath.Join(n.Dir, "broker.conf") }

// Socket is the path of the node's admin socket.
func (n *Node) Socket() string { return filepath.Join(n.Dir, "run", "admin.sock") }

// DataDir is the directory with the node's metadata and messages.
func (n *Node) DataDir() string { return filepath.Join(n.Dir, "data") }

// Args is a broker subcommand with this node's configuration and directories.
func (n *Node) Args(subcommand ...string) []string { return append(subcommand, n.dirs()...) }

// dirs are the flags that keep everything below the node's directory.
func (n *Node) dirs() []string {
	return []string{
		"--config", n.ConfigFile(), "--data-dir", n.DataDir(),
		"--run-dir", filepath.Join(n.Dir, "run"), "--log-dir", filepath.Join(n.Dir, "log"),
	}
}

// Start runs `broker console` and returns when it serves, or with what it
// printed when it does not.
func (n *Node) Start(ctx context.Context) error {
	n.cmd = exec.Command(filepath.Join(n.Bin, "broker"), n.Args("console")...)
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	n.tail.reset()
	n.cmd.Stderr = &n.tail
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", n.Name, err)
	}
	serving, exited := make(chan struct{}), make(chan struct{})
	n.exited = exited
	go n.wait(out, serving, exited)
	select {
	case <-serving:
		return nil
	case <-exited:
		return fmt.Errorf("%s ended before it served (%w):\n%s", n.Name, n.err, n.tail.String())
	case <-ctx.Done():
		n.Kill()
		return fmt.Errorf("%s does not serve: %w:\n%s", n.Name, ctx.Err(), n.tail.String())
	}
}

// wait reads the process's output to its end and then its exit status.
func (n *Node) wait(out io.Reader, serving, exited chan struct{}) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if serving != nil && strings.HasPrefix(lines.Text(), ServingLine) {
			close(serving)
			serving = nil
		}
		fmt.Fprintln(&n.tail, lines.Text())
		if n.Output != nil {
			fmt.Fprintf(n.Output, "%s: %s\n", n.Name, lines.Text())
		}
	}
	n.err = n.cmd.Wait()
	if n.err == nil {
		n.err = errors.New("exit status 0")
	}
	close(exited)
}

// Kill ends the process as a power cut does and waits for its end.
func (n *Node) Kill() {
	if n.cmd == nil || n.cmd.Process == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	<-n.exited
}

// Hang stops the process's clock, as a virtual machine that is not scheduled
// any more; Resume lets it go on.
func (n *Node) Hang() error { return n.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume ends Hang.
func (n *Node) Resume() error { return n.cmd.Process.Signal(syscall.SIGCONT) }

// Stop ends the process as an operator does (SIGTERM) and returns its error
// unless it exits with status 0 in time.
func (n *Node) Stop(timeout time.Duration) error {
	if n.cmd == nil || n.cmd.Process == nil || !n.Running() {
		return nil
	}
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-n.exited:
	case <-time.After(timeout):
		n.Kill()
		return fmt.Errorf("%s did not stop within %v:\n%s", n.Name, timeout, n.tail.String())
	}
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s stopped with status %d:\n%s", n.Name, code, n.tail.String())
	}
	return nil
}

// Running reports whether the process is there.
func (n *Node) Running() bool {
	if n.exited == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// PID is the number of the process.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (n *Node) Exited() <-chan struct{} { return n.exited }

// ExitCode is the status of a process that has ended, −1 if a signal ended it.
func (n *Node) ExitCode() int {
	<-n.exited
	return n.cmd.ProcessState.ExitCode()
}

// Tail returns the last of what the process printed.
func (n *Node) Tail() string { return n.tail.String() }

// Result is what a command printed and how it ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Admin runs mqadmin against this node.
func (n *Node) Admin(ctx context.Context, args ...string) Result {
	return Run(ctx, filepath.Join(n.Bin, "mqadmin"), append([]string{"--socket", n.Socket()}, args...)...)
}

// Broker runs a broker subcommand with this node's directories.
func (n *Node) Broker(ctx context.Context, args ...string) Result {
	return Run(ctx, filepath.Join(n.Bin, "broker"), n.Args(args...)...)
}

// Run runs a command to its end. Code is −1 when it could not be started.
func Run(ctx context.Context, name string, args ...string) Result {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errs.String()}
	if err != nil {
		r.Code = cmd.ProcessState.ExitCode()
		if r.Code < 0 {
			r.Stderr += err.Error()
		}
	}
	return r
}

// Ports that FreeAddress gives out lie below the range from which systems take
// those of outgoing connections: a broker that is down finds its port free when
// it starts again. Each process of the tests begins somewhere else.
const (
	firstPort    = 10000
	portsPerTest = 400
	portRanges   = 50
)

var portsGiven atomic.Uint32

// FreeAddress returns a loopback address that nothing listens on now and that
// this process has not been given before.
func FreeAddress() (string, error) {
	base := firstPort + os.Getpid()%portRanges*portsPerTest
	var err error
	for range portsPerTest {
		port := base + int(portsGiven.Add(1)-1)%portsPerTest
		var ln net.Listener
		if ln, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			ln.Close()
			return ln.Addr().String(), nil
		}
	}
	return "", err
}

// Build compiles both programs into dir.
func Build(ctx context.Context, dir string, race bool) error {
	args := []string{"build", "-o", dir}
	if race {
		args = append(args, "-race")
	}
	args = append(args, "github.com/mqadmin/mqadmin/cmd/broker", "github.com/mqadmin/mqadmin/cmd/mqadmin")
	if r := Run(ctx, "go", args...); r.Code != 0 {
		return fmt.Errorf("building the programs:\n%s", r.Stderr)
	}
	return nil
}

// tail keeps the last lines of a process's output.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 16 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

func (t *tail) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = nil
}

// Await polls until ok returns nil, every 20 ms, and returns its last error
// when ctx ends first.
func Await(ctx context.Context, ok func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		}
	}
}
