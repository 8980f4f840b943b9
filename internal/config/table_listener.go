package config

import (
	"math"
	"slices"
)

// level says at which keys a listener option exists.
type level uint8

const (
	perName level = 1 << iota // listener.<type>.$name.<option>
	perType                   // listener.<type>.<option>
	global                    // listener.<option>
)

// option is an option of listeners; expand makes one setting of each type and
// level, each inheriting from the next wider level.
type option struct {
	Setting
	types  []string
	levels level
}

// listenerSettings are the listeners' addresses and their options.
func listenerSettings() []Setting {
	var out []Setting
	for _, a := range listenerAddresses() {
		a.Key = "listener." + a.Key + ".$name"
		a.Type = TypeAddress
		out = append(out, a)
	}
	seen := map[string]bool{}
	for _, o := range listenerOptions() {
		for _, t := range o.types {
			for _, s := range o.expand(t) {
				if !seen[s.Key] {
					seen[s.Key] = true
					out = append(out, s)
				}
			}
		}
	}
	return append(out, listenerSpecials()...)
}

// expand returns the settings of the option for one type; the widest level
// holds the default.
func (o option) expand(listenerType string) []Setting {
	keys := map[level]string{
		perName: "listener." + listenerType + ".$name." + o.Key,
		perType: "listener." + listenerType + "." + o.Key,
		global:  "listener." + o.Key,
	}
	scope := map[level]string{
		perName: "One " + listenerType + " listener",
		perType: "All " + listenerType + " listeners",
		global:  "All listeners",
	}
	var out []Setting
	wider := ""
	for _, l := range []level{global, perType, perName} {
		if o.levels&l == 0 {
			continue
		}
		s := o.Setting
		s.Key, s.Inherits, s.Doc = keys[l], wider, scope[l]+": "+o.Doc
		if wider != "" {
			s.Default = ""
		}
		wider = s.Key
		out = append(out, s)
	}
	return out
}

func listenerAddresses() []Setting {
	return []Setting{
		{Key: "tcp", Doc: "Where a plain MQTT listener listens. Without a file there is listener.tcp.default on 127.0.0.1:1883; with a file only what it names."},
		{Key: "ssl", Doc: "Where an MQTT listener over TLS listens, for example 0.0.0.0:8883."},
		{Key: "ws", Doc: "Where an MQTT listener over WebSocket listens."},
		{Key: "wss", Doc: "Where an MQTT listener over WebSocket and TLS listens."},
		{Key: "http", Doc: "Where an HTTP listener (metrics, health, status) listens. Without a file there is listener.http.default on 127.0.0.1:8888; with a file only what it names."},
		{Key: "https", Doc: "Where an HTTPS listener (metrics, health, status over TLS) listens."},
		{Key: "vmq", Doc: "Where the cluster port listens: the only port between nodes. If a file names none, listener.vmq.clustering is 127.0.0.1:44053, so that a forgotten line opens nothing to the network. Off loopback it needs distributed_cookie."},
		{Key: "vmqs", Doc: "Where the cluster port listens with certificates of your own (mutual TLS), in addition to the cookie."},
	}
}

func listenerOptions() []option {
	all := perName | perType | global
	return slices.Concat(tlsOptions(), []option{
		{Setting{Key: "max_connections", Type: TypeInt, Min: 0, Max: math.MaxInt64, Words: []string{infinity}, Default: "10000", Doc: "how many connections may be open at once; further ones are refused: on plain listeners with CONNACK 3 (MQTT 5: 0x9F) or HTTP status 503, on TLS ones before the handshake. 0 and infinity are no limit, -1 inherits."}, allTypes, all},
		{Setting{Key: "max_connection_refusals", Type: TypeInt, Min: 0, Max: 65536, Default: "64", Doc: "how many connections beyond max_connections one listener answers at a time; those beyond are closed without a word, and counted in listener_refusals_unanswered."}, allTypes, global},
		{Setting{Key: "nr_of_acceptors", Type: TypeInt, Min: 1, Max: 1024, Default: "10", Status: NoEffect, Reason: "one goroutine accepts on each listener and hands every connection to one of its own", Doc: "how many goroutines accept connections. -1 inherits."}, allTypes, all},
		{Setting{Key: "mountpoint", Default: off, Doc: "the namespace in which clients of the listener live; clients of different mountpoints do not see each other. off is the common one."}, []string{"tcp", "ssl", "ws", "wss", "vmq", "vmqs"}, all},
		{Setting{Key: "max_connection_lifetime", Type: TypeDuration, Unit: Seconds, Default: "0", Doc: "after this time a connection is closed (MQTT 5: reason 0x98). 0 is for ever."}, mqttTypes, all},
		{Setting{Key: "allowed_protocol_versions", Type: TypeList, Default: "3,4,5,131", Form: "a list out of 3, 4, 5, 131 and 132", check: checkProtocolVersions, Doc: "the protocol levels of CONNECT that are accepted: 3 (MQTT 3.1), 4 (3.1.1), 5, and 131, 132 for bridges."}, mqttTypes, perName | perType},
		{Setting{Key: "allow_anonymous_override", Type: TypeFlag, Default: off, Doc: "accept anonymous clients here although allow_anonymous is off."}, mqttTypes, perName},
		{Setting{Key: "proxy_protocol", Type: TypeFlag, Default: off, Doc: "expect a PROXY protocol header, version 1 or 2, before anything else."}, []string{"tcp", "ws", "http"}, perName | perType},
		{Setting{Key: "proxy_protocol_use_cn_as_username", Type: TypeFlag, Default: on, Doc: "take the certificate's common name out of the PROXY version 2 header as user name."}, []string{"tcp", "ws", "http"}, perName | perType},
		{Setting{Key: "buffer_sizes", Type: TypeList, Form: "three sizes in bytes, sndbuf,recbuf,buffer", check: checkBufferSizes, Doc: "sizes in bytes of the socket's send and receive buffer, and of Erlang's user buffer, which has no counterpart here; separated by commas. Without it the system decides."}, []string{"tcp", "ssl"}, perName | perType},
		{Setting{Key: "buffer_sizes", Type: TypeList, Form: "three sizes in bytes, sndbuf,recbuf,buffer", check: checkBufferSizes, Doc: "sizes in bytes of the socket's send and receive buffer, and of Erlang's user buffer, which has no counterpart here; separated by commas. Without it the system decides."}, []string{"vmq"}, perName},
		{Setting{Key: "max_request_line_length", Type: TypeInt, Min: 64, Max: 1 << 20, Default: "8000", Doc: "the longest HTTP request line, in bytes; a longer one gets 414."}, []string{"http", "https", "ws", "wss"}, perName},
		{Setting{Key: "max_header_value_length", Type: TypeInt, Min: 64, Max: 1 << 20, Default: "4096", Doc: "the longest value of an HTTP header, in bytes; a longer one gets 431."}, []string{"http", "https", "ws", "wss"}, perName},
		{Setting{Key: "http_modules", Type: TypeList, Doc: "what the listener serves; empty is the list of the setting http_modules."}, httpTypes, perName},
		{Setting{Key: "forward_connection_opts", Type: TypeFlag, Default: off, Doc: "hand the client certificate and the listener's name and address to hooks of plugins."}, mqttTypes, perName | perType},
		{Setting{Key: "auth_plugins", Type: TypeList, Form: "a list of plugins that are enabled", Doc: "which plugins authenticate clients of this listener, in order; empty is all that are enabled."}, mqttTypes, perName},
		{Setting{Key: "authz_plugins", Type: TypeList, Form: "a list of plugins that are enabled", Doc: "which plugins authorize clients of this listener, in order; empty is all that are enabled."}, mqttTypes, perName},
		{Setting{Key: "active_n", Type: TypeInt, Min: 1, Max: 32767, Status: NoEffect, Reason: "sockets are read by their own goroutine, there is no active mode to pace", Doc: "socket messages that are read before the socket turns passive."}, []string{"tcp", "ssl"}, perName | perType},
		{Setting{Key: "config_mod", Status: NoEffect, Reason: "names an Erlang module", Doc: "module that provides the routes."}, httpTypes, perName},
		{Setting{Key: "config_fun", Status: NoEffect, Reason: "names an Erlang function", Doc: "function that provides the routes."}, httpTypes, perName},
		{Setting{Key: "http_module.$module.auth.mode", Type: TypeEnum, Words: []string{"noauth", "apikey"}, Default: "noauth", Doc: "how requests to one module are authenticated; without it as http_module.$module.auth.mode says."}, httpTypes, perName},
		{Setting{Key: "proxy_xff_support", Type: TypeFlag, Default: off, Doc: "take the client's address from X-Forwarded-For. Requests that do not come from proxy_xff_trusted_intermediate are refused."}, webTypes, perName | perType},
		{Setting{Key: "proxy_xff_trusted_intermediate", Form: "IP addresses or networks (10.0.0.0/8) separated by commas", check: checkPrefixes, Doc: "addresses or networks of the proxies whose X-Forwarded-For is believed."}, webTypes, perName | perType},
		{Setting{Key: "proxy_xff_use_cn_as_username", Type: TypeFlag, Default: off, Doc: "take the user name from a header of the proxy; a request without it is refused."}, webTypes, perName},
		{Setting{Key: "proxy_xff_cn_header", Default: "x-ssl-client-cn", Doc: "name of that header."}, webTypes, perName},
	})
}

// tlsOptions are the options of listeners that speak TLS.
func tlsOptions() []option {
	both := perName | perType
	return []option{
		{Setting{Key: "cafile", Type: TypeFile, MustExist: true, Doc: "certificates (PEM) of the authorities that sign client certificates."}, tlsTypes, both},
		{Setting{Key: "certfile", Type: TypeFile, MustExist: true, Doc: "the server's certificate chain (PEM)."}, tlsTypes, both},
		{Setting{Key: "keyfile", Type: TypeFile, MustExist: true, Doc: "the private key (PEM) of the certificate."}, tlsTypes, both},
		{Setting{Key: "keypasswd", Secret: true, Doc: "the passphrase of the private key."}, tlsTypes, both},
		{Setting{Key: "crlfile", Type: TypeFile, MustExist: true, Doc: "revoked client certificates (PEM)."}, tlsTypes, both},
		{Setting{Key: "depth", Type: TypeInt, Min: 0, Max: 100, Default: "1", Doc: "how many intermediate certificates a client's chain may have."}, tlsTypes, both},
		{Setting{Key: "ciphers", Type: TypeList, Doc: "cipher suites for TLS 1.2, separated by commas or colons; empty is the default set. TLS 1.3 has its own."}, tlsTypes, both},
		{Setting{Key: "eccs", Type: TypeList, Form: "a list with at least one of secp256r1, secp384r1, secp521r1, x25519 and x25519mlkem768", check: checkCurves, Doc: "elliptic curves that are accepted; those that Go does not have are left out. Empty is Go's choice: X25519, P-256, P-384 and P-521, with post-quantum key exchange where the peer has it."}, []string{"ssl", "wss", "https"}, both},
		{Setting{Key: "eccs", Type: TypeList, Status: NoEffect, Reason: "both ends are nodes of this program, which agree on the best that they have", Doc: "elliptic curves that are accepted."}, []string{"vmqs"}, both},
		{Setting{Key: "tls_version", Type: TypeList, Default: "tlsv1.2,tlsv1.3", Form: "tlsv1.2, tlsv1.3 or both (older versions are broken and not offered)", check: checkTLSVersions, Doc: "TLS versions that are accepted: tlsv1.2, tlsv1.3 or both."}, tlsTypes, both},
		{Setting{Key: "require_certificate", Type: TypeFlag, Default: off, Doc: "demand a client certificate signed by the cafile."}, tlsTypes, both},
		{Setting{Key: "use_identity_as_username", Type: TypeFlag, Default: off, Doc: "the user name is the common name of the client certificate; needs require_certificate."}, []string{"ssl", "wss"}, both},
		{Setting{Key: "tls_handshake_timeout", Type: TypeDuration, Words: []string{infinity}, Default: "5000", Doc: "how long the TLS handshake may take. -1 inherits."}, tlsTypes, both},
	}
}

// listenerSpecials are options that fit no pattern of levels.
func listenerSpecials() []Setting {
	psk := "Go's crypto/tls has no pre-shared keys (TLS-PSK); use client certificates"
	watermark := "Go's network poller has no such mark"
	return []Setting{
		{Key: "listener.ssl.psk_support", Type: TypeFlag, Default: off, Status: Refused, Reason: psk, Doc: "TLS with pre-shared keys on all ssl listeners."},
		{Key: "listener.ssl.$name.psk_support", Type: TypeFlag, Default: off, Status: Refused, Reason: psk, Doc: "TLS with pre-shared keys on one ssl listener."},
		{Key: "listener.ssl.psk_identity_hint", Default: "VMQ_PSK", Status: NoEffect, Reason: psk, Doc: "Identity hint of pre-shared keys."},
		{Key: "listener.ssl.$name.psk_identity_hint", Inherits: "listener.ssl.psk_identity_hint", Status: NoEffect, Reason: psk, Doc: "Identity hint of pre-shared keys of one listener."},
		{Key: "listener.ssl.pskfile", Type: TypeFile, Default: "<etc>/vmq.psk", Needs: "listener.ssl.psk_support", Status: NoEffect, Reason: psk, Doc: "File of identities and keys."},
		{Key: "listener.ssl.pskfile_separator", Default: ":", Needs: "listener.ssl.psk_support", Status: NoEffect, Reason: psk, Doc: "Character between identity and key in the pskfile."},
		{Key: "listener.vmq.$name.high_watermark", Type: TypeInt, Default: "8192", Status: NoEffect, Reason: watermark, Doc: "Bytes at which an incoming link counts as busy."},
		{Key: "listener.vmq.$name.low_watermark", Type: TypeInt, Default: "4096", Status: NoEffect, Reason: watermark, Doc: "Bytes at which it is no longer busy."},
		{Key: "listener.vmq.$name.high_msgq_watermark", Type: TypeInt, Default: "8192", Status: NoEffect, Reason: watermark, Doc: "Message queue length at which an incoming link counts as busy."},
		{Key: "listener.vmq.$name.low_msgq_watermark", Type: TypeInt, Default: "4096", Status: NoEffect, Reason: watermark, Doc: "Message queue length at which it is no longer busy."},
	}
}
