package interop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
)

// mosquittos are Debian's mosquitto_sub and mosquitto_pub. They are two
// programs: a connected peer is a mosquitto_sub, and each of its messages is
// published by a mosquitto_pub beside it.
func mosquittos() []library {
	missing := func(transport string) string {
		for program, pkg := range map[string]string{"mosquitto_sub": "mosquitto-clients", "mosquitto_pub": "mosquitto-clients", "stdbuf": "coreutils"} {
			if _, err := exec.LookPath(program); err != nil {
				return program + " is not installed (Debian package " + pkg + ")"
			}
		}
		if transport == "ws" || transport == "wss" {
			return "mosquitto_sub 2.0 and mosquitto_pub 2.0 have no option for WebSocket"
		}
		return ""
	}
	var out []library
	for version, name := range map[byte]string{3: "mqttv31", 4: "mqttv311", 5: "mqttv5"} {
		out = append(out, library{
			name: "mosquitto " + name, version: version, missing: missing, willAtClose: version == 5,
			connect: func(ctx context.Context, b *broker, transport string, w who) (peer, error) {
				return connectMosquitto(ctx, b, transport, name, w)
			},
		})
	}
	return out
}

type mosquitto struct {
	*inbox
	id, version string
	where       []string // arguments that name the broker
	cmd         *exec.Cmd
	exited      chan struct{}
	err         error // of the process, readable once exited is closed
	subscribed  chan struct{}
	errs        bytes.Buffer // readable once exited is closed
}

func connectMosquitto(ctx context.Context, b *broker, transport, version string, w who) (peer, error) {
	host, port, _ := net.SplitHostPort(b.addr[transport])
	m := &mosquitto{
		inbox: newInbox(), id: w.ID, version: version, where: []string{"-h", host, "-p", port},
		exited: make(chan struct{}), subscribed: make(chan struct{}),
	}
	if transport == "tls" {
		m.where = append(m.where, "--cafile", b.caFile)
	}
	args := append([]string{"-oL", "mosquitto_sub", "-d", "-V", version, "-i", w.ID, "-t", w.Filter, "-q", "2", "-F", "message %q %r %t %p"}, m.where...)
	if w.Durable {
		args = append(args, "-c")
	}
	if w.Will != nil {
		args = append(args, "--will-topic", w.Will.Topic, "--will-payload", w.Will.Payload, "--will-qos", fmt.Sprint(w.Will.QoS))
	}
	m.cmd = exec.Command("stdbuf", args...) // by itself it prints into a pipe when a buffer is full
	m.cmd.Stderr = &m.errs
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	go m.read(out)
	select {
	case <-m.subscribed:
		return m, nil
	case <-m.exited:
		return nil, fmt.Errorf("mosquitto_sub: %w: %s", m.err, m.errs.String())
	case <-ctx.Done():
		m.Drop()
		return nil, fmt.Errorf("mosquitto_sub has not subscribed: %w: %s", ctx.Err(), m.errs.String())
	}
}

// read takes the program's lines until it ends. With -d it tells of packets on
// the same output.
func (m *mosquitto) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	waiting := true
	for lines.Scan() {
		line := lines.Text()
		if waiting && strings.HasPrefix(line, "Subscribed (mid: ") {
			close(m.subscribed)
			waiting = false
		}
		if f := strings.SplitN(line, " ", 5); f[0] == "message" && len(f) == 5 {
			m.put(received{Topic: f[3], Payload: f[4], QoS: f[1][0] - '0', Retain: f[2] == "1"})
		}
	}
	m.err = m.cmd.Wait()
	if m.err == nil {
		m.err = errors.New("exit status 0")
	}
	m.end()
	close(m.exited)
}

// Present implements peer; the programs do not print the flag.
func (m *mosquitto) Present() (flag, known bool) { return false, false }

// Publish implements peer.
func (m *mosquitto) Publish(ctx context.Context, p received) error {
	args := append([]string{"-V", m.version, "-i", m.id + "-pub", "-t", p.Topic, "-q", fmt.Sprint(p.QoS)}, m.where...)
	if p.Retain {
		args = append(args, "-r")
	}
	if p.Payload == "" {
		args = append(args, "-n")
	} else {
		args = append(args, "-m", p.Payload)
	}
	if out, err := exec.CommandContext(ctx, "mosquitto_pub", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("mosquitto_pub: %w: %s", err, out)
	}
	return nil
}

// Close implements peer.
func (m *mosquitto) Close(ctx context.Context) error {
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-m.exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Drop implements peer.
func (m *mosquitto) Drop() {
	_ = m.cmd.Process.Kill()
	<-m.exited
}
