package router

import (
	"fmt"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// Heir is a durable session that has left the node for which a message was
// spooled, and where it is now.
type Heir struct {
	Session message.SessionID
	Node    message.NodeID
	// Since is the index at which the session went to that node.
	Since         uint64
	Subscriptions []message.Subscription
}

// Reroute takes a message that was spooled for a node that is gone to those of
// its former sessions that it matches. done is called once, when every heir
// has it: then the spool may forget it. A queue that knows the message already
// takes it as delivered.
func (r *Router) Reroute(m *message.Message, heirs []Heir, done func(error)) {
	p := &pending{done: func(res session.PublishResult) { done(res.Err) }}
	p.left.Store(1)
	for _, h := range heirs {
		qos, ids, rap, ok := h.matches(m)
		if !ok {
			continue
		}
		p.add()
		if h.Node == r.cfg.Self {
			r.cfg.Queues.Deliver(h.Session, queue.Delivery{
				Message: m, QoS: qos, Retain: m.Retain && rap, SubscriptionIDs: ids, Resumed: true,
			}, p.delivered)
			continue
		}
		r.cfg.Links.Send(h.Node, peer.Frame{
			Kind: peer.FrameDirect, Applied: max(r.cfg.Metadata.Applied(), h.Since), Message: m, Session: h.Session, QoS: qos, SubscriptionIDs: ids,
		}, func(code peer.Code, err error) {
			if err == nil && code == peer.CodeError {
				err = fmt.Errorf("another node answered %v", code)
			}
			p.release(err)
		})
	}
	p.release(nil)
}

// matches merges the subscriptions that match m into one delivery.
func (h Heir) matches(m *message.Message) (qos byte, ids []uint32, rap, ok bool) {
	if h.Session.Mountpoint != m.Mountpoint {
		return 0, nil, false, false
	}
	for _, s := range h.Subscriptions {
		if isShared(s.Filter) || !topic.Match(s.Filter, m.Topic) || s.NoLocal && h.Session.ClientID == m.Publisher {
			continue
		}
		ok = true
		qos = max(qos, s.QoS)
		rap = rap || s.RetainAsPublished
		if s.Identifier != 0 {
			ids = append(ids, s.Identifier)
		}
	}
	return qos, ids, rap, ok
}
