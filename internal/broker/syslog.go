package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/logging"
)

// localSyslogs are where the daemon of this machine listens.
var localSyslogs = []string{"/dev/log", "/var/run/syslog", "/var/run/log"}

// syslogDial gives the log its way to syslog, local or remote.
func syslogDial(c *config.Config, s *logging.Syslog) error {
	if !c.Flag("log.syslog") {
		return nil
	}
	host := c.String("log.syslog.remote.host")
	if host == "" {
		s.Dial = dialLocalSyslog
		return nil
	}
	s.Host, _ = os.Hostname() // the header has room for none
	address := net.JoinHostPort(host, strconv.Itoa(c.Int("log.syslog.remote.port")))
	protocol := c.Enum("log.syslog.remote.protocol")
	if protocol != "tls" {
		s.Dial = func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, protocol, address)
		}
		return nil
	}
	file := c.String("log.syslog.remote.tls.cafile")
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("log.syslog.remote.tls.cafile: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("log.syslog.remote.tls.cafile: no certificate in %s", file)
	}
	d := &tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12}}
	s.Dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	return nil
}

func dialLocalSyslog(ctx context.Context) (net.Conn, error) {
	var first error
	for _, path := range localSyslogs {
		c, err := (&net.Dialer{}).DialContext(ctx, "unixgram", path)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}
