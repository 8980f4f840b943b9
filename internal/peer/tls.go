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
	"net"
	"time"
)

// selfMade returns a certificate for this start. Nobody verifies it: who
// stands at the other end is proven by the cookie over the TLS exporter. It
// never leaves memory.
func selfMade() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mqadmin cluster port"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 §4.1.2.5: no end
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// tlsConfigs returns the acceptor's and the dialer's side. Sessions are never
// resumed: each connection proves everything again.
func tlsConfigs(c *TLS) (server, client *tls.Config, err error) {
	base := tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
	server, client = base.Clone(), base.Clone()
	client.InsecureSkipVerify = true // replaced by VerifyConnection below, or by the cookie's proof
	if c == nil {
		cert, err := selfMade()
		if err != nil {
			return nil, nil, err
		}
		server.Certificates = []tls.Certificate{cert}
		return server, client, nil
	}
	if c.Certificate == nil || c.CA == nil {
		return nil, nil, errors.New("cluster port: a certificate needs a CA, and the other way round")
	}
	server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.Certificate() }
	server.ClientAuth = tls.RequireAnyClientCert // verified below, against the authority of now
	server.VerifyConnection = func(s tls.ConnectionState) error {
		return c.verify(s.PeerCertificates, x509.ExtKeyUsageClientAuth)
	}
	client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.Certificate() }
	client.VerifyConnection = func(s tls.ConnectionState) error { return c.verify(s.PeerCertificates, x509.ExtKeyUsageServerAuth) }
	return server, client, nil
}

// verify checks the other side's chain without its host name: nodes are known
// by their ids, and addresses of nodes change.
func (c *TLS) verify(chain []*x509.Certificate, use x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return ErrCertificate
	}
	inter := x509.NewCertPool()
	for _, c := range chain[1:] {
		inter.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{Roots: c.CA(), Intermediates: inter, KeyUsages: []x509.ExtKeyUsage{use}})
	if err == nil && c.Check != nil {
		err = c.Check(chains)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return nil
}

// remoteAlert reports whether the other side ended TLS with an alert, which in
// TLS 1.3 is how it refuses our certificate after we thought ourselves done.
func remoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
