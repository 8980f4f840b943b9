package listener

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo serves connections by sending back what comes, and reports who came.
type echo struct {
	infos chan *Info
	conns chan net.Conn
}

func newEcho() *echo { return &echo{infos: make(chan *Info, 100), conns: make(chan net.Conn, 100)} }

func (e *echo) serve(c net.Conn, i *Info, ended func()) {
	e.infos <- i
	e.conns <- c
	echoes := func() {
		defer ended()
		_, _ = io.Copy(c, c)
	}
	if _, socket := c.(syscall.Conn); socket {
		go echoes()
	} else {
		echoes()
	}
}

// start returns a Manager with one listener and closes it at the end.
func start(t *testing.T, o Options, c Config) (*Manager, string) {
	t.Helper()
	if o.Listen == nil {
		o.Listen = net.Listen
	}
	m := New(o)
	if c.Network == "" {
		c.Network, c.Address = "tcp", "127.0.0.1:0"
	}
	if err := m.Start(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := m.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return m, bound(m, c.Key)
}

// bound returns what a listener listens on.
func bound(m *Manager, k Key) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.all[k]
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bound
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// roundTrip sends a word and wants it back.
func roundTrip(t *testing.T, c io.ReadWriter) {
	t.Helper()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
}

// wantClosed waits for the other side to close.
func wantClosed(t *testing.T, c net.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	if ne, ok := errors.AsType[net.Error](err); n != 0 || err == nil || ok && ne.Timeout() {
		t.Fatalf("the connection is open: %d bytes, %v", n, err)
	}
}

// await polls a status that follows an event which the test has caused.
func await(t *testing.T, m *Manager, what string, ok func(Status) bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok(m.List()[0]) {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waiting for %s: %+v", what, m.List()[0])
		}
	}
}

// files is a ReadFile over memory.
type files struct {
	mu sync.Mutex
	m  map[string][]byte
}

func (f *files) set(name string, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = map[string][]byte{}
	}
	f.m[name] = b
}

func (f *files) read(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b, ok := f.m[name]; ok {
		return b, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// ca signs certificates for tests.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newCA(t *testing.T) *ca {
	t.Helper()
	a := &ca{key: newKey(t), next: 1}
	a.cert = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (a *ca) sign(t *testing.T, template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(a.next)
	a.next++
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := a.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issue returns a leaf in PEM, and parsed.
func (a *ca) issue(t *testing.T, cn string) (certPEM, keyPEM []byte, cert *x509.Certificate) {
	t.Helper()
	key := newKey(t)
	cert = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: cn}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", cert.Raw), pemOf("PRIVATE KEY", der), cert
}

// crl revokes certificates.
func (a *ca) crl(t *testing.T, revoked ...*x509.Certificate) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("X509 CRL", der)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
