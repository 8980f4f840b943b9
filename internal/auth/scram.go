package auth

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"github.com/mqadmin/mqadmin/internal/hook"
)

// SCRAMMethod is the authentication method that the password file can answer
// (RFC 5802, RFC 7677; MQTT 5.0 §4.12).
const SCRAMMethod = "SCRAM-SHA-256"

// scramPrefix begins an entry that holds a SCRAM verifier, in PostgreSQL's
// form: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey.
const scramPrefix = SCRAMMethod + "$"

// DefaultSCRAMIterations is the cost of new SCRAM entries. Unlike that of the
// other hashes the client pays it at each CONNECT, and clients may be small;
// RFC 7677 §4 asks for 4,096 at least.
const DefaultSCRAMIterations = 15_000

// errSCRAM says that an entry begins as a SCRAM verifier and is none.
var errSCRAM = errors.New("want SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey, the last three in base64")

// verifier is what a SCRAM entry holds: it proves to a client that knows the
// password that the broker knows it too, and cannot be used to log in.
type verifier struct {
	salt                 []byte
	iterations           int
	storedKey, serverKey []byte
}

// saltedPassword is RFC 5802's, over the password as clients prepare it. One
// that SASLprep refuses is taken as it is, as PostgreSQL does.
func saltedPassword(password, salt []byte, iterations int) ([]byte, error) {
	text := string(password)
	if prepared, err := stringprep.SASLprep.Prepare(text); err == nil {
		text = prepared
	}
	return pbkdf2.Key(sha256.New, text, salt, iterations, sha256.Size)
}

func keyed(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func storedKey(salted []byte) []byte {
	sum := sha256.Sum256(keyed(salted, "Client Key"))
	return sum[:]
}

// newVerifier returns the text of a new SCRAM entry.
func newVerifier(password []byte, iterations int) (string, error) {
	if iterations == 0 {
		iterations = DefaultSCRAMIterations
	}
	if iterations < 1 || iterations > maxIterations {
		return "", fmt.Errorf("iterations %d: want 1 to %d", iterations, maxIterations)
	}
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	salted, err := saltedPassword(password, salt, iterations)
	if err != nil {
		return "", fmt.Errorf("hashing password: %w", err)
	}
	enc := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s%d:%s$%s:%s", scramPrefix, iterations, enc(salt), enc(storedKey(salted)), enc(keyed(salted, "Server Key"))), nil
}

// parseSCRAM reads what follows scramPrefix. The hash that it returns also
// verifies passwords, of clients that send them in CONNECT.
func parseSCRAM(s string) (hash, error) {
	params, keys, ok := strings.Cut(s, "$")
	iterations, salt, ok2 := strings.Cut(params, ":")
	stored, server, ok3 := strings.Cut(keys, ":")
	n, err := strconv.Atoi(iterations)
	if !ok || !ok2 || !ok3 {
		return hash{}, errSCRAM
	}
	if err != nil || n < 1 || n > maxIterations {
		return hash{}, fmt.Errorf("iterations: want 1 to %d", maxIterations)
	}
	v := &verifier{iterations: n}
	h := hash{slow: n > 200, scram: v, derive: func(password, salt []byte, _ int) ([]byte, error) {
		salted, err := saltedPassword(password, salt, n)
		if err != nil {
			return nil, err
		}
		return storedKey(salted), nil
	}}
	if err := h.decode(base64.StdEncoding, salt, stored, sha256.Size); err != nil {
		return hash{}, err
	}
	if v.serverKey, err = base64.StdEncoding.DecodeString(server); err != nil || len(v.serverKey) != sha256.Size {
		return hash{}, errSCRAM
	}
	v.salt, v.storedKey = h.salt, h.sum
	return h, nil
}

// OnAuth makes one step of SCRAM-SHA-256. A user without a SCRAM entry is led
// to the end of the exchange all the same, and refused there: the answers to a
// stranger must not tell which names exist.
func (p *Passwd) OnAuth(_ context.Context, a *hook.Auth) (hook.AuthAnswer, hook.Result) {
	if a.Method != SCRAMMethod || p.file.good.Load() == nil {
		return hook.AuthAnswer{}, hook.Pass()
	}
	talk, _ := a.State.(*scram.ServerConversation)
	if talk == nil {
		talk = p.scram.NewConversation()
		if len(a.Data) == 0 { // the client waits for a first, empty challenge (RFC 4422 §3)
			return hook.AuthAnswer{Continue: true, State: talk}, hook.Allow()
		}
	}
	answer, err := talk.Step(string(a.Data))
	if err != nil || talk.AuthzID() != "" && talk.AuthzID() != talk.Username() {
		p.bad.Inc()
		return hook.AuthAnswer{}, hook.DenyCredentials()
	}
	if !talk.Done() {
		return hook.AuthAnswer{Continue: true, State: talk, Data: []byte(answer)}, hook.Allow()
	}
	return hook.AuthAnswer{Data: []byte(answer), Username: talk.Username()}, hook.Allow()
}

// credentials returns what a SCRAM exchange with that user is checked against.
// Whom nobody knows gets a salt that stays the same and keys that no password
// has.
func (p *Passwd) credentials(name string) (scram.StoredCredentials, error) {
	var v *verifier
	all := p.file.good.Load()
	if u := all.byName[name]; u != nil {
		v = u.hash.scram
		if v == nil {
			p.file.log.Info("client wants SCRAM and its entry in the password file has another form; set the password again with broker passwd --scram", "user", name)
		}
	}
	if v == nil {
		key := p.key[:]
		v = &verifier{
			salt: keyed(key, "salt of "+name)[:saltLength], iterations: DefaultSCRAMIterations,
			storedKey: keyed(key, "stored key of "+name), serverKey: keyed(key, "server key of "+name),
		}
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(v.salt), Iters: v.iterations},
		StoredKey:  v.storedKey, ServerKey: v.serverKey,
	}, nil
}
