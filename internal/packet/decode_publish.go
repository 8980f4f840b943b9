package packet

import (
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// rememberedTopic is the longest topic name that a Decoder keeps for the next
// PUBLISH; longer ones would add to the memory of an idle connection.
const rememberedTopic = 128

// publish decodes the body of a PUBLISH (MQTT 5.0 §3.3).
func (d *Decoder) publish(r *reader, flags byte) *Publish {
	p := &d.pub
	if d.Reuse {
		*p = Publish{}
	} else {
		p = &Publish{}
	}
	p.Dup, p.QoS, p.Retain = flags&0x08 != 0, flags>>1&0x03, flags&0x01 != 0
	p.Topic = d.topicName(r)
	if p.QoS > 0 {
		p.PacketID = r.packetID() // [MQTT-2.2.1-3]
	}
	if d.Version == V5 {
		if len(r.b) > 0 && r.b[0] == 0 { // no properties: the usual case
			r.b = r.b[1:]
		} else {
			d.publishProperties(r, p)
		}
		if p.Topic == "" && p.TopicAlias == 0 {
			r.fail(ProtocolError, "neither topic name nor alias")
		}
	}
	if len(r.b) > 0 {
		p.Payload, r.b = r.b, nil
	}
	return p
}

// topicName reads and checks a topic name. An empty one is left to the caller
// in MQTT 5, where an alias may stand for it.
func (d *Decoder) topicName(r *reader) string {
	b := r.raw()
	if len(b) > 0 && string(b) == d.topic { // does not allocate
		return d.topic
	}
	if len(b) == 0 && d.Version == V5 {
		return ""
	}
	r.checkString(b)
	if r.failed() {
		return ""
	}
	name := string(b)
	if err := topic.ValidateName(name, d.MaxLevels); err != nil { // [MQTT-3.3.2-2] [MQTT-4.7.3-1]
		r.fail(TopicNameInvalid, err.Error())
		return ""
	}
	if len(name) <= rememberedTopic {
		d.topic = name
	}
	return name
}

func (d *Decoder) publishProperties(r *reader, p *Publish) {
	var q properties
	r.properties(TypePublish, &q)
	if r.failed() {
		return
	}
	if q.has(packets.PropTopicAlias) {
		p.TopicAlias = uint16(q.num[packets.PropTopicAlias])
		if p.TopicAlias == 0 { // [MQTT-3.3.2-8]
			r.fail(TopicAliasInvalid, "topic alias is 0")
		}
	}
	if len(q.subscriptionIDs) > 0 && !d.Client { // [MQTT-3.3.4-6]
		r.fail(ProtocolError, "subscription identifier from a client")
	}
	p.SubscriptionIDs = q.subscriptionIDs
	p.HasExpiry, p.Expiry = q.has(packets.PropMessageExpiryInterval), q.num[packets.PropMessageExpiryInterval]
	p.Properties = q.message(r)
}

// publishProps are those that travel with the message unaltered.
var publishProps = propSet(packets.PropPayloadFormat, packets.PropContentType, packets.PropResponseTopic,
	packets.PropCorrelationData, packets.PropUser)

// message returns the properties that belong to a message, nil if there are
// none, and copies what aliases the input.
func (p *properties) message(r *reader) *message.Properties {
	seen := p.seen
	if p.contentType == "" { // an empty content type says what none says
		seen &^= 1 << packets.PropContentType
	}
	if seen&publishProps == 0 {
		return nil
	}
	m := &message.Properties{
		HasFormat:       p.has(packets.PropPayloadFormat),
		PayloadFormat:   byte(p.num[packets.PropPayloadFormat]),
		HasCorrelation:  p.has(packets.PropCorrelationData),
		CorrelationData: clone(p.correlation),
		ContentType:     p.contentType,
		ResponseTopic:   string(p.responseTopic),
		User:            p.user,
	}
	if p.has(packets.PropResponseTopic) {
		if err := topic.ValidateName(m.ResponseTopic, 0); err != nil { // [MQTT-3.3.2-14]
			r.fail(ProtocolError, "response topic: "+err.Error())
		}
	}
	return m
}

// acknowledgement decodes the body of PUBACK, PUBREC, PUBREL and PUBCOMP
// (MQTT 5.0 §3.4 to §3.7).
func (d *Decoder) acknowledgement(r *reader, kind Type) *Ack {
	a := &d.ack
	if d.Reuse {
		*a = Ack{}
	} else {
		a = &Ack{}
	}
	a.Kind, a.PacketID = kind, r.packetID()
	if d.Version != V5 || len(r.b) == 0 { // an absent reason is Success
		return a
	}
	a.Reason = r.reason5(kind, d.Client)
	if len(r.b) > 0 { // so is an absent property length none
		d.ackProperties(r, kind, a)
	}
	return a
}

func (d *Decoder) ackProperties(r *reader, kind Type, a *Ack) {
	var q properties
	r.properties(kind, &q)
	a.ReasonString, a.User = q.reasonString, q.user
}
