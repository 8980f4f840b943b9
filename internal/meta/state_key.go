package meta

import (
	"context"

	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// KeyHash is what is kept of an API key's secret: its SHA-256.
type KeyHash = [32]byte

// Key is an API key. The same secret may have one for each scope.
type Key struct {
	Hash  KeyHash
	Scope string
	// Role is empty for a scope that has no roles.
	Role string
	// Expires and Created are in Unix milliseconds; a key whose Expires is 0
	// does not.
	Expires, Created int64
	// CreatedBy names who made it.
	CreatedBy string
}

func keyOf(hash KeyHash, scope string) string { return string(hash[:]) + scope }

// putKey enters a key. existed says that it was there, and is as it was.
func (s *state) putKey(p *metapb.Key) result {
	k := keyFromPB(p)
	key := keyOf(k.Hash, k.Scope)
	if _, ok := s.keys.Get(key); ok {
		return result{existed: []bool{true}}
	}
	s.keys.Set(key, k)
	return result{existed: []bool{false}}
}

func (s *state) dropKey(r *metapb.DropKey) result {
	_, ok := s.keys.Delete(keyOf(hashFromPB(r.GetHash()), r.GetScope()))
	return result{existed: []bool{ok}}
}

func hashFromPB(b []byte) (h KeyHash) {
	copy(h[:], b)
	return h
}

func keyFromPB(p *metapb.Key) *Key {
	return &Key{
		Hash: hashFromPB(p.GetHash()), Scope: p.GetScope(), Role: p.GetRole(),
		Expires: p.GetExpires(), Created: p.GetCreated(), CreatedBy: p.GetCreatedBy(),
	}
}

func keyToPB(k *Key) *metapb.Key {
	return &metapb.Key{
		Hash: k.Hash[:], Scope: k.Scope, Role: k.Role, Expires: k.Expires, Created: k.Created, CreatedBy: k.CreatedBy,
	}
}

// Key returns the API key with that secret's hash for a scope.
func (v *View) Key(hash KeyHash, scope string) (*Key, bool) { return v.s.keys.Get(keyOf(hash, scope)) }

// Keys returns all API keys, ordered by hash and scope.
func (v *View) Keys() []*Key { return v.s.keys.Values() }

// PutKey enters an API key. Without quorum it is refused: a key that is struck
// must not come back from the journal of a node that was away.
func (s *Store) PutKey(ctx context.Context, k *Key) (existed bool, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_PutKey{PutKey: &metapb.PutKey{Key: keyToPB(k)}}}, false, false)
	return padded(res.existed, 1, false)[0], err
}

// DropKey strikes an API key; existed says whether there was one.
func (s *Store) DropKey(ctx context.Context, hash KeyHash, scope string) (existed bool, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_DropKey{DropKey: &metapb.DropKey{
		Hash: hash[:], Scope: scope,
	}}}, false, false)
	return padded(res.existed, 1, true)[0], err
}
