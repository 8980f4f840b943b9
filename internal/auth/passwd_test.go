package auth

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// entry6 makes an entry as vmq-passwd does.
func entry6(user, password string) string {
	salt := []byte("0123456789ab")
	sum := sha512.Sum512(append([]byte(password), salt...))
	b64 := base64.StdEncoding.EncodeToString
	return user + ":$6$" + b64(salt) + "$" + b64(sum[:])
}

// entry7 makes an entry as mosquitto_passwd 2.0 does: PBKDF2 with 101 rounds.
func entry7(t testing.TB, user, password string) string {
	t.Helper()
	h, err := newHash([]byte(password), HashOptions{Iterations: 101})
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + h
}

func entryArgon(user, password string) string {
	salt := []byte("0123456789abcdef")
	sum := argon2.IDKey([]byte(password), salt, 1, 64, 1, 32)
	b64 := base64.RawStdEncoding.EncodeToString
	return user + ":$argon2id$v=19$m=64,t=1,p=1$" + b64(salt) + "$" + b64(sum)
}

// memory is a ReadFile over one file that tests change.
type memory struct {
	data string
	err  error
}

func (m *memory) read(string) ([]byte, error) { return []byte(m.data), m.err }

// logs collects the text of a logger.
type logs struct{ strings.Builder }

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logs) lines() int { return strings.Count(l.String(), "\n") }

func register(user, password string) *hook.Register {
	return &hook.Register{
		Client: hook.Client{Username: user, HasUsername: true}, Password: []byte(password), HasPassword: true,
	}
}

func TestPasswd(t *testing.T) {
	slow, err := newHash([]byte("slowpass"), HashOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{data: strings.Join([]string{
		"# a comment", "", entry6("six", "pw6"), entry7(t, "seven", "pw7"), entryArgon("argon", "pwa") + "\r",
		entry6("twice", "old"), entry6("twice", "new"), "slow:" + slow,
	}, "\n")}
	var l logs
	p := NewPasswd(FileOptions{Path: "vmq.passwd", ReadFile: m.read, Logger: l.logger(), Metrics: metrics.New()})
	if p.Users() != 5 {
		t.Fatalf("%d users: %s", p.Users(), &l)
	}
	bad := hook.DenyCredentials()
	for _, c := range []struct {
		user, password string
		want           hook.Result
	}{
		{"six", "pw6", hook.Allow()},
		{"six", "pw7", bad},
		{"six", "", bad},
		{"seven", "pw7", hook.Allow()},
		{"seven", "pw6", bad},
		{"argon", "pwa", hook.Allow()},
		{"argon", "x", bad},
		{"twice", "new", hook.Allow()},
		{"twice", "old", bad},
		{"slow", "wrong", bad},
		{"slow", "slowpass", hook.Allow()},
		{"slow", "slowpass", hook.Allow()},
		{"slow", "wrong", bad},
		{"nobody", "pw6", hook.Pass()},
		{"", "", hook.Pass()},
	} {
		if _, got := p.AuthOnRegister(t.Context(), register(c.user, c.password)); got != c.want {
			t.Errorf("%s with %s: %v, want %v", c.user, c.password, got, c.want)
		}
	}
	if _, got := p.AuthOnRegister(t.Context(), &hook.Register{}); got != hook.Pass() {
		t.Errorf("without user name: %v", got)
	}
	if _, got := p.AuthOnRegister(t.Context(), &hook.Register{Client: hook.Client{Username: "six", HasUsername: true}}); got != bad {
		t.Errorf("without password: %v", got)
	}
	if p.bad.Value() == 0 {
		t.Error("refusals were not counted")
	}
}

// A hash from another implementation, so that ours cannot agree with itself
// only.
func TestKnownHashes(t *testing.T) {
	// HMAC-SHA-512 PBKDF2 of "passwd", salt "salt", 1 round, as in Python's
	// hashlib.pbkdf2_hmac("sha512", b"passwd", b"salt", 1).
	const sum = "x0MZ2ZSZ/D6QE6z/WXwjxbrwoL7FY0xGuDUreT4yRyPVXKp2srJcQ0Atz9wGzc9m+Vt9BClCCzlSAAZ0nFGgTg=="
	h, err := parseHash("$7$1$" + base64.StdEncoding.EncodeToString([]byte("salt")) + "$" + sum)
	if err != nil {
		t.Fatal(err)
	}
	if !h.verify([]byte("passwd")) {
		got, _ := h.derive([]byte("passwd"), []byte("salt"), 64)
		t.Errorf("not verified: %s", base64.StdEncoding.EncodeToString(got))
	}
}

func TestPasswdSlowHashWaitsNoLongerThanTheClient(t *testing.T) {
	h, err := newHash([]byte("x"), HashOptions{Iterations: 1000})
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{data: "u:" + h}
	p := NewPasswd(FileOptions{ReadFile: m.read})
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, r := p.AuthOnRegister(ctx, register("u", "x")); r.Verdict != hook.Refuse {
		t.Errorf("%v", r)
	}
}

func TestPasswdErrors(t *testing.T) {
	good := entry6("a", "b")
	for _, c := range []struct{ line, want string }{
		{"nocolon", "f:2: want user:hash"},
		{":x", "f:2: want user:hash"},
		{"u:secret", "f:2: not a password hash"},
		{"u:", "f:2: not a password hash"},
		{"u:$6$###$eA==", "f:2: salt"},
		{"u:$6$$eA==", "f:2: salt"},
		{"u:$6$c2FsdA==$eA==", "f:2: hash"},
		{"u:$6$c2FsdA==$" + base64.StdEncoding.EncodeToString(make([]byte, 32)), "f:2: hash: 32 bytes, want 64"},
		{"u:$7$0$c2FsdA==$eA==", "f:2: iterations"},
		{"u:$7$99999999$c2FsdA==$eA==", "f:2: iterations"},
		{"u:$argon2id$v=19$m=99999999,t=1,p=1$c2FsdA$eA", "f:2: argon2id"},
		{"u:$argon2id$v=19$m=64,t=1,p=1,x=1$c2FsdA$eA", "f:2: argon2id"},
		{"u:$5$a$b", "f:2: not a password hash"},
	} {
		_, err := parseUsers("f", []byte(good+"\n"+c.line+"\n"))
		var pe *ParseError
		if !errors.As(err, &pe) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.line, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// gauge returns auth_file_error.
func gauge(t *testing.T, r *metrics.Registry) int64 {
	t.Helper()
	for _, s := range r.Samples() {
		if s.Name == "auth_file_error" {
			return s.Value
		}
	}
	t.Fatal("no gauge")
	return 0
}

func TestFileLifeCycle(t *testing.T) {
	m := &memory{err: fs.ErrNotExist}
	var l logs
	reg := metrics.New()
	p := NewPasswd(FileOptions{Path: "pw", ReadFile: m.read, Logger: l.logger(), Metrics: reg})
	allowed := func(user, password string) bool {
		_, r := p.AuthOnRegister(t.Context(), register(user, password))
		return r.Allowed()
	}
	for range 3 {
		if err := p.Reload(); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("reload: %v", err)
		}
	}
	if l.lines() != 1 || !strings.Contains(l.String(), "pw") || gauge(t, reg) != 1 {
		t.Fatalf("a missing file: gauge %d, log:\n%s", gauge(t, reg), &l)
	}
	if allowed("a", "1") {
		t.Fatal("allowed without a file")
	}
	*m = memory{data: entry6("a", "1")}
	if err := p.Reload(); err != nil || !allowed("a", "1") || gauge(t, reg) != 0 || l.lines() != 2 {
		t.Fatalf("after the file came: %v, gauge %d, log:\n%s", err, gauge(t, reg), &l)
	}
	m.data = "x:broken\n"
	for range 3 {
		if err := p.Reload(); err == nil || !strings.Contains(err.Error(), "pw:1") {
			t.Fatalf("reload of a broken file: %v", err)
		}
	}
	if !allowed("a", "1") || gauge(t, reg) != 1 || l.lines() != 3 || !strings.Contains(l.String(), "pw:1") {
		t.Fatalf("a broken file: gauge %d, log:\n%s", gauge(t, reg), &l)
	}
	m.data = entry6("a", "2")
	if err := p.Reload(); err != nil || allowed("a", "1") || !allowed("a", "2") || gauge(t, reg) != 0 {
		t.Fatalf("after repair: %v", err)
	}
	if err := p.Configure("other", 0); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"broken", "MDEyMzQ1"} {
		if strings.Contains(l.String(), secret) {
			t.Errorf("the log shows %q:\n%s", secret, &l)
		}
	}
}

func TestFileInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		m := &memory{data: entry6("a", "1")}
		p := NewPasswd(FileOptions{Interval: 10 * time.Second, ReadFile: func(path string) ([]byte, error) {
			reads++
			return m.read(path)
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { p.Run(ctx); close(done) }()
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if reads != 4 {
			t.Errorf("%d reads in 35 s, want 1 + 3", reads)
		}
		if err := p.Configure("x", 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if reads != 5 {
			t.Errorf("%d reads with the interval 0, want 5", reads)
		}
		if err := p.Configure("x", time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if reads != 7 {
			t.Errorf("%d reads after the interval changed, want 7", reads)
		}
		cancel()
		<-done
	})
}

func TestPasswordFile(t *testing.T) {
	o := HashOptions{Iterations: 10}
	f := NewPasswordFile("f")
	for _, u := range []string{"a", "b", "c"} {
		if err := f.Set(u, []byte("pw"+u), o); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Set("b", []byte("new"), o); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete("c"); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete("c"); !errors.Is(err, ErrNoUser) {
		t.Errorf("deleting twice: %v", err)
	}
	for _, bad := range []string{"", "a:b", "#x", "x\ny", " ", "\xff"} {
		if err := f.Set(bad, []byte("x"), o); !errors.Is(err, ErrUserName) {
			t.Errorf("user %q: %v", bad, err)
		}
	}
	if err := f.Set("d", nil, o); !errors.Is(err, ErrNoPassword) {
		t.Errorf("empty password: %v", err)
	}
	if err := f.Set("d", []byte("x"), HashOptions{Iterations: -1}); err == nil {
		t.Error("negative iterations were accepted")
	}
	m := &memory{data: string(f.Bytes())}
	p := NewPasswd(FileOptions{ReadFile: m.read})
	for user, password := range map[string]string{"a": "pwa", "b": "new"} {
		if _, r := p.AuthOnRegister(t.Context(), register(user, password)); !r.Allowed() {
			t.Errorf("%s: %v", user, r)
		}
	}
}

func TestPasswordFileKeepsWhatItDoesNotChange(t *testing.T) {
	in := "# head\n" + entry6("a", "x") + "\n\nplain:se:cret\n" + entry6("a", "y") + "\n# tail\n\n"
	f, err := ParsePasswordFile("f", []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.HashAll(HashOptions{Iterations: 10})
	if err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	if err := f.Set("a", []byte("z"), HashOptions{Iterations: 10}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(f.Users()); got != "[a plain]" {
		t.Errorf("users %s", got)
	}
	out := string(f.Bytes())
	if !strings.HasPrefix(out, "# head\na:$7$") || !strings.HasSuffix(out, "\n# tail\n") || strings.Contains(out, "se:cret") {
		t.Errorf("the file became:\n%s", out)
	}
	m := &memory{data: out}
	p := NewPasswd(FileOptions{ReadFile: m.read})
	if _, r := p.AuthOnRegister(t.Context(), register("plain", "se:cret")); !r.Allowed() {
		t.Errorf("%v", r)
	}
	for _, bad := range []string{"x:$7$broken", "x:$6$", "x:$argon2i$", "x:"} {
		f, err := ParsePasswordFile("f", []byte(bad))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.HashAll(HashOptions{}); err == nil {
			t.Errorf("%q was hashed as if it were a password", bad)
		}
	}
	if _, err := ParsePasswordFile("f", []byte("nocolon")); err == nil {
		t.Error("a line without colon was accepted")
	}
}

func FuzzPasswd(f *testing.F) {
	f.Add([]byte(entry6("a", "b") + "\n" + entryArgon("c", "d")))
	f.Add([]byte(entry7(f, "a", "b")))
	f.Add([]byte(rfc7677))
	f.Add([]byte("# c\n\nu:$7$1$$\n:\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := parseUsers("f", data)
		if err != nil {
			var pe *ParseError
			if !errors.As(err, &pe) || pe.Line < 1 {
				t.Fatalf("no line in %v", err)
			}
			return
		}
		p, err := ParsePasswordFile("f", data)
		if err != nil {
			t.Fatalf("loads but cannot be edited: %v", err)
		}
		again, err := parseUsers("f", p.Bytes())
		if err != nil || len(again.byName) != len(u.byName) {
			t.Fatalf("changed by editing: %v, %d of %d users", err, len(again.byName), len(u.byName))
		}
		names := p.Users()
		if len(names) == 0 {
			return
		}
		if err := p.Delete(names[0]); err != nil { // one less, and nobody else
			t.Fatalf("deleting %q: %v", names[0], err)
		}
		rest, err := parseUsers("f", p.Bytes())
		if err != nil || rest.byName[names[0]] != nil || len(rest.byName) != len(u.byName)-1 {
			t.Fatalf("without %q: %v, %d of %d users", names[0], err, len(rest.byName), len(u.byName))
		}
	})
}
