package message

import (
	"encoding/binary"
	"fmt"
)

// Message is one accepted PUBLISH. It is immutable once it has left the
// session that accepted it: fan-out to queues, links and disk shares the
// pointer.
type Message struct {
	ID         ID
	Mountpoint string
	Topic      string
	Payload    []byte
	// QoS of the PUBLISH, 0 to 2; a delivery may lower it.
	QoS byte
	// Retain is the flag of the PUBLISH; a delivery clears it unless the
	// subscription has retain-as-published.
	Retain bool
	// Publisher is the client id that sent it, for No Local; "" for messages
	// of the broker itself.
	Publisher string
	// Expires is the moment after which the message must not be delivered,
	// in Unix milliseconds; 0 means never.
	Expires int64
	// Properties are nil when the publisher set none.
	Properties *Properties
}

// Properties are the PUBLISH properties of MQTT 5 that travel to subscribers
// unaltered, in order (MQTT 5.0 §3.3.2.3). Message expiry is Message.Expires.
type Properties struct {
	PayloadFormat   byte
	HasFormat       bool
	HasCorrelation  bool
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	User            []UserProperty
}

// UserProperty is one name–value pair; names may repeat and order counts.
type UserProperty struct{ Name, Value string }

// Expired reports whether the message must no longer be delivered at now
// (Unix milliseconds).
func (m *Message) Expired(now int64) bool { return m.Expires != 0 && now >= m.Expires }

// Size returns the approximate number of bytes that the message holds in
// memory, for limits and gauges.
func (m *Message) Size() int {
	n := 160 + len(m.Topic) + len(m.Payload) + len(m.Mountpoint) + len(m.Publisher)
	if p := m.Properties; p != nil {
		n += 96 + len(p.ContentType) + len(p.ResponseTopic) + len(p.CorrelationData)
		for _, u := range p.User {
			n += 32 + len(u.Name) + len(u.Value)
		}
	}
	return n
}

// formatMessage is the first byte of an encoded Message.
const formatMessage = 1

// Bits of the flags byte of an encoded Message.
const (
	flagQoS        = 0x03
	flagRetain     = 0x04
	flagExpires    = 0x08
	flagProperties = 0x10
)

// Bits of the flags byte of encoded Properties.
const (
	propFormat      = 0x01
	propCorrelation = 0x02
)

// AppendBinary appends the message in its record format: format byte, flags,
// ID, then length-prefixed fields.
func (m *Message) AppendBinary(b []byte) []byte {
	flags := m.QoS & flagQoS
	if m.Retain {
		flags |= flagRetain
	}
	if m.Expires != 0 {
		flags |= flagExpires
	}
	if m.Properties != nil {
		flags |= flagProperties
	}
	b = append(b, formatMessage, flags)
	b = m.ID.AppendBinary(b)
	if m.Expires != 0 {
		b = binary.AppendUvarint(b, uint64(m.Expires))
	}
	b = appendString(b, m.Mountpoint)
	b = appendString(b, m.Topic)
	b = appendString(b, m.Publisher)
	if m.Properties != nil {
		b = m.Properties.appendBinary(b)
	}
	return appendBytes(b, m.Payload)
}

func (p *Properties) appendBinary(b []byte) []byte {
	var flags byte
	if p.HasFormat {
		flags |= propFormat
	}
	if p.HasCorrelation {
		flags |= propCorrelation
	}
	b = append(b, flags, p.PayloadFormat)
	b = appendString(b, p.ContentType)
	b = appendString(b, p.ResponseTopic)
	b = appendBytes(b, p.CorrelationData)
	b = binary.AppendUvarint(b, uint64(len(p.User)))
	for _, u := range p.User {
		b = appendString(b, u.Name)
		b = appendString(b, u.Value)
	}
	return b
}

// Decode reads a message that fills b. It copies what it keeps, so b may be
// reused.
func Decode(b []byte) (*Message, error) {
	m, rest, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("decoding message: %w", err)
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("decoding message: %d bytes left over", len(rest))
	}
	return m, nil
}

func decode(b []byte) (*Message, []byte, error) {
	if len(b) < 2 {
		return nil, b, ErrTruncated
	}
	if b[0] != formatMessage {
		return nil, b, ErrFormat
	}
	flags := b[1]
	m := &Message{QoS: flags & flagQoS, Retain: flags&flagRetain != 0}
	r := reader{b: b[2:]}
	m.ID = r.id()
	if flags&flagExpires != 0 {
		m.Expires = int64(r.uvarint())
	}
	m.Mountpoint = r.string()
	m.Topic = r.string()
	m.Publisher = r.string()
	if flags&flagProperties != 0 {
		m.Properties = r.properties()
	}
	m.Payload = r.bytes()
	if m.QoS > 2 && r.err == nil {
		r.err = fmt.Errorf("QoS %d", m.QoS)
	}
	return m, r.b, r.err
}

func (r *reader) properties() *Properties {
	p := &Properties{}
	flags := r.byte()
	p.HasFormat = flags&propFormat != 0
	p.HasCorrelation = flags&propCorrelation != 0
	p.PayloadFormat = r.byte()
	p.ContentType = r.string()
	p.ResponseTopic = r.string()
	if c := r.bytes(); p.HasCorrelation {
		p.CorrelationData = c
	}
	n := r.uvarint()
	if n > uint64(len(r.b)/2) { // each pair takes two bytes at least
		r.fail(ErrTruncated)
		return p
	}
	if n > 0 {
		p.User = make([]UserProperty, n)
	}
	for i := range p.User {
		p.User[i] = UserProperty{Name: r.string(), Value: r.string()}
	}
	return p
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendBytes(b, s []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// reader consumes a record from the front; after the first error every
// further read returns zero, so callers check err once.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err, r.b = err, nil
	}
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail(ErrTruncated)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(ErrTruncated)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) id() ID {
	id, rest, err := DecodeID(r.b)
	if err != nil {
		r.fail(err)
		return ID{}
	}
	r.b = rest
	return id
}

// raw returns the next length-prefixed field without copying it.
func (r *reader) raw() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail(ErrTruncated)
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string { return string(r.raw()) }

func (r *reader) bytes() []byte {
	v := r.raw()
	if len(v) == 0 {
		return nil
	}
	return append([]byte(nil), v...)
}
