package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"
)

func TestCertificates(t *testing.T) {
	ours, theirs := newCA(t), newCA(t)
	for i, c := range []struct {
		dialer *TLS
		secret Secret
		want   error
	}{
		{ours.issue(t), testSecret(), nil},
		{theirs.issue(t), testSecret(), ErrCertificate},
		{nil, testSecret(), ErrCertificate},
		{&TLS{Certificate: theirs.issue(t).Certificate, CA: ours.roots}, testSecret(), ErrCertificate},
		{ours.issue(t), NewSecret("another"), ErrCookie},
	} {
		two, addr := tcpPort(t, 2, func(cfg *Config) { cfg.TLS = ours.issue(t) })
		one, _ := tcpPort(t, 1, func(cfg *Config) { cfg.TLS, cfg.Secret = c.dialer, c.secret })
		conn, err := one.dial(t.Context(), KindGRPC, addr, 2, false)
		if !errors.Is(err, c.want) {
			t.Errorf("case %d: %v", i, err)
		}
		if err == nil {
			conn.Close()
		}
		two.Close()
	}
	if _, err := New(Config{Dial: tcpDial, TLS: &TLS{CA: ours.roots}}); err == nil {
		t.Error("a CA without a certificate was accepted")
	}
}

type testCA struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	pool  *x509.CertPool
	roots func() *x509.CertPool
}

func newCA(t *testing.T) testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: fmt.Sprintf("ca %p", t)}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return testCA{cert, key, pool, func() *x509.CertPool { return pool }}
}

func (ca testCA) issue(t *testing.T) *TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &TLS{Certificate: func() (*tls.Certificate, error) { return cert, nil }, CA: ca.roots}
}
