package broker

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// watch subscribes at QoS 1.
func (c *client) watch(filters ...string) {
	c.t.Helper()
	s := &packet.Subscribe{PacketID: 1}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, message.Subscription{Filter: f, QoS: 1})
	}
	c.write(s)
	if p, ok := c.read().(*packet.Suback); !ok || p.Reasons[0].Failed() {
		c.t.Fatalf("SUBSCRIBE to %q is answered with %#v", filters, p)
	}
}

// openACL are settings with which every client may do everything.
func openACL(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vmq.acl")
	writeFile(t, path, "topic #\n")
	return []string{"plugins.vmq_acl = on", "vmq_acl.acl_file = " + path}
}

// A client of each version watches $SYS, and cannot write there.
func TestSysTopics(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("MQTT %d", version), func(t *testing.T) {
			b := serveBroker(t, append(openACL(t), "systree_interval = 100", "systree_qos = 1")...)
			watcher := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.default"))
			if r := watcher.connect(version, "watcher", "", ""); r.Failed() {
				t.Fatal(r)
			}
			watcher.watch("$SYS/#")
			want := map[string]bool{}
			for _, s := range metrics.Aggregate(b.metrics.Samples()) {
				for _, v := range s.Flat() {
					want["$SYS/"+b.name+"/"+strings.ReplaceAll(v.Name, "_", "/")] = true
				}
			}
			// One that may not publish there, and one whose filter leaves $ out.
			other := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.default"))
			if r := other.connect(version, "other", "", ""); r.Failed() {
				t.Fatal(r)
			}
			other.watch("#", "+/+/mqtt/#")
			forged := "$SYS/" + b.name + "/forged"
			other.write(&packet.Publish{Topic: forged, Payload: []byte("1"), QoS: 1, PacketID: 9})
			if ack, ok := other.read().(*packet.Ack); !ok || ack.Kind != packet.TypePuback || version == 5 && ack.Reason != packet.NotAuthorized {
				t.Errorf("PUBLISH to $SYS is answered with %+v", ack)
			}
			for len(want) > 0 {
				p, ok := watcher.read().(*packet.Publish)
				if !ok {
					t.Fatalf("%T instead of PUBLISH; still missing %v", p, want)
				}
				if _, err := strconv.ParseInt(string(p.Payload), 10, 64); err != nil || p.Topic == forged {
					t.Errorf("%s %q", p.Topic, p.Payload)
				}
				if p.QoS != 1 || p.Retain {
					t.Errorf("%s: QoS %d, retain %v", p.Topic, p.QoS, p.Retain)
				}
				watcher.write(&packet.Ack{Kind: packet.TypePuback, PacketID: p.PacketID})
				delete(want, p.Topic)
			}
			other.write(&packet.Pingreq{})
			if p := other.read(); p == nil || fmt.Sprintf("%T", p) != "*packet.Pingresp" {
				t.Errorf("a filter that begins with a wildcard got %#v", p)
			}
		})
	}
}

// Retained values are there at once; other mountpoints see nothing.
func TestSysTopicsSettings(t *testing.T) {
	b := serveBroker(t, append(openACL(t), "systree_interval = 1h", "systree_retain = on", "systree_mountpoint = ops",
		"listener.tcp.ops = 127.0.0.1:0", "listener.tcp.ops.mountpoint = ops")...)
	await(t, "retained values", func() bool { return metric(b, "retain_messages") > 100 })
	ops := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.ops"))
	if r := ops.connect(4, "ops", "", ""); r.Failed() {
		t.Fatal(r)
	}
	topic := "$SYS/" + b.name + "/socket/open"
	ops.watch(topic)
	if p, ok := ops.read().(*packet.Publish); !ok || p.Topic != topic || !p.Retain {
		t.Errorf("got %#v", p)
	}
	common := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.default"))
	if r := common.connect(4, "common", "", ""); r.Failed() {
		t.Fatal(r)
	}
	common.watch("$SYS/#")
	common.write(&packet.Pingreq{})
	if p := common.read(); fmt.Sprintf("%T", p) != "*packet.Pingresp" {
		t.Errorf("another mountpoint: %#v", p)
	}
}

// A line receiver stands for Graphite: it reads, goes away, and comes back.
func TestGraphite(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	b := serveBroker(t, "graphite_enabled = on", "graphite_host = 127.0.0.1", "graphite_port = "+port, "graphite_interval = 100",
		"graphite_reconnect_timeout = 100", "graphite_prefix = site", "graphite_api_key = key", "graphite_include_labels = on")
	receive := func(ln net.Listener, topic string) net.Conn {
		t.Helper()
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		line := regexp.MustCompile(`^key\.site\.[A-Za-z0-9_.-]+ -?[0-9]+ [0-9]{10}$`)
		for in := bufio.NewScanner(conn); in.Scan(); {
			if !line.MatchString(in.Text()) {
				t.Errorf("%q", in.Text())
			}
			if strings.HasPrefix(in.Text(), topic+" ") {
				return conn
			}
		}
		t.Fatalf("no line begins with %s", topic)
		return nil
	}
	conn := receive(ln, "key.site.mqtt.puback.sent.mqtt_version_5.reason_code_success")
	ln.Close()
	conn.Close()
	await(t, "a push that fails", func() bool { return metric(b, "graphite_push_errors") > 0 })
	again, err := net.Listen("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	receive(again, "key.site.raft.apply.microseconds.bucket.inf").Close()
}
