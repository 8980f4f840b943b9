package router

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
)

// Retainer keeps the retained value of a topic on every node. Implemented by
// meta.Store.
type Retainer interface {
	SetRetained(ctx context.Context, m *message.Message, o meta.Options) (uint64, error)
	DeleteRetained(ctx context.Context, mountpoint, topic string, o meta.Options) (uint64, error)
}

// retainTable proposes retained values, one at a time per topic and the last
// one wins: what is overwritten while its topic's proposal is under way is
// never proposed at all.
type retainTable struct {
	r      *Router
	mu     sync.Mutex
	topics map[routeKey]*retaining // by mountpoint and topic
}

type retaining struct {
	next    *message.Message
	allow   bool
	waiters []func(error)
}

func (t *retainTable) init(r *Router) {
	t.r = r
	t.topics = map[routeKey]*retaining{}
}

// storeRetained proposes the retained value of m's topic. With QoS 1 and 2
// the PUBLISH is acknowledged only after it is committed; QoS 0 does not wait.
func (r *Router) storeRetained(m *message.Message, allow bool, p *pending) {
	if len(m.Payload) > 0 && !r.mayRetain(m) {
		r.counters.retainTooLarge.Inc()
		return
	}
	var wait func(error)
	if m.QoS > 0 {
		p.add()
		wait = p.release
	}
	r.retain.put(m, allow, wait)
}

func (r *Router) mayRetain(m *message.Message) bool {
	if limit := r.settings.Load().MaxRetainedMessage; limit > 0 && len(m.Payload) > limit {
		return false
	}
	if limit := r.settings.Load().MaxRetainedBytes; limit > 0 {
		if _, used := r.tables.retained(); used+int64(m.Size()) > limit {
			return false
		}
	}
	return true
}

func (t *retainTable) put(m *message.Message, allow bool, wait func(error)) {
	key := routeKey{m.Mountpoint, m.Topic}
	t.mu.Lock()
	defer t.mu.Unlock()
	rt, busy := t.topics[key]
	if !busy {
		rt = &retaining{}
		t.topics[key] = rt
	}
	rt.next, rt.allow = m, allow
	if wait != nil {
		rt.waiters = append(rt.waiters, wait)
	}
	if !busy {
		t.r.wg.Go(func() { t.work(key, rt) })
	}
}

func (t *retainTable) work(key routeKey, rt *retaining) {
	for {
		t.mu.Lock()
		m, allow, waiters := rt.next, rt.allow, rt.waiters
		if m == nil {
			delete(t.topics, key)
			t.mu.Unlock()
			return
		}
		rt.next, rt.waiters = nil, nil
		t.mu.Unlock()
		err := t.propose(m, allow)
		for _, w := range waiters {
			w(err)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.r.counters.retainUnavailable.Inc()
			t.r.cfg.Logger.Warn("a message was routed but not retained", "topic", m.Topic, "error", err)
		}
	}
}

func (t *retainTable) propose(m *message.Message, allow bool) error {
	o := meta.Options{Overlay: allow}
	var err error
	if len(m.Payload) == 0 {
		_, err = t.r.cfg.Metadata.DeleteRetained(t.r.ctx, m.Mountpoint, m.Topic, o)
	} else {
		_, err = t.r.cfg.Metadata.SetRetained(t.r.ctx, m, o)
	}
	return translate(err)
}

// Retained calls fn with each retained message that matches filter and has
// not expired.
func (r *Router) Retained(mountpoint, filter string, fn func(*message.Message)) {
	t := r.tables.lookup(mountpoint)
	if t == nil {
		return
	}
	now := time.Now().UnixMilli()
	t.retained.MatchFilter(filter, func(_ string, m *message.Message) bool {
		if !m.Expired(now) {
			fn(m)
		}
		return true
	})
}
