package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

var tcpKey = Key{TCP, "default"}

func TestTCP(t *testing.T) {
	e := newEcho()
	m, addr := start(t, Options{Serve: e.serve}, Config{Key: tcpKey, Mountpoint: "mp", MaxConnections: 10})
	c := dial(t, "tcp", addr)
	roundTrip(t, c)
	i, conn := <-e.infos, <-e.conns
	if _, ok := conn.(*net.TCPConn); !ok {
		t.Errorf("Serve got a %T", conn)
	}
	if i.Peer.String() != c.LocalAddr().String() || i.Local.String() != addr || i.Mountpoint != "mp" || i.Key != tcpKey {
		t.Errorf("info %+v", i)
	}
	s := m.List()[0]
	host, port := hostPort("tcp", addr)
	s.Config = Config{}
	if d := cmp.Diff(Status{State: Running, Address: host, Port: port, Active: 1, All: 1}, s); d != "" {
		t.Error(d)
	}
	if k, ok := m.Find(host, port); !ok || k != tcpKey {
		t.Errorf("found %v, %v", k, ok)
	}
	c.Close()
	await(t, m, "the end of the connection", func(s Status) bool { return s.Active == 0 && s.All == 1 })
}

func TestMaxConnections(t *testing.T) {
	e := newEcho()
	m, addr := start(t, Options{Serve: e.serve}, Config{Key: tcpKey, MaxConnections: 2})
	first := dial(t, "tcp", addr)
	roundTrip(t, first)
	roundTrip(t, dial(t, "tcp", addr))
	for range 3 {
		wantClosed(t, dial(t, "tcp", addr))
	}
	if s := m.List()[0]; s.Active != 2 || s.Refused != 3 || s.All != 2 {
		t.Errorf("%+v", s)
	}
	first.Close()
	await(t, m, "room", func(s Status) bool { return s.Active == 1 })
	roundTrip(t, dial(t, "tcp", addr))
}

// Of the connections beyond the limit so many are answered at a time as there
// are slots; stopping the listener ends them.
func TestRefusalsAreBounded(t *testing.T) {
	e := newEcho()
	reg := metrics.New()
	asked, answer := make(chan net.Conn), make(chan struct{})
	m, addr := start(t, Options{Serve: e.serve, Metrics: reg, Refuse: func(c net.Conn) {
		asked <- c
		<-answer
		_, _ = c.Write([]byte("busy"))
	}}, Config{Key: tcpKey, MaxConnections: 1, MaxRefusals: 1})
	roundTrip(t, dial(t, "tcp", addr))
	told := dial(t, "tcp", addr)
	<-asked
	wantClosed(t, dial(t, "tcp", addr))
	answer <- struct{}{}
	if got, err := io.ReadAll(told); err != nil || string(got) != "busy" {
		t.Errorf("%q, %v", got, err)
	}
	told.Close()
	unanswered := reg.Counter("listener_refusals_unanswered", "", metrics.Label{Name: "listener", Value: "tcp.default"})
	if s := m.List()[0]; s.Refused != 2 || unanswered.Value() != 1 || s.Active != 1 {
		t.Errorf("%+v, %d unanswered", s, unanswered.Value())
	}
	for len(m.all[tcpKey].slots) > 0 { // given back once the client has closed
		runtime.Gosched()
	}
	held := dial(t, "tcp", addr)
	<-asked
	if err := m.Stop(tcpKey, true); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, held)
	close(answer)
}

func TestSuspendResumeStop(t *testing.T) {
	for _, typ := range []Type{TCP, WS} {
		t.Run(string(typ), func(t *testing.T) {
			e := newEcho()
			k := Key{typ, "x"}
			m, addr := start(t, Options{Serve: e.serve}, Config{Key: k})
			connect := func() net.Conn {
				if typ == WS {
					return dialWS(t, "ws://"+bound(m, k)+"/mqtt", nil)
				}
				return dial(t, "tcp", bound(m, k))
			}
			c := connect()
			roundTrip(t, c)
			if err := m.Suspend(k); err != nil {
				t.Fatal(err)
			}
			if s := m.List()[0]; s.State != Suspended || s.Active != 1 {
				t.Fatalf("%+v", s)
			}
			if _, err := net.Dial("tcp", addr); err == nil {
				t.Error("a suspended listener accepts")
			}
			roundTrip(t, c)
			if err := m.ResumeAll(); err != nil {
				t.Fatal(err)
			}
			d := connect()
			roundTrip(t, d)
			if err := m.Stop(k, true); err != nil {
				t.Fatal(err)
			}
			wantClosed(t, c)
			wantClosed(t, d)
			await(t, m, "the end of all connections", func(s Status) bool { return s.Active == 0 && s.State == Stopped })
			if err := m.ResumeAll(); err != nil || m.List()[0].State != Stopped {
				t.Errorf("a stopped listener was resumed with the suspended ones: %v", err)
			}
			if err := m.Resume(k); err != nil {
				t.Fatal(err)
			}
			roundTrip(t, connect())
			if err := m.Resume(k); err != nil {
				t.Errorf("resuming twice: %v", err)
			}
			m.SuspendAll()
			if err := m.Delete(k); err != nil || len(m.List()) != 0 {
				t.Errorf("delete: %v", err)
			}
		})
	}
}

func TestErrorsOfOperations(t *testing.T) {
	e := newEcho()
	m, _ := start(t, Options{Serve: e.serve}, Config{Key: tcpKey})
	if err := m.Start(Config{Key: tcpKey}); !errors.Is(err, ErrExists) {
		t.Errorf("starting twice: %v", err)
	}
	none := Key{TCP, "none"}
	for name, err := range map[string]error{"stop": m.Stop(none, true), "resume": m.Resume(none), "delete": m.Delete(none)} {
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "listener.tcp.none") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range []Config{
		{Key: Key{"quic", "x"}},
		{Key: Key{SSL, "x"}},
		{Key: Key{TCP, "x"}, TLS: &TLS{}},
		{Key: Key{TCP, "x"}, ProxyCN: true},
		{Key: Key{TCP, "x"}, Forwarded: &Forwarded{}},
		{Key: Key{WS, "x"}, Forwarded: &Forwarded{}},
		{Key: Key{TCP, "x"}, MaxConnections: -1},
		{Key: Key{SSL, "x"}, TLS: &TLS{UseIdentityAsUsername: true}},
	} {
		if err := m.Start(c); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.Key.String()) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"start": m.Start(Config{Key: none}), "resume": m.Resume(tcpKey), "all": m.ResumeAll(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

func TestBindErrors(t *testing.T) {
	e := newEcho()
	m, addr := start(t, Options{Serve: e.serve}, Config{Key: tcpKey})
	k := Key{TCP, "second"}
	err := m.Start(Config{Key: k, Network: "tcp", Address: addr})
	want := "cannot listen on " + addr + ": address already in use: " +
		"stop the program that uses the port or set listener.tcp.second to another address"
	if be, ok := errors.AsType[*BindError](err); !ok || be.Error() != want || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v", err)
	}
	if len(m.List()) != 1 {
		t.Error("a listener that could not be opened is listed")
	}
	for errno, word := range map[syscall.Errno]string{
		syscall.EADDRNOTAVAIL: "no such address", syscall.EACCES: "privileges", syscall.EBADF: "check listener.tcp.x",
	} {
		be := &BindError{Key: Key{TCP, "x"}, Network: "tcp", Address: "1.2.3.4:5", Err: errno}
		if !strings.Contains(be.Error(), word) || !strings.Contains(be.Error(), "1.2.3.4:5") {
			t.Errorf("%v", be)
		}
	}
	for errno, word := range map[syscall.Errno]string{
		syscall.EADDRINUSE: "remove the file", syscall.EACCES: "writable", syscall.ENOENT: "directory",
	} {
		be := &BindError{Key: Key{TCP, "x"}, Network: "unix", Address: "/x", Err: errno}
		if !strings.Contains(be.Error(), word) {
			t.Errorf("%v", be)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	network, address, err := ParseAddress("local:" + path + ":0")
	if err != nil {
		t.Fatal(err)
	}
	e := newEcho()
	m, _ := start(t, Options{Serve: e.serve}, Config{Key: tcpKey, Network: network, Address: address})
	roundTrip(t, dial(t, "unix", path))
	if i := <-e.infos; i.Peer.IsValid() {
		t.Errorf("peer %v", i.Peer)
	}
	if s := m.List()[0]; s.Address != path || s.Port != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPanicEndsOneConnection(t *testing.T) {
	type report struct {
		value any
		stack string
		info  *Info
	}
	reports := make(chan report, 1)
	e := newEcho()
	first := make(chan struct{}, 1)
	first <- struct{}{}
	_, addr := start(t, Options{
		Serve: func(c net.Conn, i *Info, ended func()) {
			select {
			case <-first:
				panic("boom")
			default:
				e.serve(c, i, ended)
			}
		},
		OnPanic: func(v any, stack []byte, i *Info) { reports <- report{v, string(stack), i} },
	}, Config{Key: tcpKey})
	c := dial(t, "tcp", addr)
	wantClosed(t, c)
	r := <-reports
	if r.value != "boom" || !strings.Contains(r.stack, "TestPanicEndsOneConnection") || r.info.Peer.String() != c.LocalAddr().String() {
		t.Errorf("%+v", r)
	}
	roundTrip(t, dial(t, "tcp", addr))
}

// flaky fails some accepts as a host without free file descriptors does.
type flaky struct {
	net.Listener
	fail chan error
}

func (f *flaky) Accept() (net.Conn, error) {
	select {
	case err := <-f.fail:
		return nil, err
	default:
		return f.Listener.Accept()
	}
}

func TestAcceptErrorsDoNotEndTheListener(t *testing.T) {
	fail := make(chan error, 3)
	for range cap(fail) {
		fail <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	e := newEcho()
	_, addr := start(t, Options{Serve: e.serve, Listen: func(network, address string) (net.Listener, error) {
		ln, err := net.Listen(network, address)
		return &flaky{ln, fail}, err
	}}, Config{Key: tcpKey})
	roundTrip(t, dial(t, "tcp", addr))
}

func TestCloseWaitsForServe(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	m := New(Options{Listen: net.Listen, Serve: func(_ net.Conn, _ *Info, ended func()) { close(entered); go func() { <-leave; ended() }() }})
	if err := m.Start(Config{Key: tcpKey, Network: "tcp", Address: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	dial(t, "tcp", bound(m, tcpKey))
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := m.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	close(leave)
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"127.0.0.1:1883", "tcp 127.0.0.1:1883"},
		{"::1:1883", "tcp [::1]:1883"},
		{"[::1]:1883", "tcp [::1]:1883"},
		{"localhost:0", "tcp localhost:0"},
		{"local:/run/x.sock:0", "unix /run/x.sock"},
		{"local:/run/x.sock:1", ""},
		{"local:run/x.sock:0", ""},
		{"local:/run/x.sock", ""},
		{"1883", ""},
		{":1883", ""},
		{"127.0.0.1:", ""},
		{"127.0.0.1:mqtt", ""},
	} {
		network, address, err := ParseAddress(c.in)
		got := network + " " + address
		if err != nil {
			got = ""
		}
		if got != c.want {
			t.Errorf("%q: %q, %v", c.in, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%q", c.in)) {
			t.Errorf("%q is not named: %v", c.in, err)
		}
	}
}

func TestTypeShown(t *testing.T) {
	for typ, want := range map[Type]string{TCP: "mqtt", SSL: "mqtts", WS: "mqttws", WSS: "mqttwss", "vmq": "vmq"} {
		if typ.Shown() != want {
			t.Errorf("%s: %s", typ, typ.Shown())
		}
	}
}
