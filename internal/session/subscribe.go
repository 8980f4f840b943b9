package session

import (
	"errors"
	"slices"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// maxWaitingSubscribes is the number of SUBSCRIBE and UNSUBSCRIBE packets that
// may wait for the cluster; a client that sends more is not read.
const maxWaitingSubscribes = 64

// subscribe handles SUBSCRIBE. It waits for the cluster outside the reader,
// one packet after the other.
func (c *conn) subscribe(p *packet.Subscribe) bool {
	c.m.count.subscribeReceived[c.v()].Inc()
	c.round.Yield()
	c.subs.wait(c.ctx, maxWaitingSubscribes)
	c.subs.do(func() { c.doSubscribe(p) }, c.spawn)
	return true
}

func (c *conn) doSubscribe(p *packet.Subscribe) {
	if c.ctx.Err() != nil {
		return
	}
	reasons := make([]packet.Reason, len(p.Subscriptions))
	h := &hook.Subscribe{Client: c.client, Subscriptions: p.Subscriptions, User: p.User}
	text := ""
	if res := c.l.Chain.AuthOnSubscribe(c.ctx, h); !res.Allowed() {
		c.m.count.subscribeAuthError[c.v()].Inc()
		for i := range reasons {
			reasons[i] = res.Reason
		}
		text = res.Text
	} else {
		copy(reasons, h.Reasons)
		c.limitSubscriptions(h.Subscriptions, reasons)
	}
	for i, r := range reasons { // [MQTT-3.9.3-2]
		reasons[i] = packet.ServerReason(packet.TypeSuback, r, packet.NotAuthorized)
	}
	results := c.enter(h.Subscriptions, reasons)
	if c.ctx.Err() != nil {
		return
	}
	c.m.count.subackSent[c.v()].Inc()
	c.send(&packet.Suback{PacketID: p.PacketID, Reasons: reasons, ReasonString: text})
	c.m.recordSubscriptions(c.id)
	c.l.Chain.OnSubscribe(h)
	for i, sub := range h.Subscriptions {
		if !reasons[i].Failed() {
			c.retained(sub, results[i].Existed)
		}
	}
}

// limitSubscriptions refuses what exceeds max_subscriptions_per_client;
// replacing a subscription is free.
func (c *conn) limitSubscriptions(subs []message.Subscription, reasons []packet.Reason) {
	limit := c.set.MaxSubscriptions
	if limit <= 0 {
		return
	}
	has := map[string]bool{}
	for _, s := range c.m.cfg.Router.Subscriptions(c.id) {
		has[s.Filter] = true
	}
	for i, s := range subs {
		switch {
		case reasons[i].Failed() || has[s.Filter]:
		case len(has) >= limit:
			reasons[i] = packet.QuotaExceeded
			c.m.count.subscriptionsRefused[c.v()].Inc()
		default:
			has[s.Filter] = true
		}
	}
}

// enter registers the granted filters and completes reasons. The results are
// in the order of subs.
func (c *conn) enter(subs []message.Subscription, reasons []packet.Reason) []SubscribeResult {
	results := make([]SubscribeResult, len(subs))
	var granted []message.Subscription
	var at []int
	for i, s := range subs {
		if !reasons[i].Failed() {
			granted, at = append(granted, s), append(at, i)
		}
	}
	if len(granted) == 0 {
		return results
	}
	got, err := c.m.cfg.Router.Subscribe(c.ctx, c.subject(c.set.AllowSubscribe), granted)
	failed := false
	for k, i := range at {
		e := err
		if e == nil && k < len(got) {
			results[i], e = got[k], got[k].Err
		}
		if e == nil {
			reasons[i] = packet.Reason(min(subs[i].QoS, 2))
			continue
		}
		failed = true
		if reasons[i] = packet.UnspecifiedError; errors.Is(e, ErrNotReady) {
			reasons[i] = packet.NotAuthorized // as VerneMQ answers; 3.x sees 0x80
		}
	}
	if failed && c.ctx.Err() == nil {
		c.m.count.subscribeError[c.v()].Inc()
		c.m.log.Warn("subscription was refused", "client", c.id.String(), "error", err)
	}
	return results
}

func (c *conn) subject(allow bool) Subject {
	return Subject{ID: c.id, Epoch: *c.epoch.Load(), Durable: c.durable, AllowNetsplit: allow}
}

// maxWaitingFeeds is the number of subscriptions whose retained messages may
// wait until the client has taken those of earlier ones.
const maxWaitingFeeds = 256

// retained sends the retained messages of a new subscription as its retain
// handling asks for [MQTT-3.3.1-9]; shared ones get none. A wildcard may match
// more than the queue holds: then they are fed as the client takes them, beside
// everything else, because its acknowledgements and subscriptions must go on
// meanwhile.
func (c *conn) retained(sub message.Subscription, existed bool) {
	if _, _, shared := topic.SplitShare(sub.Filter); shared || sub.RetainHandling == 2 || sub.RetainHandling == 1 && existed {
		return
	}
	list := c.retainedOf(sub)
	if len(list) == 0 {
		return
	}
	waiting := c.feeds.len()
	if limit := c.set.MaxOnline; limit > 0 && waiting < maxWaitingFeeds && (waiting > 0 || c.q.Waiting()+len(list) > limit) {
		c.feeds.do(func() { c.feed(sub) }, c.spawn)
		return
	}
	for _, m := range list { // what exceeds the limit is dropped and counted
		c.deliverRetained(sub, m)
	}
}

func (c *conn) retainedOf(sub message.Subscription) (list []*message.Message) {
	c.m.cfg.Router.Retained(c.id.Mountpoint, sub.Filter, func(m *message.Message) {
		if !sub.NoLocal || m.Publisher != c.id.ClientID {
			list = append(list, m)
		}
	})
	return list
}

func (c *conn) deliverRetained(sub message.Subscription, m *message.Message) {
	var ids []uint32
	if sub.Identifier != 0 {
		ids = []uint32{sub.Identifier}
	}
	c.q.Deliver(queue.Delivery{Message: m, QoS: sub.QoS, Retain: true, SubscriptionIDs: ids}, func(error) {})
}

// feed delivers the retained messages of a subscription one by one, waiting
// for room in the queue.
func (c *conn) feed(sub message.Subscription) {
	pulled := make(chan struct{}, 1)
	c.setFeeding(pulled)
	defer c.setFeeding(nil)
	for _, m := range c.retainedOf(sub) {
		for c.q.Waiting() >= c.set.MaxOnline {
			select {
			case <-pulled:
			case <-c.ctx.Done():
				return
			}
		}
		c.deliverRetained(sub, m)
	}
}

func (c *conn) setFeeding(ch chan struct{}) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.feeding = ch
}

// unsubscribe handles UNSUBSCRIBE, in its order with SUBSCRIBE.
func (c *conn) unsubscribe(p *packet.Unsubscribe) bool {
	c.m.count.unsubscribeReceived[c.v()].Inc()
	c.round.Yield()
	c.subs.wait(c.ctx, maxWaitingSubscribes)
	c.subs.do(func() { c.doUnsubscribe(p) }, c.spawn)
	return true
}

func (c *conn) doUnsubscribe(p *packet.Unsubscribe) {
	if c.ctx.Err() != nil {
		return
	}
	h := &hook.Unsubscribe{Client: c.client, Filters: p.Filters, User: p.User}
	c.l.Chain.OnUnsubscribe(c.ctx, h)
	existed, err := c.m.cfg.Router.Unsubscribe(c.ctx, c.subject(c.set.AllowUnsubscribe), h.Filters)
	if c.ctx.Err() != nil {
		return
	}
	if err != nil {
		c.unsubscribeFailed(p, err)
		return
	}
	reasons := make([]packet.Reason, len(p.Filters))
	for i := range reasons {
		if i < len(existed) && !existed[i] {
			reasons[i] = packet.NoSubscriptionExisted
		}
	}
	c.m.count.unsubackSent[c.v()].Inc()
	c.send(&packet.Unsuback{PacketID: p.PacketID, Reasons: reasons})
	c.m.recordSubscriptions(c.id)
	c.l.Chain.OnTopicUnsubscribed(c.id, slices.Clone(h.Filters))
}

// unsubscribeFailed answers an UNSUBSCRIBE that the cluster could not agree on:
// MQTT 5 says so [MQTT-3.10.4-5]; the UNSUBACK of 3.x would say that it was
// done, so its client hears nothing and repeats it.
func (c *conn) unsubscribeFailed(p *packet.Unsubscribe, err error) {
	c.m.count.unsubscribeError[c.v()].Inc()
	c.m.log.Warn("unsubscribe failed", "client", c.id.String(), "error", err)
	if c.version != packet.V5 {
		return
	}
	reason := packet.UnspecifiedError
	if errors.Is(err, ErrNotReady) {
		reason = packet.ImplementationSpecificError
	}
	c.m.count.unsubackSent[c.v()].Inc()
	c.send(&packet.Unsuback{PacketID: p.PacketID, Reasons: slices.Repeat([]packet.Reason{reason}, len(p.Filters))})
}
