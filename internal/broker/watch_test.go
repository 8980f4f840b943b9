package broker

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/auth"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// startWatcher watches files; the channel gets the content of the first one each
// time that it is to be read again.
func startWatcher(t *testing.T, files ...string) <-chan string {
	t.Helper()
	contents := make(chan string, 100)
	w := newWatcher(func() []source {
		return []source{{files: files, reload: func() {
			b, err := os.ReadFile(files[0])
			if err != nil {
				b = []byte("missing")
			}
			contents <- string(b)
		}}}
	}, slog.New(slog.DiscardHandler))
	if w.fs == nil {
		t.Skip("this system watches no files")
	}
	w.settle = 5 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return contents
}

// wantContent waits until the watcher has told of a content; on a loaded machine
// one that came before it may be told, too.
func wantContent(t *testing.T, contents <-chan string, want string) {
	t.Helper()
	last := "nothing"
	await(t, want, func() bool {
		select {
		case last = <-contents:
		default:
		}
		return last == want
	})
}

func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	writeFile(t, path, "one")
	contents := startWatcher(t, path)

	writeFile(t, path, "written in place")
	wantContent(t, contents, "written in place")

	// As vim does: the old file is put aside, a new one written.
	if err := os.Rename(path, path+"~"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, "a new file")
	wantContent(t, contents, "a new file")

	// As most programs do.
	writeFile(t, path+".tmp", "renamed into place")
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
	wantContent(t, contents, "renamed into place")
	writeFile(t, path, "and in place again")
	wantContent(t, contents, "and in place again")

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantContent(t, contents, "missing")
	writeFile(t, path, "there again")
	wantContent(t, contents, "there again")
}

// A volume of Kubernetes: the file is a link to ..data/file, and ..data a link
// to a directory with a new name for each version.
func TestWatcherFollowsSwappedLinks(t *testing.T) {
	mount := filepath.Join(t.TempDir(), "mount")
	version := 0
	swap := func(text string) {
		t.Helper()
		version++
		dir := filepath.Join(mount, fmt.Sprint("..", version))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, "file"), text)
		if err := os.Symlink(filepath.Base(dir), filepath.Join(mount, "..data_tmp")); err != nil {
			t.Skip("no symbolic links: ", err)
		}
		if err := os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
		if version > 1 {
			os.RemoveAll(filepath.Join(mount, fmt.Sprint("..", version-1)))
		}
	}
	swap("one")
	path := filepath.Join(mount, "file")
	if err := os.Symlink(filepath.Join("..data", "file"), path); err != nil {
		t.Fatal(err)
	}
	contents := startWatcher(t, path)
	for i := range 3 {
		swap(fmt.Sprint("swapped ", i))
		wantContent(t, contents, fmt.Sprint("swapped ", i))
	}
}

// A directory that comes later, goes, and comes again.
func TestWatcherOfAMissingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "file")
	contents := startWatcher(t, path)
	for i := range 2 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, fmt.Sprint("come ", i))
		wantContent(t, contents, fmt.Sprint("come ", i))
		if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
			t.Fatal(err)
		}
		wantContent(t, contents, "missing")
	}
}

func TestLeadingTo(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(parts ...string) string { return filepath.Join(append([]string{root}, parts...)...) }
	for _, dir := range []string{at("real", "deep"), at("other")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, at("real", "deep", "file"), "x")
	for link, target := range map[string]string{
		at("current"): "real", at("other", "file"): "../current/deep/file", at("absolute"): at("real", "deep", "file"), at("loop"): "loop",
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Skip("no symbolic links: ", err)
		}
	}
	for path, want := range map[string][]string{
		at("real", "deep", "file"):    {at("real", "deep")},
		at("current", "deep", "file"): {root, at("real", "deep")},
		at("other", "file"):           {at("other"), root, at("real", "deep")},
		at("absolute"):                {root, at("real", "deep")},
		at("none", "at", "all"):       {root},
		at("loop"):                    {root},
	} {
		if got := leadingTo(path); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// Files of a running broker take effect when they are written; what is broken
// leaves the last good content in force, says file and line, and sets a gauge.
func TestFilesAreReadWhenTheyChange(t *testing.T) {
	acl, passwd := filepath.Join(t.TempDir(), "vmq.acl"), passwordFile(t, "alice", "first")
	cert, key := pemFiles(t)
	writeFile(t, acl, "topic a\n")
	b := serveBroker(
		t, "allow_anonymous = off", "plugins.vmq_passwd = on", "vmq_passwd.password_file = "+passwd, "vmq_passwd.password_reload_interval = 0",
		"plugins.vmq_acl = on", "vmq_acl.acl_file = "+acl, "vmq_acl.acl_reload_interval = 0", "crl_refresh_interval = 0",
		"listener.ssl.s = 127.0.0.1:0", "listener.ssl.certfile = "+cert, "listener.ssl.keyfile = "+key,
	)
	tcp := addressOf(t, b, "listener.tcp.default")
	failed := func(plugin string) bool { return metric(b, "auth_file_error", "plugin="+plugin) == 1 }
	serial := func() string { return servedSerial(t, addressOf(t, b, "listener.ssl.s")) }

	c := dialClient(t, "tcp", tcp)
	if r := c.connect(5, "c", "alice", "first"); r.Failed() {
		t.Fatal(r)
	}
	replace := func(to, from string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, to+".tmp", string(text))
		if err := os.Rename(to+".tmp", to); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, acl, "topic a\ntopic b\n")
	await(t, "the new ACL", func() bool { return !c.publish("b").Failed() })
	writeFile(t, acl, "topic a\nno such line\n")
	await(t, "the gauge of the ACL", func() bool { return failed(auth.ACLName) })
	if r := c.publish("b"); r.Failed() {
		t.Errorf("a broken ACL is in force: %s", r)
	}
	if err := b.plugins.all()[1].Reload(); err == nil || !strings.Contains(err.Error(), acl+":2: ") {
		t.Errorf("which line is broken: %v", err)
	}
	writeFile(t, acl, "topic b\n")
	await(t, "the good ACL", func() bool { return !failed(auth.ACLName) })
	if r := c.publish("a"); r != packet.NotAuthorized {
		t.Errorf("an ACL that is gone is in force: %s", r)
	}

	replace(passwd, passwordFile(t, "alice", "second"))
	await(t, "the new password", func() bool { return !dialClient(t, "tcp", tcp).connect(5, "d", "alice", "second").Failed() })
	if r := dialClient(t, "tcp", tcp).connect(5, "d", "alice", "first"); r != packet.BadUserNameOrPassword {
		t.Errorf("the old password: %s", r)
	}
	writeFile(t, passwd, "alice:not a hash\n")
	await(t, "the gauge of the passwords", func() bool { return failed(auth.PasswdName) })
	if r := dialClient(t, "tcp", tcp).connect(5, "d", "alice", "second"); r.Failed() {
		t.Errorf("a broken password file is in force: %s", r)
	}

	former := serial()
	newCert, newKey := pemFiles(t)
	replace(cert, newCert) // without its key it cannot be used
	await(t, "the gauge of the certificates", func() bool { return metric(b, "listener_tls_error", "listener=ssl.s") == 1 })
	if got := serial(); got != former {
		t.Errorf("certificate %s without its key is shown", got)
	}
	replace(key, newKey)
	await(t, "the new certificate", func() bool { return metric(b, "listener_tls_error") == 0 && serial() != former })
}

// servedSerial identifies the certificate that a listener shows.
func servedSerial(t *testing.T, address string) string {
	t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return fmt.Sprintf("%x", sha256.Sum256(c.ConnectionState().PeerCertificates[0].Raw))
}
