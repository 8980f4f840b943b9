package listener

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// TLS are the options of ssl and wss listeners.
type TLS struct {
	// CertFile and KeyFile are PEM; the first may hold a chain.
	CertFile, KeyFile string
	// KeyPassword decrypts a key in the traditional PEM encryption.
	KeyPassword string
	// CAFile has the PEM certificates that client certificates are verified
	// against, CRLFile what they revoked, PEM or DER.
	CAFile, CRLFile string
	// RequireCertificate refuses clients without one.
	RequireCertificate bool
	// UseIdentityAsUsername makes the CN the user name.
	UseIdentityAsUsername bool
	// Depth is how many intermediate certificates may stand between a client's
	// and a CA's; 0 for no limit.
	Depth int
	// Versions are of tlsv1.2 and tlsv1.3; empty for both.
	Versions []string
	// Ciphers for TLS 1.2, in OpenSSL's or IANA's names; empty for Go's choice.
	Ciphers []string
	// Curves for the key exchange; empty for Go's choice.
	Curves []tls.CurveID
}

// secrets holds the TLS configuration of a listener, as last loaded.
type secrets struct {
	name string
	cfg  TLS
	read func(string) ([]byte, error)
	good atomic.Pointer[tls.Config]
	// failed tells that the files cannot be used as they are now.
	failed atomic.Bool

	mu      sync.Mutex // guards what follows; held while reloading
	lastErr string     // so that a lasting error is logged once

	// server is what connections are given. It follows good, and it is one for
	// all of them because it holds the keys of session tickets.
	server *tls.Config
}

// newSecrets loads the files for the first time.
func newSecrets(name string, c TLS, read func(string) ([]byte, error)) (*secrets, error) {
	s := &secrets{name: name, cfg: c, read: read}
	s.server = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.good.Load(), nil },
	}
	return s, s.load()
}

// reload reads the files again and logs what has become of them.
func (s *secrets) reload(log *slog.Logger) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.load()
	s.failed.Store(err != nil)
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case text == s.lastErr:
	case err != nil:
		log.Error("certificates cannot be reloaded; the former ones stay in force", "error", err)
	default:
		log.Info("certificates are good again")
	}
	s.lastErr = text
	return err
}

// files lists what load reads.
func (s *secrets) files() []string {
	return slices.DeleteFunc([]string{s.cfg.CertFile, s.cfg.KeyFile, s.cfg.CAFile, s.cfg.CRLFile}, func(f string) bool { return f == "" })
}

// load reads the files; on an error the former configuration stays.
func (s *secrets) load() error {
	c := &tls.Config{MinVersion: tls.VersionTLS12, CurvePreferences: s.cfg.Curves}
	for _, step := range []func(*tls.Config) error{s.versions, s.ciphers, s.certificate, s.clients} {
		if err := step(c); err != nil {
			return err
		}
	}
	s.good.Store(c)
	return nil
}

// fail names the option that an error is about.
func (s *secrets) fail(option string, err error) error {
	return fmt.Errorf("%s.%s: %w", s.name, option, err)
}

// versions sets the range of protocol versions.
func (s *secrets) versions(c *tls.Config) error {
	c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS13
	if len(s.cfg.Versions) == 0 {
		return nil
	}
	known := map[string]uint16{"tlsv1.2": tls.VersionTLS12, "tlsv1.3": tls.VersionTLS13}
	c.MinVersion, c.MaxVersion = tls.VersionTLS13, tls.VersionTLS12
	for _, v := range s.cfg.Versions {
		n, ok := known[v]
		if !ok {
			return s.fail("tls_version", fmt.Errorf("%q: want tlsv1.2 or tlsv1.3: %w", v, ErrConfig))
		}
		c.MinVersion, c.MaxVersion = min(c.MinVersion, n), max(c.MaxVersion, n)
	}
	return nil
}

// ciphers sets the TLS 1.2 suites; those of 1.3 cannot be chosen in Go.
func (s *secrets) ciphers(c *tls.Config) error {
	for _, name := range s.cfg.Ciphers {
		i := slices.IndexFunc(tls.CipherSuites(), func(cs *tls.CipherSuite) bool {
			return strings.EqualFold(name, cs.Name) || strings.EqualFold(name, opensslName(cs.Name))
		})
		if i < 0 {
			return s.fail("ciphers", fmt.Errorf("%q is unknown or insecure: %w", name, ErrConfig))
		}
		c.CipherSuites = append(c.CipherSuites, tls.CipherSuites()[i].ID)
	}
	return nil
}

// opensslName turns TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 into
// ECDHE-RSA-AES128-GCM-SHA256.
func opensslName(iana string) string {
	s := strings.TrimPrefix(iana, "TLS_")
	s = strings.NewReplacer("_WITH_", "-", "AES_", "AES", "CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", "_", "-").Replace(s)
	return s
}

// certificate reads the server's own certificate and key.
func (s *secrets) certificate(c *tls.Config) error {
	cert, err := s.read(s.cfg.CertFile)
	if err != nil {
		return s.fail("certfile", err)
	}
	key, err := s.read(s.cfg.KeyFile)
	if err != nil {
		return s.fail("keyfile", err)
	}
	if key, err = decryptKey(key, s.cfg.KeyPassword); err != nil {
		return s.fail("keyfile", fmt.Errorf("%s: %w", s.cfg.KeyFile, err))
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return s.fail("certfile", fmt.Errorf("%s with %s: %w", s.cfg.CertFile, s.cfg.KeyFile, err))
	}
	c.Certificates = []tls.Certificate{pair}
	return nil
}

// decryptKey undoes the traditional PEM encryption of a key.
func decryptKey(key []byte, password string) ([]byte, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return key, nil // X509KeyPair says what is wrong
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" {
		return nil, errors.New("encrypted PKCS #8 keys are not supported: remove the encryption (openssl pkey) and protect the file")
	}
	if !x509.IsEncryptedPEMBlock(block) { //nolint:staticcheck // what VerneMQ's keypasswd is for
		return key, nil
	}
	der, err := x509.DecryptPEMBlock(block, []byte(password)) //nolint:staticcheck // as above
	if err != nil {
		return nil, fmt.Errorf("decrypting with keypasswd: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
}

// clients sets how client certificates are verified.
func (s *secrets) clients(c *tls.Config) error {
	if s.cfg.CAFile == "" {
		if s.cfg.RequireCertificate {
			return s.fail("cafile", fmt.Errorf("require_certificate needs it: %w", ErrConfig))
		}
		return nil
	}
	data, err := s.read(s.cfg.CAFile)
	if err != nil {
		return s.fail("cafile", err)
	}
	cas, err := parseCertificates(data)
	if err != nil {
		return s.fail("cafile", fmt.Errorf("%s: %w", s.cfg.CAFile, err))
	}
	c.ClientCAs = x509.NewCertPool()
	for _, ca := range cas {
		c.ClientCAs.AddCert(ca)
	}
	if s.cfg.RequireCertificate {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	var revoked revocations
	if s.cfg.CRLFile != "" {
		if data, err = s.read(s.cfg.CRLFile); err != nil {
			return s.fail("crlfile", err)
		}
		if revoked, err = parseCRL(data, cas); err != nil {
			return s.fail("crlfile", fmt.Errorf("%s: %w", s.cfg.CRLFile, err))
		}
	}
	depth := s.cfg.Depth
	// Called for resumed sessions too, unlike VerifyPeerCertificate.
	c.VerifyConnection = func(cs tls.ConnectionState) error { return verifyChains(cs.VerifiedChains, revoked, depth) }
	return nil
}

// parseCertificates reads all PEM certificates. An error tells the line behind
// the block that it is about.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate that ends at line %d: %w", bytes.Count(data[:len(data)-len(rest)], []byte("\n")), err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM certificate in it")
	}
	return out, nil
}

// revocations are the (issuer, serial number) pairs that CRLs name.
type revocations map[[2]string]struct{}

// has reports whether a certificate was revoked.
func (r revocations) has(c *x509.Certificate) bool {
	_, ok := r[[2]string{string(c.RawIssuer), c.SerialNumber.String()}]
	return ok
}

// parseCRL reads revocation lists, each signed by one of the CAs.
func parseCRL(data []byte, cas []*x509.Certificate) (revocations, error) {
	var lists [][]byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "X509 CRL" {
			lists = append(lists, block.Bytes)
		}
	}
	if len(lists) == 0 {
		lists = [][]byte{data}
	}
	out := revocations{}
	for _, der := range lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(cas, func(ca *x509.Certificate) bool { return list.CheckSignatureFrom(ca) == nil }) {
			return nil, errors.New("revocation list is not signed by a CA of cafile")
		}
		for _, e := range list.RevokedCertificateEntries {
			out[[2]string{string(list.RawIssuer), e.SerialNumber.String()}] = struct{}{}
		}
	}
	return out, nil
}

// verifyChains refuses a client none of whose chains is short enough and free
// of revoked certificates. No chains: no client certificate was required.
func verifyChains(chains [][]*x509.Certificate, revoked revocations, depth int) error {
	if len(chains) == 0 {
		return nil
	}
	err := errors.New("client certificate chain is longer than depth")
	for _, chain := range chains {
		if depth > 0 && len(chain)-2 > depth {
			continue
		}
		if !slices.ContainsFunc(chain, revoked.has) {
			return nil
		}
		err = errors.New("client certificate is revoked")
	}
	return err
}
