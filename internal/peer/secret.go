package peer

import "golang.org/x/crypto/argon2"

// Secret is a distributed_cookie made costly to guess. It never prints itself.
type Secret struct {
	key   [32]byte
	short bool
}

// shortCookie is the length under which a cookie is warned about.
const shortCookie = 16

// NewSecret stretches the cookie (Argon2id, 19 MiB, two passes: some 40 ms).
// The salt is fixed, because every node must come to the same key without
// having spoken to another.
func NewSecret(cookie string) Secret {
	s := Secret{short: len(cookie) < shortCookie}
	copy(s.key[:], argon2.IDKey([]byte(cookie), []byte("mqadmin cluster port v1"), 2, 19<<10, 1, 32))
	return s
}

// Short reports whether the cookie has fewer than 16 bytes, so that somebody
// who can reach the port might guess it.
func (s Secret) Short() bool { return s.short }

// String hides the key from logs and errors.
func (s Secret) String() string { return "[secret]" }

// GoString hides the key from %#v.
func (s Secret) GoString() string { return "[secret]" }
