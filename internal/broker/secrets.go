package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"

	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/listener"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/peer"
)

// otherSecrets are the certificates that belong to no listener for clients:
// those of the cluster port and of the admin listener. They are read again as
// those of listeners are.
type otherSecrets struct {
	name string // as in the settings
	*listener.Secrets
}

// openSecrets reads them for the first time.
func (b *Broker) openSecrets(name string, t listener.TLS) (*listener.Secrets, error) {
	s, err := listener.OpenSecrets(name, t, os.ReadFile)
	if err != nil {
		return nil, err
	}
	b.secrets = append(b.secrets, otherSecrets{name, s})
	b.metrics.Gauge("listener_tls_error", "1 while the certificate files of a listener cannot be used as they are", func() int64 {
		if s.Failed() {
			return 1
		}
		return 0
	}, metrics.Label{Name: "listener", Value: name})
	return s, nil
}

// peerTLS reads the certificates of listener.vmqs.*.
func (b *Broker) peerTLS(l config.Listener) (*peer.TLS, error) {
	s, err := b.openSecrets("listener."+l.Type+"."+l.Name, listener.TLS{
		CertFile: l.TLS.CertFile, KeyFile: l.TLS.KeyFile, CAFile: l.TLS.CAFile, CRLFile: l.TLS.CRLFile, KeyPassword: l.TLS.KeyPassword,
		RequireCertificate: true, Depth: l.TLS.Depth,
	})
	if err != nil {
		return nil, err
	}
	return &peer.TLS{
		Certificate: func() (*tls.Certificate, error) { return &s.Config().Certificates[0], nil },
		CA:          func() *x509.CertPool { return s.Config().ClientCAs },
		Check:       s.Check,
	}, nil
}

// adminTLS is the admin listener's side: TLS 1.3, and a client certificate, if
// one is sent, must be signed by the authority. Who sends none needs an API key.
func (b *Broker) adminTLS() (*tls.Config, error) {
	s, err := b.openSecrets("admin", listener.TLS{
		CertFile: b.cfg.String("admin.certfile"), KeyFile: b.cfg.String("admin.keyfile"), CAFile: b.cfg.String("admin.cafile"),
		Versions: []string{"tlsv1.3"},
	})
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := s.Config().Clone()
		c.NextProtos = []string{"h2"}
		if c.ClientCAs != nil {
			c.ClientAuth = tls.VerifyClientCertIfGiven
		}
		return c, nil
	}}, nil
}

// reloadSecrets reads every certificate file again. What cannot be used is
// logged once, shown by a gauge, and returned.
func (b *Broker) reloadSecrets() error {
	errs := []error{b.listeners.Reload()}
	for _, s := range b.secrets {
		if err := s.Reload(b.log.With("listener", s.name)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// secretFiles lists what reloadSecrets reads.
func (b *Broker) secretFiles() []string {
	out := b.listeners.Files()
	for _, s := range b.secrets {
		out = append(out, s.Files()...)
	}
	return out
}
