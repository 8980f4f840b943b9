package config

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mqadmin/mqadmin/internal/logging"
)

var update = flag.Bool("update", false, "rewrite golden files and docs/configuration.md")

// disk is a file system for Options.
type disk map[string]string

func (d disk) options() Options {
	return Options{
		ReadFile: func(name string) ([]byte, error) {
			text, ok := d[filepath.ToSlash(name)]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return []byte(text), nil
		},
		Glob: func(pattern string) ([]string, error) {
			var out []string
			for name := range d {
				if ok, err := filepath.Match(pattern, name); err != nil {
					return nil, err
				} else if ok {
					out = append(out, name)
				}
			}
			return out, nil
		},
	}
}

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("x.conf", []byte(text), disk{}.options())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSeed(t *testing.T) {
	for _, node := range []string{"123", "124"} {
		c, err := Load("testdata/seed/node-"+node+".conf", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(c.entries) != 56 {
			t.Errorf("%d keys, want 56", len(c.entries))
		}
		for key, e := range c.entries {
			if e.at.Kind != FromFile {
				t.Errorf("%s comes from %s", key, e.at)
			}
		}
		ip := "192.168.100." + node
		want := seedValues(ip)
		got := map[string]any{}
		for key, e := range c.entries {
			got[key] = e.parsed
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		var warned []string
		for _, w := range c.Warnings() {
			warned = append(warned, w.Key)
		}
		if d := cmp.Diff([]string{"erlang.async_threads", "listener.nr_of_acceptors"}, warned); d != "" {
			t.Error(d)
		}
		o, err := c.Logging()
		if err != nil {
			t.Fatal(err)
		}
		crash := logging.File{Path: "/var/log/vernemq/crash.log", Size: 10 << 20, Schedule: "$D0", Keep: 5}
		if d := cmp.Diff(crash, o.CrashFile); d != "" || o.CrashMaxMessage != 64<<10 || o.Console != "file" {
			t.Error(d, o)
		}
	}
}

func seedValues(ip string) map[string]any {
	tcp := func(a string) Address { return Address{Network: "tcp", Address: a} }
	return map[string]any{
		"allow_anonymous": true, "allow_register_during_netsplit": true, "allow_publish_during_netsplit": true,
		"allow_subscribe_during_netsplit": true, "allow_unsubscribe_during_netsplit": true, "allow_multiple_sessions": false,
		"retry_interval": 10 * time.Second, "max_client_id_size": 512, "max_inflight_messages": 1000, "max_online_messages": -1,
		"max_offline_messages": -1, "max_message_size": int64(0), "upgrade_outgoing_qos": false,
		"listener.max_connections": 10000, "listener.nr_of_acceptors": 10, "listener.tcp.default": tcp(ip + ":1883"),
		"listener.vmq.clustering": tcp(ip + ":44053"), "listener.http.default": tcp("127.0.0.1:8888"), "listener.mountpoint": "off",
		"systree_enabled": true, "systree_interval": 20 * time.Second, "graphite_enabled": false, "graphite_host": "localhost",
		"graphite_port": 2003, "graphite_interval": 20 * time.Second, "shared_subscription_policy": "random",
		"plugins.vmq_passwd": true, "plugins.vmq_acl": true, "plugins.vmq_diversity": false, "plugins.vmq_webhooks": false,
		"plugins.vmq_bridge": false, "vmq_acl.acl_file": "/etc/vernemq/vmq.acl", "vmq_acl.acl_reload_interval": 10 * time.Second,
		"vmq_passwd.password_file": "/etc/vernemq/vmq.passwd", "vmq_passwd.password_reload_interval": 10 * time.Second,
		"vmq_diversity.script_dir": "/usr/share/vernemq/lua", "vmq_diversity.auth_postgres.enabled": false,
		"vmq_diversity.auth_mysql.enabled": false, "vmq_diversity.auth_mongodb.enabled": false, "vmq_diversity.auth_redis.enabled": false,
		"log.console": "file", "log.console.level": "info", "log.console.file": "/var/log/vernemq/console.log",
		"log.error.file": "/var/log/vernemq/error.log", "log.syslog": false, "log.crash": true,
		"log.crash.file": "/var/log/vernemq/crash.log", "log.crash.maximum_message_size": int64(64 << 10), "log.crash.size": int64(10 << 20),
		"log.crash.rotation": "$D0", "log.crash.rotation.keep": 5, "nodename": "VerneMQ@" + ip, "distributed_cookie": "vmqaplomb",
		"erlang.async_threads": 64, "erlang.max_ports": 262144, "leveldb.maximum_memory.percent": 70,
	}
}

func TestSyntax(t *testing.T) {
	d := disk{
		"/etc/b/conf.d/1.conf": "max_client_id_size = 7\n",
		"/etc/b/conf.d/2.conf": "max_client_id_size=8 # wins\r\ninclude ../more",
		"/etc/b/more":          "graphite_prefix = from.include",
		"/etc/b/secret":        "pa$(x)ss#word\n",
	}
	text := "\ufeff# comment\n" +
		"\t nodename = a@b  # comment\n" +
		"node.name = VerneMQ@10.0.0.1\n" + // emqttd's name of the same setting
		"include conf.d/*.conf\n" +
		"include none/*.conf # no match is fine\n" +
		"distributed_cookie = $(<secret)\n" +
		"graphite_host = 'quoted # text' # comment\n" +
		"graphite_api_key='''one\ntwo'''\n" +
		"graphite_port=2004\ngraphite_port=2005\n" +
		"systree_mountpoint = $(nodename)/$(max_client_id_size)/$(retry_interval)\n" +
		`listener.tcp.a\.b = ::1:1884` + "\n" +
		"listener.tcp.sock = local:/tmp/x.sock:0\n" +
		"vmq_acl.acl_file = <data>/acl\n" +
		"persistent_client_expiration = \"1w\"\n"
	c, err := Parse("/etc/b/x.conf", []byte(text), d.options())
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"nodename": "VerneMQ@10.0.0.1", "node.name": "VerneMQ@10.0.0.1", "max_client_id_size": "8", "graphite_prefix": "from.include",
		"distributed_cookie": "pa$(x)ss#word", "graphite_host": "quoted # text", "graphite_api_key": "one\ntwo", "graphite_port": "2005",
		"systree_mountpoint": "VerneMQ@10.0.0.1/8/20", "vmq_acl.acl_file": filepath.FromSlash("/var/lib/mqadmin/acl"),
	} {
		if got := c.String(key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	if got := c.Duration("persistent_client_expiration"); got != 7*24*time.Hour {
		t.Error(got)
	}
	if got := c.Origin("max_client_id_size").String(); got != "/etc/b/conf.d/2.conf:1" {
		t.Error(got)
	}
	var l []string
	for _, x := range c.Listeners() {
		l = append(l, x.Type+" "+x.Name+" "+x.Network+" "+x.Address)
	}
	want := []string{"tcp a.b tcp [::1]:1884", "tcp sock unix /tmp/x.sock", "vmq clustering tcp 127.0.0.1:44053"}
	if d := cmp.Diff(want, l); d != "" {
		t.Error(d)
	}
}

// TestErrors compares the report about each testdata/errors/*.conf with the
// .golden file beside it.
func TestErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.conf")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(filepath.Base(file), text, disk{"loop.conf": "include loop.conf", "cert.pem": "no pem"}.options())
			if err == nil {
				t.Fatal("no error")
			}
			if !errors.Is(err, ErrConfig) {
				t.Error("no ErrConfig")
			}
			golden(t, strings.TrimSuffix(file, ".conf")+".golden", err.Error()+"\n")
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (rewrite with -update):\n%s", file, d)
	}
}

func TestLoadMissing(t *testing.T) {
	_, err := Load("/etc/nope.conf", disk{}.options())
	if err == nil || err.Error() != "/etc/nope.conf: no such file: /etc/nope.conf" {
		t.Error(err)
	}
}

func TestTooManyErrors(t *testing.T) {
	_, err := Parse("x", []byte(strings.Repeat("!\n", 500)), Options{})
	var errs Errors
	if !errors.As(err, &errs) || len(errs) != maxErrors+1 {
		t.Error(len(errs))
	}
}

func TestDefault(t *testing.T) {
	c, err := Default(Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range c.Listeners() {
		got = append(got, l.Type+"."+l.Name+" "+l.Address)
	}
	if d := cmp.Diff([]string{"http.default 127.0.0.1:8888", "tcp.default 127.0.0.1:1883", "vmq.clustering 127.0.0.1:44053"}, got); d != "" {
		t.Error(d)
	}
	if !c.LocalOnly() || !c.Flag("allow_anonymous") || c.Flag("plugins.vmq_acl") || c.IsSet("allow_anonymous") {
		t.Error("a broker that only this machine reaches should let people try it")
	}
	if got := c.String("log.console.file"); got != filepath.FromSlash("data/log/console.log") {
		t.Error(got)
	}
	if got := c.String("data_dir") + " " + c.String("run_dir"); got != filepath.FromSlash("data data/run") {
		t.Error(got)
	}
	c, err = Default(Options{Flags: map[string]string{"data_dir": "/n1"}})
	if err != nil || c.String("run_dir") != filepath.FromSlash("/n1/run") || c.String("admin.socket") != filepath.FromSlash("/n1/run/admin.sock") {
		t.Error(c.String("run_dir"), err)
	}
	// Off loopback, nothing is open.
	c, err = Default(Options{Environ: []string{"BROKER_LISTENER__TCP__DEFAULT=0.0.0.0:1883"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.LocalOnly() || c.Flag("allow_anonymous") || !c.Flag("plugins.vmq_acl") {
		t.Error("open to the network by default")
	}
}

func TestEnvironmentAndFlags(t *testing.T) {
	c, err := Parse("x.conf", []byte("nodename = file@a\nretry_interval = 1\nlistener.tcp.a = 127.0.0.1:1"), Options{
		Environ: []string{
			"BROKER_NODENAME=env@a", "BROKER_RETRY_INTERVAL=2s", "BROKER_LISTENER__TCP__A=127.0.0.1:2", "HOME=/",
			"BROKER_CONFIG=x.conf", "BROKER_SERVICE_HOST=10.0.0.1", "BROKER_ERLANG__W=w",
		},
		Flags: map[string]string{"data_dir": "/d", "nodename": "flag@a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.String("nodename"); got != "flag@a" || c.Origin("nodename").String() != "command line" {
		t.Error(got)
	}
	if got := c.Duration("retry_interval"); got != 2*time.Second || c.Origin("retry_interval").String() != "environment BROKER_RETRY_INTERVAL" {
		t.Error(got)
	}
	if got := c.Listeners()[0].Address; got != "127.0.0.1:2" {
		t.Error(got)
	}
	if got := c.String("message_store.directory"); got != filepath.FromSlash("/d/messages") {
		t.Error(got)
	}
	var warned []string
	for _, w := range c.Warnings() {
		warned = append(warned, w.Key)
	}
	if d := cmp.Diff([]string{"BROKER_SERVICE_HOST", "erlang.W"}, warned); d != "" {
		t.Error(d)
	}
	_, err = Default(Options{Environ: []string{"BROKER_RETRY_INTERVAL=soon"}})
	if err == nil || !strings.HasPrefix(err.Error(), "environment BROKER_RETRY_INTERVAL: retry_interval: expected a number of seconds") {
		t.Error(err)
	}
}

func TestGettersPanic(t *testing.T) {
	c := parse(t, "")
	for name, f := range map[string]func(){
		"unknown key": func() { c.Flag("no.such.key") },
		"wrong type":  func() { c.Flag("retry_interval") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error(name, "did not panic")
				}
			}()
			f()
		}()
	}
}

func TestWith(t *testing.T) {
	c := parse(t, "allow_anonymous = off")
	d, err := c.With("allow_anonymous", "on", false)
	if err != nil || !d.Flag("allow_anonymous") || c.Flag("allow_anonymous") || d.Origin("allow_anonymous").String() != "set at run time" {
		t.Error(err)
	}
	for key, want := range map[string]string{
		"nodename":        "nodename takes effect only after a restart: change the file",
		"allow_anonimous": `unknown setting "allow_anonimous"; did you mean allow_anonymous?`,
		"retry_interval":  "retry_interval: expected a number of seconds",
	} {
		if _, err := c.With(key, "x", false); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestRereadTakesWhatNeedsNoRestart(t *testing.T) {
	c := parse(t, "allow_anonymous = off\nretry_interval = 30\ntopic_max_depth = 5")
	merged, restart := c.Reread(parse(t, "allow_anonymous = on\ntopic_max_depth = 6\nnodename = b@h"))
	if !merged.Flag("allow_anonymous") || merged.Duration("retry_interval") != 20*time.Second || merged.Int("topic_max_depth") != 5 {
		t.Error("what takes effect at run time is not that of the new file, or the rest is")
	}
	if d := cmp.Diff([]string{"nodename", "topic_max_depth"}, restart); d != "" {
		t.Error(d)
	}
	if c.Flag("allow_anonymous") || !c.IsSet("retry_interval") {
		t.Error("the former settings were changed")
	}
}

func TestOverridesAreWhatWasSet(t *testing.T) {
	c := parse(t, "allow_anonymous = off")
	d, err := c.With("message_size_limit", "1KB", true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Override{{Key: "max_message_size", Value: "1KB", Everywhere: true}}, d.Overrides()); diff != "" || c.Overrides() != nil {
		t.Error(diff)
	}
	if at := d.Origin("max_message_size").String(); at != "set at run time on every member" {
		t.Error(at)
	}
}

func TestErrorsOfWithCanBeToldApart(t *testing.T) {
	c := parse(t, "")
	for key, want := range map[string]error{"nodename": ErrRestart, "nonsense": ErrUnknown, "max_client_id_size": ErrValue} {
		if _, err := c.With(key, "x", false); !errors.Is(err, want) || !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestApps(t *testing.T) {
	for key, want := range map[string]string{"allow_anonymous": "vmq_server", "vmq_acl.acl_file": "vmq_acl", "plugins.vmq_acl": "vmq_server"} {
		if got := App(key); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	if key, err := CanonicalKey("message_size_limit"); err != nil || key != "max_message_size" {
		t.Error(key, err)
	}
	if _, err := CanonicalKey("plugins.$name"); err == nil {
		t.Error("a pattern is no setting")
	}
}

func TestEffectiveIsAConfiguration(t *testing.T) {
	c, err := Load("testdata/seed/node-123.conf", Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.Effective(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "vmqaplomb") || !strings.Contains(b.String(), "distributed_cookie = <redacted>\n") {
		t.Error("cookie is shown")
	}
	again := parse(t, b.String())
	var b2 strings.Builder
	if err := again.Effective(&b2); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(b.String(), b2.String()); d != "" {
		t.Error(d)
	}
}

func TestSecretsStaySecret(t *testing.T) {
	d := disk{"k": "hidden-text"}
	c, err := Parse("x", []byte("distributed_cookie = hidden-text\ngraphite_prefix = a.$(distributed_cookie)\ngraphite_host = $(<k)"), d.options())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.Effective(&b); err != nil || strings.Contains(b.String(), "hidden-text") {
		t.Error(b.String(), err)
	}
	_, err = Parse("x", []byte("distributed_cookie = hidden-text\nretry_interval = $(distributed_cookie)"), d.options())
	if err == nil || strings.Contains(err.Error(), "hidden-text") {
		t.Error(err)
	}
}

// A listener of a command line is checked as one of the file.
func TestRunListener(t *testing.T) {
	c := parse(t, "listener.max_connections = 77\nlistener.tcp.default = 127.0.0.1:1883")
	l, err := c.RunListener("tcp", "127.0.0.1:1883", map[string]string{"mountpoint": "m", "allow_anonymous_override": "on"})
	if err != nil || l.MaxConnections != 77 || l.Mountpoint != "m" || !l.AllowAnonymousOverride || l.Address != "127.0.0.1:1883" {
		t.Errorf("%+v, %v", l, err)
	}
	if len(c.Listeners()) != 2 {
		t.Error("the settings were changed")
	}
	for _, tc := range []struct {
		kind, address string
		options       map[string]string
		want          string
	}{
		{"tcp", "nowhere", nil, "expected an IP address"},
		{"udp", "127.0.0.1:1", nil, `no listener of type "udp"`},
		{"tcp", "127.0.0.1:1", map[string]string{"cafile": "x"}, "cafile is no option of listeners of type tcp"},
		{"ssl", "127.0.0.1:1", nil, "needs a certificate"},
		{"tcp", "127.0.0.1:1", map[string]string{"max_connections": "x"}, "max_connections: expected an integer"},
		{"ssl", "127.0.0.1:1", map[string]string{"psk_support": "on"}, "refused"},
	} {
		if _, err := c.RunListener(tc.kind, tc.address, tc.options); err == nil || !strings.Contains(err.Error(), tc.want) || !errors.Is(err, ErrValue) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

func TestSyslogOverTLSNeedsMore(t *testing.T) {
	_, err := Parse("x", []byte("log.syslog = on\nlog.syslog.remote.host = h\nlog.syslog.remote.protocol = tls\n"), Options{})
	if err == nil || !strings.Contains(err.Error(), "log.syslog.format = rfc5424") || !strings.Contains(err.Error(), "log.syslog.remote.tls.cafile") {
		t.Error(err)
	}
	c := parse(t, "log.syslog = on\nlog.syslog.level = warning\nlog.syslog.facility = local3")
	o, err := c.Logging()
	if err != nil || o.Syslog.Facility != 19 || o.Syslog.App != "broker" || o.Syslog.MaxPending != 1000 || len(c.Warnings()) != 0 {
		t.Errorf("%+v, %v, %v", o.Syslog, err, c.Warnings())
	}
}
