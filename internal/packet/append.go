package packet

// Append encodes p for protocol version 3, 4 or 5 and appends it to b. What
// the version cannot express is left out; AUTH in 3.x appends nothing.
func Append(b []byte, version byte, p Packet) []byte { return b }

// AppendLimit is Append within the client's maximum packet size (0: none) and
// its wish for problem information: reason string and user properties are
// dropped from acknowledgements and the like when they are unwanted
// [MQTT-3.1.2-29] or do not fit [MQTT-3.2.2-19]. It appends nothing and
// returns false when the packet is too large even so [MQTT-3.1.2-24].
func AppendLimit(b []byte, version byte, p Packet, maxSize uint32, problemInfo bool) ([]byte, bool) {
	return b, true
}

// AppendPublish encodes a PUBLISH without allocating, apart from growing b.
func AppendPublish(b []byte, version byte, p *Publish) []byte { return b }

// AppendAck encodes a PUBACK, PUBREC, PUBREL or PUBCOMP that carries no
// properties, without allocating, apart from growing b.
func AppendAck(b []byte, version byte, kind Type, id uint16, reason Reason) []byte { return b }

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
// must not change any more; PacketID and Dup of p are ignored.
func NewTemplate(version byte, p *Publish) *Template { return &Template{payload: p.Payload} }

// Size returns the length of the whole packet in bytes.
func (t *Template) Size() int { return len(t.head) + len(t.payload) }

// Append appends the whole packet. id and dup are ignored at QoS 0, expiry
// (remaining seconds) when the template was made without one.
func (t *Template) Append(b []byte, id uint16, dup bool, expiry uint32) []byte {
	return append(t.AppendHead(b, id, dup, expiry), t.payload...)
}

// AppendHead appends all but the payload, for gathered writes of large ones.
func (t *Template) AppendHead(b []byte, id uint16, dup bool, expiry uint32) []byte { return b }

// Payload returns the payload that follows the head; it must not be altered.
func (t *Template) Payload() []byte { return t.payload }
