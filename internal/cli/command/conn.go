package command

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Environment variables that stand for flags, and the one for an API key, which
// is no flag: the list of processes shows those.
const (
	SocketEnv    = "MQADMIN_SOCKET"
	AddressEnv   = "MQADMIN_ADDRESS"
	TokenEnv     = "MQADMIN_TOKEN"
	TokenFileEnv = "MQADMIN_TOKEN_FILE"
)

// dialTimeout is how long a connection may take to come about.
const dialTimeout = 2 * time.Second

// maxResponse is the longest message accepted from a broker, in bytes: some
// rows with the largest payloads that MQTT allows would not fit, a few do.
const maxResponse = 512 << 20

// defaultSockets are tried in this order: a broker run from the working
// directory, then the installed one.
var defaultSockets = []string{"./data/run/admin.sock", "/run/mqadmin/admin.sock"}

// Connect sets f.Dial and f.Close to reach a real broker.
func Connect(f *Factory) {
	var mu sync.Mutex
	var conn *grpc.ClientConn
	f.Dial = func(ctx context.Context) (grpc.ClientConnInterface, error) {
		mu.Lock()
		defer mu.Unlock()
		if conn != nil {
			return conn, nil
		}
		var err error
		conn, err = f.dial(ctx)
		if err != nil {
			return nil, err
		}
		return conn, nil
	}
	f.Close = func() {
		mu.Lock()
		defer mu.Unlock()
		if conn != nil {
			_ = conn.Close()
		}
	}
}

func (f *Factory) dial(ctx context.Context) (*grpc.ClientConn, error) {
	if f.Address != "" && f.Socket != "" {
		return nil, Usage("--address and --socket exclude each other")
	}
	if err := f.resolve(); err != nil {
		return nil, err
	}
	if address := f.address(); address != "" {
		return f.dialTLS(ctx, address)
	}
	if f.CACert+f.Cert+f.Key+f.ServerName+f.TokenFile != "" {
		return nil, Usage("--cacert, --cert, --key, --token-file and --server-name need --address")
	}
	path, err := f.socket()
	if err != nil {
		return nil, err
	}
	return client(ctx, path, func(ctx context.Context) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return nil, socketError(path, err)
		}
		return c, nil
	})
}

// client makes a gRPC client on a connection that dial made already, so that a
// failure to connect is told at once and in the system's words. dial does
// whatever encryption there is.
func client(ctx context.Context, address string, dial func(context.Context) (net.Conn, error), more ...grpc.DialOption) (*grpc.ClientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	first := make(chan net.Conn, 1)
	first <- conn
	return grpc.NewClient("passthrough:///"+address, append(more,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			select {
			case c := <-first:
				return c, nil
			default:
				return dial(ctx)
			}
		}))...)
}

// socket finds the socket: flag, environment, then the first default that
// exists.
func (f *Factory) socket() (string, error) {
	if f.Socket != "" {
		return f.Socket, nil
	}
	if p := f.Getenv(SocketEnv); p != "" {
		return p, nil
	}
	for _, p := range defaultSockets {
		if _, err := os.Stat(p); err == nil || errors.Is(err, fs.ErrPermission) {
			return p, nil
		}
	}
	return "", &Failure{
		Code: ExitUnreachable, Reason: "UNREACHABLE",
		Message: "no broker runs here: there is neither " + strings.Join(defaultSockets, " nor "),
		Hint:    "start one (broker console), or name its socket: --socket PATH or " + SocketEnv,
	}
}

func socketError(path string, err error) error {
	if sys, ok := errors.AsType[syscall.Errno](err); ok {
		err = sys // the rest repeats the path
	}
	f := &Failure{
		Code: ExitUnreachable, Reason: "UNREACHABLE",
		Message: fmt.Sprintf("cannot reach a broker at %s: %v", path, err),
		Hint:    "start it (broker start), or name another socket: --socket PATH or " + SocketEnv,
	}
	if errors.Is(err, fs.ErrPermission) {
		f.Code, f.Reason = ExitNotAllowed, "NOT_ALLOWED"
		f.Message = fmt.Sprintf("not allowed to open %s", path)
		f.Hint = "run it as root (sudo) or as the broker's user"
	}
	return f
}

// address finds host:port of a broker: flag, then environment unless a socket is
// named.
func (f *Factory) address() string {
	if f.Address != "" || f.Socket != "" {
		return f.Address
	}
	return f.Getenv(AddressEnv)
}

func (f *Factory) dialTLS(ctx context.Context, address string) (*grpc.ClientConn, error) {
	token, err := f.token()
	if err != nil {
		return nil, err
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, Usage("--cert and --key belong together")
	}
	if f.Cert == "" && token == "" {
		return nil, Usage("--address needs a client certificate (--cert, --key) or an API key (--token-file, %s)", TokenEnv)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, Usage("--address %q is not host:port", address)
	}
	if f.ServerName != "" {
		host = f.ServerName
	}
	cfg, err := clientTLS(f.CACert, f.Cert, f.Key, host)
	if err != nil {
		return nil, &Failure{Code: ExitUsage, Reason: "USAGE", Message: err.Error()}
	}
	var more []grpc.DialOption
	if token != "" {
		more = append(more, grpc.WithPerRPCCredentials(bearer(token)))
	}
	d := tls.Dialer{Config: cfg}
	return client(ctx, address, func(ctx context.Context) (net.Conn, error) {
		c, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, &Failure{
				Code: ExitUnreachable, Reason: "UNREACHABLE",
				Message: fmt.Sprintf("cannot reach a broker at %s: %v", address, err),
				Hint:    "the address and the certificate files must be those of the broker's admin listener",
			}
		}
		return c, nil
	}, more...)
}

// bearer sends an API key with every call.
type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity is false because gRPC does not know of the TLS that
// dialTLS makes: it would refuse.
func (bearer) RequireTransportSecurity() bool { return false }

// maxToken bounds the file of an API key, in bytes.
const maxToken = 4096

// token finds the API key: the flag's file, the environment's, the environment.
func (f *Factory) token() (string, error) {
	path := f.TokenFile
	if path == "" {
		if t := f.Getenv(TokenEnv); t != "" {
			return t, nil
		}
		if path = f.Getenv(TokenFileEnv); path == "" {
			return "", nil
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", &Failure{Code: ExitUsage, Reason: "USAGE", Message: fmt.Sprintf("--token-file: %v", err)}
	}
	token := strings.TrimSpace(string(b))
	if token == "" || len(b) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", Usage("--token-file: %s does not hold one API key", path)
	}
	return token, nil
}

// clientTLS reads the files; without caFile the system's authorities count,
// without certFile there is no client certificate.
func clientTLS(caFile, certFile, keyFile, serverName string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: serverName, NextProtos: []string{"h2"}}
	if certFile != "" {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("--cert, --key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	if caFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("--cacert: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--cacert: no certificate in %s", caFile)
	}
	return cfg, nil
}
