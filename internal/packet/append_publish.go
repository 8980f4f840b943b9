package packet

import (
	"encoding/binary"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqadmin/mqadmin/internal/message"
)

// AppendPublish encodes a PUBLISH without allocating, apart from growing b.
func AppendPublish(b []byte, version byte, p *Publish) []byte {
	b, _, _, ok := appendPublishHead(b, version, p)
	if !ok {
		return b
	}
	return append(b, p.Payload...)
}

// appendPublishHead appends all but the payload and returns where in b the
// packet id and the expiry stand, 0 when they do not. It appends nothing and
// returns false when the remaining length would be beyond MaxRemaining.
func appendPublishHead(b []byte, version byte, p *Publish) (out []byte, id, expiry int, ok bool) {
	props := 0
	remaining := sizeString(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		remaining += 2
	}
	if version >= V5 {
		props = sizePublishProperties(p)
		remaining += sizeVarint(props) + props
	}
	if remaining > MaxRemaining {
		return b, 0, 0, false
	}
	b = appendVarint(append(b, publishByte(p)), remaining)
	b = appendString(b, p.Topic)
	if p.QoS > 0 {
		id = len(b)
		b = binary.BigEndian.AppendUint16(b, p.PacketID)
	}
	if version < V5 {
		return b, id, 0, true
	}
	b = appendVarint(b, props)
	if p.HasExpiry {
		expiry = len(b) + 1
		b = binary.BigEndian.AppendUint32(append(b, packets.PropMessageExpiryInterval), p.Expiry)
	}
	if p.TopicAlias != 0 {
		b = binary.BigEndian.AppendUint16(append(b, packets.PropTopicAlias), p.TopicAlias)
	}
	for _, s := range p.SubscriptionIDs {
		b = appendVarint(append(b, packets.PropSubscriptionIdentifier), int(s))
	}
	return appendMessageProperties(b, p.Properties), id, expiry, true
}

// Bits of a PUBLISH's first byte (MQTT 5.0 §3.3.1).
const (
	publishRetain = 0x01
	publishDup    = 0x08
)

func publishByte(p *Publish) byte {
	v := byte(TypePublish)<<4 | p.QoS<<1
	if p.Dup && p.QoS > 0 { // [MQTT-3.3.1-2]
		v |= publishDup
	}
	if p.Retain {
		v |= publishRetain
	}
	return v
}

func sizePublishProperties(p *Publish) (n int) {
	if p.HasExpiry {
		n += 5
	}
	if p.TopicAlias != 0 {
		n += 3
	}
	for _, s := range p.SubscriptionIDs {
		n += 1 + sizeVarint(int(s))
	}
	return n + sizeMessageProperties(p.Properties)
}

func sizeMessageProperties(m *message.Properties) (n int) {
	if m == nil {
		return 0
	}
	if m.HasFormat {
		n += 2
	}
	if m.ContentType != "" {
		n += 1 + sizeString(m.ContentType)
	}
	if m.ResponseTopic != "" {
		n += 1 + sizeString(m.ResponseTopic)
	}
	if m.HasCorrelation {
		n += 1 + sizeBinary(m.CorrelationData)
	}
	return n + sizeUser(m.User)
}

// appendMessageProperties appends the properties that travel with a message
// unaltered [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17]
// [MQTT-3.3.2-20].
func appendMessageProperties(b []byte, m *message.Properties) []byte {
	if m == nil {
		return b
	}
	if m.HasFormat {
		b = append(b, packets.PropPayloadFormat, m.PayloadFormat)
	}
	if m.ContentType != "" {
		b = appendString(append(b, packets.PropContentType), m.ContentType)
	}
	if m.ResponseTopic != "" {
		b = appendString(append(b, packets.PropResponseTopic), m.ResponseTopic)
	}
	if m.HasCorrelation {
		b = appendBinary(append(b, packets.PropCorrelationData), m.CorrelationData)
	}
	return appendUser(b, m.User)
}

// Template is one encoded PUBLISH that every subscriber with the same version,
// QoS, retain flag and properties shares; packet id, DUP and the remaining
// expiry are patched in as it is written. It is immutable and safe for
// concurrent use.
type Template struct {
	head    []byte // fixed header to property end
	payload []byte
	id      int // offset of the packet id in head, 0 for QoS 0
	expiry  int // offset of the message expiry in head, 0 when absent
}

// NewTemplate encodes p for a protocol version. It keeps p.Payload, which
// must not change any more; PacketID and Dup of p are ignored. A packet
// beyond the protocol's own limit gives an empty template.
func NewTemplate(version byte, p *Publish) *Template {
	c := *p
	c.Dup, c.PacketID = false, 0
	size := 16 + len(c.Topic)
	if version >= V5 {
		size += sizePublishProperties(&c)
	}
	head, id, expiry, ok := appendPublishHead(make([]byte, 0, size), version, &c)
	if !ok {
		return &Template{}
	}
	return &Template{head: head, payload: c.Payload, id: id, expiry: expiry}
}

// Size returns the length of the whole packet in bytes.
func (t *Template) Size() int { return len(t.head) + len(t.payload) }

// Fits reports whether the packet may be sent to a client with this maximum
// packet size, 0 meaning none [MQTT-3.1.2-24].
func (t *Template) Fits(maxSize uint32) bool { return len(t.head) > 0 && fits(t.Size(), maxSize) }

// Append appends the whole packet. id and dup are ignored at QoS 0, expiry
// (remaining seconds) when the template was made without one.
func (t *Template) Append(b []byte, id uint16, dup bool, expiry uint32) []byte {
	return append(t.AppendHead(b, id, dup, expiry), t.payload...)
}

// AppendHead appends all but the payload, for gathered writes of large ones.
func (t *Template) AppendHead(b []byte, id uint16, dup bool, expiry uint32) []byte {
	at := len(b)
	b = append(b, t.head...)
	if t.id > 0 {
		binary.BigEndian.PutUint16(b[at+t.id:], id)
		if dup {
			b[at] |= publishDup
		}
	}
	if t.expiry > 0 {
		binary.BigEndian.PutUint32(b[at+t.expiry:], expiry)
	}
	return b
}

// Payload returns the payload that follows the head; it must not be altered.
func (t *Template) Payload() []byte { return t.payload }
