package session

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// rateLimit counts the PUBLISHes of the current second.
type rateLimit struct {
	since time.Time
	n     int
}

// throttle keeps the reader from the socket when the client publishes faster
// than max_message_rate, or when a plugin asked for it.
func (c *conn) throttle(d time.Duration) {
	if limit := c.set.MaxMessageRate; limit > 0 {
		now := time.Now()
		if now.Sub(c.rate.since) >= time.Second {
			c.rate = rateLimit{since: now}
		}
		if c.rate.n++; c.rate.n >= limit {
			d = max(d, time.Second-now.Sub(c.rate.since))
			c.m.count.throttled[c.v()].Inc()
		}
	}
	if d <= 0 {
		return
	}
	c.round.Yield()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

// publish handles a PUBLISH from the client (MQTT 5.0 §3.3.4, §4.3).
func (c *conn) publish(p *packet.Publish) bool {
	c.m.count.publishReceived[c.v()].Inc()
	if !c.alias(p) {
		return false
	}
	var slot *ackSlot
	if p.QoS > 0 {
		if slot = c.newSlot(p); slot == nil {
			return c.fail(packet.ReceiveMaximumExceeded, "")
		}
	}
	if strings.HasPrefix(p.Topic, "$") { // the broker's own; the flow still has to end
		slot.complete(c.refusal(packet.NotAuthorized), "")
		c.throttle(0)
		return true
	}
	h := c.m.hookPubs.Get().(*hook.Publish)
	*h = hook.Publish{
		Client: c.client, Mountpoint: c.id.Mountpoint, Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain,
		Expiry: p.Expiry, HasExpiry: p.HasExpiry, Properties: p.Properties,
	}
	c.round.ask(hook.PointAuthOnPublish)
	res := c.l.Chain.AuthOnPublish(c.ctx, h)
	ok := true
	if res.Allowed() {
		c.accept(h, slot)
	} else {
		ok = c.unauthorized(slot, res)
	}
	c.throttle(h.Throttle)
	*h = hook.Publish{}
	c.m.hookPubs.Put(h)
	return ok
}

// alias replaces a topic alias by its topic [MQTT-3.3.2-12]; one that cannot be
// ends the connection, with the reasons of MQTT 5.0 §3.3.4.
func (c *conn) alias(p *packet.Publish) bool {
	if p.TopicAlias == 0 {
		return true
	}
	if int(p.TopicAlias) > c.set.TopicAliasMaxClient {
		return c.fail(packet.TopicAliasInvalid, "topic alias is larger than the maximum")
	}
	if p.Topic != "" {
		if c.aliases == nil {
			c.aliases = map[uint16]string{}
		}
		c.aliases[p.TopicAlias] = p.Topic
		return true
	}
	if p.Topic = c.aliases[p.TopicAlias]; p.Topic == "" {
		return c.fail(packet.ProtocolError, "topic alias stands for no topic")
	}
	return true
}

// refusal is the reason of an acknowledgement of what is not routed: 3.x can
// only say that it was received.
func (c *conn) refusal(r packet.Reason) packet.Reason {
	if c.version != packet.V5 {
		return packet.Success
	}
	return r
}

// unauthorized answers a PUBLISH that no plugin allowed: MQTT 5 says so, 3.1.1
// can only close, 3.1 acknowledges and does not route.
func (c *conn) unauthorized(slot *ackSlot, res hook.Result) bool {
	c.m.count.publishAuthError[c.v()].Inc()
	if c.version == packet.V311 || c.version == packet.V31 && c.set.DisconnectUnauthorizedV3 {
		slot.skip()
		return c.refuseBy(res)
	}
	if slot != nil { // [MQTT-3.4.2-1] [MQTT-3.5.2-1]
		slot.complete(c.refusal(packet.ServerReason(slot.kind, res.Reason, packet.NotAuthorized)), res.Text)
	}
	return true
}

// accept routes a message that is allowed. The payload is copied here: it
// still aliases the read buffer.
func (c *conn) accept(h *hook.Publish, slot *ackSlot) {
	m := &message.Message{
		Mountpoint: h.Mountpoint, Topic: h.Topic, Payload: slices.Clone(h.Payload), QoS: h.QoS, Retain: h.Retain,
		Publisher: c.id.ClientID, Properties: h.Properties,
	}
	if h.HasExpiry {
		m.Expires = expires(h.Expiry)
	}
	o := PublishOptions{AllowNetsplit: c.set.AllowPublish, SharePolicy: c.policy, Waker: &c.round}
	if slot != nil && slot.kind == packet.TypePubrec {
		c.acceptQoS2(m, o, slot)
	} else {
		m.ID = c.m.cfg.NextID()
		done := c.routedQoS0
		if slot != nil {
			done = slot.fn
		}
		c.m.cfg.Router.Publish(m, o, done)
	}
	if c.l.Chain.Has(hook.PointOnPublish) {
		c.round.ask(hook.PointOnPublish)
		c.l.Chain.OnPublish(h)
	}
}

func (c *conn) routedQoS0(r PublishResult) {
	if errors.Is(r.Err, ErrNotReady) {
		c.m.count.publishError[c.v()].Inc()
	}
}

// acceptQoS2 routes a message once, however often its PUBLISH comes
// (MQTT 5.0 §4.3.3, DESIGN "QoS 2 on disk").
func (c *conn) acceptQoS2(m *message.Message, o PublishOptions, slot *ackSlot) {
	att := c.pending
	if c.q.Stored() {
		c.round.Yield()
	}
	id, state := att.Receive(slot.pid, c.m.cfg.NextID, slot.waited)
	if state == queue.InboundRouting { // slot.waited may have been called already
		return
	}
	m.ID, slot.id = id, id
	if state == queue.InboundRouted {
		slot.complete(packet.Success, "")
		return
	}
	if state == queue.InboundResumed {
		c.m.count.inboundInterrupted.Inc()
		o.Resumed = true
		c.m.cfg.Router.Publish(m, o, slot.fn)
		return
	}
	if !c.q.Stored() {
		c.m.cfg.Router.Publish(m, o, slot.fn)
		return
	}
	c.q.Arrived(slot.pid, id, func(err error) {
		if err != nil {
			slot.fn(PublishResult{Err: err})
			return
		}
		// The store's goroutine must not route: another one does, in order.
		o.Waker = nil
		c.routes.do(func() { c.m.cfg.Router.Publish(m, o, slot.fn) }, func(run func()) { go c.m.guard(c, run) })
	})
}
