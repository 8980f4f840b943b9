package clustertest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// isolation is what a lab puts between itself and the machine: networks,
// mounts and processes of its own, which all go with its first process.
const isolation = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID

// missing says what this machine lacks for a lab, "" if nothing.
func missing() string {
	if os.Geteuid() != 0 {
		return "needs root"
	}
	for _, program := range []string{"ip", "nsenter", "mount", "sleep", "sh", "env"} {
		if _, err := exec.LookPath(program); err != nil {
			return "needs the program " + program
		}
	}
	// A bridge is what some kernels and containers lack.
	try := exec.Command("ip", "link", "add", "mqbr0", "type", "bridge") //nolint:noctx // ends at once
	try.SysProcAttr = &syscall.SysProcAttr{Cloneflags: isolation}
	if out, err := try.CombinedOutput(); err != nil {
		return fmt.Sprintf("needs namespaces and bridges, which this machine refuses: %v %s", err, bytes.TrimSpace(out))
	}
	return ""
}

// insideLab reports whether this process is the one that runLab started.
func insideLab() bool { return os.Getenv("MQADMIN_CLUSTERTEST_LAB") != "" }

// runLab executes one test again, as the first process of fresh namespaces.
func runLab(t *testing.T) {
	t.Helper()
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v"}
	if deadline, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout="+untilDeadline(deadline).String())
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "MQADMIN_CLUSTERTEST_LAB=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: isolation, Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	t.Logf("in namespaces of its own:\n%s", out.String())
	if err != nil {
		t.Fatal(err)
	}
}

// lab is the network 192.168.100.0/24 with this process on it as .1, where
// the clients run.
type lab struct {
	dir  string // programs and the hosts' directories
	path string // of commands on the hosts, before the system's own
}

// newLab sets up the network, with programs that every system has and that
// are not what is tested.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{dir: t.TempDir()}
	for _, line := range []string{
		"mount --make-rprivate /",
		"mount -t proc proc /proc",
		"ip link set lo up",
		"ip link add br0 type bridge",
		"ip address add 192.168.100.1/24 dev br0",
		"ip link set br0 up",
	} {
		must(t, line)
	}
	l.path = filepath.Join(l.dir, "system")
	writeFile(t, filepath.Join(l.path, "sudo"), "#!/bin/sh\nexec \"$@\"\n", 0o755)
	writeFile(t, filepath.Join(l.path, "service"), "#!/bin/sh\nexec \"$1\" \"$2\"\n", 0o755)
	return l
}

// install makes the programs known on every host, under VerneMQ's names too.
func (l *lab) install(t *testing.T) {
	t.Helper()
	programs := filepath.Join(l.dir, "bin")
	if err := os.Mkdir(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"broker": "broker", "mqadmin": "mqadmin", "vernemq": "broker", "vmq-admin": "mqadmin"} {
		if err := os.Symlink(filepath.Join(bin(), target), filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	l.path += ":" + programs
}

// must runs a line of the shell in this process's namespaces.
func must(t *testing.T, line string) {
	t.Helper()
	if r := clustertest.Run(t.Context(), "sh", "-c", line); r.Code != 0 {
		t.Fatalf("%s: exit code %d: %s%s", line, r.Code, r.Stdout, r.Stderr)
	}
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// host is a machine of the lab with its own address and its own private
// directories.
type host struct {
	*clustertest.Node // to ask the broker; the guide's commands start and stop it
	lab               *lab
	holder            int // process that holds the namespaces
}

// private are the directories that each host has for itself.
func private() map[string]string {
	return map[string]string{
		"etc": "/etc", "lib": "/var/lib", "log": "/var/log", "var-run": "/run",
		"local-bin": "/usr/local/bin", "local-sbin": "/usr/local/sbin",
	}
}

// newHost adds 192.168.100.<last>, whose node is name@ that address.
func (l *lab) newHost(t *testing.T, name, last string) *host {
	t.Helper()
	address := "192.168.100." + last
	dir := filepath.Join(l.dir, "host-"+last)
	h := &host{lab: l, Node: &clustertest.Node{Config: clustertest.Config{
		Bin: bin(), Dir: dir, Name: name + "@" + address,
		MQTT: address + ":1883", Cluster: address + ":44053",
	}}}
	for sub := range private() {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The socket as this process sees it.
	if err := os.Symlink(filepath.Join(dir, "var-run", "mqadmin"), filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"passwd", "group", "hosts", "nsswitch.conf"} {
		if text, err := os.ReadFile("/etc/" + name); err == nil {
			writeFile(t, filepath.Join(dir, "etc", name), string(text), 0o644)
		}
	}
	sleep := exec.CommandContext(t.Context(), "sleep", "infinity")
	sleep.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	h.holder = sleep.Process.Pid
	t.Cleanup(func() { _ = sleep.Wait() }) // t.Context ends before and kills it
	h.connect(t, last, address)
	for sub, target := range private() {
		must(t, fmt.Sprintf("nsenter -t %d -m -- mount --bind %s %s", h.holder, filepath.Join(dir, sub), target))
	}
	return h
}

// connect gives the host an interface on the lab's bridge.
func (h *host) connect(t *testing.T, last, address string) {
	t.Helper()
	for _, line := range []string{
		fmt.Sprintf("ip link add v%s type veth peer name eth0 netns %d", last, h.holder),
		fmt.Sprintf("ip link set v%s master br0 up", last),
		fmt.Sprintf("nsenter -t %d -n -- ip link set lo up", h.holder),
		fmt.Sprintf("nsenter -t %d -n -- ip address add %s/24 dev eth0", h.holder, address),
		fmt.Sprintf("nsenter -t %d -n -- ip link set eth0 up", h.holder),
	} {
		must(t, line)
	}
}

// sh runs a line of the guide on the host, as it stands there.
func (h *host) sh(t *testing.T, line string) clustertest.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	args := h.enter(line)
	r := clustertest.Run(ctx, args[0], args[1:]...)
	t.Logf("%s $ %s\n%s%s", h.Name, line, beginning(r.Stdout), r.Stderr)
	if ctx.Err() != nil {
		t.Fatalf("%s on %s: %v", line, h.Name, ctx.Err())
	}
	return r
}

// beginning shortens long output for the log.
func beginning(text string) string {
	const most = 25
	lines := strings.SplitAfterN(text, "\n", most+1)
	if len(lines) > most && lines[most] != "" {
		lines[most] = fmt.Sprintf("… and %d lines more\n", strings.Count(lines[most], "\n"))
	}
	return strings.Join(lines, "")
}

// enter is the command that runs a line of the shell on the host.
func (h *host) enter(line string) []string {
	path := h.lab.path + ":" + os.Getenv("PATH")
	return []string{"nsenter", "-t", strconv.Itoa(h.holder), "-n", "-m", "--", "env", "PATH=" + path, "sh", "-c", line}
}

// ok is sh for a line that must succeed; it returns what it printed.
func (h *host) ok(t *testing.T, line string) string {
	t.Helper()
	r := h.sh(t, line)
	if r.Code != 0 {
		t.Fatalf("%s on %s: exit code %d", line, h.Name, r.Code)
	}
	return r.Stdout
}

// file is a file of the host as this process sees it.
func (h *host) file(elem ...string) string { return filepath.Join(append([]string{h.Dir}, elem...)...) }

// pid is the process id of the host's broker.
func (h *host) pid(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(h.file("var-run/mqadmin/broker.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// kill9 is a power cut of the broker.
func (h *host) kill9(t *testing.T) {
	t.Helper()
	pid := h.pid(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, func() error {
		if ended(pid) {
			return nil
		}
		return fmt.Errorf("process %d still runs", pid)
	})
}

// ended reports whether a process is gone or waits to be buried: nobody reaps
// orphans in the lab.
func ended(pid int) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	if err != nil {
		return false
	}
	defer f.Close()
	text, _ := io.ReadAll(f)
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X") || rest == ""
}
