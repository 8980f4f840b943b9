package listener

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

var (
	errNoProxyHeader = errors.New("no valid PROXY header")
	errNoIdentity    = errors.New("client certificate has no CN to use as user name")
)

// prepare brings a connection of a tcp or ssl listener to where MQTT begins.
// For plain tcp it returns c itself.
func (e *entry) prepare(c net.Conn) (net.Conn, *Info, error) {
	info := &Info{Config: &e.cfg}
	conn := c
	if e.cfg.ProxyProtocol {
		pc := e.proxyConn(c)
		if err := e.proxied(pc, info); err != nil {
			return nil, nil, err
		}
		conn = pc
	}
	info.Peer, info.Local = addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	if e.secrets != nil {
		tc := tls.Server(conn, e.secrets.server)
		if err := e.handshake(tc, info); err != nil {
			return nil, nil, err
		}
		conn = tc
	}
	return conn, info, nil
}

// proxied reads the PROXY header.
func (e *entry) proxied(pc *proxyproto.Conn, info *Info) error {
	header := pc.ProxyHeader()
	if header == nil {
		return errNoProxyHeader
	}
	if !e.cfg.ProxyCN {
		return nil
	}
	tlvs, err := header.TLVs()
	if err != nil {
		return fmt.Errorf("reading PROXY header: %w", err)
	}
	if ssl, ok := tlvparse.FindSSL(tlvs); ok && ssl.ClientSSL() && ssl.Verified() {
		if cn, ok := ssl.ClientCN(); ok {
			info.Identity = cn
		}
	}
	return nil
}

// handshake makes the TLS handshake within the listener's time.
func (e *entry) handshake(tc *tls.Conn, info *Info) error {
	if err := tc.SetDeadline(time.Now().Add(e.cfg.HandshakeTimeout)); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	// A context that cannot end costs no goroutine; the deadline ends it.
	if err := tc.HandshakeContext(context.Background()); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	if err := tc.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	state := tc.ConnectionState()
	return e.identify(&state, info)
}

// identify takes the verified client certificate from the TLS state.
func (e *entry) identify(state *tls.ConnectionState, info *Info) error {
	if len(state.VerifiedChains) > 0 {
		info.Certificate = state.PeerCertificates[0]
	}
	if !e.cfg.TLS.UseIdentityAsUsername {
		return nil
	}
	// Without this a certificate that names nobody would let its holder choose
	// any user name.
	if info.Certificate == nil || commonName(info.Certificate) == "" {
		return errNoIdentity
	}
	info.Identity = commonName(info.Certificate)
	return nil
}

func commonName(c *x509.Certificate) string { return c.Subject.CommonName }

// addrPort converts an address; it returns the zero value for unix sockets.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Unwrap returns the socket below a connection that a listener of this package
// served, through TLS, PROXY protocol and WebSocket: a *net.TCPConn or
// *net.UnixConn in the broker.
func Unwrap(c net.Conn) net.Conn {
	for {
		switch v := c.(type) {
		case *proxyproto.Conn:
			c = v.Raw()
		case interface{ NetConn() net.Conn }: // *tls.Conn and ours
			c = v.NetConn()
		default:
			return c
		}
	}
}
