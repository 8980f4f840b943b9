package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testSecret = sync.OnceValue(func() Secret { return NewSecret("a cookie of sufficient length") })

// fabric is a network in memory whose connections can be cut or frozen, and
// whose writes take a random time when it has a source of randomness.
type fabric struct {
	mu        sync.Mutex
	listeners map[string]*fabricListener
	conns     []*wire
	down      bool
	rng       *rand.Rand
}

func newFabric() *fabric { return &fabric{listeners: map[string]*fabricListener{}} }

type fabricListener struct {
	addr   address
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (f *fabric) listen(addr string) net.Listener {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &fabricListener{addr: address(addr), queue: make(chan net.Conn), closed: make(chan struct{})}
	f.listeners[addr] = l
	return l
}

func (l *fabricListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *fabricListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *fabricListener) Addr() net.Addr { return l.addr }

var errUnreachable = errors.New("no route to host")

func (f *fabric) dial(ctx context.Context, addr string) (net.Conn, error) {
	f.mu.Lock()
	l, down := f.listeners[addr], f.down
	f.mu.Unlock()
	if l == nil || down {
		return nil, errUnreachable
	}
	a, b := net.Pipe()
	wa, wb := &wire{Conn: a, f: f}, &wire{Conn: b, f: f}
	select {
	case l.queue <- wb:
	case <-l.closed:
		return nil, errUnreachable
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.mu.Lock()
	f.conns = append(f.conns, wa, wb)
	f.mu.Unlock()
	return wa, nil
}

// cut closes all connections; with down no new ones come about.
func (f *fabric) cut(down bool) {
	f.mu.Lock()
	conns := f.conns
	f.conns, f.down = nil, down
	f.mu.Unlock()
	for _, c := range conns {
		c.Conn.Close()
	}
}

// freeze makes everything written vanish, as when a host loses its power.
func (f *fabric) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = true
	for _, c := range f.conns {
		c.mu.Lock()
		c.frozen = true
		c.mu.Unlock()
	}
}

type wire struct {
	net.Conn
	f      *fabric
	mu     sync.Mutex
	frozen bool
}

func (w *wire) RemoteAddr() net.Addr { return address("10.0.0.1:1") }

// Write delivers in pieces with pauses, so that a cut can come in between.
func (w *wire) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		piece := len(b) - n
		if w.f.rng != nil {
			w.f.mu.Lock()
			piece = min(piece, 1+w.f.rng.IntN(2000))
			pause := time.Duration(w.f.rng.IntN(3000)) * time.Microsecond
			w.f.mu.Unlock()
			time.Sleep(pause)
		}
		w.mu.Lock()
		frozen := w.frozen
		w.mu.Unlock()
		if frozen {
			return len(b), nil
		}
		m, err := w.Conn.Write(b[n : n+piece])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// inbox is a Receiver that keeps what it got and answers by a function.
type inbox struct {
	mu     sync.Mutex
	frames []Frame
	from   []Identity
	answer func(Frame, func(Code))
	came   chan struct{}
}

func newInbox() *inbox {
	return &inbox{came: make(chan struct{}, 1), answer: func(_ Frame, done func(Code)) { done(CodeAccepted) }}
}

func (b *inbox) Receive(from Identity, f Frame, done func(Code)) {
	b.mu.Lock()
	b.frames, b.from = append(b.frames, f), append(b.from, from)
	answer := b.answer
	b.mu.Unlock()
	answer(f, done)
	signal(b.came)
}

func (b *inbox) topics() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, f := range b.frames {
		out = append(out, f.Message.Topic)
	}
	return out
}

const testCluster message.ClusterID = 77

func identity(n int) Identity {
	return Identity{
		Node: message.NodeID(n), Name: fmt.Sprintf("node%d@test", n), Cluster: testCluster,
		Generation: message.Generation{Number: 1, Random: 9}, Incarnation: 1, Version: "1.0", Address: nodeAddr(n),
	}
}

func nodeAddr(n int) string { return fmt.Sprintf("node%d:44053", n) }

func member(n int) Member {
	return Member{ID: message.NodeID(n), Name: fmt.Sprintf("node%d@test", n), Address: nodeAddr(n)}
}

// startPort runs a port on the fabric until the test ends.
func startPort(t testing.TB, f *fabric, n int, change func(*Config)) *Port {
	t.Helper()
	c := Config{Identity: identity(n), Secret: testSecret(), Dial: f.dial, Metrics: metrics.New()}
	if change != nil {
		change(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ln := f.listen(c.Identity.Address)
	ran := make(chan error, 1)
	go func() { ran <- p.Run(context.Background(), ln) }()
	t.Cleanup(func() {
		p.Close()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

func tcpDial(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

// tcpPort runs a port on a loopback address, which it returns.
func tcpPort(t testing.TB, n int, change func(*Config)) (*Port, string) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Identity: identity(n), Secret: testSecret(), Dial: tcpDial, Metrics: metrics.New()}
	c.Identity.Address = ln.Addr().String()
	if change != nil {
		change(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- p.Run(context.Background(), ln) }()
	t.Cleanup(func() {
		p.Close()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p, c.Identity.Address
}

// counted returns a counter's sum over the labels given.
func counted(p *Port, name string, labels ...metrics.Label) int64 {
	var n int64
	for _, s := range p.cfg.Metrics.Samples() {
		if s.Name == name && (len(labels) == 0 || slices.Equal(s.Labels, labels)) {
			n += s.Value
		}
	}
	return n
}

// bubble runs fn in virtual time. The key is made outside: its cost is real.
func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	testSecret()
	synctest.Test(t, fn)
}

// pass lets time go by and everything settle.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// outcomes collects what the dones of frames say.
type outcomes struct {
	mu sync.Mutex
	n  map[string]int
	v  map[string]string
}

func newOutcomes() *outcomes { return &outcomes{n: map[string]int{}, v: map[string]string{}} }

func (o *outcomes) of(name string) func(Code, error) {
	return func(c Code, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.n[name]++
		o.v[name] = c.String()
		if err != nil {
			o.v[name] = err.Error()
		}
	}
}

func (o *outcomes) get(name string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n[name] > 1 {
		return fmt.Sprintf("called %d times", o.n[name])
	}
	return o.v[name]
}

func publish(topic string, qos byte) Frame {
	return Frame{Kind: FramePublish, Applied: 7, Message: &message.Message{Topic: topic, QoS: qos, Payload: []byte("payload")}}
}

func direct(topic string) Frame {
	return Frame{
		Kind: FrameDirect, Applied: 8, Message: &message.Message{Topic: topic, QoS: 2},
		Session: message.SessionID{ClientID: "c"}, QoS: 1, Group: "g", Filter: "a/#", SubscriptionIDs: []uint32{1, 300}, OnlineOnly: true,
	}
}
