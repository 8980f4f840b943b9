package interop

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }

// patience bounds every single wait.
const patience = 20 * time.Second * clustertest.Slowdown

// broker is a broker process with one listener of each kind.
type broker struct {
	node   *clustertest.Node
	addr   map[string]string // by transport
	caFile string
	roots  *x509.CertPool
}

// startBroker runs the broker until the test ends. It must not have crashed
// by then.
func startBroker(t *testing.T) *broker {
	t.Helper()
	dir := t.TempDir()
	b := &broker{addr: map[string]string{}, caFile: filepath.Join(dir, "ca.pem")}
	b.roots = certificates(t, dir)
	settings := []string{"allow_anonymous = on", "log.crash = on"}
	for transport, kind := range map[string]string{"tls": "ssl", "ws": "ws", "wss": "wss"} {
		addr, err := clustertest.FreeAddress()
		if err != nil {
			t.Fatal(err)
		}
		b.addr[transport] = addr
		settings = append(settings, "listener."+kind+".default = "+addr)
		if transport != "ws" {
			settings = append(settings, "listener."+kind+".certfile = "+filepath.Join(dir, "server.pem"), "listener."+kind+".keyfile = "+filepath.Join(dir, "server.key"))
		}
	}
	n, err := clustertest.New(clustertest.Config{Bin: clustertest.Bin(), Dir: filepath.Join(dir, "node"), Name: "n1@127.0.0.1", Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	b.node, b.addr["tcp"] = n, n.MQTT
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(patience); err != nil {
			t.Error(err)
		}
		if text, _ := os.ReadFile(filepath.Join(n.Dir, "log", "crash.log")); len(text) > 0 {
			t.Errorf("the broker's crash log:\n%s", text)
		}
		if t.Failed() {
			t.Logf("the broker printed last:\n%s", n.Tail())
		}
	})
	return b
}

// url is what clients are given for a transport.
func (b *broker) url(transport string) string {
	scheme := map[string]string{"tcp": "mqtt", "tls": "mqtts", "ws": "ws", "wss": "wss"}[transport]
	path := ""
	if transport == "ws" || transport == "wss" {
		path = "/mqtt"
	}
	return scheme + "://" + b.addr[transport] + path
}

// tls is a client's configuration that trusts the test's authority only.
func (b *broker) tls() *tls.Config {
	return &tls.Config{RootCAs: b.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
}

// certificates writes ca.pem, server.pem and server.key for 127.0.0.1.
func certificates(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(err)
	ca, err = x509.ParseCertificate(caDER)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "broker"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, ca, &key.PublicKey, caKey)
	must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	for name, block := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: caDER}, "server.pem": {Type: "CERTIFICATE", Bytes: serverDER}, "server.key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		must(os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool
}
