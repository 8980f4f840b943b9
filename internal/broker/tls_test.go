package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pires/go-proxyproto"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/session"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.next++
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(a.next), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return out, key
}

// client returns the certificate of somebody.
func (a *authority) client(name string) tls.Certificate {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// file writes what a listener reads.
func (a *authority) file(kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "file.pem")
	writeFile(a.t, path, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	return path
}

func (a *authority) revoke(certs ...tls.Certificate) []byte {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

// sessionsOf lists user, mountpoint and address of each client id.
func sessionsOf(b *Broker) map[message.SessionID]string {
	out := map[message.SessionID]string{}
	b.sessions.Each(func(i session.Info) bool {
		out[i.ID] = i.User + " " + i.Peer.Addr().String() + " " + i.Listener
		return true
	})
	return out
}

// Certificates, revocation lists (also one that changes), versions, ciphers,
// identities and mountpoints of TLS listeners.
func TestTLSListeners(t *testing.T) {
	a := newAuthority(t)
	alice, mallory, late := a.client("alice"), a.client("mallory"), a.client("late")
	cert, key := pemFiles(t)
	crl := a.file("X509 CRL", a.revoke(mallory))
	b := serveBroker(
		t, "listener.ssl.certfile = "+cert, "listener.ssl.keyfile = "+key, "crl_refresh_interval = 0",
		"listener.ssl.own = 127.0.0.1:0", "listener.ssl.own.cafile = "+a.file("CERTIFICATE", a.cert.Raw), "listener.ssl.own.crlfile = "+crl,
		"listener.ssl.own.require_certificate = on", "listener.ssl.own.use_identity_as_username = on", "listener.ssl.own.mountpoint = m",
		"listener.ssl.own.tls_version = tlsv1.3",
		"listener.ssl.old = 127.0.0.1:0", "listener.ssl.old.tls_version = tlsv1.2", "listener.ssl.old.ciphers = ECDHE-ECDSA-AES256-GCM-SHA384",
	)
	connect := func(name, id string, c *tls.Config) (*client, error) {
		t.Helper()
		c.InsecureSkipVerify = true
		conn := tls.Client(dialClient(t, "tcp", addressOf(t, b, "listener.ssl."+name)).nc, c)
		if _, err := conn.Write(packet.Append(nil, 5, &packet.Connect{Version: 5, ClientID: id, CleanStart: true})); err != nil {
			return nil, err
		}
		if _, err := conn.Read(make([]byte, 100)); err != nil { // of TLS 1.3 the refusal comes here
			return nil, err
		}
		return newClient(t, conn), nil
	}
	if _, err := connect("own", "same", &tls.Config{Certificates: []tls.Certificate{alice}}); err != nil {
		t.Fatal(err)
	}
	plain := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.default"))
	if r := plain.connect(5, "same", "", ""); r.Failed() { // another client: in another mountpoint
		t.Fatal(r)
	}
	want := map[message.SessionID]string{
		{Mountpoint: "m", ClientID: "same"}: "alice 127.0.0.1 own", {ClientID: "same"}: " 127.0.0.1 default",
	}
	if d := cmp.Diff(want, sessionsOf(b)); d != "" {
		t.Error(d)
	}
	for name, c := range map[string]*tls.Config{
		"none": {}, "revoked": {Certificates: []tls.Certificate{mallory}},
		"TLS 1.2": {Certificates: []tls.Certificate{alice}, MaxVersion: tls.VersionTLS12},
	} {
		if _, err := connect("own", "x", c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := connect("own", "late", &tls.Config{Certificates: []tls.Certificate{late}}); err != nil {
		t.Fatal(err)
	}
	writeFile(t, crl, string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: a.revoke(mallory, late)})))
	await(t, "the new revocation list", func() bool {
		_, err := connect("own", "late", &tls.Config{Certificates: []tls.Certificate{late}})
		return err != nil
	})
	c, err := connect("old", "old", &tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if s := c.nc.(*tls.Conn).ConnectionState(); s.Version != tls.VersionTLS12 || s.CipherSuite != tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 {
		t.Errorf("version %x, suite %s", s.Version, tls.CipherSuiteName(s.CipherSuite))
	}
}

// PROXY protocol, protocol versions.
func TestPlainListeners(t *testing.T) {
	b := serveBroker(
		t, "listener.tcp.behind = 127.0.0.1:0", "listener.tcp.behind.proxy_protocol = on",
		"listener.tcp.five = 127.0.0.1:0", "listener.tcp.five.allowed_protocol_versions = 5",
	)
	for v, address := range map[byte]string{1: "10.1.2.3", 2: "2001:db8::7"} {
		c := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.behind"))
		ip, own := net.ParseIP(address), net.ParseIP("::1")
		if ip.To4() != nil {
			own = net.IPv4(127, 0, 0, 1)
		}
		h := proxyproto.HeaderProxyFromAddrs(v, &net.TCPAddr{IP: ip, Port: 4567}, &net.TCPAddr{IP: own, Port: 1883})
		if _, err := h.WriteTo(c.nc); err != nil {
			t.Fatal(err)
		}
		id := message.SessionID{ClientID: "v" + string('0'+rune(v))}
		if r := c.connect(4, id.ClientID, "", ""); r.Failed() {
			t.Fatal(r)
		}
		if got := sessionsOf(b)[id]; got != " "+address+" behind" {
			t.Errorf("%s: %q", id, got)
		}
	}
	bare := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.behind"))
	bare.write(&packet.Connect{Version: 4, ClientID: "bare", CleanStart: true})
	if p := bare.read(); p != nil {
		t.Errorf("without a header: %v", p)
	}
	for v, want := range map[byte]packet.Reason{3: packet.UnsupportedProtocolVersion, 4: packet.UnsupportedProtocolVersion, 5: packet.Success} {
		if got := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.five")).connect(v, "c", "", ""); got.Failed() != want.Failed() {
			t.Errorf("version %d: %s", v, got)
		}
	}
}
