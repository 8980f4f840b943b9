package packet

import (
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqadmin/mqadmin/internal/topic"
)

// Protocol names (MQTT 3.1 §3.1, MQTT 3.1.1 §3.1.2.1).
const (
	nameV31  = "MQIsdp"
	nameMQTT = "MQTT"
)

// bridgeBit in the protocol level marks a bridge (levels 131 and 132).
const bridgeBit = 0x80

// Connect flags (MQTT 5.0 §3.1.2.3).
const (
	connectReserved   = 0x01
	connectCleanStart = 0x02
	connectWill       = 0x04
	connectWillQoS    = 0x18
	connectWillRetain = 0x20
	connectPassword   = 0x40
	connectUsername   = 0x80
)

// connect decodes the body of a CONNECT (MQTT 5.0 §3.1).
func (d *Decoder) connect(r *reader) *Connect {
	c := &Connect{ReceiveMaximum: 65535, RequestProblem: true}
	d.answer = 0
	d.protocol(r, c)
	flags := r.byte()
	checkConnectFlags(r, c.Version, flags)
	c.CleanStart = flags&connectCleanStart != 0
	c.KeepAlive = r.uint16()
	if c.Version == V5 && !r.failed() {
		connectProperties(r, c)
	}
	c.ClientID = r.string() // [MQTT-3.1.3-3] [MQTT-3.1.3-4]
	if flags&connectWill != 0 && !r.failed() {
		c.Will = d.will(r, c.Version, flags)
	}
	// MQTT 3.1 §3.1: the remaining length takes precedence over these flags.
	if flags&connectUsername != 0 && (c.Version != V31 || len(r.b) > 0) {
		c.HasUsername, c.Username = true, r.string() // [MQTT-3.1.3-11]
	}
	if flags&connectPassword != 0 && (c.Version != V31 || len(r.b) > 0) {
		c.HasPassword, c.Password = true, r.bytes()
	}
	return c
}

// protocol reads the protocol name and level.
func (d *Decoder) protocol(r *reader, c *Connect) {
	name, level := string(r.utf8()), r.byte()
	if r.failed() {
		return
	}
	if name != nameMQTT && name != nameV31 {
		r.fail(UnsupportedProtocolVersion, "protocol name is unknown") // [MQTT-3.1.2-1]
		return
	}
	switch {
	case name == nameV31 && level&^bridgeBit == V31, name == nameMQTT && level&^bridgeBit == V311:
		c.Version, c.Bridge = level&^bridgeBit, level&bridgeBit != 0
	case name == nameMQTT && level == V5:
		c.Version, d.answer = V5, V5
	default:
		d.answer = V311 // [MQTT-3.1.2-2]: CONNACK with return code 1
		r.fail(UnsupportedProtocolVersion, "protocol level is unknown")
	}
}

func checkConnectFlags(r *reader, version, flags byte) {
	switch {
	case r.failed():
	case flags&connectReserved != 0 && version != V31: // [MQTT-3.1.2-3]; unused in 3.1
		r.malformed("reserved connect flag is set")
	case flags&connectWillQoS == connectWillQoS: // [MQTT-3.1.2-12]
		r.malformed("will QoS is 3")
	case flags&connectWill == 0 && flags&(connectWillQoS|connectWillRetain) != 0: // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
		r.malformed("will QoS or will retain without a will")
	case flags&connectPassword != 0 && flags&connectUsername == 0 && version < V5: // 3.1.1 [MQTT-3.1.2-22]
		r.malformed("password without user name")
	}
}

func connectProperties(r *reader, c *Connect) {
	var p properties
	r.properties(TypeConnect, &p)
	c.SessionExpiry, c.HasSessionExpiry = p.num[packets.PropSessionExpiryInterval], p.has(packets.PropSessionExpiryInterval)
	if p.has(packets.PropReceiveMaximum) {
		c.ReceiveMaximum = uint16(p.num[packets.PropReceiveMaximum])
	}
	c.MaximumPacketSize = p.num[packets.PropMaximumPacketSize]
	c.TopicAliasMaximum = uint16(p.num[packets.PropTopicAliasMaximum])
	c.RequestResponse = p.flag(packets.PropRequestResponseInfo, false)
	c.RequestProblem = p.flag(packets.PropRequestProblemInfo, true)
	c.AuthMethod, c.HasAuthMethod = p.authMethod, p.has(packets.PropAuthenticationMethod)
	c.AuthData = clone(p.authData)
	c.User = p.user
	if p.has(packets.PropAuthenticationData) && !c.HasAuthMethod { // §3.1.2.11.10
		r.fail(ProtocolError, "authentication data without a method")
	}
}

// will reads will properties, topic and payload (MQTT 5.0 §3.1.3.2 to 3.1.3.4).
func (d *Decoder) will(r *reader, version, flags byte) *Will {
	w := &Will{QoS: flags & connectWillQoS >> 3, Retain: flags&connectWillRetain != 0}
	if version == V5 {
		willProps(r, w)
	}
	w.Topic = r.string() // [MQTT-3.1.3-11]
	if r.failed() {
		return nil
	}
	if err := topic.ValidateName(w.Topic, d.MaxLevels); err != nil {
		r.fail(TopicNameInvalid, "will topic: "+err.Error())
	}
	w.Payload = r.bytes()
	return w
}

func willProps(r *reader, w *Will) {
	var p properties
	r.properties(willProperties, &p)
	if r.failed() {
		return
	}
	w.Delay = p.num[packets.PropWillDelayInterval]
	w.Expiry, w.HasExpiry = p.num[packets.PropMessageExpiryInterval], p.has(packets.PropMessageExpiryInterval)
	w.Properties = p.message(r)
}

// connack decodes the body of a CONNACK (MQTT 5.0 §3.2).
func (d *Decoder) connack(r *reader) *Connack {
	c := &Connack{ReceiveMaximum: 65535}
	flags, code := r.byte(), r.byte()
	if d.Version == V31 { // MQTT 3.1 §3.2: the byte is not used
		flags = 0
	}
	if flags > 1 { // [MQTT-3.2.2-1]
		r.malformed("reserved acknowledge flags are set")
	}
	c.SessionPresent = flags&1 != 0
	switch {
	case d.Version == V5:
		c.Reason = r.check5(TypeConnack, Reason(code), true)
		connackProperties(r, c)
	case int(code) < len(fromV3):
		c.Reason = fromV3[code]
	default:
		r.malformed("return code is unknown")
	}
	if c.Reason.Failed() && c.SessionPresent { // [MQTT-3.2.2-6]
		r.fail(ProtocolError, "session present with a refusal")
	}
	return c
}

func connackProperties(r *reader, c *Connack) {
	var p properties
	r.properties(TypeConnack, &p)
	c.SessionExpiry, c.HasSessionExpiry = p.num[packets.PropSessionExpiryInterval], p.has(packets.PropSessionExpiryInterval)
	if p.has(packets.PropReceiveMaximum) {
		c.ReceiveMaximum = uint16(p.num[packets.PropReceiveMaximum])
	}
	c.MaximumQoS, c.HasMaximumQoS = byte(p.num[packets.PropMaximumQos]), p.has(packets.PropMaximumQos)
	c.NoRetain = !p.flag(packets.PropRetainAvailable, true)
	c.NoWildcard = !p.flag(packets.PropWildcardSubAvailable, true)
	c.NoSubscriptionID = !p.flag(packets.PropSubIDAvailable, true)
	c.NoShared = !p.flag(packets.PropSharedSubAvailable, true)
	c.MaximumPacketSize = p.num[packets.PropMaximumPacketSize]
	c.AssignedClientID = p.assignedID
	c.TopicAliasMaximum = uint16(p.num[packets.PropTopicAliasMaximum])
	c.ServerKeepAlive, c.HasServerKeepAlive = uint16(p.num[packets.PropServerKeepAlive]), p.has(packets.PropServerKeepAlive)
	c.ResponseInfo, c.ServerReference, c.ReasonString = p.responseInfo, p.serverReference, p.reasonString
	c.AuthMethod, c.AuthData, c.User = p.authMethod, clone(p.authData), p.user
}
