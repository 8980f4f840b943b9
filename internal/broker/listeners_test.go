package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/config"
)

// pemFiles writes a self-signed certificate and its key.
func pemFiles(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER)
}

// What would protect and is not served stops the start.
func TestUnservedProtectionIsRefused(t *testing.T) {
	cert, key := pemFiles(t)
	for name, lines := range map[string][]string{
		"listener.vmqs.a.crlfile": {"listener.vmqs.a = 127.0.0.1:1", "listener.vmqs.a.certfile = " + cert, "listener.vmqs.a.keyfile = " + key, "listener.vmqs.a.cafile = " + cert, "listener.vmqs.a.crlfile = " + cert},
	} {
		cfg, err := config.Parse("broker.conf", []byte(strings.Join(lines, "\n")+"\n"), config.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := refuseUnserved(cfg); !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg, err := config.Parse("broker.conf", nil, config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := refuseUnserved(cfg); err != nil {
		t.Errorf("nothing special: %v", err)
	}
}
