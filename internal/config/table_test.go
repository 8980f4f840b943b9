package config

import (
	"bufio"
	"crypto/tls"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTableIsSound(t *testing.T) {
	c := parse(t, "")
	seen := map[string]bool{}
	for _, s := range settings().all {
		if seen[s.Key] {
			t.Errorf("%s: twice", s.Key)
		}
		seen[s.Key] = true
		if s.Default != "" {
			v, err := s.parse(s.Default)
			if err != nil || s.check != nil && !s.check(v) {
				t.Errorf("%s: default %q is not %v", s.Key, s.Default, err)
			}
		}
		for _, w := range s.Words {
			if _, err := s.parse(w); err != nil {
				t.Errorf("%s: word %q: %v", s.Key, w, err)
			}
		}
		if s.Doc == "" || !strings.HasSuffix(s.Doc, ".") && !strings.HasSuffix(s.Doc, "…") || s.Since == "" || s.area == "" {
			t.Errorf("%s: doc %q, since %q, area %q", s.Key, s.Doc, s.Since, s.area)
		}
		if (s.Status == Works) != (s.Reason == "") {
			t.Errorf("%s: status %s with reason %q", s.Key, s.Status, s.Reason)
		}
		if s.Type == TypeEnum && len(s.Words) == 0 {
			t.Errorf("%s: no words", s.Key)
		}
		for _, other := range []string{s.Inherits, s.Needs} {
			if _, ok := lookup(other); other != "" && !ok {
				t.Errorf("%s: refers to %s", s.Key, other)
			}
		}
		// Every getter path must work for every setting.
		_ = c.String(strings.ReplaceAll(s.Key, "$", ""))
		if text, err := Describe(s.Key); err != nil || !strings.Contains(text, s.Accepts()[:4]) {
			t.Errorf("%s: %q, %v", s.Key, text, err)
		}
	}
	if !slices.IsSorted(Keys()) {
		t.Error("keys are not sorted")
	}
}

// TestVerneMQKeys checks that every key of VerneMQ 1.3 to 2.2 is known.
func TestVerneMQKeys(t *testing.T) {
	f, err := os.Open("testdata/vernemq-keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		key := strings.ReplaceAll(s.Text(), "$", "")
		if _, ok := Lookup(key); !ok {
			t.Errorf("%s is not known%s", s.Text(), didYouMean(key))
		}
	}
	if n < 500 {
		t.Errorf("only %d keys", n)
	}
}

func TestListenerFallback(t *testing.T) {
	c := parse(t, `
listener.max_connections = 1
listener.tcp.max_connections = 2
listener.tcp.b.max_connections = 3
listener.tcp.c.max_connections = -1
listener.ws.max_connections = infinity
listener.ws.mountpoint = m
listener.max_connection_lifetime = 5
listener.tcp.a = 127.0.0.1:1
listener.tcp.b = 127.0.0.1:2
listener.tcp.b.allow_anonymous_override = on
listener.tcp.b.allowed_protocol_versions = "4,5"
listener.tcp.b.buffer_sizes = 4096,16384,32768
listener.tcp.c = 127.0.0.1:3
listener.ws.d = 127.0.0.1:4
listener.ws.d.max_connection_lifetime = 1m
listener.vmq.e = 127.0.0.1:5
listener.http.f = 127.0.0.1:6
listener.http.f.http_modules = [vmq_metrics_http]
`)
	got := map[string]Listener{}
	for _, l := range c.Listeners() {
		l.Origin = Origin{}
		got[l.Name] = l
	}
	versions := []byte{3, 4, 5, 131}
	common := Listener{Network: "tcp", NrOfAcceptors: 10, MaxConnectionLifetime: 5 * time.Second, ProxyProtocolUseCN: true, AllowedProtocolVersions: versions}
	a, b, cc, d := common, common, common, common
	a.Type, a.Name, a.Address, a.MaxConnections = "tcp", "a", "127.0.0.1:1", 2
	b.Type, b.Name, b.Address, b.MaxConnections = "tcp", "b", "127.0.0.1:2", 3
	b.AllowAnonymousOverride, b.AllowedProtocolVersions, b.BufferSizes = true, []byte{4, 5}, BufferSizes{4096, 16384, 32768}
	cc.Type, cc.Name, cc.Address, cc.MaxConnections = "tcp", "c", "127.0.0.1:3", 2
	d.Type, d.Name, d.Address, d.MaxConnections, d.Mountpoint = "ws", "d", "127.0.0.1:4", Infinity, "m"
	d.MaxConnectionLifetime, d.MaxRequestLineLength, d.MaxHeaderValueLength = time.Minute, 8000, 4096
	want := map[string]Listener{
		"a": a, "b": b, "c": cc, "d": d,
		"e": {Type: "vmq", Name: "e", Network: "tcp", Address: "127.0.0.1:5", MaxConnections: 1, NrOfAcceptors: 10},
		"f": {
			Type: "http", Name: "f", Network: "tcp", Address: "127.0.0.1:6", MaxConnections: 1, NrOfAcceptors: 10, ProxyProtocolUseCN: true,
			HTTPModules: []string{"vmq_metrics_http"}, MaxRequestLineLength: 8000, MaxHeaderValueLength: 4096,
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := c.Origin("listener.tcp.a.max_connections"); got.Line != 3 {
		t.Error(got)
	}
}

func TestListenerChainsAndProxies(t *testing.T) {
	c := parse(t, `
listener.tcp.a = 127.0.0.1:1
listener.tcp.a.auth_plugins = [vmq_passwd]
listener.tcp.a.authz_plugins = vmq_acl,vmq_passwd
listener.ws.proxy_xff_support = on
listener.ws.proxy_xff_trusted_intermediate = 10.0.0.0/8; ::1, 192.168.0.1
listener.ws.b = 127.0.0.1:2
listener.ws.b.proxy_xff_use_cn_as_username = on
listener.ws.c = 127.0.0.1:3
listener.ws.c.proxy_xff_support = off
`)
	l := slices.DeleteFunc(c.Listeners(), Listener.Cluster)
	if d := cmp.Diff([][]string{{"vmq_passwd"}, {"vmq_acl", "vmq_passwd"}}, [][]string{l[0].AuthPlugins, l[0].AuthzPlugins}); d != "" {
		t.Error(d)
	}
	want := &Forwarded{UseCN: true, CNHeader: "x-ssl-client-cn", Trusted: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("192.168.0.1/32"),
	}}
	if d := cmp.Diff(want, l[1].Forwarded, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if l[2].Forwarded != nil {
		t.Errorf("turned off: %+v", l[2].Forwarded)
	}
	for line, want := range map[string]string{
		"plugins.vmq_acl = off\nlistener.tcp.a.authz_plugins = vmq_acl": "x.conf:3:1: listener.tcp.a.authz_plugins names vmq_acl, which is not enabled: set plugins.vmq_acl = on or leave it out",
		"listener.tcp.a.auth_plugins = vmq_passwd, vmq_passwd":          "x.conf:2:1: listener.tcp.a.auth_plugins names vmq_passwd twice",
		"listener.tcp.a.auth_plugins = a.b":                             `x.conf:2:1: listener.tcp.a.auth_plugins: there is no plugin "a.b"`,
		"listener.ws.b = 127.0.0.1:2\nlistener.ws.b.proxy_xff_support = on": "x.conf:2:1: listener.ws.b believes X-Forwarded-For but not of whom: " +
			"set listener.ws.b.proxy_xff_trusted_intermediate to the addresses of the proxies",
		"listener.ws.proxy_xff_trusted_intermediate = proxy": `x.conf:2:46: listener.ws.proxy_xff_trusted_intermediate: ` +
			`expected IP addresses or networks (10.0.0.0/8) separated by commas, found "proxy"`,
	} {
		_, err := Parse("x.conf", []byte("listener.tcp.a = 127.0.0.1:1\n"+line), Options{})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\n%v", line, err)
		}
	}
}

func TestListenerTLS(t *testing.T) {
	pem := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	d := disk{"/c": pem, "/k": pem, "/ca": pem}
	c, err := Parse("/x", []byte(`
listener.ssl.default = 0.0.0.0:8883
listener.ssl.certfile = /c
listener.ssl.keyfile = /k
listener.ssl.default.cafile = ca
listener.ssl.default.require_certificate = on
listener.ssl.default.use_identity_as_username = on
listener.ssl.default.tls_version = tlsv1.3
listener.ssl.default.tls_handshake_timeout = infinity
listener.ssl.ciphers = ECDHE-A:ECDHE-B
listener.ssl.eccs = [sect571r1, secp384r1, x25519]
`), Options{Glob: d.options().Glob, ReadFile: func(name string) ([]byte, error) {
		return d.options().ReadFile("/" + strings.TrimPrefix(filepath.ToSlash(name), "/"))
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := &TLS{
		CAFile: "ca", CertFile: "/c", KeyFile: "/k", MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13, Depth: 1,
		Ciphers: []string{"ECDHE-A", "ECDHE-B"}, Curves: []tls.CurveID{tls.CurveP384, tls.X25519}, RequireCertificate: true, UseIdentityAsUsername: true, HandshakeTimeout: Never,
	}
	if d := cmp.Diff(want, c.Listeners()[0].TLS); d != "" {
		t.Error(d)
	}
}

func TestValues(t *testing.T) {
	for _, tt := range []struct {
		key, text string
		want      any // nil: an error
	}{
		{"allow_anonymous", "on", true},
		{"allow_anonymous", "On", nil},
		{"max_offline_messages", "-1", -1},
		{"max_offline_messages", "-2", nil},
		{"max_offline_messages", "9223372036854775808", nil},
		{"listener.max_connections", "infinity", Infinity},
		{"listener.max_connections", "-1", nil},
		{"max_message_size", "1KB", int64(1024)},
		{"max_message_size", "1kb", int64(1024)},
		{"max_message_size", "1Kb", nil},
		{"max_message_size", "9223372036854775807GB", nil},
		{"max_message_size", "-1", nil},
		{"leveldb.maximum_memory.percent", "70%", 70},
		{"leveldb.maximum_memory.percent", "101", nil},
		{"systree_interval", "20000", 20 * time.Second},
		{"systree_interval", "1m30s", 90 * time.Second},
		{"systree_interval", "1w1ms", 7*24*time.Hour + time.Millisecond},
		{"systree_interval", "99999999999999999w", nil},
		{"systree_interval", "9223372036854775807", nil},
		{"systree_interval", "s", nil},
		{"graphite_interval", "100", 100 * time.Millisecond},
		{"persistent_client_expiration", "1m", 28 * 24 * time.Hour},
		{"persistent_client_expiration", "1y", 48 * 7 * 24 * time.Hour},
		{"persistent_client_expiration", "never", Never},
		{"persistent_client_expiration", "1", nil},
		{"max_last_will_delay", "client", Never},
		{"max_last_will_delay", `"client"`, Never},
		{"remote_enqueue_timeout", "infinity", Never},
		{"listener.tcp.a", "[::1]:1883", Address{"tcp", "[::1]:1883"}},
		{"listener.tcp.a", "::1:1883", Address{"tcp", "[::1]:1883"}},
		{"listener.tcp.a", "localhost:1883", nil},
		{"listener.tcp.a", "1.2.3.4:65536", nil},
		{"listener.tcp.a", "local:/x:1", nil},
		{"reg_views", `"[vmq_reg_trie, 'x']"`, []string{"vmq_reg_trie", "x"}},
		{"distributed_cookie", `"a"`, `"a"`},
		{"distributed_cookie", `""`, ""},
		{"graphite_host", `"a"`, "a"},
		{"vmq_webhooks.a.no_payload", "true", true},
		{"leveldb.expiration.retention_time", "unlimited", Never},
	} {
		s, _ := lookup(tt.key)
		got, err := s.parse(tt.text)
		if (err != nil) != (tt.want == nil) {
			t.Errorf("%s = %s: %v, %v", tt.key, tt.text, got, err)
			continue
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s = %s: %s", tt.key, tt.text, d)
		}
	}
}

func TestDescribe(t *testing.T) {
	c := parse(t, "retry_interval = 7")
	got, err := c.Describe("retry_interval")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/describe.golden", got)
	if _, err := Describe("retry_intervall"); err == nil || !strings.Contains(err.Error(), "did you mean retry_interval") {
		t.Error(err)
	}
}

func TestDocumentationIsCurrent(t *testing.T) {
	golden(t, filepath.Join("..", "..", "docs", "configuration.md"), Markdown())
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	seed, err := os.ReadFile("testdata/seed/node-123.conf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(seed))
	for _, s := range []string{
		"a\\.b = 1", "nodename = '''a@b'''", "include x", "include *", "retry_interval = $(retry_interval)", "retry_interval=$(systree_interval)\nsystree_interval=$(retry_interval)",
		"listener.tcp.a.b = 1", "listener..=1", "= 1", "'", "'''", "nodename=a@b'", "graphite_host = $(", "graphite_host = $(<", "\ufeffnodename = a@$(graphite_host)#\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := disk{"x": text}.options()
		c, err := Parse("x.conf", []byte(text), o)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if strings.TrimSpace(line) == "" {
					t.Errorf("an empty line in %q", err)
				}
			}
			return
		}
		// What is accepted can be printed and read again, unless it holds text that
		// the syntax cannot express.
		var b strings.Builder
		if err := c.Effective(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "'''") || strings.Contains(b.String(), "$(") {
			return
		}
		again, err := Parse("again.conf", []byte(b.String()), o)
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		var second strings.Builder
		if err := again.Effective(&second); err != nil {
			t.Fatal(err)
		}
		if second.String() != b.String() {
			t.Errorf("printed and read again it is another configuration:\n%s\n%s", b.String(), second.String())
		}
	})
}

// What is done again and again is not done all the time, and no metric of VerneMQ
// waits for a later version.
func TestMetricSettings(t *testing.T) {
	for _, key := range []string{"systree_interval", "graphite_interval", "graphite_connect_timeout", "graphite_reconnect_timeout"} {
		for text, ok := range map[string]bool{"0": false, "99": false, "100": true, "0s": false, "1h": true} {
			if _, err := Parse("x.conf", []byte(key+" = "+text+"\n"), Options{}); (err == nil) != ok {
				t.Errorf("%s = %s: %v", key, text, err)
			}
		}
	}
	for _, s := range metricSettings() {
		if s.Status != Works && s.Key != "systree_reg_view" {
			t.Errorf("%s is %v", s.Key, s.Status)
		}
	}
}
