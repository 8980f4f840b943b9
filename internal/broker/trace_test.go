package broker

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/trace"
)

// tracing collects the lines of a trace.
type tracing struct {
	mu    sync.Mutex
	lines []string
	done  chan error
}

func startTrace(t *testing.T, b *Broker, r admin.TraceRequest) *tracing {
	t.Helper()
	x := &tracing{done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		x.done <- traceAPI{b}.Client(ctx, r, func(e *pb.TraceClientResponse) error {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.lines = append(x.lines, e.GetDirection().String()[len("TRACE_DIRECTION_"):]+" "+e.GetText()+" "+string(e.GetPayload())+strings.Join(e.GetDetails(), ";"))
			return nil
		})
	}()
	await(t, "the trace", func() bool { return x.has("sessions") })
	return x
}

func (x *tracing) has(part string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return strings.Contains(strings.Join(x.lines, "\n"), part)
}

// A trace shows what a client sends and is sent, also of a connection that it
// makes later, without its password, and of nobody else.
func TestTraceOfAClient(t *testing.T) {
	acl := filepath.Join(t.TempDir(), "acl")
	writeFile(t, acl, "topic #\n")
	b := serveBroker(t, "plugins.vmq_acl = on", "vmq_acl.acl_file = "+acl)
	id := message.SessionID{ClientID: "traced"}
	x := startTrace(t, b, admin.TraceRequest{ID: id, RateMax: 1000, Payload: 5})
	if err := (traceAPI{b}).Client(t.Context(), admin.TraceRequest{ID: id}, nil); err == nil || !strings.Contains(err.Error(), trace.ErrRunning.Error()) {
		t.Errorf("a second trace: %v", err)
	}
	for _, name := range []string{"other", "traced"} {
		c := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.default"))
		if r := c.connect(4, name, "ann", "secret"); r.Failed() {
			t.Fatal(r)
		}
		c.write(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "a/" + name, QoS: 1}}})
		c.read() // SUBACK
		c.write(&packet.Publish{Topic: "a/" + name, QoS: 1, PacketID: 2, Payload: []byte("payload")})
	}
	for _, want := range []string{
		`No sessions found for client "traced"`,
		`RECEIVED CONNECT(c: "traced", v: 4, u: "ann", p: present, cs: 1, ka: `,
		"SENT CONNACK(sp: 0, rc: 0)",
		`RECEIVED SUBSCRIBE(m1) with topics: q:1, t: "a/traced"`,
		"SENT SUBACK(m1, qt[1])",
		`RECEIVED PUBLISH(d0, q1, r0, m2, "a/traced") with payload: paylo`,
		`SENT PUBLISH(d0, q1, r0, m1, "a/traced") with payload: paylo`,
		"SENT PUBACK(m2)",
	} {
		await(t, want, func() bool { return x.has(want) })
	}
	if x.has("secret") || x.has("other") || x.has("payload: payload") {
		t.Error(x.lines)
	}
	if n, _ := (traceAPI{b}).StopAll(t.Context()); n != 1 {
		t.Errorf("%d traces were ended", n)
	}
	if err := <-x.done; err != nil || !x.has("Trace terminated by external action.") {
		t.Error(err, x.lines)
	}
}

// More packets than allowed end a trace; the broker has enough to do.
func TestTraceRateLimit(t *testing.T) {
	b := serveBroker(t)
	x := startTrace(t, b, admin.TraceRequest{ID: message.SessionID{ClientID: "busy"}, RateMax: 3, RateInterval: time.Hour, Payload: -1})
	c := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.default"))
	if r := c.connect(4, "busy", "", ""); r.Failed() {
		t.Fatal(r)
	}
	for range 5 {
		c.write(&packet.Pingreq{})
	}
	if err := <-x.done; err != nil || !x.has("Trace rate limit triggered.") {
		t.Error(err, x.lines)
	}
}
