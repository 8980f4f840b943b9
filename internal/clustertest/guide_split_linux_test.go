package clustertest_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// mosquitto sends 200 messages of QoS 2 from each node to the other with
// Debian's clients.
func (g *guide) mosquitto(t *testing.T) {
	for _, program := range []string{"mosquitto_sub", "mosquitto_pub"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	const messages = 200
	for _, version := range []string{"mqttv311", "mqttv5"} {
		for i, from := range g.hosts() {
			to := g.hosts()[1-i]
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			id := fmt.Sprintf("mosquitto-%s-%d", version, i)
			hostOf := func(h *host) string { return strings.TrimSuffix(h.MQTT, ":1883") }
			sub := exec.CommandContext(ctx, "mosquitto_sub", "-V", version, "-h", hostOf(to), "-i", id, "-t", id, "-q", "2", "-C", fmt.Sprint(messages))
			var out bytes.Buffer
			sub.Stdout, sub.Stderr = &out, &out
			if err := sub.Start(); err != nil {
				t.Fatal(err)
			}
			await(t, func() error {
				r := from.Admin(ctx, "session", "show", "--client_id", "--topic", "--topic="+id)
				if !strings.Contains(r.Stdout, id) {
					return fmt.Errorf("mosquitto_sub has not subscribed: %s%s", r.Stdout, r.Stderr)
				}
				return nil
			})
			want := payloads("m", messages)
			pub := exec.CommandContext(ctx, "mosquitto_pub", "-V", version, "-h", hostOf(from), "-t", id, "-q", "2", "-l")
			pub.Stdin = strings.NewReader(strings.Join(want, "\n") + "\n")
			if text, err := pub.CombinedOutput(); err != nil {
				t.Fatalf("mosquitto_pub: %v: %s", err, text)
			}
			if err := sub.Wait(); err != nil {
				t.Fatalf("mosquitto_sub: %v: %s", err, out.String())
			}
			if diff := diffOf(want, strings.Fields(out.String())); diff != "" {
				t.Errorf("from %s to %s with %s (-want +got):\n%s", from.Name, to.Name, version, diff)
			}
		}
	}
}

// split stops one node by force. The other goes on as the seed's four
// allow_*_during_netsplit settings permit; when the first is back, both agree
// without a further restart.
func (g *guide) split(t *testing.T, dead, alive *host) {
	p := "split-" + dead.Name[len(dead.Name)-3:]
	stays := connect(t, who{Addr: alive.MQTT, ID: p + "-stays", Version: 5})
	stays.subscribe(t, p+"/#", 2)
	away := connect(t, who{Addr: dead.MQTT, ID: p + "-away", Version: 4, Durable: true})
	away.subscribe(t, p+"/away", 1)
	away.close()
	awaitSession(t, alive.Node, away.ID, offline(dead.Node, 0))
	pid := alive.pid(t)
	dead.kill9(t)

	begin := time.Now()
	fresh := connect(t, who{Addr: alive.MQTT, ID: p + "-new", Version: 5, Durable: true})
	fresh.subscribe(t, p+"/new", 2)
	fresh.publish(t, p+"/new", "alone", 2, false)
	fresh.expect(t, "alone")
	old3 := connect(t, who{Addr: alive.MQTT, ID: p + "-old", Version: 4, Durable: true})
	old3.subscribe(t, p+"/old", 1)
	old3.publish(t, p+"/retained", "kept", 1, true)
	old3.publish(t, p+"/away", "while away", 1, false)
	stays.expect(t, "alone", "kept", "while away")
	t.Logf("connect, subscribe, publish and retain without quorum took %v", time.Since(begin).Round(time.Millisecond))
	awaitSession(t, alive.Node, fresh.ID, consumed(alive.Node))
	fresh.close()
	awaitSession(t, alive.Node, fresh.ID, offline(alive.Node, 0))
	old3.publish(t, p+"/new", "queued alone", 1, false)
	stays.expect(t, "queued alone")
	old3.alive(t)
	stays.alive(t)

	begin = time.Now()
	dead.ok(t, "sudo service vernemq start")
	awaitMembers(t, g.nodes()...)
	for _, h := range g.hosts() {
		awaitSession(t, h.Node, fresh.ID, offline(alive.Node, 1))
		awaitSession(t, h.Node, away.ID, offline(dead.Node, 1))
		awaitSession(t, h.Node, old3.ID, func(s clustertest.Session) error {
			if !s.IsOnline || s.Node != alive.Name {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
	}
	within(t, "start until both agree", time.Since(begin), 10*time.Second*slowdown)
	g.bothRunning(t)
	g.flowsAgain(t, p, dead, stays, old3)
	// What was queued for a session while the nodes were apart follows it.
	fresh = connect(t, who{Addr: dead.MQTT, ID: fresh.ID, Version: 5, Durable: true})
	if !fresh.Present {
		t.Error("the session made without quorum is gone")
	}
	fresh.expect(t, "queued alone")
	away = connect(t, who{Addr: dead.MQTT, ID: away.ID, Version: 4, Durable: true})
	away.expect(t, "while away")
	old3.alive(t)
	stays.alive(t)
	if now := alive.pid(t); now != pid {
		t.Errorf("%s was restarted: process %d is now %d", alive.Name, pid, now)
	}
	for _, c := range []*client{stays, old3, fresh, away} {
		c.close()
		alive.ok(t, "sudo vmq-admin session disconnect client-id="+c.ID+" -c")
	}
}

// flowsAgain: what was subscribed and retained alone holds on the node that
// was away, and messages go both ways.
func (g *guide) flowsAgain(t *testing.T, p string, back *host, stays, old3 *client) {
	late := connect(t, who{Addr: back.MQTT, ID: p + "-late", Version: 4})
	late.subscribe(t, p+"/retained", 1)
	late.expect(t, "kept")
	late.publish(t, p+"/old", "to the survivor", 2, false)
	old3.expect(t, "to the survivor")
	stays.expect(t, "to the survivor")
	late.subscribe(t, p+"/late", 2)
	stays.publish(t, p+"/late", "from the survivor", 2, false)
	late.expect(t, "from the survivor")
	stays.expect(t, "from the survivor")
	late.close()
}

// leaveFirstStep: "vmq-admin cluster leave node=<NodeThatShouldGo> (only the
// first step!)".
func (g *guide) leaveFirstStep(t *testing.T) {
	stays := connect(t, who{Addr: g.b.MQTT, ID: "stays", Version: 5})
	stays.subscribe(t, "leave", 1)
	got := g.a.ok(t, "sudo vmq-admin cluster leave node="+g.b.Name)
	if got != "Done! Use -k to teardown and migrate existing sessions!\n" {
		t.Errorf("leave printed %q", got)
	}
	awaitMembers(t, g.nodes()...) // unchanged
	if c, err := tryConnect(who{Addr: g.b.MQTT, ID: "refused", Version: 5}); err == nil {
		c.close()
		t.Error("the node that shall go still takes connections")
	}
	stays.publish(t, "leave", "still served", 1, false)
	stays.expect(t, "still served")
	stays.alive(t)
	// A restart puts the node back into service.
	if got := g.b.ok(t, "sudo vernemq stop"); got != "ok\n" {
		t.Errorf("stop printed %q", got)
	}
	if reason := stays.awaitEnd(t); reason != 0x8B {
		t.Errorf("reason %#x, want 0x8B (server shutting down)", reason)
	}
	g.b.ok(t, "sudo service vernemq start")
	awaitMembers(t, g.nodes()...)
	connect(t, who{Addr: g.b.MQTT, ID: "accepted", Version: 5}).close()
}

// wipe: "wiping all cluster metadata by shutting down all the nodes and then
// remove the metadata … Then restart each node and re-create the cluster".
func (g *guide) wipe(t *testing.T) {
	want := payloads("m", 50)
	pub := connect(t, who{Addr: g.a.MQTT, ID: "wipe-pub", Version: 4})
	for i, h := range g.hosts() {
		c := connect(t, who{Addr: h.MQTT, ID: fmt.Sprintf("wipe-%d", i), Version: versions()[i], Durable: true})
		c.subscribe(t, "wipe/#", 1)
		c.close()
		awaitSession(t, g.a.Node, c.ID, offline(h.Node, 0))
	}
	for _, p := range want {
		pub.publish(t, "wipe/x", p, 1, false)
	}
	pub.close()
	for _, h := range g.hosts() {
		h.ok(t, "sudo vernemq stop")
	}
	for _, h := range g.hosts() {
		h.ok(t, "sudo rm -rf /var/lib/mqadmin/meta")
	}
	for _, h := range g.hosts() {
		h.ok(t, "sudo service vernemq start")
		awaitMembers(t, h.Node)
	}
	g.a.ok(t, "sudo vmq-admin cluster join discovery-node=VerneMQ@192.168.100.124")
	awaitMembers(t, g.nodes()...)
	g.bothRunning(t)
	pub = connect(t, who{Addr: g.b.MQTT, ID: "wipe-pub", Version: 4})
	pub.publish(t, "wipe/x", "after", 1, false)
	want = append(want, "after")
	for i, h := range g.hosts() {
		id := fmt.Sprintf("wipe-%d", i)
		for _, o := range g.hosts() {
			awaitSession(t, o.Node, id, offline(h.Node, len(want)))
		}
		c := connect(t, who{Addr: h.MQTT, ID: id, Version: versions()[i], Durable: true})
		if !c.Present {
			t.Errorf("session present of %s is 0", id)
		}
		c.expect(t, slices.Clone(want)...)
		c.close()
	}
}
