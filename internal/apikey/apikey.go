// Package apikey makes API keys and says what they open: calls of the admin API
// over TLS and modules of HTTP listeners. A key's secret is shown to whoever
// makes it and kept nowhere; all members have its hash.
package apikey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Scopes of keys, in VerneMQ's words: what they open.
const (
	Management = "mgmt" // the admin API; such a key has a role
	Status     = "status"
	Metrics    = "metrics"
	Health     = "health"
	API2       = "api2"
	Publish    = "httppub"
)

// Scopes lists them.
func Scopes() []string { return []string{Status, Management, Metrics, Health, API2, Publish} }

// Roles are what keys of the scope Management may do, each including those
// before it.
func Roles() []string { return []string{"viewer", "operator", "admin"} }

// Hash is the SHA-256 of a secret. Secrets are random or long, so that a fast
// hash is safe to keep.
type Hash = [sha256.Size]byte

// Key is an API key without its secret.
type Key struct {
	Hash  Hash
	Scope string
	// Role is one of Roles in the scope Management, else empty.
	Role string
	// Expires is zero for a key that does not.
	Expires, Created time.Time
	// CreatedBy is the identity that made it.
	CreatedBy string
}

// ID names the key where its secret must not stand.
func (k Key) ID() string { return hex.EncodeToString(k.Hash[:idBytes]) }

// idBytes of a hash tell keys apart.
const idBytes = 8

// Expired reports whether the key's time is over.
func (k Key) Expired(now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }

// Store keeps the keys, the same ones on every member.
type Store interface {
	Key(hash Hash, scope string) (Key, bool)
	// Keys returns all, in any order.
	Keys() []Key
	// Put enters a key; existed says that it was there, and is unchanged.
	Put(ctx context.Context, k Key) (existed bool, err error)
	// Drop strikes a key; existed says whether there was one.
	Drop(ctx context.Context, hash Hash, scope string) (existed bool, err error)
}

// Errors of this package.
var (
	// ErrUnknown: no key with that secret and scope.
	ErrUnknown = errors.New("the API key is not known, or not for this")
	// ErrExpired: its time is over.
	ErrExpired = errors.New("the API key has expired")
	// ErrLimited: too many wrong keys came from the same address.
	ErrLimited = errors.New("too many failed logins from this address; wait a minute")
	// ErrExists: the key is there already in that scope.
	ErrExists = errors.New("the API key exists already")
	// ErrInvalid: a key cannot be made like that; the text says why.
	ErrInvalid = errors.New("invalid")
	// ErrFull: there are as many keys as allowed.
	ErrFull = errors.New("there are as many API keys as max_api_keys allows; delete some")
)

// Config is what a Keyring needs.
type Config struct {
	Store Store
	// MinLength is the shortest secret that is accepted; made ones have at
	// least 32 characters.
	MinLength int
	// MaxAge makes an expiry compulsory, at most that far away; 0 does not.
	MaxAge time.Duration
	// MaxKeys bounds the number of keys.
	MaxKeys int
	// MaxFailures is how many wrong keys an address may send in a minute; 0 is
	// no limit.
	MaxFailures int
	// Now is the clock; time.Now when nil.
	Now      func() time.Time
	Registry *metrics.Registry
}

// Keyring makes, lists, strikes and checks keys.
type Keyring struct {
	cfg             Config
	failures        *failures
	failed, limited *metrics.Counter
	full            *metrics.Counter
}

// New returns a Keyring.
func New(cfg Config) *Keyring {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Keyring{
		cfg:      cfg,
		failures: newFailures(cfg.MaxFailures),
		failed:   cfg.Registry.Counter("api_key_failed", "API keys that were wrong or had expired."),
		limited:  cfg.Registry.Counter("api_key_limited", "Logins with an API key that were refused because too many had failed from that address."),
		full:     cfg.Registry.Counter("api_key_full", "API keys that were not made because there were max_api_keys."),
	}
}

// Check finds the key with a secret that opens scope. remote is the address of
// whoever sent it, host or host:port; "" is not limited. Its errors are
// ErrUnknown, ErrExpired and ErrLimited.
func (r *Keyring) Check(remote, secret, scope string) (Key, error) {
	now := r.cfg.Now()
	if !r.failures.allowed(remote, now) {
		r.limited.Inc()
		return Key{}, ErrLimited
	}
	// The look-up is by hash: how long it takes says nothing about a secret.
	k, ok := r.cfg.Store.Key(sha256.Sum256([]byte(secret)), scope)
	err := ErrUnknown
	switch {
	case ok && !k.Expired(now):
		return k, nil
	case ok:
		err = ErrExpired
	}
	r.failed.Inc()
	r.failures.add(remote, now)
	return Key{}, err
}

// Request describes a key to make.
type Request struct {
	// Secret is empty for a random one.
	Secret string
	// Scope is Management when empty; Role, in that scope, admin.
	Scope, Role string
	Expires     time.Time
	CreatedBy   string
}

// Create makes a key and returns its secret, which nobody can look up later.
func (r *Keyring) Create(ctx context.Context, req Request) (string, Key, error) {
	k, err := r.key(req)
	if err != nil {
		return "", Key{}, err
	}
	if r.cfg.MaxKeys > 0 && len(r.cfg.Store.Keys()) >= r.cfg.MaxKeys {
		r.full.Inc()
		return "", Key{}, ErrFull
	}
	secret := req.Secret
	if secret == "" {
		if secret, err = generate(max(defaultLength, r.cfg.MinLength)); err != nil {
			return "", Key{}, err
		}
	}
	k.Hash = sha256.Sum256([]byte(secret))
	existed, err := r.cfg.Store.Put(ctx, k)
	if err != nil {
		return "", Key{}, err
	}
	if existed {
		return "", Key{}, ErrExists
	}
	return secret, k, nil
}

// key checks a request.
func (r *Keyring) key(req Request) (Key, error) {
	now := r.cfg.Now()
	k := Key{Scope: req.Scope, Role: req.Role, Expires: req.Expires, Created: now, CreatedBy: req.CreatedBy}
	if k.Scope == "" {
		k.Scope = Management
	}
	if k.Scope == Management && k.Role == "" {
		k.Role = "admin"
	}
	switch {
	case !slices.Contains(Scopes(), k.Scope):
		return k, fmt.Errorf("%w scope %q: valid values are {%s}", ErrInvalid, k.Scope, strings.Join(Scopes(), "|"))
	case k.Scope != Management && k.Role != "":
		return k, fmt.Errorf("%w role: only keys of the scope %s have one", ErrInvalid, Management)
	case k.Scope == Management && !slices.Contains(Roles(), k.Role):
		return k, fmt.Errorf("%w role %q: valid values are {%s}", ErrInvalid, k.Role, strings.Join(Roles(), "|"))
	case req.Secret != "" && len(req.Secret) < r.cfg.MinLength:
		return k, fmt.Errorf("%w key: min_apikey_length is %d characters", ErrInvalid, r.cfg.MinLength)
	case len(req.Secret) > maxLength:
		return k, fmt.Errorf("%w key: it is longer than %d characters", ErrInvalid, maxLength)
	case k.Expired(now):
		return k, fmt.Errorf("%w expiry: %s is over", ErrInvalid, k.Expires.UTC().Format(time.RFC3339))
	case r.cfg.MaxAge > 0 && (k.Expires.IsZero() || k.Expires.Sub(now) > r.cfg.MaxAge):
		return k, fmt.Errorf("%w expiry: max_apikey_expiry_days wants one at most %d days away", ErrInvalid, r.cfg.MaxAge/(24*time.Hour))
	}
	return k, nil
}

// Delete strikes the key with that secret or ID in a scope, Management when
// empty.
func (r *Keyring) Delete(ctx context.Context, secretOrID, scope string) error {
	if scope == "" {
		scope = Management
	}
	hash := sha256.Sum256([]byte(secretOrID))
	if _, ok := r.cfg.Store.Key(hash, scope); !ok {
		for _, k := range r.cfg.Store.Keys() {
			if k.Scope == scope && k.ID() == secretOrID {
				hash = k.Hash
			}
		}
	}
	existed, err := r.cfg.Store.Drop(ctx, hash, scope)
	if err == nil && !existed {
		err = ErrUnknown
	}
	return err
}

// List returns the keys of a scope, all when it is empty, by scope and ID.
func (r *Keyring) List(scope string) ([]Key, error) {
	if scope != "" && !slices.Contains(Scopes(), scope) {
		return nil, fmt.Errorf("%w scope %q: valid values are {%s}", ErrInvalid, scope, strings.Join(Scopes(), "|"))
	}
	var out []Key
	for _, k := range r.cfg.Store.Keys() {
		if scope == "" || k.Scope == scope {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b Key) int {
		return strings.Compare(a.Scope+string(a.Hash[:]), b.Scope+string(b.Hash[:]))
	})
	return out, nil
}

// Expired reports whether the time of a key is over now.
func (r *Keyring) Expired(k Key) bool { return k.Expired(r.cfg.Now()) }

const (
	// defaultLength of a made secret: 190 bits.
	defaultLength = 32
	maxLength     = 1024
	alphabet      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

func generate(n int) (string, error) {
	b := make([]byte, n)
	for i := range b {
		c, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", fmt.Errorf("drawing an API key: %w", err)
		}
		b[i] = alphabet[c.Int64()]
	}
	return string(b), nil
}
