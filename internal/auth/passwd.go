package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/xdg-go/scram"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// PasswdName is the name of the password plugin in plugins.<name> and in
// auth_plugins.
const PasswdName = "vmq_passwd"

// Passwd is the password file plugin. A client without user name, or with one
// that is not in the file, is left to the next plugin; a wrong password is
// refused as such.
type Passwd struct {
	file *file[users]
	// slots bounds how many slow hashes run at once, so that a flood of
	// CONNECTs leaves cores to the clients that are connected.
	slots chan struct{}
	// key of the fingerprints of passwords that were right, drawn per process.
	key [32]byte
	bad *metrics.Counter
	// scram makes the conversations of SCRAM-SHA-256.
	scram *scram.Server
}

// users is a loaded password file. It is a struct because file keeps a pointer.
type users struct{ byName map[string]*user }

// user is one entry.
type user struct {
	hash hash
	// right is the keyed fingerprint of the password, set by the first success:
	// a reconnecting client costs no second slow hash. It lives as long as the
	// loaded file.
	right atomic.Pointer[[sha256.Size]byte]
}

// NewPasswd returns the plugin with the file loaded. A file that cannot be
// used is logged, and the plugin then knows nobody.
func NewPasswd(o FileOptions) *Passwd {
	p := &Passwd{
		file:  newFile(PasswdName, o, parseUsers),
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		bad:   o.Metrics.Counter("auth_password_refused", "CONNECTs and AUTHs refused for a wrong password."),
	}
	rand.Read(p.key[:])                                // never fails
	p.scram, _ = scram.SHA256.NewServer(p.credentials) // never fails
	_ = p.file.load()                                  // logged, and shown by the gauge
	return p
}

// Run re-reads the file at its interval until ctx ends.
func (p *Passwd) Run(ctx context.Context) { p.file.run(ctx) }

// Reload re-reads the file now. On an error the last good content stays.
func (p *Passwd) Reload() error { return p.file.load() }

// File returns the path in use, for whoever watches it.
func (p *Passwd) File() string { return p.file.name() }

// Configure changes path and interval at run time and loads the file.
func (p *Passwd) Configure(path string, interval time.Duration) error {
	return p.file.configure(path, interval)
}

// Interval returns how often the file is read again.
func (p *Passwd) Interval() time.Duration { return p.file.every() }

// Users returns how many users the loaded file has.
func (p *Passwd) Users() int {
	if u := p.file.good.Load(); u != nil {
		return len(u.byName)
	}
	return 0
}

// AuthOnRegister checks user name and password. Who has authenticated with
// another method is not asked for one.
func (p *Passwd) AuthOnRegister(ctx context.Context, r *hook.Register) (*hook.RegisterModifiers, hook.Result) {
	all := p.file.good.Load()
	if all == nil || !r.Client.HasUsername || r.Method != "" {
		return nil, hook.Pass()
	}
	u := all.byName[r.Client.Username]
	if u == nil {
		return nil, hook.Pass()
	}
	if !r.HasPassword {
		p.bad.Inc()
		return nil, hook.DenyCredentials()
	}
	ok, err := p.check(ctx, u, r.Password)
	switch {
	case err != nil: // the client has gone
		return nil, hook.Deny(0, "")
	case !ok:
		p.bad.Inc()
		return nil, hook.DenyCredentials()
	}
	return nil, hook.Allow()
}

// check verifies a password, from its fingerprint if it was right before.
func (p *Passwd) check(ctx context.Context, u *user, password []byte) (bool, error) {
	if !u.hash.slow {
		return u.hash.verify(password), nil
	}
	mac := hmac.New(sha256.New, p.key[:])
	mac.Write(password)
	var fingerprint [sha256.Size]byte
	mac.Sum(fingerprint[:0])
	if right := u.right.Load(); right != nil {
		return hmac.Equal(right[:], fingerprint[:]), nil
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if !u.hash.verify(password) {
		return false, nil
	}
	u.right.Store(&fingerprint)
	return true, nil
}

// parseUsers reads a password file: user:hash lines, comments and blank lines.
// Of two entries of one user the last counts, as in VerneMQ.
func parseUsers(path string, data []byte) (*users, error) {
	u := &users{byName: map[string]*user{}}
	err := eachLine(data, func(n int, line []byte) error {
		if blankOrComment(line) {
			return nil
		}
		name, rest, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 {
			return &ParseError{File: path, Line: n, Msg: "want user:hash"}
		}
		h, err := parseHash(string(bytes.TrimRight(rest, " \t")))
		if err != nil {
			return &ParseError{File: path, Line: n, Msg: err.Error()}
		}
		u.byName[string(name)] = &user{hash: h}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// eachLine calls fn with each line, without its end, counting from 1.
func eachLine(data []byte, fn func(n int, line []byte) error) error {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	n := 0
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		n++
		if err := fn(n, bytes.TrimSuffix(line, []byte("\r"))); err != nil {
			return err
		}
	}
	return nil
}

// blankOrComment reports whether a line says nothing.
func blankOrComment(line []byte) bool {
	return len(bytes.TrimSpace(line)) == 0 || line[0] == '#'
}
