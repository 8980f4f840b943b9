package packet

import (
	"encoding/binary"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/topic"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Subscription options (MQTT 5.0 §3.8.3.1).
const (
	optQoS            = 0x03
	optNoLocal        = 0x04
	optRAP            = 0x08
	optRetainHandling = 0x30
	optReserved       = 0xC0
)

// subscribe decodes the body of a SUBSCRIBE (MQTT 5.0 §3.8).
func (d *Decoder) subscribe(r *reader) *Subscribe {
	s := &Subscribe{PacketID: r.packetID()}
	var id uint32
	if d.Version == V5 {
		var p properties
		r.properties(TypeSubscribe, &p)
		id, s.User = p.num[packets.PropSubscriptionIdentifier], p.user
	}
	s.Subscriptions = make([]message.Subscription, 0, countFilters(r.b, 1))
	for len(r.b) > 0 && !r.failed() {
		sub := message.Subscription{Filter: d.filter(r), Identifier: id}
		d.options(r, &sub)
		s.Subscriptions = append(s.Subscriptions, sub)
	}
	if len(s.Subscriptions) == 0 {
		r.fail(ProtocolError, "no topic filter") // [MQTT-3.8.3-2]
	}
	return s
}

// countFilters returns how many filters, each followed by extra bytes, stand
// in b: memory is taken for filters that are there, not for a stated number.
func countFilters(b []byte, extra int) (n int) {
	for len(b) >= 2 {
		size := 2 + int(binary.BigEndian.Uint16(b)) + extra
		if size > len(b) {
			break
		}
		b = b[size:]
		n++
	}
	return n
}

// filter reads and checks a topic filter. An invalid one ends the connection.
func (d *Decoder) filter(r *reader) string {
	f := r.string() // [MQTT-3.8.3-1]
	if r.failed() {
		return ""
	}
	if err := topic.ValidateFilter(f, d.MaxLevels); err != nil { // [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-1]
		r.fail(TopicFilterInvalid, err.Error())
		return ""
	}
	return f
}

func (d *Decoder) options(r *reader, s *message.Subscription) {
	o := r.byte()
	s.QoS = o & optQoS
	if s.QoS == 3 { // [MQTT-3.8.3-4] of 3.1.1
		r.fail(ProtocolError, "subscription QoS is 3")
	}
	_, _, shared := topic.SplitShare(s.Filter)
	if d.Version != V5 {
		if o&^optQoS != 0 {
			r.malformed("reserved bits of the requested QoS are set")
		}
		s.RetainAsPublished, s.NoLocal = d.bridge, d.bridge && !shared
		return
	}
	s.NoLocal, s.RetainAsPublished, s.RetainHandling = o&optNoLocal != 0, o&optRAP != 0, o&optRetainHandling>>4
	switch {
	case o&optReserved != 0: // [MQTT-3.8.3-5]
		r.malformed("reserved subscription options are set")
	case s.RetainHandling == 3: // §3.8.3.1
		r.fail(ProtocolError, "retain handling is 3")
	case s.NoLocal && shared: // [MQTT-3.8.3-4]
		r.fail(ProtocolError, "no local on a shared subscription")
	}
}

// suback decodes the body of a SUBACK (MQTT 5.0 §3.9).
func (d *Decoder) suback(r *reader) *Suback {
	s := &Suback{PacketID: r.packetID()}
	if d.Version == V5 {
		var p properties
		r.properties(TypeSuback, &p)
		s.ReasonString, s.User = p.reasonString, p.user
	}
	s.Reasons = make([]Reason, 0, len(r.b))
	for len(r.b) > 0 {
		code := Reason(r.byte())
		if d.Version == V5 {
			r.check5(TypeSuback, code, true)
		} else if code > GrantedQoS2 && code != UnspecifiedError { // 3.1.1 [MQTT-3.9.3-2]
			r.malformed("return code is reserved")
		}
		s.Reasons = append(s.Reasons, code)
	}
	if len(s.Reasons) == 0 {
		r.malformed("no return code")
	}
	return s
}

// unsubscribe decodes the body of an UNSUBSCRIBE (MQTT 5.0 §3.10).
func (d *Decoder) unsubscribe(r *reader) *Unsubscribe {
	u := &Unsubscribe{PacketID: r.packetID()}
	if d.Version == V5 {
		var p properties
		r.properties(TypeUnsubscribe, &p)
		u.User = p.user
	}
	u.Filters = make([]string, 0, countFilters(r.b, 0))
	for len(r.b) > 0 && !r.failed() {
		u.Filters = append(u.Filters, d.filter(r)) // [MQTT-3.10.3-1]
	}
	if len(u.Filters) == 0 {
		r.fail(ProtocolError, "no topic filter") // [MQTT-3.10.3-2]
	}
	return u
}

// unsuback decodes the body of an UNSUBACK (MQTT 5.0 §3.11).
func (d *Decoder) unsuback(r *reader) *Unsuback {
	u := &Unsuback{PacketID: r.packetID()}
	if d.Version != V5 {
		return u
	}
	var p properties
	r.properties(TypeUnsuback, &p)
	u.ReasonString, u.User = p.reasonString, p.user
	u.Reasons = make([]Reason, 0, len(r.b))
	for len(r.b) > 0 {
		u.Reasons = append(u.Reasons, r.reason5(TypeUnsuback, true))
	}
	if len(u.Reasons) == 0 {
		r.malformed("no reason code")
	}
	return u
}
