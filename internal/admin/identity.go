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
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/apikey"
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
	proto string
	// tokens: who has no name yet may send an API key with each call.
	tokens bool
	server func(net.Conn) (net.Conn, Identity, error)
}

// authInfo is an Identity with the security level that gRPC wants to know.
type authInfo struct {
	Identity
	credentials.CommonAuthInfo
	tokens bool
}

func (h handshake) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, id, err := h.server(c)
	if err != nil {
		return nil, nil, err
	}
	level := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return conn, authInfo{Identity: id, CommonAuthInfo: level, tokens: h.tokens}, nil
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
		uid, gids, err := peerCredentials(inside(c))
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

// TLSTransport identifies callers by client certificate, signed by an authority
// of cfg (make cfg with ServerTLS), whose organizational unit names the role:
// viewer, operator or admin. Without one of these the caller is nobody, so that
// a certificate made for an MQTT client opens nothing here. An API key of the
// scope mgmt in a call's metadata ("authorization: Bearer …") goes before the
// certificate, which may be missing.
func TLSTransport(cfg *tls.Config) credentials.TransportCredentials {
	return handshake{proto: "tls", tokens: true, server: func(c net.Conn) (net.Conn, Identity, error) {
		conn := tls.Server(c, cfg)
		if err := conn.HandshakeContext(context.Background()); err != nil { // gRPC put a deadline on c
			return nil, Identity{}, err
		}
		state := conn.ConnectionState()
		if len(state.VerifiedChains) == 0 {
			return conn, Identity{}, nil
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

// ServerTLS reads the files of a listener: TLS 1.3, and a client certificate, if
// one is sent, must be signed by ca. Without ca ("") callers need an API key.
func ServerTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("admin certificate: %w", err)
	}
	cfg := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{"h2"},
	}
	if caFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("admin certificate authority: %w", err)
	}
	cfg.ClientAuth, cfg.ClientCAs = tls.VerifyClientCertIfGiven, x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("admin certificate authority: no certificate in %s", caFile)
	}
	return cfg, nil
}

// errNobody: nothing says who calls.
func errNobody() *Error {
	return NewError(pb.ErrorReason_ERROR_REASON_NOT_AUTHENTICATED, "the caller could not be identified")
}

// identity finds out who called.
func (s *Server) identity(ctx context.Context) (Identity, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(authInfo); ok {
			if token := bearer(ctx); info.tokens && token != "" {
				return s.tokenIdentity(p.Addr, token)
			}
			if info.Name == "" {
				return Identity{}, errNobody()
			}
			return info.Identity, nil
		}
	}
	if s.cfg.Identify != nil {
		if id, ok := s.cfg.Identify(ctx); ok {
			return id, nil
		}
	}
	return Identity{}, errNobody()
}

// bearer returns the API key that came with a call.
func bearer(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	scheme, token, _ := strings.Cut(strings.Join(md.Get("authorization"), ""), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return token
}

func (s *Server) tokenIdentity(remote net.Addr, token string) (Identity, error) {
	if s.cfg.Keys == nil {
		return Identity{}, errNobody()
	}
	key, err := s.cfg.Keys.Check(remote.String(), token, apikey.Management)
	switch {
	case errors.Is(err, apikey.ErrLimited):
		return Identity{}, &Error{Reason: pb.ErrorReason_ERROR_REASON_LOGIN_LIMITED, Err: err}
	case err != nil:
		return Identity{}, &Error{Reason: pb.ErrorReason_ERROR_REASON_NOT_AUTHENTICATED, Err: err}
	}
	role := pb.Role_value["ROLE_"+strings.ToUpper(key.Role)]
	return Identity{Name: "key " + key.ID(), Role: pb.Role(role)}, nil
}
