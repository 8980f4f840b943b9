package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// envModules names a directory with node_modules/mqtt; by default it is
// mqadmin-interop in the user's cache directory, where .ci/run installs it.
const envModules = "MQADMIN_NODE_MODULES"

// mqttjs is MQTT.js in one node process that runs all connections.
func mqttjs(t *testing.T) []library {
	n, err := startNode(t)
	missing := func(string) string {
		if err != nil {
			return err.Error()
		}
		return ""
	}
	var out []library
	for version, name := range map[byte]string{3: "3.1", 4: "3.1.1", 5: "5"} {
		out = append(out, library{
			name: "MQTT.js " + name, version: version, missing: missing,
			connect: func(ctx context.Context, b *broker, transport string, w who) (peer, error) {
				return n.connect(ctx, b, transport, version, w)
			},
		})
	}
	return out
}

// node is the node process. Requests are answered in any order.
type node struct {
	in   io.WriteCloser
	errs bytes.Buffer // readable once gone is closed
	gone chan struct{}

	mu    sync.Mutex // guards what follows, and writing to in
	seq   int
	wait  map[int]chan answer
	conns map[int]*inbox
}

type answer struct {
	Seq     int
	Error   string
	Present bool

	Conn           int
	Gone           bool
	Topic, Payload string
	QoS            byte
	Retain         bool
}

// startNode runs node until the end of the test, or says what is missing.
func startNode(t *testing.T) (*node, error) {
	program, err := exec.LookPath("node")
	if err != nil {
		return nil, errors.New("node is not installed (Debian package nodejs)")
	}
	dir := os.Getenv(envModules)
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(cache, "mqadmin-interop")
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "mqtt")); err != nil {
		return nil, fmt.Errorf("MQTT.js is not installed: npm install --prefix %s mqtt, or name another directory in %s", dir, envModules)
	}
	n := &node{gone: make(chan struct{}), wait: map[int]chan answer{}, conns: map[int]*inbox{}}
	cmd := exec.Command(program, filepath.Join("testdata", "mqttjs.js"))
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir, "node_modules"))
	cmd.Stderr = &n.errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if n.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		n.read(out)
		_ = cmd.Wait()
		close(n.gone)
	}()
	t.Cleanup(func() {
		n.in.Close()
		<-n.gone
		if n.errs.Len() > 0 {
			t.Errorf("node printed:\n%s", n.errs.String())
		}
	})
	return n, nil
}

func (n *node) read(out io.Reader) {
	d := json.NewDecoder(bufio.NewReader(out))
	for {
		var a answer
		if d.Decode(&a) != nil {
			return
		}
		n.mu.Lock()
		w, in := n.wait[a.Seq], n.conns[a.Conn]
		delete(n.wait, a.Seq)
		n.mu.Unlock()
		switch {
		case a.Seq != 0 && w != nil:
			w <- a
		case a.Seq != 0:
		case a.Gone:
			in.end()
		default:
			in.put(received{a.Topic, a.Payload, a.QoS, a.Retain})
		}
	}
}

// call sends a request and waits for its answer.
func (n *node) call(ctx context.Context, request map[string]any) (answer, error) {
	w := make(chan answer, 1)
	n.mu.Lock()
	n.seq++
	request["seq"] = n.seq
	n.wait[n.seq] = w
	line, err := json.Marshal(request)
	if err == nil {
		_, err = n.in.Write(append(line, '\n'))
	}
	n.mu.Unlock()
	if err != nil {
		return answer{}, err
	}
	select {
	case a := <-w:
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-n.gone:
		return answer{}, fmt.Errorf("node has ended: %s", n.errs.String())
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

type jsClient struct {
	*inbox
	n       *node
	conn    int
	version byte
	present bool
}

func (n *node) connect(ctx context.Context, b *broker, transport string, version byte, w who) (peer, error) {
	c := &jsClient{inbox: newInbox(), n: n, version: version}
	n.mu.Lock()
	c.conn = len(n.conns) + 1
	n.conns[c.conn] = c.inbox
	n.mu.Unlock()
	o := map[string]any{"clientId": w.ID, "protocolVersion": version, "clean": !w.Durable, "caFile": b.caFile}
	if version == 3 {
		o["protocolId"] = "MQIsdp"
	}
	if w.Durable && version == 5 {
		o["properties"] = map[string]any{"sessionExpiryInterval": durableExpiry}
	}
	if w.Will != nil {
		o["will"] = map[string]any{"topic": w.Will.Topic, "payload": w.Will.Payload, "qos": w.Will.QoS}
	}
	a, err := n.call(ctx, map[string]any{"op": "connect", "conn": c.conn, "url": b.url(transport), "options": o, "filter": w.Filter})
	c.present = a.Present
	return c, err
}

// Present implements peer; MQTT 3.1 has no such flag.
func (c *jsClient) Present() (flag, known bool) { return c.present, c.version != 3 }

// Publish implements peer.
func (c *jsClient) Publish(ctx context.Context, m received) error {
	_, err := c.n.call(ctx, map[string]any{"op": "publish", "conn": c.conn, "topic": m.Topic, "payload": m.Payload, "qos": m.QoS, "retain": m.Retain})
	return err
}

// Close implements peer.
func (c *jsClient) Close(ctx context.Context) error {
	_, err := c.n.call(ctx, map[string]any{"op": "close", "conn": c.conn})
	return err
}

// Drop implements peer.
func (c *jsClient) Drop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _ = c.n.call(ctx, map[string]any{"op": "drop", "conn": c.conn}) // it may be gone already
}
