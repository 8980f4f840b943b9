package broker

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqadmin/mqadmin/internal/config"
)

// keyPair writes a certificate of the authority and its key to dir.
func (a *authority) keyPair(dir, name string) (certFile, keyFile string, c tls.Certificate) {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFile(a.t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})))
	writeFile(a.t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return certFile, keyFile, tls.Certificate{Certificate: [][]byte{cert.Raw}, Leaf: cert}
}

// The certificates of the admin listener are read again as those of listeners
// are: a new one is served, a broken file leaves the former one.
func TestAdminCertificatesAreReadAgain(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	cert, key, first := a.keyPair(dir, "one")
	b := testBroker(t, t.TempDir(), "admin.certfile = "+cert, "admin.keyfile = "+key, "admin.cafile = "+a.file("CERTIFICATE", a.cert.Raw))
	defer b.close()
	server, err := b.adminTLS()
	if err != nil {
		t.Fatal(err)
	}
	served := func() []byte {
		c, err := server.GetConfigForClient(nil)
		if err != nil || c.ClientAuth != tls.VerifyClientCertIfGiven || c.MinVersion != tls.VersionTLS13 || c.NextProtos[0] != "h2" {
			t.Fatalf("%+v, %v", c, err)
		}
		return c.Certificates[0].Certificate[0]
	}
	if string(served()) != string(first.Certificate[0]) {
		t.Error("another certificate is served than that of the file")
	}
	_, _, second := a.keyPair(dir, "two")
	if err := b.reloadSecrets(); err != nil || string(served()) != string(second.Certificate[0]) {
		t.Errorf("the new certificate is not served: %v", err)
	}
	if err := os.WriteFile(cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.reloadSecrets(); err == nil || !strings.Contains(err.Error(), "admin.certfile") || string(served()) != string(second.Certificate[0]) {
		t.Errorf("a broken file: %v", err)
	}
	failures, err := tlsAPI{b}.Reload(t.Context())
	if err != nil || len(failures) != 1 || failures[0].GetFile() != "admin.certfile" {
		t.Error(failures, err)
	}
}

// listener.vmqs.*.crlfile: a node whose certificate was revoked is refused, as
// soon as the list says so.
func TestRevokedNodesAreRefused(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	cert, key, own := a.keyPair(dir, "node")
	crl := filepath.Join(dir, "crl.pem")
	list := func(revoked ...tls.Certificate) {
		writeFile(t, crl, string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: a.revoke(revoked...)})))
	}
	list()
	b := testBroker(t, t.TempDir())
	defer b.close()
	p, err := b.peerTLS(config.Listener{Type: "vmqs", Name: "a", TLS: &config.TLS{CertFile: cert, KeyFile: key, CAFile: a.file("CERTIFICATE", a.cert.Raw), CRLFile: crl}})
	if err != nil {
		t.Fatal(err)
	}
	chains := [][]*x509.Certificate{{own.Leaf, a.cert}}
	if err := p.Check(chains); err != nil {
		t.Error(err)
	}
	list(own)
	if err := b.reloadSecrets(); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(chains); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Error(err)
	}
	if _, err := own.Leaf.Verify(x509.VerifyOptions{Roots: p.CA(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
}
