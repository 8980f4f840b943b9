package config

import (
	"cmp"
	"crypto/tls"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Listener is one listener with its options resolved: those of the name, else
// of the type, else of all listeners, else the default.
type Listener struct {
	Type    string // tcp ssl ws wss http https vmq vmqs
	Name    string
	Network string // "tcp" or "unix"
	Address string // host:port or path
	Origin  Origin

	MaxConnections          int // Infinity: no limit
	NrOfAcceptors           int
	MaxConnectionLifetime   time.Duration // 0: for ever
	Mountpoint              string        // "" for "off"
	AllowedProtocolVersions []byte        // 3 4 5, 131 132 for bridges
	AllowAnonymousOverride  bool
	ForwardConnectionOpts   bool
	ProxyProtocol           bool
	ProxyProtocolUseCN      bool // user name := CN of the PROXY v2 header
	BufferSizes             BufferSizes
	TLS                     *TLS // nil on plain listeners
	// AuthPlugins and AuthzPlugins are the listener's own chains; empty for all
	// plugins that are enabled.
	AuthPlugins, AuthzPlugins []string
	Forwarded                 *Forwarded // nil unless proxy_xff_support is on
	HTTPModules               []string
	MaxRequestLineLength      int // bytes
	MaxHeaderValueLength      int // bytes
}

// MQTT reports whether MQTT clients connect to this listener.
func (l Listener) MQTT() bool { return slices.Contains(mqttTypes, l.Type) }

// Cluster reports whether other nodes connect to this listener.
func (l Listener) Cluster() bool { return l.Type == "vmq" || l.Type == "vmqs" }

// Loopback reports that only this machine reaches the listener.
func (l Listener) Loopback() bool {
	if l.Network == "unix" {
		return true
	}
	a, err := netip.ParseAddrPort(l.Address)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// BufferSizes of a socket in bytes; 0 leaves the system's default.
type BufferSizes struct{ Send, Receive, User int }

// Forwarded are the proxy_xff_* options.
type Forwarded struct {
	Trusted  []netip.Prefix // the proxies
	UseCN    bool           // user name := the proxy's header CNHeader
	CNHeader string
}

// TLS holds the files and rules of a TLS listener.
type TLS struct {
	CAFile, CertFile, KeyFile, CRLFile string
	KeyPassword                        string
	MinVersion, MaxVersion             uint16 // tls.VersionTLS12 …
	Ciphers                            []string
	Curves                             []tls.CurveID // empty: Go's choice
	Depth                              int
	RequireCertificate                 bool
	UseIdentityAsUsername              bool
	HandshakeTimeout                   time.Duration
}

// Kinds of listeners.
var (
	mqttTypes = []string{"tcp", "ssl", "ws", "wss"}
	tlsTypes  = []string{"ssl", "wss", "https", "vmqs"}
	webTypes  = []string{"ws", "wss"}
	httpTypes = []string{"http", "https"}
	allTypes  = []string{"tcp", "ssl", "ws", "wss", "http", "https", "vmq", "vmqs"}
)

// builtin are the listeners of a broker without a file. The cluster's stays
// as long as a file names no other.
var builtin = []struct{ key, address string }{
	{"listener.tcp.default", "127.0.0.1:1883"},
	{"listener.http.default", "127.0.0.1:8888"},
	{clusterListener, "127.0.0.1:44053"},
}

const clusterListener = "listener.vmq.clustering"

// Listeners returns every configured listener, sorted by type and name.
func (c *Config) Listeners() []Listener { return slices.Clone(c.listeners) }

// HTTPAuth returns how requests to a module of an HTTP listener, such as
// listener.http.default, are authenticated: noauth or apikey.
func (c *Config) HTTPAuth(listener, module string) string {
	general := "http_module." + module + ".auth.mode"
	if own := listener + "." + general; c.IsSet(own) {
		return c.Enum(own)
	}
	return c.Enum(general)
}

// Warnings returns what the operator should read at start: settings without
// effect, and values that were perhaps not meant.
func (c *Config) Warnings() []Warning { return slices.Clone(c.warnings) }

// defaultListeners adds what is not configured, and on a broker that only
// this machine reaches, lets everybody in.
func (b *builder) defaultListeners() {
	c := b.c
	for _, l := range builtin {
		if c.hasFile && (l.key != clusterListener || c.hasCluster()) {
			continue
		}
		b.preset(l.key, l.address)
	}
	if c.hasFile {
		return
	}
	for key, e := range c.entries {
		l, ok := c.listener(key, e)
		if ok && l.MQTT() && !l.Loopback() {
			return
		}
	}
	c.local = true
	b.preset("allow_anonymous", on)
	b.preset("plugins.vmq_acl", off)
}

// preset gives key a default of its own unless it was set.
func (b *builder) preset(key, value string) {
	if b.c.entries[key] != nil {
		return
	}
	s, _ := lookup(key)
	e := &entry{key: key, set: s, value: value, expanded: true}
	b.c.entries[key] = e
	b.parse(e)
}

func (c *Config) hasCluster() bool {
	for key := range c.entries {
		w := splitKey(key)
		if len(w) > 2 && w[0] == "listener" && (w[1] == "vmq" || w[1] == "vmqs") {
			if s, _ := lookup(key); names(s.words) > 0 {
				return true
			}
		}
	}
	return false
}

// listener returns the bare listener that an entry defines.
func (c *Config) listener(key string, e *entry) (Listener, bool) {
	if e.set.Type != TypeAddress || len(e.set.words) != 3 || e.set.words[0] != "listener" || e.bad {
		return Listener{}, false
	}
	a, _ := e.parsed.(Address)
	w := splitKey(key)
	return Listener{Type: w[1], Name: unescape(w[2]), Network: a.Network, Address: a.Address, Origin: e.at}, true
}

// listeners resolves every listener and checks them against each other.
func (b *builder) listeners() {
	c := b.c
	for _, key := range sorted(maps.Keys(c.entries)) {
		e := c.entries[key]
		b.optionHasListener(key, e)
		l, ok := c.listener(key, e)
		if !ok || b.unresolved(key) {
			continue
		}
		c.resolve(key, &l)
		b.checkListener(key, &l)
		c.listeners = append(c.listeners, l)
	}
	slices.SortFunc(c.listeners, func(x, y Listener) int {
		return cmp.Or(strings.Compare(x.Type, y.Type), strings.Compare(x.Name, y.Name))
	})
	b.sameAddress()
}

// checkListener finds options that need others.
func (b *builder) checkListener(key string, l *Listener) {
	if l.TLS != nil && (l.TLS.CertFile == "" || l.TLS.KeyFile == "") {
		b.report.add(l.Origin, "%s needs a certificate: set listener.%s.certfile and listener.%s.keyfile", key, l.Type, l.Type)
	}
	if l.TLS != nil && l.TLS.RequireCertificate && l.TLS.CAFile == "" {
		b.report.add(l.Origin, "%s requires client certificates but has no listener.%s.cafile to check them against", key, l.Type)
	}
	if l.Forwarded != nil && len(l.Forwarded.Trusted) == 0 {
		b.report.add(l.Origin, "%s believes X-Forwarded-For but not of whom: set %s.proxy_xff_trusted_intermediate to the addresses of the proxies", key, key)
	}
	b.chain(key, "auth_plugins", l.AuthPlugins)
	b.chain(key, "authz_plugins", l.AuthzPlugins)
}

// chain checks the plugins that a listener's own chain names: enabled, and
// each once.
func (b *builder) chain(listener, option string, plugins []string) {
	if len(plugins) == 0 {
		return
	}
	at := b.c.Origin(listener + "." + option)
	for i, name := range plugins {
		s, ok := lookup("plugins." + name)
		switch {
		case slices.Contains(plugins[:i], name):
			b.report.add(at, "%s.%s names %s twice", listener, option, name)
		case !ok || s.Type != TypeFlag || strings.Contains(name, "."):
			b.report.add(at, "%s.%s: there is no plugin %q", listener, option, name)
		case !b.c.Flag("plugins." + name):
			b.report.add(at, "%s.%s names %s, which is not enabled: set plugins.%s = on or leave it out", listener, option, name, name)
		}
	}
}

// unresolved reports that an option of the listener at key is bad already.
func (b *builder) unresolved(key string) bool {
	for k, e := range b.c.entries {
		if e.bad && strings.HasPrefix(k, "listener.") && (strings.HasPrefix(k, key+".") || names(e.set.words) == 0) {
			return true
		}
	}
	return false
}

// optionHasListener finds options of a listener that has no address.
func (b *builder) optionHasListener(key string, e *entry) {
	w := e.set.words
	if len(w) < 4 || w[0] != "listener" || w[2] != "$name" {
		return
	}
	words := splitKey(key)
	parent := strings.Join(words[:3], ".")
	if b.c.entries[parent] == nil {
		b.report.add(e.at, "%s is an option of a listener without an address; expected also %s = ip:port", key, parent)
	}
}

// sameAddress finds two listeners that cannot both be opened.
func (b *builder) sameAddress() {
	seen := map[string]Listener{}
	for _, l := range b.c.listeners {
		if l.Network == "tcp" && strings.HasSuffix(l.Address, ":0") {
			continue
		}
		if first, ok := seen[l.Address]; ok {
			b.report.add(l.Origin, "listener.%s.%s and listener.%s.%s both listen on %s",
				first.Type, first.Name, l.Type, l.Name, l.Address)
		}
		seen[l.Address] = l
	}
}

// resolve fills in the options of l, whose address stands at key.
func (c *Config) resolve(key string, l *Listener) {
	has := func(option string) bool {
		_, ok := lookup(key + "." + option)
		return ok
	}
	flag := func(option string) bool { return has(option) && c.Flag(key+"."+option) }
	number := func(option string) int {
		if !has(option) {
			return 0
		}
		return c.Int(key + "." + option)
	}
	list := func(option string) []string {
		if !has(option) {
			return nil
		}
		return c.List(key + "." + option)
	}
	l.MaxConnections = number("max_connections")
	l.NrOfAcceptors = number("nr_of_acceptors")
	if has("max_connection_lifetime") {
		l.MaxConnectionLifetime = c.Duration(key + ".max_connection_lifetime")
	}
	if has("mountpoint") {
		if l.Mountpoint = c.String(key + ".mountpoint"); l.Mountpoint == off {
			l.Mountpoint = ""
		}
	}
	for _, v := range list("allowed_protocol_versions") {
		n, _ := strconv.ParseUint(v, 10, 8)
		l.AllowedProtocolVersions = append(l.AllowedProtocolVersions, byte(n))
	}
	l.AllowAnonymousOverride = flag("allow_anonymous_override")
	l.ForwardConnectionOpts = flag("forward_connection_opts")
	l.ProxyProtocol = flag("proxy_protocol")
	l.ProxyProtocolUseCN = flag("proxy_protocol_use_cn_as_username")
	if sizes := list("buffer_sizes"); len(sizes) == 3 {
		l.BufferSizes = BufferSizes{Send: atoi(sizes[0]), Receive: atoi(sizes[1]), User: atoi(sizes[2])}
	}
	l.AuthPlugins, l.AuthzPlugins = list("auth_plugins"), list("authz_plugins")
	if flag("proxy_xff_support") {
		l.Forwarded = &Forwarded{
			Trusted: prefixes(c.String(key + ".proxy_xff_trusted_intermediate")),
			UseCN:   flag("proxy_xff_use_cn_as_username"), CNHeader: c.String(key + ".proxy_xff_cn_header"),
		}
	}
	if l.HTTPModules = list("http_modules"); slices.Contains(httpTypes, l.Type) && len(l.HTTPModules) == 0 {
		l.HTTPModules = c.List("http_modules")
	}
	l.MaxRequestLineLength = number("max_request_line_length")
	l.MaxHeaderValueLength = number("max_header_value_length")
	if slices.Contains(tlsTypes, l.Type) {
		l.TLS = c.tls(key)
	}
}

func (c *Config) tls(key string) *TLS {
	t := &TLS{
		CAFile: c.String(key + ".cafile"), CertFile: c.String(key + ".certfile"),
		KeyFile: c.String(key + ".keyfile"), CRLFile: c.String(key + ".crlfile"),
		KeyPassword: c.String(key + ".keypasswd"), Ciphers: c.List(key + ".ciphers"),
		Depth:              c.Int(key + ".depth"),
		RequireCertificate: c.Flag(key + ".require_certificate"),
		HandshakeTimeout:   c.Duration(key + ".tls_handshake_timeout"),
	}
	if _, ok := lookup(key + ".use_identity_as_username"); ok {
		t.UseIdentityAsUsername = c.Flag(key + ".use_identity_as_username")
	}
	for _, name := range c.List(key + ".eccs") {
		if id := tlsCurves[name]; id != 0 && !slices.Contains(t.Curves, id) {
			t.Curves = append(t.Curves, id)
		}
	}
	for _, name := range c.List(key + ".tls_version") {
		v := tlsVersions[name]
		if t.MinVersion == 0 || v < t.MinVersion {
			t.MinVersion = v
		}
		t.MaxVersion = max(t.MaxVersion, v)
	}
	return t
}

var tlsVersions = map[string]uint16{
	"tlsv1.2": tls.VersionTLS12, "tlsv1.3": tls.VersionTLS13,
}

// tlsCurves are the curves that Go has, in the names of Erlang, SECG and NIST.
// Others of a list are left out, as a peer does that does not know them.
var tlsCurves = map[string]tls.CurveID{
	"secp256r1": tls.CurveP256, "prime256v1": tls.CurveP256, "p256": tls.CurveP256,
	"secp384r1": tls.CurveP384, "p384": tls.CurveP384,
	"secp521r1": tls.CurveP521, "p521": tls.CurveP521,
	"x25519": tls.X25519, "x25519mlkem768": tls.X25519MLKEM768,
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// prefixes reads addresses and networks that commas, semicolons or blanks
// separate; nil if one of them is neither.
func prefixes(text string) []netip.Prefix {
	var out []netip.Prefix
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(",; ", r) }) {
		p, err := netip.ParsePrefix(word)
		if a, e := netip.ParseAddr(word); e == nil {
			a = a.Unmap().WithZone("")
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil
		}
		out = append(out, p.Masked())
	}
	return out
}

// The checks below look closer at lists.

func checkPrefixes(v any) bool {
	text, _ := v.(string)
	return text == "" || prefixes(text) != nil
}

func checkCurves(v any) bool {
	for _, e := range v.([]string) {
		if tlsCurves[e] != 0 {
			return true
		}
	}
	return len(v.([]string)) == 0
}

func checkProtocolVersions(v any) bool {
	for _, e := range v.([]string) {
		if !slices.Contains([]string{"3", "4", "5", "131", "132"}, e) {
			return false
		}
	}
	return true
}

func checkBufferSizes(v any) bool {
	sizes := v.([]string)
	for _, e := range sizes {
		if n, err := strconv.ParseUint(e, 10, 31); err != nil || n == 0 {
			return false
		}
	}
	return len(sizes) == 3
}

func checkTLSVersions(v any) bool {
	for _, e := range v.([]string) {
		if tlsVersions[e] == 0 {
			return false
		}
	}
	return len(v.([]string)) > 0
}
