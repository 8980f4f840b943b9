package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
)

// Identity is who calls.
type Identity struct {
	// Name for the audit log: uid 0 (root), certificate ops@example, node
	// VerneMQ@10.0.0.1.
	Name string
	Role pb.Role
}

// isNode: another member calls, for somebody whom it has identified.
func (i Identity) isNode() bool { return strings.HasPrefix(i.Name, "node ") }

// AuthType names the kind of identity for gRPC.
func (Identity) AuthType() string { return "mqadmin" }

// handshake is transport security whose server side finds out who calls.
type handshake struct {
	proto  string
	server func(net.Conn) (net.Conn, Identity, error)
}

// authInfo is an Identity with the security level that gRPC wants to know.
type authInfo struct {
	Identity
	credentials.CommonAuthInfo
}

func (h handshake) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, id, err := h.server(c)
	if err != nil {
		return nil, nil, err
	}
	level := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return conn, authInfo{Identity: id, CommonAuthInfo: level}, nil
}

func (h handshake) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for servers only")
}

func (h handshake) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: h.proto}
}
func (h handshake) Clone() credentials.TransportCredentials { return h }
func (h handshake) OverrideServerName(string) error         { return nil }

// UnixTransport identifies callers on a unix socket by the credentials that
// the kernel vouches for: root, the user that the broker runs as, and members
// of group ("" means none) are admins, others nobody.
func UnixTransport(group string) (credentials.TransportCredentials, error) {
	gid := -1
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, fmt.Errorf("admin group %q: %w", group, err)
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, fmt.Errorf("admin group %q: %w", group, err)
		}
	}
	own := os.Getuid()
	return handshake{proto: "unix", server: func(c net.Conn) (net.Conn, Identity, error) {
		uid, gids, err := peerCredentials(c)
		if err != nil {
			return nil, Identity{}, fmt.Errorf("reading peer credentials: %w", err)
		}
		return c, unixIdentity(uid, gids, own, gid), nil
	}}, nil
}

// unixIdentity decides on a uid and its groups.
func unixIdentity(uid int, gids []int, own, group int) Identity {
	id := Identity{Name: "uid " + strconv.Itoa(uid)}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		id.Name += " (" + u.Username + ")"
	}
	if uid == 0 || uid == own || group >= 0 && inGroup(uid, gids, group) {
		id.Role = pb.Role_ROLE_ADMIN
	}
	return id
}

// inGroup asks the user database too: the kernel reports the primary group
// only.
func inGroup(uid int, gids []int, group int) bool {
	for _, g := range gids {
		if g == group {
			return true
		}
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return false
	}
	ids, err := u.GroupIds()
	if err != nil {
		return false
	}
	for _, g := range ids {
		if g == strconv.Itoa(group) {
			return true
		}
	}
	return false
}

// TLSTransport identifies callers by client certificate, which must be signed
// by an authority of cfg; make cfg with ServerTLS. The certificate's
// organizational unit names the role: viewer, operator or admin. Without one
// of these the caller is nobody, so that a certificate made for an MQTT client
// opens nothing here.
func TLSTransport(cfg *tls.Config) credentials.TransportCredentials {
	return handshake{proto: "tls", server: func(c net.Conn) (net.Conn, Identity, error) {
		conn := tls.Server(c, cfg)
		if err := conn.HandshakeContext(context.Background()); err != nil { // gRPC put a deadline on c
			return nil, Identity{}, err
		}
		state := conn.ConnectionState()
		if len(state.VerifiedChains) == 0 {
			return nil, Identity{}, errors.New("no verified client certificate")
		}
		return conn, certificateIdentity(state.PeerCertificates[0]), nil
	}}
}

func certificateIdentity(cert *x509.Certificate) Identity {
	id := Identity{Name: "certificate " + cert.Subject.CommonName}
	for _, unit := range cert.Subject.OrganizationalUnit {
		switch unit {
		case "admin":
			id.Role = max(id.Role, pb.Role_ROLE_ADMIN)
		case "operator":
			id.Role = max(id.Role, pb.Role_ROLE_OPERATOR)
		case "viewer":
			id.Role = max(id.Role, pb.Role_ROLE_VIEWER)
		}
	}
	return id
}

// ServerTLS reads the files of a listener for mutual TLS: TLS 1.3, and a client
// certificate signed by ca is required.
func ServerTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("admin certificate: %w", err)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("admin certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("admin certificate authority: no certificate in %s", caFile)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		NextProtos:   []string{"h2"},
	}, nil
}

// identity finds out who called.
func (s *Server) identity(ctx context.Context) (Identity, bool) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(authInfo); ok {
			return info.Identity, true
		}
	}
	if s.cfg.Identify != nil {
		return s.cfg.Identify(ctx)
	}
	return Identity{}, false
}
