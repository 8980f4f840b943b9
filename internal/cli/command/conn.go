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

// SocketEnv names the environment variable with the path of the socket.
const SocketEnv = "MQADMIN_SOCKET"

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
	if f.Address != "" {
		return f.dialTLS(ctx)
	}
	if f.CACert+f.Cert+f.Key+f.ServerName != "" {
		return nil, Usage("--cacert, --cert, --key and --server-name need --address")
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
func client(ctx context.Context, address string, dial func(context.Context) (net.Conn, error)) (*grpc.ClientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	first := make(chan net.Conn, 1)
	first <- conn
	return grpc.NewClient("passthrough:///"+address,
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
		}))
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

func (f *Factory) dialTLS(ctx context.Context) (*grpc.ClientConn, error) {
	if f.Socket != "" {
		return nil, Usage("--address and --socket exclude each other")
	}
	if f.CACert == "" || f.Cert == "" || f.Key == "" {
		return nil, Usage("--address needs --cacert, --cert and --key: a broker answers over the network only with mutual TLS")
	}
	host, _, err := net.SplitHostPort(f.Address)
	if err != nil {
		return nil, Usage("--address %q is not host:port", f.Address)
	}
	if f.ServerName != "" {
		host = f.ServerName
	}
	cfg, err := clientTLS(f.CACert, f.Cert, f.Key, host)
	if err != nil {
		return nil, &Failure{Code: ExitUsage, Reason: "USAGE", Message: err.Error()}
	}
	d := tls.Dialer{Config: cfg}
	return client(ctx, f.Address, func(ctx context.Context) (net.Conn, error) {
		c, err := d.DialContext(ctx, "tcp", f.Address)
		if err != nil {
			return nil, &Failure{
				Code: ExitUnreachable, Reason: "UNREACHABLE",
				Message: fmt.Sprintf("cannot reach a broker at %s: %v", f.Address, err),
				Hint:    "the address and the three certificate files must be those of the broker's admin listener",
			}
		}
		return c, nil
	})
}

func clientTLS(caFile, certFile, keyFile, serverName string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("--cert, --key: %w", err)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("--cacert: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--cacert: no certificate in %s", caFile)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		ServerName:   serverName,
		NextProtos:   []string{"h2"},
	}, nil
}
