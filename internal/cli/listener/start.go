package listener

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/cli/command"
	"github.com/mqadmin/mqadmin/internal/cli/kv"
)

// startFlags are the options of a new listener, by the names of the file. The
// broker knows their values.
var startFlags = []struct {
	name, usage string
	flag        bool // on or off
}{
	{"max_connections", "how many connections may be open, or infinity", false},
	{"nr_of_acceptors", "no effect here", false},
	{"proxy_protocol", "expect a PROXY protocol header", true},
	{"proxy_protocol_use_cn_as_username", "take the user name from the certificate in that header; on unless =false", true},
	{"proxy_xff_support", "believe X-Forwarded-For of trusted proxies", true},
	{"proxy_xff_trusted_intermediate", "addresses of these proxies, separated by commas", false},
	{"proxy_xff_use_cn_as_username", "take the user name from the proxy's header", true},
	{"proxy_xff_cn_header", "that header's name", false},
	{"allowed_protocol_versions", "CONNECT levels, separated by commas: 3,4,5,131", false},
	{"max_connection_lifetime", "seconds after which a connection is closed", false},
	{"buffer_sizes", "of the socket: sndbuf,recbuf,buffer", false},
	{"tls_handshake_timeout", "milliseconds that a TLS handshake may take", false},
	{"cafile", "certificates of the authorities of clients", false},
	{"certfile", "certificate (PEM), a file of the broker's host", false},
	{"keyfile", "private key (PEM)", false},
	{"crlfile", "revoked client certificates", false},
	{"pskfile", "pre-shared keys: refused, there are none here", false},
	{"ciphers", "of TLS 1.2", false},
	{"eccs", "curves", false},
	{"depth", "intermediate certificates that are accepted", false},
	{"tls_version", "tlsv1.2, tlsv1.3 or both, separated by commas", false},
	{"require_certificate", "clients must have a certificate", true},
	{"use_identity_as_username", "the certificate's common name is the user name", true},
	{"psk_support", "pre-shared keys: refused, there are none here", true},
	{"forward_connection_opts", "plugins see the connection", true},
	{"allow_anonymous_override", "accept anonymous clients whatever allow_anonymous says", true},
	{"auth_plugins", "plugins that authenticate, [a,b]", false},
	{"authz_plugins", "plugins that authorize, [a,b]", false},
	{"http_modules", "what an HTTP listener serves, [a,b]", false},
	{"config_mod", "no effect here", false},
	{"config_fun", "no effect here", false},
}

type startOptions struct {
	at                   *pb.ListenerAddress
	mountpoint           string
	ssl, websocket, http bool
	keypasswd            string
	options              []*pb.ListenerOption
}

func newStart(f *command.Factory, runF func(context.Context, startOptions) error) *cobra.Command {
	var p place
	var o startOptions
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Open a new one",
		Long: "Opens a listener until the broker stops: for MQTT over TCP, or as --ssl, --websocket and --http say. Options that\n" +
			"are not given are those of the settings. Files are those of the broker's host.",
		Example: "  mqadmin listener start address=127.0.0.1 port=1884\n" +
			"  mqadmin listener start address=127.0.0.1 port=8883 --ssl --certfile=/etc/broker/cert.pem --keyfile=/etc/broker/key.pem\n" +
			"  mqadmin listener start address=127.0.0.1 port=8080 --websocket --max_connections=100 -m tenant1",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.at, err = p.parse(); err != nil {
				return err
			}
			if o.http && o.websocket {
				return command.Usage("--http and --websocket exclude each other")
			}
			o.options = given(cmd.Flags())
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return do(cmd.Context(), f, func(ctx context.Context, c pb.ListenerServiceClient) error {
				_, err := c.StartListener(ctx, o.request())
				return err
			})
		},
	}
	args := p.args(f)
	for i := range args {
		args[i].Complete = nil // where there is a listener there can be no other
	}
	kv.Bind(cmd, args...)
	fs := cmd.Flags()
	fs.StringVarP(&o.mountpoint, "mountpoint", "m", "", "namespace of its clients")
	fs.BoolVar(&o.ssl, "ssl", false, "speak TLS")
	fs.BoolVar(&o.websocket, "websocket", false, "speak MQTT over WebSocket")
	fs.BoolVar(&o.http, "http", false, "serve metrics, health and status")
	fs.StringVar(&o.keypasswd, "keypasswd", "", "passphrase of the private key")
	for _, s := range startFlags {
		if s.flag {
			fs.Bool(s.name, false, s.usage)
			continue
		}
		fs.String(s.name, "", s.usage)
	}
	return cmd
}

// given are the options of the line.
func given(fs *pflag.FlagSet) []*pb.ListenerOption {
	var out []*pb.ListenerOption
	for _, s := range startFlags {
		if !fs.Changed(s.name) {
			continue
		}
		value := fs.Lookup(s.name).Value.String()
		if s.flag {
			if on, _ := strconv.ParseBool(value); on {
				value = "on"
			} else {
				value = "off"
			}
		}
		out = append(out, &pb.ListenerOption{Name: s.name, Value: value})
	}
	return out
}

func (o startOptions) kind() string {
	switch {
	case o.ssl && o.websocket:
		return "wss"
	case o.ssl && o.http:
		return "https"
	case o.ssl:
		return "ssl"
	case o.websocket:
		return "ws"
	case o.http:
		return "http"
	}
	return "tcp"
}

func (o startOptions) request() *pb.StartListenerRequest {
	r := &pb.StartListenerRequest{Address: o.at, Type: o.kind(), Options: o.options, KeyPassword: o.keypasswd}
	if o.mountpoint != "" {
		r.Options = append(r.Options, &pb.ListenerOption{Name: "mountpoint", Value: o.mountpoint})
	}
	return r
}
