package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

func reason(r string) metrics.Label { return metrics.Label{Name: "reason", Value: r} }

func TestRefusals(t *testing.T) {
	other := NewSecret("another cookie of some length")
	cases := []struct {
		name   string
		kind   Kind
		any    bool
		target int
		change func(*Config)
		after  func(one, two *Port)
		want   error
		reason string
		says   []string
	}{
		{name: "raft", kind: KindRaft, target: 2},
		{name: "grpc", kind: KindGRPC, target: 2},
		{name: "discovery", kind: KindGRPC, any: true, change: func(c *Config) { c.Identity.Cluster = 0 }},
		{
			name: "cookie", kind: KindGRPC, any: true, change: func(c *Config) { c.Secret = other }, want: ErrCookie, reason: "cookie",
			says: []string{nodeAddr(2), "distributed_cookie on both nodes"},
		},
		{
			name: "version", kind: KindGRPC, any: true, after: func(one, _ *Port) { one.versions = versionRange{3, 4} }, want: ErrVersion, reason: "version",
			says: []string{"node2@test", "versions 3 to 4", "version 1", "upgrade"},
		},
		{
			name: "cluster", kind: KindRaft, change: func(c *Config) { c.Identity.Cluster = 5 }, want: ErrCluster, reason: "cluster",
			says: []string{"0000000000000005", "join"},
		},
		{
			name: "no cluster yet", kind: KindLink, change: func(c *Config) { c.Identity.Cluster = 0 }, want: ErrCluster, reason: "cluster",
			says: []string{"no cluster yet"},
		},
		{name: "any cluster is for calls only", kind: KindRaft, any: true, change: func(c *Config) { c.Identity.Cluster = 5 }, want: ErrCluster, reason: "cluster"},
		{
			name: "generation", kind: KindLink, change: func(c *Config) { c.Identity.Generation.Number = 2 }, want: ErrGeneration, reason: "generation",
			says: []string{"recovered"},
		},
		{name: "diverged", kind: KindLink, change: func(c *Config) { c.Identity.Generation.Random = 2 }, want: ErrGeneration, reason: "generation"},
		{
			name: "not a member", kind: KindRaft, after: func(_, two *Port) { two.SetMembers([]Member{member(2)}) }, want: ErrNotMember, reason: "member",
			says: []string{"as a member"},
		},
		{name: "wiped disk", kind: KindRaft, target: 3, want: ErrWrongNode, reason: "node", says: []string{"0000000000000003", "0000000000000002"}},
		{name: "itself", kind: KindGRPC, any: true, change: func(c *Config) { c.Identity.Node = 2 }, want: ErrSelf, reason: "self", says: []string{"name another node"}},
		{name: "kind", kind: 99, want: ErrProtocol, reason: "kind"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := newFabric()
			two := startPort(t, f, 2, nil)
			one := startPort(t, f, 1, c.change)
			ids := []Member{member(1), member(2)}
			two.SetMembers(ids)
			if c.after != nil {
				c.after(one, two)
			}
			got, err := one.dial(t.Context(), c.kind, nodeAddr(2), message.NodeID(c.target), c.any)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if c.want == nil {
				if got.peer != two.Identity() || got.version != 1 {
					t.Errorf("peer %+v", got.peer)
				}
				got.Close()
				return
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			if err := waitFor(t, func() bool { return counted(two, "cluster_peer_refused", reason(c.reason)) > 0 }); err != nil {
				t.Errorf("refusal of reason %s was not counted", c.reason)
			}
		})
	}
}

// waitFor polls without a clock: it yields until ok or the test's deadline.
func waitFor(t *testing.T, ok func() bool) error {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		if ok() {
			return nil
		}
		<-tick.C
	}
	return context.DeadlineExceeded
}

// TestStrangers meets the port with what is no peer: each is cut off and
// counted, and hears nothing that depends on the cookie.
func TestStrangers(t *testing.T) {
	cases := []struct {
		name   string
		talk   func(net.Conn)
		reason string
	}{
		{"scanner", func(c net.Conn) { c.Close() }, "tls"},
		{"plaintext", func(c net.Conn) {
			go io.Copy(io.Discard, c) //nolint:errcheck // ends with the connection
			io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
		}, "tls"},
		{"tls 1.2", func(c net.Conn) {
			t := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
			t.Handshake() //nolint:errcheck,noctx // it fails
		}, "tls"},
		{"garbage", overTLS(func(c net.Conn, _ session) { c.Write(bytes.Repeat([]byte{0xff}, 200)) }), "protocol"},
		{"huge body", overTLS(func(c net.Conn, _ session) {
			b := append([]byte(magic), bytes.Repeat([]byte{0xff}, 200)...)
			c.Write(b)
		}), "protocol"},
		{"well formed without the cookie", overTLS(func(c net.Conn, s session) {
			s.write(c, labelDialer, nil, hello{kind: byte(KindGRPC), id: identity(1)}) //nolint:errcheck // seen by the port
		}), "cookie"},
		{"proof of the acceptor's role", overTLS(func(c net.Conn, s session) {
			s.secret = testSecret()
			s.write(c, labelAcceptor, nil, hello{kind: byte(KindGRPC), id: identity(1)}) //nolint:errcheck // seen by the port
		}), "cookie"},
		{"hangs up in mid-proof", overTLS(func(c net.Conn, _ session) { c.Write([]byte(magic)); c.Close() }), "protocol"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := newFabric()
			two := startPort(t, f, 2, nil)
			raw, err := f.dial(t.Context(), nodeAddr(2))
			if err != nil {
				t.Fatal(err)
			}
			c.talk(raw)
			if err := waitFor(t, func() bool { return counted(two, "cluster_peer_refused", reason(c.reason)) == 1 }); err != nil {
				t.Errorf("not refused for %s: %v", c.reason, two.cfg.Metrics.Samples())
			}
			raw.Close()
		})
	}
}

func overTLS(fn func(net.Conn, session)) func(net.Conn) { return func(c net.Conn) { fn(tlsClient(c)) } }

func tlsClient(c net.Conn) (net.Conn, session) {
	t := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err := t.HandshakeContext(context.Background()); err != nil {
		panic(err)
	}
	s, err := newSession(Secret{}, t)
	if err != nil {
		panic(err)
	}
	return t, s
}

func TestNothingIsAnsweredToAWrongProof(t *testing.T) {
	f := newFabric()
	startPort(t, f, 2, nil)
	raw, err := f.dial(t.Context(), nodeAddr(2))
	if err != nil {
		t.Fatal(err)
	}
	c, s := tlsClient(raw)
	if _, err := s.write(c, labelDialer, nil, hello{kind: byte(KindGRPC), id: identity(1)}); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); len(b) != 0 || (err != nil && !errors.Is(err, io.ErrUnexpectedEOF)) {
		t.Errorf("answered %d bytes, %v", len(b), err)
	}
	raw.Close()
}

// TestRelay puts somebody between two nodes who ends TLS on both sides and
// passes on all that is said.
func TestRelay(t *testing.T) {
	f := newFabric()
	two := startPort(t, f, 2, nil)
	ln := f.listen("relay:1")
	defer ln.Close()
	cert, err := selfMade()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		a, err := ln.Accept()
		if err != nil {
			return
		}
		defer a.Close()
		front := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
		b, err := f.dial(context.Background(), nodeAddr(2))
		if err != nil {
			return
		}
		defer b.Close()
		back := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
		go io.Copy(back, front) //nolint:errcheck // ends with the connection
		io.Copy(front, back)    //nolint:errcheck // ends with the connection
	}()
	one := startPort(t, f, 1, nil)
	if _, _, err := one.DialAddress(t.Context(), "relay:1"); !errors.Is(err, ErrCookie) {
		t.Errorf("error %v", err)
	}
	if n := counted(two, "cluster_peer_refused", reason("cookie")); n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestSlowStrangersAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		var log bytes.Buffer
		two := startPort(t, f, 2, func(c *Config) {
			c.MaxHandshakes = 4
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		var conns []net.Conn
		for range 5 {
			c, err := f.dial(t.Context(), nodeAddr(2))
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		synctest.Wait()
		if n := counted(two, "cluster_peer_refused", reason("busy")); n != 3 { // half of four for one host
			t.Errorf("busy: %d", n)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n := counted(two, "cluster_peer_refused", reason("timeout")); n != 2 {
			t.Errorf("timeout: %d", n)
		}
		one := startPort(t, f, 1, nil)
		if c, _, err := one.DialAddress(t.Context(), nodeAddr(2)); err != nil {
			t.Errorf("after the strangers: %v", err)
		} else {
			c.Close()
		}
		if n := strings.Count(log.String(), "refused a connection"); n != 2 {
			t.Errorf("%d log lines, want one per reason:\n%s", n, &log)
		}
		for _, c := range conns {
			c.Close()
		}
	})
}

func TestSilentAcceptor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		ln := f.listen("silent:1")
		go func() {
			c, err := ln.Accept()
			if err == nil {
				io.Copy(io.Discard, c) //nolint:errcheck // ends with the connection
			}
		}()
		one := startPort(t, f, 1, nil)
		began := time.Now()
		_, _, err := one.DialAddress(t.Context(), "silent:1")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		ln.Close()
	})
}

func TestNotAClusterPort(t *testing.T) {
	f := newFabric()
	for addr, talk := range map[string]string{"http:80": "HTTP/1.1 400 Bad Request\r\n\r\n", "mute:1": ""} {
		ln := f.listen(addr)
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 4096)) //nolint:errcheck // whatever it says
			io.WriteString(c, talk)
			c.Close()
		}()
		one := startPort(t, f, 1, nil)
		if _, _, err := one.DialAddress(t.Context(), addr); !errors.Is(err, ErrNotPeer) {
			t.Errorf("%s: %v", addr, err)
		}
		one.Close()
		ln.Close()
	}
	one := startPort(t, f, 1, nil)
	if _, _, err := one.DialAddress(t.Context(), "nowhere:1"); !errors.Is(err, errUnreachable) || !strings.Contains(err.Error(), "nowhere:1") {
		t.Errorf("unreachable: %v", err)
	}
}

func TestSecretHidesItself(t *testing.T) {
	s := testSecret()
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(f, s); got != "[secret]" {
			t.Errorf("%s prints %s", f, got)
		}
	}
	if !NewSecret("vmq").Short() || s.Short() || NewSecret("vmq").key == s.key {
		t.Error("cookies are not told apart")
	}
}

func FuzzHandshake(f *testing.F) {
	s := session{testSecret(), make([]byte, 32)}
	var b bytes.Buffer
	if _, err := s.write(&b, labelDialer, nil, hello{kind: 2, versions: supported(), id: identity(1)}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, err := s.read(bytes.NewReader(b), labelDialer, nil)
		if err == nil && h.id.Node != 1 {
			t.Errorf("accepted %+v", h)
		}
		if len(b) >= preambleSize { // what a peer with the cookie might send
			decodeHello(b[:preambleSize], b[preambleSize:]) //nolint:errcheck // must not panic
		}
	})
}
