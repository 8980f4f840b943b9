package packet

import (
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqadmin/mqadmin/internal/message"
)

// maxProperty is the highest property identifier (MQTT 5.0 §2.2.2.2).
const maxProperty = packets.PropSharedSubAvailable

// propKind says how a property's value is written and which values it has.
type propKind byte

const (
	kindUnknown propKind = iota
	kindFlag             // a byte, 0 or 1
	kindUint16
	kindPositive16 // not 0
	kindUint32
	kindPositive32
	kindVarint // not 0
	kindString
	kindBinary
	kindPair
)

// propKinds are the properties by identifier (MQTT 5.0 §2.2.2.2).
var propKinds = [maxProperty + 1]propKind{
	packets.PropPayloadFormat:          kindFlag,
	packets.PropMessageExpiryInterval:  kindUint32,
	packets.PropContentType:            kindString,
	packets.PropResponseTopic:          kindString,
	packets.PropCorrelationData:        kindBinary,
	packets.PropSubscriptionIdentifier: kindVarint,
	packets.PropSessionExpiryInterval:  kindUint32,
	packets.PropAssignedClientID:       kindString,
	packets.PropServerKeepAlive:        kindUint16,
	packets.PropAuthenticationMethod:   kindString,
	packets.PropAuthenticationData:     kindBinary,
	packets.PropRequestProblemInfo:     kindFlag,
	packets.PropWillDelayInterval:      kindUint32,
	packets.PropRequestResponseInfo:    kindFlag,
	packets.PropResponseInfo:           kindString,
	packets.PropServerReference:        kindString,
	packets.PropReasonString:           kindString,
	packets.PropReceiveMaximum:         kindPositive16,
	packets.PropTopicAliasMaximum:      kindUint16,
	packets.PropTopicAlias:             kindUint16, // 0 has a reason of its own
	packets.PropMaximumQos:             kindFlag,
	packets.PropRetainAvailable:        kindFlag,
	packets.PropUser:                   kindPair,
	packets.PropMaximumPacketSize:      kindPositive32,
	packets.PropWildcardSubAvailable:   kindFlag,
	packets.PropSubIDAvailable:         kindFlag,
	packets.PropSharedSubAvailable:     kindFlag,
}

// willProperties is the row of propAllowed for the will, which is no packet.
const willProperties Type = 0

func propSet(ids ...byte) (set uint64) {
	for _, id := range ids {
		set |= 1 << id
	}
	return set
}

// propAllowed are the identifiers that each packet may carry.
var propAllowed = [16]uint64{
	willProperties: propSet(packets.PropWillDelayInterval, packets.PropPayloadFormat, packets.PropMessageExpiryInterval,
		packets.PropContentType, packets.PropResponseTopic, packets.PropCorrelationData, packets.PropUser),
	TypeConnect: propSet(packets.PropSessionExpiryInterval, packets.PropReceiveMaximum, packets.PropMaximumPacketSize,
		packets.PropTopicAliasMaximum, packets.PropRequestResponseInfo, packets.PropRequestProblemInfo, packets.PropUser,
		packets.PropAuthenticationMethod, packets.PropAuthenticationData),
	TypeConnack: propSet(packets.PropSessionExpiryInterval, packets.PropReceiveMaximum, packets.PropMaximumQos,
		packets.PropRetainAvailable, packets.PropMaximumPacketSize, packets.PropAssignedClientID, packets.PropTopicAliasMaximum,
		packets.PropReasonString, packets.PropUser, packets.PropWildcardSubAvailable, packets.PropSubIDAvailable,
		packets.PropSharedSubAvailable, packets.PropServerKeepAlive, packets.PropResponseInfo, packets.PropServerReference,
		packets.PropAuthenticationMethod, packets.PropAuthenticationData),
	TypePublish: propSet(packets.PropPayloadFormat, packets.PropMessageExpiryInterval, packets.PropTopicAlias,
		packets.PropResponseTopic, packets.PropCorrelationData, packets.PropUser, packets.PropSubscriptionIdentifier,
		packets.PropContentType),
	TypePuback:      propSet(packets.PropReasonString, packets.PropUser),
	TypePubrec:      propSet(packets.PropReasonString, packets.PropUser),
	TypePubrel:      propSet(packets.PropReasonString, packets.PropUser),
	TypePubcomp:     propSet(packets.PropReasonString, packets.PropUser),
	TypeSubscribe:   propSet(packets.PropSubscriptionIdentifier, packets.PropUser),
	TypeSuback:      propSet(packets.PropReasonString, packets.PropUser),
	TypeUnsubscribe: propSet(packets.PropUser),
	TypeUnsuback:    propSet(packets.PropReasonString, packets.PropUser),
	TypeDisconnect: propSet(packets.PropSessionExpiryInterval, packets.PropReasonString, packets.PropUser,
		packets.PropServerReference),
	TypeAuth: propSet(packets.PropAuthenticationMethod, packets.PropAuthenticationData, packets.PropReasonString,
		packets.PropUser),
}

// properties are the properties of one packet as read. Numbers stand by
// identifier; binary values alias the input.
type properties struct {
	seen            uint64 // set of identifiers
	num             [maxProperty + 1]uint32
	contentType     string
	responseTopic   []byte
	correlation     []byte
	assignedID      string
	authMethod      string
	authData        []byte
	responseInfo    string
	serverReference string
	reasonString    string
	user            []message.UserProperty
	subscriptionIDs []uint32
}

func (p *properties) has(id byte) bool { return p.seen>>id&1 != 0 }

// flag returns a kindFlag property's value, def when it is absent.
func (p *properties) flag(id byte, def bool) bool {
	if !p.has(id) {
		return def
	}
	return p.num[id] != 0
}

// properties reads the property length and as many bytes of properties
// (MQTT 5.0 §2.2.2), which never reach beyond that length.
func (r *reader) properties(t Type, p *properties) {
	n := int(r.varint())
	if n == 0 || r.failed() {
		return
	}
	if n > len(r.b) {
		r.malformed("properties are longer than the packet")
		return
	}
	rest := r.b[n:]
	r.b = r.b[:n:n]
	for len(r.b) > 0 {
		r.property(t, p)
	}
	if !r.failed() {
		r.b = rest
	}
}

func (r *reader) property(t Type, p *properties) {
	id := r.byte()
	if id > maxProperty || propKinds[id] == kindUnknown {
		r.malformed("unknown property")
		return
	}
	if propAllowed[t]>>id&1 == 0 {
		r.malformed("property is not one of this packet")
		return
	}
	// Only user properties repeat, and the subscription identifiers that a
	// server writes.
	repeats := id == packets.PropUser || id == packets.PropSubscriptionIdentifier && t == TypePublish
	if p.has(id) && !repeats {
		r.fail(ProtocolError, "property appears twice")
		return
	}
	p.seen |= 1 << id
	switch propKinds[id] {
	case kindString:
		r.stringProperty(id, p)
	case kindBinary:
		v := r.raw()
		if id == packets.PropCorrelationData {
			p.correlation = v
		} else {
			p.authData = v
		}
	case kindPair:
		u := message.UserProperty{Name: r.string(), Value: r.string()}
		if !r.failed() {
			p.user = append(p.user, u)
		}
	default:
		p.num[id] = r.number(propKinds[id])
		if id == packets.PropSubscriptionIdentifier && !r.failed() {
			p.subscriptionIDs = append(p.subscriptionIDs, p.num[id])
		}
	}
}

// number reads a numeric property and checks its range.
func (r *reader) number(kind propKind) (v uint32) {
	switch kind {
	case kindFlag:
		v = uint32(r.byte())
	case kindUint16, kindPositive16:
		v = uint32(r.uint16())
	case kindUint32, kindPositive32:
		v = r.uint32()
	case kindVarint:
		v = r.varint()
	default:
	}
	switch {
	case kind == kindFlag && v > 1:
		r.fail(ProtocolError, "property is neither 0 nor 1")
	case v == 0 && (kind == kindPositive16 || kind == kindPositive32 || kind == kindVarint):
		r.fail(ProtocolError, "property is 0")
	}
	return v
}

func (r *reader) stringProperty(id byte, p *properties) {
	v := r.utf8()
	switch id {
	case packets.PropContentType:
		p.contentType = string(v)
	case packets.PropResponseTopic:
		p.responseTopic = v
	case packets.PropAssignedClientID:
		p.assignedID = string(v)
	case packets.PropAuthenticationMethod:
		p.authMethod = string(v)
	case packets.PropResponseInfo:
		p.responseInfo = string(v)
	case packets.PropServerReference:
		p.serverReference = string(v)
	case packets.PropReasonString:
		p.reasonString = string(v)
	}
}
