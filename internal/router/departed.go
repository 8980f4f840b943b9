package router

import (
	"context"
	"fmt"
	"sync"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// span is a stay of a session on this node: what was matched at an index from
// since on and before until is this node's to deliver, whenever it arrives.
type span struct{ since, until uint64 }

// departed is a subscription of a durable session that has gone to another
// node, which has not pulled everything from here yet.
type departed struct {
	local
	spans []span
}

func (d *departed) owned(index uint64) bool {
	for _, s := range d.spans {
		if s.since <= index && index < s.until {
			return true
		}
	}
	return false
}

// spansOf lists the stays of a session on a node that still is its source.
func spansOf(s *meta.Session, node message.NodeID) (out []span) {
	if s == nil {
		return nil
	}
	for _, src := range s.Sources {
		if src.Node == node && src.Until > src.Since {
			out = append(out, span{src.Since, src.Until})
		}
	}
	return out
}

// setDeparted enters the subscriptions of a session that has stays here, or
// removes them when there is none any more.
func (t *tables) setDeparted(id message.SessionID, subs []message.Subscription, spans []span) {
	index := t.get(id.Mountpoint).departed
	for _, sub := range subs {
		if isShared(sub.Filter) {
			continue
		}
		if len(spans) == 0 {
			index.Delete(sub.Filter, id)
			continue
		}
		index.Set(sub.Filter, id, departed{local: localOf(sub, false, 0), spans: spans})
	}
	for _, s := range spans {
		if s.until > t.departedUntil.Load() {
			t.departedUntil.Store(s.until)
		}
	}
}

// follow delivers a message to a session that has left this node since it was
// matched. One that has ended, or does not subscribe any more, needs it no
// longer.
func (r *Router) follow(id message.SessionID, m *message.Message, p *pending) {
	s, ok := r.cfg.Metadata.Session(id)
	if !ok || !s.Durable {
		p.release(nil)
		return
	}
	r.Reroute(m, []Heir{{Session: id, Node: s.Owner, Since: s.Since, Subscriptions: r.cfg.Metadata.Subscriptions(id)}}, p.release)
}

// receiveDirect takes a frame for one session. If that has left this node, the
// frame goes after it.
func (r *Router) receiveDirect(f peer.Frame, done func(peer.Code)) {
	r.cfg.Queues.Deliver(f.Session, queue.Delivery{
		Message: f.Message, QoS: f.QoS, Retain: r.tables.retainFor(f), SubscriptionIDs: f.SubscriptionIDs, Group: f.Group, Filter: f.Filter, OnlineOnly: f.OnlineOnly,
		Resumed: f.Group == "", // rerouted: its queue may have it from another way
	}, func(err error) {
		code := codeOf(err)
		if s, ok := r.cfg.Metadata.Session(f.Session); code == peer.CodeNoSession && ok && s.Durable && s.Owner != r.cfg.Self {
			f.Applied = max(f.Applied, s.Since)
			r.pass(s.Owner, f, done)
			return
		}
		done(code)
	})
}

// pass sends a direct frame on to the node that owns its session now.
func (r *Router) pass(to message.NodeID, f peer.Frame, done func(peer.Code)) {
	r.cfg.Links.Send(to, f, func(code peer.Code, err error) {
		if err != nil {
			r.counters.remoteFailed.Inc()
			code = peer.CodeError
		}
		done(code)
	})
}

// streams notes how far the streams of messages from other nodes have come.
type streams struct {
	mu      sync.Mutex
	passed  map[message.NodeID]uint64
	changed chan struct{} // closed and replaced with each change
}

func (s *streams) init() {
	s.passed, s.changed = map[message.NodeID]uint64{}, make(chan struct{})
}

func (s *streams) note(node message.NodeID, index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if index <= s.passed[node] {
		return
	}
	s.passed[node] = index
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *streams) read(node message.NodeID) (index uint64, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passed[node], s.changed
}

// Passed returns the index of the last mark that has come from a node: nothing
// that it matched before will come any more.
func (r *Router) Passed(node message.NodeID) uint64 {
	index, _ := r.streams.read(node)
	return index
}

// AwaitPassed waits until a mark of at least index has come from a node.
func (r *Router) AwaitPassed(ctx context.Context, node message.NodeID, index uint64) error {
	for {
		now, changed := r.streams.read(node)
		if now >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Settle returns when every message of this node that was matched before index
// is in its queues or on its links.
func (r *Router) Settle(ctx context.Context, index uint64) error {
	if err := r.cfg.Metadata.WaitApplied(ctx, index); err != nil {
		return err
	}
	return r.routing.wait(ctx)
}

// Mark sends a mark of index to a node, behind every message that this node
// has matched before index, those in the spool included.
func (r *Router) Mark(ctx context.Context, to message.NodeID, index uint64) error {
	if err := r.Settle(ctx, index); err != nil {
		return err
	}
	sent := make(chan error, 1)
	r.cfg.Links.Send(to, peer.Mark(index), func(_ peer.Code, err error) { sent <- err })
	select {
	case err := <-sent:
		if err != nil {
			return fmt.Errorf("marking index %d: %w", index, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
