package router

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/session"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// Routes is how a node tells the cluster that it has, or no longer has, a
// clean session with a subscription to a filter. Implemented by meta.Store.
type Routes interface {
	SetRoute(ctx context.Context, mountpoint, filter string, o meta.Options) (uint64, error)
	ClearRoute(ctx context.Context, mountpoint, filter string, o meta.Options) (uint64, error)
}

// Shares enters clean sessions into shared groups and takes them out.
type Shares interface {
	JoinShared(ctx context.Context, id message.SessionID, e message.Epoch, sub message.Subscription, o meta.Options) (uint64, error)
	LeaveShared(ctx context.Context, id message.SessionID, filter string, o meta.Options) (uint64, error)
}

// cleanTable holds the subscriptions of this node's clean sessions. The
// cluster learns only whether a filter has any (its route), so that a million
// such sessions on ten thousand filters cost ten thousand commands.
type cleanTable struct {
	r        *Router
	mu       sync.Mutex
	sessions map[message.SessionID]*cleanSession
	routes   map[routeKey]*route
	todo     []routeKey // busy routes that no worker has taken yet
	workers  int
}

// maxWorkers bounds the routes that are proposed at once: as many as go into
// one batch of the metadata store. More wait in todo, so that one SUBSCRIBE
// with 65,535 filters is not as many goroutines.
const maxWorkers = 1024

// cleanSession is one clean session's subscriptions by filter.
type cleanSession struct {
	epoch message.Epoch
	subs  map[string]message.Subscription
}

// isShared reports whether the filter belongs to a shared group.
func isShared(filter string) bool {
	_, _, shared := topic.SplitShare(filter)
	return shared
}

type routeKey struct{ mountpoint, filter string }

// route is this node's wish for one filter and how far the cluster knows it.
// One goroutine at a time brings the cluster's state to the wish.
type route struct {
	subscribers int
	busy        bool
	set         bool   // what was last committed
	stale       bool   // must be announced even though it is set
	allow       bool   // some waiter may use the overlay
	index       uint64 // where it was committed
	waiters     []chan error
}

func (c *cleanTable) init(r *Router) {
	c.r = r
	c.sessions = map[message.SessionID]*cleanSession{}
	c.routes = map[routeKey]*route{}
}

// each calls fn with every subscription and then end, all under the lock.
func (c *cleanTable) each(fn func(message.SessionID, message.Subscription), end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, cs := range c.sessions {
		for _, s := range cs.subs {
			fn(id, s)
		}
	}
	end()
}

func (c *cleanTable) list(id message.SessionID) []message.Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	cs := c.sessions[id]
	if cs == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(cs.subs), func(a, b message.Subscription) int { return cmp.Compare(a.Filter, b.Filter) })
}

func (c *cleanTable) subscribe(ctx context.Context, s session.Subject, subs []message.Subscription) ([]session.SubscribeResult, error) {
	out := make([]session.SubscribeResult, len(subs))
	waits := make([]func(context.Context) error, 0, len(subs))
	for i, sub := range subs {
		existed, wait := c.enter(s, sub)
		out[i].Existed = existed
		waits = append(waits, wait)
	}
	for i, wait := range waits {
		if err := wait(ctx); err != nil {
			out[i].Err = translate(err)
			c.remove(s, subs[i].Filter)
		}
	}
	return out, nil
}

// enter notes one subscription and returns how to wait until the cluster
// knows of it.
func (c *cleanTable) enter(s session.Subject, sub message.Subscription) (existed bool, wait func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := c.sessions[s.ID]
	if mine == nil {
		mine = &cleanSession{subs: map[string]message.Subscription{}}
		c.sessions[s.ID] = mine
	}
	mine.epoch = s.Epoch
	_, existed = mine.subs[sub.Filter]
	mine.subs[sub.Filter] = sub
	if isShared(sub.Filter) {
		return existed, func(ctx context.Context) error {
			index, err := c.r.cfg.Metadata.JoinShared(ctx, s.ID, s.Epoch, sub, meta.Options{Overlay: s.AllowNetsplit})
			if err != nil {
				return err
			}
			return c.r.cfg.Metadata.WaitVisible(ctx, index)
		}
	}
	c.r.setLocal(s.ID, sub, true, 0)
	key := routeKey{s.ID.Mountpoint, sub.Filter}
	rt := c.routes[key]
	if rt == nil {
		rt = &route{}
		c.routes[key] = rt
	}
	if !existed {
		rt.subscribers++
	}
	return existed, c.settle(key, rt, s.AllowNetsplit)
}

// settle starts what is missing to bring the cluster to the wish of rt and
// returns how to wait for it. The caller holds the lock.
func (c *cleanTable) settle(key routeKey, rt *route, allow bool) func(context.Context) error {
	if rt.set == (rt.subscribers > 0) && !rt.stale && !rt.busy {
		index := rt.index
		return func(ctx context.Context) error { return c.r.cfg.Metadata.WaitVisible(ctx, index) }
	}
	done := make(chan error, 1)
	rt.waiters = append(rt.waiters, done)
	rt.allow = rt.allow || allow
	if !rt.busy {
		rt.busy = true
		c.todo = append(c.todo, key)
		if c.workers < maxWorkers {
			c.workers++
			c.r.wg.Go(c.works)
		}
	}
	return func(ctx context.Context) error {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// works takes routes until there are none.
func (c *cleanTable) works() {
	for {
		c.mu.Lock()
		if len(c.todo) == 0 {
			c.todo = nil
			c.workers--
			c.mu.Unlock()
			return
		}
		key := c.todo[0]
		c.todo = c.todo[1:]
		rt := c.routes[key] // a busy route stays in the table
		c.mu.Unlock()
		c.work(key, rt)
	}
}

// work proposes until the committed route is what the sessions wish for.
func (c *cleanTable) work(key routeKey, rt *route) {
	for {
		c.mu.Lock()
		want := rt.subscribers > 0
		o := meta.Options{Overlay: rt.allow}
		rt.stale = false
		c.mu.Unlock()
		propose := c.r.cfg.Metadata.ClearRoute
		if want {
			propose = c.r.cfg.Metadata.SetRoute
		}
		index, err := propose(c.r.ctx, key.mountpoint, key.filter, o)
		if err == nil {
			err = c.r.cfg.Metadata.WaitVisible(c.r.ctx, index)
		}
		if c.settled(key, rt, want, index, err) {
			return
		}
	}
}

// settled notes the result of one proposal and reports whether the wish is
// reached or cannot be.
func (c *cleanTable) settled(key routeKey, rt *route, want bool, index uint64, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		rt.set, rt.index = want, index
	}
	if err == nil && (want != (rt.subscribers > 0) || rt.stale) {
		return false
	}
	for _, w := range rt.waiters {
		w <- err
	}
	rt.waiters, rt.busy, rt.allow = nil, false, false
	rt.stale = err != nil
	if rt.subscribers == 0 && !rt.set {
		delete(c.routes, key)
		if len(c.routes) == 0 {
			c.routes = map[routeKey]*route{} // a map keeps the room that it once needed
		}
	}
	return true
}

func (c *cleanTable) unsubscribe(ctx context.Context, s session.Subject, filters []string) ([]bool, error) {
	out := make([]bool, len(filters))
	var errs []error
	for i, f := range filters {
		existed, wait := c.remove(s, f)
		out[i] = existed
		if wait != nil {
			errs = append(errs, wait(ctx))
		}
	}
	return out, translate(errors.Join(errs...))
}

// remove takes one subscription out. wait is nil when others keep the route
// or the filter was not subscribed.
func (c *cleanTable) remove(s session.Subject, filter string) (existed bool, wait func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := c.sessions[s.ID]
	if mine == nil {
		return false, nil
	}
	if _, ok := mine.subs[filter]; !ok {
		return false, nil
	}
	delete(mine.subs, filter)
	if len(mine.subs) == 0 {
		delete(c.sessions, s.ID)
	}
	if isShared(filter) {
		return true, func(ctx context.Context) error {
			index, err := c.r.cfg.Metadata.LeaveShared(ctx, s.ID, filter, meta.Options{Overlay: s.AllowNetsplit})
			if err != nil {
				return err
			}
			return c.r.cfg.Metadata.WaitVisible(ctx, index)
		}
	}
	c.r.deleteLocal(s.ID, filter)
	key := routeKey{s.ID.Mountpoint, filter}
	rt := c.routes[key]
	rt.subscribers--
	if rt.subscribers > 0 {
		return true, nil
	}
	return true, c.settle(key, rt, s.AllowNetsplit)
}

// Forget drops all subscriptions of a clean session that has ended. Its shared
// memberships end with its registration; that its routes are no longer needed
// is told in the background: a route too many costs a copy, nothing else.
func (r *Router) Forget(id message.SessionID) {
	s := session.Subject{ID: id, AllowNetsplit: true}
	for _, sub := range r.clean.list(id) {
		r.clean.remove(s, sub.Filter)
	}
}

// reassert announces every route and shared membership of this node's clean
// sessions again: the metadata is another cluster's, or has dropped them with
// an earlier incarnation of this node.
func (c *cleanTable) reassert() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, rt := range c.routes {
		rt.stale = true
		c.settle(key, rt, true)
	}
	for id, cs := range c.sessions {
		epoch := cs.epoch
		for _, sub := range cs.subs {
			if isShared(sub.Filter) {
				c.r.wg.Go(func() {
					if _, err := c.r.cfg.Metadata.JoinShared(c.r.ctx, id, epoch, sub, meta.Options{Overlay: true}); err != nil && c.r.ctx.Err() == nil {
						c.r.cfg.Logger.Warn("a session could not join its shared group again", "client", id.String(), "filter", sub.Filter, "error", err)
					}
				})
			}
		}
	}
}

// Reassert announces this node's routes and shared memberships again. It is
// called when the cluster has dropped them because it took this node for dead.
func (r *Router) Reassert() { r.clean.reassert() }
