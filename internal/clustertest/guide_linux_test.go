package clustertest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/scenario"
)

// TestSeedUnchanged: the guide's test runs on the same files as the parser's.
func TestSeedUnchanged(t *testing.T) {
	for _, name := range []string{"node-123.conf", "node-124.conf"} {
		here, err := os.ReadFile(filepath.Join("testdata/seed", name))
		if err != nil {
			t.Fatal(err)
		}
		there, err := os.ReadFile(filepath.Join("../config/testdata/seed", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(here, there) {
			t.Errorf("testdata/seed/%s differs from the one in internal/config", name)
		}
	}
}

// TestGuide follows the cluster guide that our users have, command by command,
// on two hosts with its two configuration files unchanged.
func TestGuide(t *testing.T) {
	skipShort(t)
	if why := missing(); why != "" {
		t.Skip("the guide's two hosts cannot be made here: " + why)
	}
	if !insideLab() {
		runLab(t)
		return
	}
	l := newLab(t)
	l.install(t)
	g := &guide{a: l.newHost(t, "VerneMQ", "123"), b: l.newHost(t, "VerneMQ", "124")}
	for _, h := range g.hosts() {
		h.installPackage(t)
	}
	t.Cleanup(func() {
		if t.Failed() {
			g.showLogs(t)
		}
	})
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"start", g.start},
		{"join 127.0.0.1", g.joinLoopback},
		{"join", g.join},
		{"20,000 messages", func(t *testing.T) { g.count(t, 4, 20_000) }},
		{"4,000 messages with MQTT 5", func(t *testing.T) { g.count(t, 5, 4_000) }},
		{"mosquitto clients", g.mosquitto},
		{"observe", g.observe},
		{"clear session", g.clearSession},
		{"kill -9 of .124", func(t *testing.T) { g.split(t, g.b, g.a) }},
		{"kill -9 of .123", func(t *testing.T) { g.split(t, g.a, g.b) }},
		{"leave, the first step only", g.leaveFirstStep},
		{"metadata wiped", g.wipe},
	} {
		if !t.Run(step.name, step.run) {
			t.FailNow() // each step builds on the ones before
		}
	}
}

// installPackage is what VerneMQ's package has put there before the guide
// begins, with the configuration file that the guide shows.
func (h *host) installPackage(t *testing.T) {
	t.Helper()
	last := h.Name[len(h.Name)-3:]
	text, err := os.ReadFile("testdata/seed/node-" + last + ".conf")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, h.file("etc/vernemq/vernemq.conf"), string(text), 0o644)
	writeFile(t, h.file("etc/vernemq/vmq.acl"), "topic #\n", 0o644)
	writeFile(t, h.file("etc/vernemq/vmq.passwd"), "", 0o600)
}

// guide is the two hosts.
type guide struct{ a, b *host }

func (g *guide) hosts() []*host { return []*host{g.a, g.b} }

func (g *guide) nodes() []*clustertest.Node { return []*clustertest.Node{g.a.Node, g.b.Node} }

func (g *guide) showLogs(t *testing.T) {
	for _, h := range g.hosts() {
		for _, name := range []string{"console.log", "error.log", "crash.log"} {
			text, _ := os.ReadFile(h.file("log/vernemq", name))
			if over := len(text) - 8<<10; over > 0 {
				text = text[over:]
			}
			t.Logf("%s of %s ends with:\n%s", name, h.Name, text)
		}
	}
}

// start: "Activate VerneMQ node".
func (g *guide) start(t *testing.T) {
	for _, h := range g.hosts() {
		h.ok(t, "sudo service vernemq start")
		if got := h.ok(t, "sudo vernemq ping"); got != "pong\n" {
			t.Errorf("ping printed %q", got)
		}
	}
}

// joinLoopback: the guide's own join line, which names an address where
// nothing listens.
func (g *guide) joinLoopback(t *testing.T) {
	r := g.a.sh(t, "sudo vmq-admin cluster join discovery-node=VerneMQ@127.0.0.1")
	if r.Code != 1 || r.Stdout != "" {
		t.Errorf("exit code %d, stdout %q; want 1 and nothing", r.Code, r.Stdout)
	}
	for _, want := range []string{"127.0.0.1:44053", "cluster join discovery-node=VerneMQ@192.168.100.124"} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("stderr does not name %q: %s", want, r.Stderr)
		}
	}
	oneLine(t, r.Stderr, "error: ")
	for _, h := range g.hosts() {
		awaitMembers(t, h.Node)
	}
}

// join: "Joining a Cluster" and "Getting Cluster Status Information".
func (g *guide) join(t *testing.T) {
	begin := time.Now()
	if got := g.a.ok(t, "sudo vmq-admin cluster join discovery-node=VerneMQ@192.168.100.124"); got != "Done\n" {
		t.Errorf("join printed %q", got)
	}
	awaitMembers(t, g.nodes()...)
	within(t, "join until both see both running", time.Since(begin), 5*time.Second*slowdown)
	g.bothRunning(t)
}

// bothRunning: each node's table shows both members running.
func (g *guide) bothRunning(t *testing.T) {
	t.Helper()
	for _, h := range g.hosts() {
		table := h.ok(t, "sudo vmq-admin cluster show")
		for _, o := range g.hosts() {
			row := oneLine(t, table, "| "+o.Name+" ")
			if cells := strings.Fields(row); len(cells) < 4 || cells[3] != "true" {
				t.Errorf("%s shows %s", h.Name, row)
			}
		}
	}
}

// count: "sum of counter.mqtt_pubcomp_sent = 20000 across the cluster should be
// equal to no of message published to the broker", and the same for
// mqtt_pubcomp_received of the shared subscription's consumers.
func (g *guide) count(t *testing.T, version byte, messages int) {
	for _, h := range g.hosts() {
		h.ok(t, "sudo vmq-admin metrics reset")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	rep, err := scenario.Run(ctx, scenario.Config{
		Brokers: []string{g.a.MQTT, g.b.MQTT}, Name: fmt.Sprintf("guide%d", version), Messages: messages, Version: version,
		BeforeEnd: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			return clustertest.Await(ctx, func() error { return g.sums(ctx, messages) })
		},
	}, nil)
	t.Logf("acked %d, received %v in %v: %.0f messages/s; missing %d, duplicates %d, wrong %d", rep.Acked, rep.Received,
		rep.Elapsed.Round(time.Millisecond), float64(rep.Acked)/rep.Elapsed.Seconds(), rep.Missing, rep.Duplicates, rep.Wrong)
	if err != nil {
		t.Fatal(err)
	}
	if !rep.Perfect(messages) || rep.Sum() != messages {
		t.Errorf("not every payload arrived exactly once: %+v", rep)
	}
	if slices.Min(rep.Received) == 0 {
		t.Errorf("a consumer got nothing: %v", rep.Received)
	}
	sent, received := 0, 0
	for _, h := range g.hosts() {
		text := h.ok(t, "sudo vmq-admin metrics show | grep -E '^counter.mqtt_pubcomp_(sent|received) '")
		m, err := clustertest.ParseMetrics(text)
		if err != nil {
			t.Fatal(err)
		}
		sent += int(m["mqtt_pubcomp_sent"])
		received += int(m["mqtt_pubcomp_received"])
	}
	if sent != messages || received != messages {
		t.Errorf("sum of mqtt_pubcomp_sent is %d, of mqtt_pubcomp_received %d; both must be %d", sent, received, messages)
	}
}

// sums returns nil once the counters of both nodes add up.
func (g *guide) sums(ctx context.Context, messages int) error {
	sums := map[string]int64{}
	for _, n := range g.nodes() {
		m, err := n.Counters(ctx)
		if err != nil {
			return err
		}
		for name, v := range m {
			sums[name] += v
		}
	}
	for _, name := range []string{
		"mqtt_publish_received", "mqtt_pubrec_sent", "mqtt_pubrel_received", "mqtt_pubcomp_sent",
		"queue_message_in", "queue_message_out",
		"mqtt_publish_sent", "mqtt_pubrec_received", "mqtt_pubrel_sent", "mqtt_pubcomp_received",
	} {
		if sums[name] != int64(messages) {
			return fmt.Errorf("%s adds up to %d, want %d", name, sums[name], messages)
		}
	}
	for _, name := range []string{"queue_message_drop", "mqtt_publish_error", "cluster_bytes_dropped", "router_remote_failed"} {
		if sums[name] != 0 {
			return fmt.Errorf("%s adds up to %d", name, sums[name])
		}
	}
	return nil
}

// observe: "Observing Session", "Observing the metrics", "Observing Log File".
func (g *guide) observe(t *testing.T) {
	c := connect(t, who{Addr: g.a.MQTT, ID: "observed", Version: 4})
	defer c.close()
	for _, h := range g.hosts() {
		table := h.ok(t, "sudo vmq-admin session show")
		if row := oneLine(t, table, "| observed "); !strings.Contains(row, "true") || !strings.Contains(row, "192.168.100.1 ") {
			t.Errorf("session show on %s: %s", h.Name, row)
		}
		oneLine(t, h.ok(t, "sudo vmq-admin metrics show"), "counter.mqtt_pubcomp_sent = ")
		for _, name := range []string{"console.log", "error.log", "crash.log"} {
			if _, err := os.Stat(h.file("log/vernemq", name)); err != nil {
				t.Errorf("log file of %s: %v", h.Name, err)
			}
		}
		if text, err := os.ReadFile(h.file("log/vernemq/console.log")); err != nil || !strings.Contains(string(text), clustertest.ServingLine) {
			t.Errorf("console.log of %s does not tell that it serves (%v)", h.Name, err)
		}
	}
}

// clearSession: "Clear session", from the node that has it and from the other.
func (g *guide) clearSession(t *testing.T) {
	const id = "testf9695b6e-555b-4b3d-8da6-7164d5274103"
	for _, version := range versions() {
		for _, on := range g.hosts() {
			c := connect(t, who{Addr: g.b.MQTT, ID: id, Version: version, Durable: true})
			c.subscribe(t, "clear/#", 2)
			c.subscribe(t, "$share/group/clear/shared", 1)
			if got := on.ok(t, "sudo vmq-admin session disconnect client-id="+id+" -c"); got != "Done\n" {
				t.Errorf("disconnect printed %q", got)
			}
			if reason := c.awaitEnd(t); version == 5 && reason != 0x98 {
				t.Errorf("an MQTT 5 client was told %#x, want 0x98", reason)
			}
			for _, h := range g.hosts() {
				awaitGone(t, h.Node, id)
				if strings.Contains(h.ok(t, "sudo vmq-admin session show"), id) {
					t.Errorf("session show on %s still has the client", h.Name)
				}
			}
			again := connect(t, who{Addr: g.a.MQTT, ID: id, Version: version, Durable: true})
			if again.Present {
				t.Error("session present is 1 after the session was cleared")
			}
			again.publish(t, "clear/x", "must not come back", 2, false)
			again.subscribe(t, "clear/y", 2)
			again.publish(t, "clear/y", "of the new session", 2, false)
			again.expect(t, "of the new session")
			again.close()
			on.ok(t, "sudo vmq-admin session disconnect client-id="+id+" -c")
			awaitGone(t, g.b.Node, id)
		}
	}
}
