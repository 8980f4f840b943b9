package hook

import (
	"context"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// News tells plugins of what happens where nobody may wait for them: under the
// locks of queues. What they are told stands in one queue, in order; when it is
// full, news is dropped and counted in plugin_events_dropped. Without a plugin
// that listens nothing is queued. A nil News tells nobody.
type News struct {
	chain   *Chain
	queue   chan func()
	dropped *metrics.Counter
}

// NewNews returns a News for the plugins of c in which up to size events wait.
// Run has to be called.
func NewNews(c *Chain, size int, m *metrics.Registry) *News {
	return &News{
		chain: c, queue: make(chan func(), size),
		dropped: m.Counter("plugin_events_dropped", "Events about queues and sessions that plugins were not told of, because max_plugin_events waited already."),
	}
}

// Run tells plugins until ctx ends.
func (n *News) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case tell := <-n.queue:
			tell()
		}
	}
}

// has reports whether anybody listens to the hook.
func (n *News) has(p Point) bool { return n != nil && n.chain.Has(p) }

// put queues one event.
func (n *News) put(tell func()) {
	select {
	case n.queue <- tell:
	default:
		n.dropped.Inc()
	}
}

// MessageDrop is on_message_drop.
func (n *News) MessageDrop(id message.SessionID, m *message.Message, qos byte, reason string) {
	if n.has(PointOnMessageDrop) {
		n.put(func() { n.chain.OnMessageDrop(&Message{Session: id, Message: m, QoS: qos, Reason: reason}) })
	}
}

// OfflineMessage is on_offline_message.
func (n *News) OfflineMessage(id message.SessionID, m *message.Message, qos byte) {
	if n.has(PointOnOfflineMessage) {
		n.put(func() { n.chain.OnOfflineMessage(&Message{Session: id, Message: m, QoS: qos}) })
	}
}

// SessionExpired is on_session_expired, and on_topic_unsubscribed for what the
// session was subscribed to, which is only asked for if somebody listens.
func (n *News) SessionExpired(id message.SessionID, subscriptions func() []message.Subscription) {
	if n.has(PointOnSessionExpired) {
		n.put(func() { n.chain.OnSessionExpired(id) })
	}
	if n.has(PointOnTopicUnsubscribed) {
		if filters := Filters(subscriptions()); len(filters) > 0 {
			n.put(func() { n.chain.OnTopicUnsubscribed(id, filters) })
		}
	}
}

// WillPublished is on_publish for the will of a client that has gone.
func (n *News) WillPublished(id message.SessionID, m *message.Message) {
	if n.has(PointOnPublish) {
		n.put(func() {
			n.chain.OnPublish(&Publish{
				Client: Client{ID: id}, Mountpoint: m.Mountpoint, Topic: m.Topic, Payload: m.Payload,
				QoS: m.QoS, Retain: m.Retain, Will: true, Properties: m.Properties,
			})
		})
	}
}

// Filters lists the filters of subscriptions, as on_topic_unsubscribed has them.
func Filters(subs []message.Subscription) []string {
	out := make([]string, len(subs))
	for i := range subs {
		out[i] = subs[i].Filter
	}
	return out
}
