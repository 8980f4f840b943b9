package hook

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// Chain is what the sessions of one listener call. It follows the Registry
// that made it, so sessions keep theirs for life. A nil Chain, like one without
// plugins, refuses what is asked and tells nobody.
type Chain struct {
	registry    *Registry
	auth, authz []string
	table       atomic.Pointer[table]
}

// subscriber is one plugin at one hook.
type subscriber[T any] struct {
	plugin *plugin
	call   T
}

// table is the immutable inside of a Chain; empty hooks are nil slices.
type table struct {
	used [numPoints]bool
	// waits: a plugin that listens may take its time.
	waits [numPoints]bool

	authOnRegister      []subscriber[AuthOnRegister]
	authOnPublish       []subscriber[AuthOnPublish]
	authOnSubscribe     []subscriber[AuthOnSubscribe]
	onAuth              []subscriber[OnAuth]
	onDeliver           []subscriber[OnDeliver]
	onUnsubscribe       []subscriber[OnUnsubscribe]
	onRegister          []subscriber[OnRegister]
	onPublish           []subscriber[OnPublish]
	onSubscribe         []subscriber[OnSubscribe]
	onOfflineMessage    []subscriber[OnOfflineMessage]
	onMessageDrop       []subscriber[OnMessageDrop]
	onClientWakeup      []subscriber[OnClientWakeup]
	onClientOffline     []subscriber[OnClientOffline]
	onClientGone        []subscriber[OnClientGone]
	onSessionExpired    []subscriber[OnSessionExpired]
	onTopicUnsubscribed []subscriber[OnTopicUnsubscribed]
}

// mark notes which hooks anybody listens to.
func (t *table) mark() {
	for p, n := range [numPoints]int{
		PointAuthOnRegister: len(t.authOnRegister), PointAuthOnPublish: len(t.authOnPublish),
		PointAuthOnSubscribe: len(t.authOnSubscribe), PointOnRegister: len(t.onRegister),
		PointOnPublish: len(t.onPublish), PointOnSubscribe: len(t.onSubscribe),
		PointOnUnsubscribe: len(t.onUnsubscribe), PointOnDeliver: len(t.onDeliver),
		PointOnAuth: len(t.onAuth), PointOnOfflineMessage: len(t.onOfflineMessage),
		PointOnMessageDrop: len(t.onMessageDrop), PointOnClientWakeup: len(t.onClientWakeup),
		PointOnClientOffline: len(t.onClientOffline), PointOnClientGone: len(t.onClientGone),
		PointOnSessionExpired: len(t.onSessionExpired), PointOnTopicUnsubscribed: len(t.onTopicUnsubscribed),
	} {
		t.used[p] = n > 0
	}
}

// load returns the current table, nil for a nil Chain.
func (c *Chain) load() *table {
	if c == nil {
		return nil
	}
	return c.table.Load()
}

// Has reports whether any plugin listens to the hook, so that callers on the
// hot path build no request for nobody.
func (c *Chain) Has(p Point) bool {
	t := c.load()
	return t != nil && p < numPoints && t.used[p]
}

// MayWait reports whether a call of the hook may take longer than a look into
// memory, so that the caller must not hold anything back meanwhile.
func (c *Chain) MayWait(p Point) bool {
	t := c.load()
	return t != nil && p < numPoints && t.waits[p]
}

// AuthOnRegister asks whether the client may connect. anonymous
// (allow_anonymous, or the listener's override) allows without asking; the
// other auth hooks are not affected by it. A client that has completed an
// authentication method needs no plugin's word to be allowed.
func (c *Chain) AuthOnRegister(ctx context.Context, r *Register, anonymous bool) Result {
	if anonymous {
		return Allow()
	}
	t := c.load()
	if t == nil {
		return exhausted()
	}
	for _, s := range t.authOnRegister {
		m, res := guard(c, s, PointAuthOnRegister, func(h AuthOnRegister) (*RegisterModifiers, Result) {
			return h.AuthOnRegister(ctx, r)
		})
		if res.Verdict == OK && m != nil {
			if err := m.check(); err != nil {
				return c.invalid(s.plugin, PointAuthOnRegister, err)
			}
			m.apply(r)
		}
		if res.Verdict != Next {
			return res
		}
	}
	if r.Method != "" {
		return Allow()
	}
	return exhausted()
}

// AuthOnPublish asks whether the message may be published and writes the
// modifiers into p. Of p.Properties it changes a copy.
func (c *Chain) AuthOnPublish(ctx context.Context, p *Publish) Result {
	t := c.load()
	if t == nil {
		return exhausted()
	}
	for _, s := range t.authOnPublish {
		m, res := guard(c, s, PointAuthOnPublish, func(h AuthOnPublish) (*PublishModifiers, Result) {
			return h.AuthOnPublish(ctx, p)
		})
		if res.Verdict == OK && m != nil {
			if err := m.check(); err != nil {
				return c.invalid(s.plugin, PointAuthOnPublish, err)
			}
			m.apply(p)
		}
		if res.Verdict != Next {
			return res
		}
	}
	return exhausted()
}

// AuthOnSubscribe asks about all filters at once and writes changed filters and
// single refusals into s. With OK, s.Reasons may still refuse some of them. What
// no plugin decides as a whole is asked filter by filter, as if each had come in
// a SUBSCRIBE of its own [MQTT-3.8.4-5].
func (c *Chain) AuthOnSubscribe(ctx context.Context, s *Subscribe) Result {
	t := c.load()
	if t == nil {
		return exhausted()
	}
	res, decided := c.authOnSubscribe(ctx, t, s)
	if decided || len(s.Subscriptions) < 2 {
		return res
	}
	granted := false
	reasons := make([]packet.Reason, len(s.Subscriptions))
	subs := slices.Clone(s.Subscriptions)
	for i := range subs {
		one := *s
		one.Subscriptions = s.Subscriptions[i : i+1 : i+1]
		r, _ := c.authOnSubscribe(ctx, t, &one)
		switch {
		case !r.Allowed():
			reasons[i] = r.Reason
			continue
		case len(one.Reasons) > 0 && one.Reasons[0].Failed():
			reasons[i] = one.Reasons[0]
			continue
		}
		subs[i], granted = one.Subscriptions[0], true
	}
	if !granted {
		return res
	}
	s.Subscriptions, s.Reasons = subs, reasons
	return Allow()
}

// authOnSubscribe asks the plugins in turn; decided is false if none did.
func (c *Chain) authOnSubscribe(ctx context.Context, t *table, s *Subscribe) (res Result, decided bool) {
	for _, sub := range t.authOnSubscribe {
		m, res := guard(c, sub, PointAuthOnSubscribe, func(h AuthOnSubscribe) (*SubscribeModifiers, Result) {
			return h.AuthOnSubscribe(ctx, s)
		})
		if res.Verdict == OK && m != nil {
			if err := m.check(len(s.Subscriptions)); err != nil {
				return c.invalid(sub.plugin, PointAuthOnSubscribe, err), true
			}
			m.apply(s)
		}
		if res.Verdict != Next {
			return res, true
		}
	}
	return exhausted(), false
}

// OnAuth makes one step of enhanced authentication and writes a.Answer. The
// result's reason is 0x18 when the client has to go on and 0 when it is
// authenticated; a method that no plugin knows is refused with 0x8C
// [MQTT-4.12.0-1].
func (c *Chain) OnAuth(ctx context.Context, a *Auth) Result {
	t := c.load()
	if t == nil {
		return Deny(packet.BadAuthenticationMethod, "")
	}
	for _, s := range t.onAuth {
		if a.owner != nil && a.owner != s.plugin {
			continue
		}
		ans, res := guard(c, s, PointOnAuth, func(h OnAuth) (AuthAnswer, Result) { return h.OnAuth(ctx, a) })
		switch res.Verdict {
		case Next:
		case OK:
			if err := ans.check(); err != nil {
				return c.invalid(s.plugin, PointOnAuth, err)
			}
			a.Answer, a.State, a.owner = ans, ans.State, s.plugin
			if ans.Continue {
				res.Reason = packet.ContinueAuthentication
			}
			return res
		default:
			return res
		}
	}
	return Deny(packet.BadAuthenticationMethod, "")
}

// OnDeliver lets plugins change a message before it is written.
func (c *Chain) OnDeliver(ctx context.Context, d *Deliver) {
	t := c.load()
	if t == nil {
		return
	}
	for _, s := range t.onDeliver {
		m, res := guard(c, s, PointOnDeliver, func(h OnDeliver) (*DeliverModifiers, Result) {
			return h.OnDeliver(ctx, d)
		})
		if res.Verdict == OK && m != nil {
			if err := m.check(); err != nil {
				c.invalid(s.plugin, PointOnDeliver, err)
				return
			}
			m.apply(d)
		}
		if res.Verdict != Next {
			return
		}
	}
}

// OnUnsubscribe lets plugins rewrite the filters of an UNSUBSCRIBE.
func (c *Chain) OnUnsubscribe(ctx context.Context, u *Unsubscribe) {
	t := c.load()
	if t == nil {
		return
	}
	for _, s := range t.onUnsubscribe {
		filters, res := guard(c, s, PointOnUnsubscribe, func(h OnUnsubscribe) ([]string, Result) {
			return h.OnUnsubscribe(ctx, u)
		})
		if res.Verdict == OK && filters != nil {
			if err := checkFilters(filters, len(u.Filters)); err != nil {
				c.invalid(s.plugin, PointOnUnsubscribe, err)
				return
			}
			u.Filters = filters
		}
		if res.Verdict != Next {
			return
		}
	}
}

// OnRegister tells that the client is connected.
func (c *Chain) OnRegister(r *Register) {
	if t := c.load(); t != nil {
		tell(c, t.onRegister, PointOnRegister, func(h OnRegister) { h.OnRegister(r) })
	}
}

// OnPublish tells that the message was accepted.
func (c *Chain) OnPublish(p *Publish) {
	if t := c.load(); t != nil {
		tell(c, t.onPublish, PointOnPublish, func(h OnPublish) { h.OnPublish(p) })
	}
}

// OnSubscribe tells that the SUBSCRIBE was answered.
func (c *Chain) OnSubscribe(s *Subscribe) {
	if t := c.load(); t != nil {
		tell(c, t.onSubscribe, PointOnSubscribe, func(h OnSubscribe) { h.OnSubscribe(s) })
	}
}

// OnOfflineMessage tells that a message was queued for an offline session.
func (c *Chain) OnOfflineMessage(m *Message) {
	if t := c.load(); t != nil {
		tell(c, t.onOfflineMessage, PointOnOfflineMessage, func(h OnOfflineMessage) { h.OnOfflineMessage(m) })
	}
}

// OnMessageDrop tells that a message was dropped.
func (c *Chain) OnMessageDrop(m *Message) {
	if t := c.load(); t != nil {
		tell(c, t.onMessageDrop, PointOnMessageDrop, func(h OnMessageDrop) { h.OnMessageDrop(m) })
	}
}

// OnClientWakeup tells that a connection was attached to its session.
func (c *Chain) OnClientWakeup(id message.SessionID) {
	if t := c.load(); t != nil {
		tell(c, t.onClientWakeup, PointOnClientWakeup, func(h OnClientWakeup) { h.OnClientWakeup(id) })
	}
}

// OnClientOffline tells that a durable session lost its connection.
func (c *Chain) OnClientOffline(id message.SessionID) {
	if t := c.load(); t != nil {
		tell(c, t.onClientOffline, PointOnClientOffline, func(h OnClientOffline) { h.OnClientOffline(id) })
	}
}

// OnClientGone tells that a clean session has ended.
func (c *Chain) OnClientGone(id message.SessionID) {
	if t := c.load(); t != nil {
		tell(c, t.onClientGone, PointOnClientGone, func(h OnClientGone) { h.OnClientGone(id) })
	}
}

// OnSessionExpired tells that a durable session was deleted by its expiry.
func (c *Chain) OnSessionExpired(id message.SessionID) {
	if t := c.load(); t != nil {
		tell(c, t.onSessionExpired, PointOnSessionExpired, func(h OnSessionExpired) { h.OnSessionExpired(id) })
	}
}

// OnTopicUnsubscribed tells which filters were removed.
func (c *Chain) OnTopicUnsubscribed(id message.SessionID, filters []string) {
	if t := c.load(); t != nil {
		tell(c, t.onTopicUnsubscribed, PointOnTopicUnsubscribed, func(h OnTopicUnsubscribed) {
			h.OnTopicUnsubscribed(id, filters)
		})
	}
}

// exhausted is the answer when no plugin decided.
func exhausted() Result { return Deny(packet.NotAuthorized, "") }

// invalid reports an answer that cannot be carried out and refuses the
// operation.
func (c *Chain) invalid(p *plugin, at Point, err error) Result {
	p.errors.Inc()
	c.registry.log.Error("plugin answered with an invalid modifier; the operation is refused",
		"plugin", p.name, "hook", at.String(), "error", err)
	return Deny(packet.NotAuthorized, "")
}

// guard asks one plugin; its panic is reported and becomes a refusal.
func guard[T, M any](c *Chain, s subscriber[T], at Point, ask func(T) (M, Result)) (m M, r Result) {
	defer func() {
		if v := recover(); v != nil {
			var none M
			m, r = none, Deny(packet.NotAuthorized, "")
			c.panicked(s.plugin, at, v)
		}
	}()
	m, r = ask(s.call)
	if r.Verdict == Refuse && r.Reason < 0x80 {
		r = Deny(r.Reason, r.Text)
	}
	return m, r
}

// tell notifies every plugin; a panic of one does not keep the others from
// hearing.
func tell[T any](c *Chain, subs []subscriber[T], at Point, call func(T)) {
	for _, s := range subs {
		func() {
			defer func() {
				if v := recover(); v != nil {
					c.panicked(s.plugin, at, v)
				}
			}()
			call(s.call)
		}()
	}
}

// panicked counts, logs and hands on the panic of a plugin.
func (c *Chain) panicked(p *plugin, at Point, v any) {
	p.errors.Inc()
	c.registry.log.Error("plugin panicked", "plugin", p.name, "hook", at.String(), "panic", fmt.Sprint(v))
	c.registry.onPanic(p.name, at, v, debug.Stack())
}
