package session

import "github.com/mqadmin/mqadmin/internal/packet"

// aliasCost is what a topic alias adds to a PUBLISH, in bytes; shorter topics
// get none.
const aliasCost = 3

// toldAliases are the topic aliases that the client has been told, at most as
// many as it accepts [MQTT-3.1.2-26] and as topic_alias_max_broker allows. The
// first topics get them for as long as the connection lasts: taking one away
// for another topic costs more than it saves when there are many topics. They
// belong to the writer, and end with the connection [MQTT-3.3.2-7].
type toldAliases struct {
	max     int
	byTopic map[string]uint16
}

// newToldAliases returns nil, which gives no alias, when there may be none
// [MQTT-3.1.2-27].
func newToldAliases(client uint16, limit int) *toldAliases {
	n := min(int(client), limit)
	if n <= 0 {
		return nil
	}
	return &toldAliases{max: n, byTopic: map[string]uint16{}}
}

// put names p's topic by its alias, or gives it one, which counts only once
// keep says that the packet will be sent.
func (t *toldAliases) put(p *packet.Publish) (fresh bool) {
	if t == nil || len(p.Topic) <= aliasCost {
		return false
	}
	if alias, ok := t.byTopic[p.Topic]; ok {
		p.TopicAlias, p.Topic = alias, ""
		return false
	}
	if len(t.byTopic) == t.max {
		return false
	}
	p.TopicAlias = uint16(len(t.byTopic) + 1)
	return true
}

// keep remembers the alias of a packet that is sent.
func (t *toldAliases) keep(p *packet.Publish) { t.byTopic[p.Topic] = p.TopicAlias }
