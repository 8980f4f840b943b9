package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/apikey"
	"github.com/mqadmin/mqadmin/internal/audit"
	"github.com/mqadmin/mqadmin/internal/meta"
)

// openAccess opens what decides and keeps who did what: API keys and the audit
// log.
func (b *Broker) openAccess() error {
	maxAge := time.Duration(0)
	if days := b.cfg.String("max_apikey_expiry_days"); days != "undefined" {
		maxAge = time.Duration(b.cfg.Int("max_apikey_expiry_days")) * 24 * time.Hour
	}
	b.keys = apikey.New(apikey.Config{
		Store: keyStore{b}, MinLength: b.cfg.Int("min_apikey_length"), MaxAge: maxAge, MaxKeys: b.cfg.Int("max_api_keys"),
		MaxFailures: b.cfg.Int("admin.max_failed_logins"), Registry: b.metrics,
	})
	file, on := b.cfg.AuditFile()
	if !on {
		return nil
	}
	log, err := audit.Open(file)
	if err != nil {
		return fmt.Errorf("log.audit.file: %w", err)
	}
	b.audit = log
	b.onClose(func() {
		if err := log.Close(); err != nil {
			b.log.Warn("the audit log did not close cleanly", "error", err)
		}
	})
	return nil
}

func (b *Broker) reopenAudit() error {
	if b.audit == nil {
		return nil
	}
	return b.audit.Reopen()
}

// auditLog returns nothing, not a nil *audit.Log, when there is none.
func (b *Broker) auditLog() admin.Audit {
	if b.audit == nil {
		return nil
	}
	return b.audit
}

// keyStore implements apikey.Store with the metadata.
type keyStore struct{ b *Broker }

func (s keyStore) Key(hash apikey.Hash, scope string) (apikey.Key, bool) {
	k, ok := s.b.meta.View().Key(hash, scope)
	if !ok {
		return apikey.Key{}, false
	}
	return keyFromMeta(k), true
}

func (s keyStore) Keys() []apikey.Key {
	var out []apikey.Key
	for _, k := range s.b.meta.View().Keys() {
		out = append(out, keyFromMeta(k))
	}
	return out
}

func (s keyStore) Put(ctx context.Context, k apikey.Key) (bool, error) {
	return s.b.meta.PutKey(ctx, &meta.Key{
		Hash: k.Hash, Scope: k.Scope, Role: k.Role, Expires: millis(k.Expires), Created: millis(k.Created), CreatedBy: k.CreatedBy,
	})
}

func (s keyStore) Drop(ctx context.Context, hash apikey.Hash, scope string) (bool, error) {
	return s.b.meta.DropKey(ctx, hash, scope)
}

func keyFromMeta(k *meta.Key) apikey.Key {
	return apikey.Key{
		Hash: k.Hash, Scope: k.Scope, Role: k.Role, Expires: fromMillis(k.Expires), Created: fromMillis(k.Created), CreatedBy: k.CreatedBy,
	}
}

// millis is 0 for no time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
