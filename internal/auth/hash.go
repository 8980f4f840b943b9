package auth

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// DefaultIterations is the PBKDF2 cost of new password entries. A broker
// checks one password per CONNECT, and after a restart all clients come at
// once; 20,000 rounds of HMAC-SHA-512 take about 10 ms, 200 times what
// mosquitto's default takes. Raise it with HashOptions where few clients
// connect.
const DefaultIterations = 20_000

// Bounds of what is accepted from a file, so that a mistyped figure cannot
// stop the broker at the first CONNECT.
const (
	maxIterations   = 10_000_000
	maxArgonMemory  = 1 << 20 // KiB
	maxArgonTime    = 100
	maxArgonThreads = 64
	maxSaltLength   = 1024
	saltLength      = 16
	maxHashLength   = 1024
	minHashLength   = 16
)

// HashOptions choose form and cost of new entries.
type HashOptions struct {
	// Iterations of PBKDF2; 0 for DefaultIterations or DefaultSCRAMIterations.
	Iterations int
	// SCRAM writes a verifier with which the client can also authenticate with
	// SCRAM-SHA-256. mosquitto does not read it.
	SCRAM bool
}

// errHash says that a hash has no form that is known. It names no part of the
// text, which may be a password that was never hashed.
var errHash = errors.New("not a password hash of the form $6$, $7$, $argon2id$ or SCRAM-SHA-256$" +
	" (plain passwords are hashed with broker passwd -U)")

// hash verifies passwords against one entry of the password file.
type hash struct {
	sum, salt []byte
	derive    func(password, salt []byte, n int) ([]byte, error)
	// slow marks hashes that cost enough to remember a success.
	slow bool
	// scram is set when the entry is a SCRAM verifier.
	scram *verifier
}

// parseHash reads the part of a line behind the user name.
func parseHash(s string) (hash, error) {
	if rest, ok := strings.CutPrefix(s, scramPrefix); ok {
		return parseSCRAM(rest)
	}
	f := strings.Split(s, "$")
	switch {
	case len(f) == 4 && f[0] == "" && f[1] == "6":
		h := hash{derive: sha512Salted}
		return h, h.decode(base64.StdEncoding, f[2], f[3], sha512.Size)
	case len(f) == 5 && f[0] == "" && f[1] == "7":
		n, err := strconv.Atoi(f[2])
		if err != nil || n < 1 || n > maxIterations {
			return hash{}, fmt.Errorf("iterations: want 1 to %d", maxIterations)
		}
		h := hash{slow: n > 200, derive: func(password, salt []byte, size int) ([]byte, error) {
			return pbkdf2.Key(sha512.New, string(password), salt, n, size)
		}}
		return h, h.decode(base64.StdEncoding, f[3], f[4], 0)
	case len(f) == 6 && f[0] == "" && f[1] == "argon2id" && f[2] == "v="+strconv.Itoa(argon2.Version):
		return parseArgon(f[3], f[4], f[5])
	}
	return hash{}, errHash
}

// parseArgon reads the fields of mosquitto 2.1's $argon2id$v=19$m=,t=,p=$…$….
func parseArgon(params, salt, sum string) (hash, error) {
	var m, t uint32
	var p uint8
	if n, err := fmt.Sscanf(params, "m=%d,t=%d,p=%d", &m, &t, &p); n != 3 || err != nil ||
		m == 0 || m > maxArgonMemory || t == 0 || t > maxArgonTime || p == 0 || p > maxArgonThreads ||
		fmt.Sprintf("m=%d,t=%d,p=%d", m, t, p) != params {
		return hash{}, fmt.Errorf("argon2id parameters: want m=1…%d,t=1…%d,p=1…%d", maxArgonMemory, maxArgonTime, maxArgonThreads)
	}
	h := hash{slow: true, derive: func(password, salt []byte, size int) ([]byte, error) {
		return argon2.IDKey(password, salt, t, m, p, uint32(size)), nil
	}}
	return h, h.decode(base64.RawStdEncoding, strings.TrimRight(salt, "="), strings.TrimRight(sum, "="), 0)
}

// decode fills salt and sum; size is the required length of sum, 0 for any.
func (h *hash) decode(enc *base64.Encoding, salt, sum string, size int) error {
	var err error
	if h.salt, err = enc.DecodeString(salt); err != nil || len(h.salt) == 0 || len(h.salt) > maxSaltLength {
		return errors.New("salt: want base64")
	}
	if h.sum, err = enc.DecodeString(sum); err != nil || len(h.sum) < minHashLength || len(h.sum) > maxHashLength {
		return errors.New("hash: want base64 of 16 to 1024 bytes")
	}
	if size > 0 && len(h.sum) != size {
		return fmt.Errorf("hash: %d bytes, want %d", len(h.sum), size)
	}
	return nil
}

// verify compares in constant time.
func (h *hash) verify(password []byte) bool {
	sum, err := h.derive(password, h.salt, len(h.sum))
	return err == nil && subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// sha512Salted is VerneMQ's and old mosquitto's hash: one round of SHA-512
// over password and salt.
func sha512Salted(password, salt []byte, _ int) ([]byte, error) {
	d := sha512.New()
	d.Write(password)
	d.Write(salt)
	return d.Sum(nil), nil
}

// newHash returns the text of a new entry, in the $7$ form that mosquitto
// reads too unless SCRAM is wanted.
func newHash(password []byte, o HashOptions) (string, error) {
	if o.SCRAM {
		return newVerifier(password, o.Iterations)
	}
	if o.Iterations == 0 {
		o.Iterations = DefaultIterations
	}
	if o.Iterations < 1 || o.Iterations > maxIterations {
		return "", fmt.Errorf("iterations %d: want 1 to %d", o.Iterations, maxIterations)
	}
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	sum, err := pbkdf2.Key(sha512.New, string(password), salt, o.Iterations, sha512.Size)
	if err != nil {
		return "", fmt.Errorf("hashing password: %w", err)
	}
	enc := base64.StdEncoding
	return fmt.Sprintf("$7$%d$%s$%s", o.Iterations, enc.EncodeToString(salt), enc.EncodeToString(sum)), nil
}
