package listener

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
)

// Secrets are certificate files for something that is no listener of a
// Manager: they are loaded, checked and read again in the same way.
type Secrets struct{ s *secrets }

// OpenSecrets loads the files for the first time. name begins the errors, as
// listener.ssl.default does.
func OpenSecrets(name string, c TLS, read func(string) ([]byte, error)) (*Secrets, error) {
	s, err := newSecrets(name, c, read)
	if err != nil {
		return nil, err
	}
	return &Secrets{s}, nil
}

// Config returns what was last loaded; it is not to be changed.
func (s *Secrets) Config() *tls.Config { return s.s.good.Load() }

// Check refuses certificates none of whose verified chains is free of revoked
// ones and short enough.
func (s *Secrets) Check(chains [][]*x509.Certificate) error {
	if check := s.Config().VerifyConnection; check != nil {
		return check(tls.ConnectionState{VerifiedChains: chains})
	}
	return nil
}

// Reload reads the files again. Those that cannot be used leave the former ones
// in force, which is logged once for as long as the reason is the same.
func (s *Secrets) Reload(log *slog.Logger) error { return s.s.reload(log) }

// Files lists what is read.
func (s *Secrets) Files() []string { return s.s.files() }

// Failed reports that the files cannot be used as they are now.
func (s *Secrets) Failed() bool { return s.s.failed.Load() }
