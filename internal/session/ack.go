package session

import (
	"errors"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// ackSlot is the place of one acknowledgement among those that a client waits
// for: it is completed whenever its message has reached all destinations, and
// written in the order of the PUBLISHes [MQTT-4.6.0-2], [MQTT-4.6.0-3].
type ackSlot struct {
	c      *conn
	q      *queue.Queue
	fn     func(PublishResult) // routed, bound once
	kind   packet.Type
	pid    uint16
	reason packet.Reason
	text   string
	id     message.ID
	done   bool // under output.mu
	silent bool // nothing is written
}

// newSlot takes the place for the acknowledgement of p. It returns nil when an
// MQTT 5 client has exceeded its receive maximum [MQTT-3.3.4-9]; a 3.x client,
// which knows none, waits.
func (c *conn) newSlot(p *packet.Publish) *ackSlot {
	kind := packet.TypePuback
	if p.QoS == 2 {
		kind = packet.TypePubrec
	}
	o := &c.out
	open := 0
	if limit := c.set.ReceiveMaxBroker; c.version == packet.V5 && limit > 0 && limit < 65535 && !p.Dup {
		open = c.q.Inbound()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.version == packet.V5 {
		limit := c.set.ReceiveMaxBroker
		if limit <= 0 {
			limit = 65535
		}
		if open+o.pubacks >= limit {
			return nil
		}
	}
	return c.slot(kind, p.PacketID)
}

// ringLimit bounds the acknowledgements that wait: a client that repeats itself
// and does not read its answers must not fill the memory with them.
func (c *conn) ringLimit() int {
	if c.version == packet.V5 && c.set.ReceiveMaxBroker > 0 {
		return 2 * c.set.ReceiveMaxBroker // each PUBLISH, and the PUBRELs of as many
	}
	if c.version != packet.V5 && c.set.MaxPendingAcks > 0 {
		return c.set.MaxPendingAcks
	}
	return 2 * 65535
}

// slot appends a place; it waits while there is none. output.mu is held.
func (c *conn) slot(kind packet.Type, pid uint16) *ackSlot {
	for limit := c.ringLimit(); len(c.out.acks) >= limit && c.out.last == nil; {
		c.round.Yield()
		c.out.space.Wait()
	}
	s := c.m.slots.Get().(*ackSlot)
	fn := s.fn
	*s = ackSlot{c: c, q: c.q, fn: fn, kind: kind, pid: pid}
	c.out.acks = append(c.out.acks, s)
	if kind == packet.TypePuback {
		c.out.pubacks++
	}
	return s
}

func (m *Manager) freeSlot(s *ackSlot) {
	fn := s.fn
	*s = ackSlot{fn: fn}
	m.slots.Put(s)
}

// complete fills in the answer. A nil slot belongs to a PUBLISH of QoS 0.
func (s *ackSlot) complete(r packet.Reason, text string) {
	if s != nil {
		s.finish(r, text, false)
	}
}

// skip gives no answer: the client will repeat its PUBLISH.
func (s *ackSlot) skip() {
	if s != nil {
		s.finish(packet.Success, "", true)
	}
}

func (s *ackSlot) finish(r packet.Reason, text string, silent bool) {
	c := s.c
	c.out.mu.Lock()
	s.reason, s.text, s.silent, s.done = r, text, silent, true
	first := len(c.out.acks) > 0 && c.out.acks[0] == s
	c.out.mu.Unlock()
	if first {
		c.Wake()
	}
}

// routed takes the router's answer for the message of the slot.
func (s *ackSlot) routed(res PublishResult) {
	c := s.c
	reason, silent := c.routeReason(res, s.kind)
	if s.kind == packet.TypePubrec {
		s.q.Routed(s.pid, s.id, queue.Outcome{Err: res.Err, Forget: !silent, Elsewhere: res.Elsewhere})
	}
	s.finish(reason, "", silent)
}

// waited is routed for a PUBLISH whose message a former connection was already
// routing.
func (s *ackSlot) waited(err error) {
	reason, silent := s.c.routeReason(PublishResult{Err: err, Matched: 1}, s.kind)
	s.finish(reason, "", silent)
}

// routeReason is what the client is told; silent when its version cannot say
// it, so that it repeats the message later.
func (c *conn) routeReason(res PublishResult, kind packet.Type) (r packet.Reason, silent bool) {
	err := res.Err
	if err == nil {
		if c.version == packet.V5 && res.Matched == 0 {
			return packet.NoMatchingSubscribers, false
		}
		return packet.Success, false
	}
	if errors.Is(err, ErrNotReady) {
		c.m.count.publishError[c.v()].Inc()
	}
	switch {
	case c.version != packet.V5 || errors.Is(err, ErrTakenOver):
		return packet.Success, true
	case errors.Is(err, ErrNotReady) && kind == packet.TypePuback:
		return packet.ImplementationSpecificError, false
	case errors.Is(err, ErrNotReady):
		return packet.UnspecifiedError, false
	}
	c.m.log.Warn("message was not routed", "client", c.id.String(), "error", err)
	return packet.QuotaExceeded, false
}

// ack handles the client's acknowledgements.
func (c *conn) ack(p *packet.Ack) bool {
	c.m.count.received[p.Kind].inc(c.version, p.Reason)
	att := c.pending
	if c.q.Stored() {
		c.round.Yield()
	}
	switch p.Kind {
	case packet.TypePuback:
		if errors.Is(att.Puback(p.PacketID), queue.ErrUnknownPacketID) {
			c.m.count.pubackInvalid[c.v()].Inc()
		}
	case packet.TypePubrec:
		if errors.Is(att.Pubrec(p.PacketID, p.Reason.Failed()), queue.ErrUnknownPacketID) {
			return c.unknownPubrec(p)
		}
	case packet.TypePubcomp:
		// With retries two PUBCOMPs for one message are ordinary.
		if errors.Is(att.Pubcomp(p.PacketID), queue.ErrUnknownPacketID) {
			c.m.count.pubcompInvalid[c.v()].Inc()
		}
	default:
		c.pubrel(p.PacketID)
	}
	return true
}

// unknownPubrec answers the acknowledgement of something that was not sent.
func (c *conn) unknownPubrec(p *packet.Ack) bool {
	c.m.count.pubrecInvalid[c.v()].Inc()
	if c.version != packet.V5 {
		return c.fail(packet.ProtocolError, "PUBREC for an unknown packet identifier")
	}
	if !p.Reason.Failed() {
		c.m.count.sent[packet.TypePubrel].inc(c.version, packet.PacketIdentifierNotFound)
		return c.answer(&packet.Ack{Kind: packet.TypePubrel, PacketID: p.PacketID, Reason: packet.PacketIdentifierNotFound})
	}
	return true
}

// pubrel forgets the identifier of a QoS 2 message and answers PUBCOMP once
// that is on disk.
func (c *conn) pubrel(pid uint16) {
	c.out.mu.Lock()
	s := c.slot(packet.TypePubcomp, pid)
	c.out.mu.Unlock()
	c.pending.Pubrel(pid, func(known bool, err error) {
		switch {
		case err != nil:
			s.skip() // the client repeats PUBREL when it reconnects
		case !known:
			s.complete(c.refusal(packet.PacketIdentifierNotFound), "")
		default:
			s.complete(packet.Success, "")
		}
	})
}
