package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/logging"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// Plugins are asked by priority.
func TestPluginPriority(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{nil, "vmq_passwd vmq_acl"},
		{[]string{"plugins.vmq_acl.priority = 5"}, "vmq_acl vmq_passwd"},
		{[]string{"plugins.vmq_acl.priority = 5", "plugins.vmq_passwd.priority = 5"}, "vmq_passwd vmq_acl"},
		{[]string{"plugins.vmq_acl.priority = 5", "plugins.vmq_passwd.priority = 1"}, "vmq_passwd vmq_acl"},
		{[]string{"plugins.vmq_acl.priority = 1", "plugins.vmq_passwd = off"}, "vmq_acl"},
	} {
		b := testBroker(t, t.TempDir(), append([]string{"plugins.vmq_passwd = on", "plugins.vmq_acl = on"}, c.lines...)...)
		var got []string
		for _, p := range b.hooks.Plugins() {
			got = append(got, p.Name)
		}
		b.close()
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%v: %s, want %s", c.lines, s, c.want)
		}
	}
}

// buffer is a log that a broker writes and a test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// SIGHUP takes the files and intervals of the plugins from the configuration of
// now; passwords are in no log, whatever becomes of them.
func TestReloadTakesOtherFiles(t *testing.T) {
	var mu sync.Mutex
	passwd := passwordFile(t, "alice", "first-secret")
	acl := filepath.Join(t.TempDir(), "a.acl")
	writeFile(t, acl, "topic a\n")
	lines := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return []string{
			"allow_anonymous = off", "plugins.vmq_passwd = on", "plugins.vmq_acl = on",
			"vmq_passwd.password_file = " + passwd, "vmq_acl.acl_file = " + acl, "vmq_acl.acl_reload_interval = 0",
		}
	}
	log := &buffer{}
	b := runBroker(t, testBrokerWith(t, logging.Options{Console: "console", Level: slog.LevelDebug, Stdout: log}, lines, t.TempDir()))
	connect := func(password string) packet.Reason {
		return dialClient(t, "tcp", addressOf(t, b, "listener.tcp.default")).connect(5, "c", "alice", password)
	}
	if r := connect("first-secret"); r.Failed() {
		t.Fatal(r)
	}
	mu.Lock()
	passwd = passwordFile(t, "alice", "other-secret")
	acl = filepath.Join(t.TempDir(), "b.acl")
	writeFile(t, acl, "topic b\n")
	mu.Unlock()
	b.Reload()
	if r := connect("first-secret"); r != packet.BadUserNameOrPassword {
		t.Errorf("the password of the former file: %s", r)
	}
	c := dialClient(t, "tcp", addressOf(t, b, "listener.tcp.default"))
	if r := c.connect(5, "d", "alice", "other-secret"); r.Failed() {
		t.Fatal(r)
	}
	if a, other := c.publish("a"), c.publish("b"); !a.Failed() || other.Failed() {
		t.Errorf("a: %s, b: %s", a, other)
	}
	writeFile(t, acl, "topic b\ntopic c\n") // the new file is watched, too
	await(t, "the changed file", func() bool { return !c.publish("c").Failed() })

	// Mistakes of all kinds: a plain password in the file, a damaged hash.
	writeFile(t, passwd, "bob:plain-secret\n")
	b.Reload()
	writeFile(t, passwd, "bob:$6$damaged-secret$x\n")
	b.Reload()
	connect("wrong-secret")
	mu.Lock()
	acl += "\nno_such_setting = 1"
	mu.Unlock()
	b.Reload() // a configuration that is broken changes nothing
	if r := c.publish("b"); r.Failed() {
		t.Error(r)
	}
	for _, want := range []string{"vmq_passwd", passwd + ":1: ", "no_such_setting", "client was refused"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, log)
		}
	}
	if d := cmp.Diff([]string(nil), secrets(log.String())); d != "" {
		t.Error(d)
	}
}

// secrets finds passwords of the test in a text.
func secrets(text string) (out []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, "-secret") {
			out = append(out, fmt.Sprint(line))
		}
	}
	return out
}
