package packet

import (
	"encoding/binary"

	"github.com/mochi-mqtt/server/v2/packets"
)

// appendConnack encodes a CONNACK. It is not left to mochi, whose encoder takes
// 1.7 KiB of memory: a broker to which many clients come writes many.
func appendConnack(b []byte, version byte, c *Connack) []byte {
	var present byte
	if c.SessionPresent && !c.Reason.Failed() && version != V31 { // [MQTT-3.2.2-6]; reserved in 3.1
		present = 1
	}
	if version < V5 {
		return append(b, byte(TypeConnack)<<4, 2, present, ConnackV3(c.Reason))
	}
	props := connackPropertyBytes(c)
	remaining := 2 + sizeVarint(len(props)) + len(props)
	if remaining > MaxRemaining {
		return b
	}
	b = appendVarint(append(b, byte(TypeConnack)<<4), remaining)
	return appendBlock(append(b, present, byte(c.Reason)), props)
}

// connackPropertyBytes encodes the properties; those at their default are left
// out.
func connackPropertyBytes(c *Connack) []byte {
	b := make([]byte, 0, 64)
	if c.HasSessionExpiry {
		b = binary.BigEndian.AppendUint32(append(b, packets.PropSessionExpiryInterval), c.SessionExpiry)
	}
	if c.AssignedClientID != "" {
		b = appendString(append(b, packets.PropAssignedClientID), c.AssignedClientID)
	}
	if c.HasServerKeepAlive {
		b = binary.BigEndian.AppendUint16(append(b, packets.PropServerKeepAlive), c.ServerKeepAlive)
	}
	if c.AuthMethod != "" {
		b = appendString(append(b, packets.PropAuthenticationMethod), c.AuthMethod)
	}
	if len(c.AuthData) > 0 {
		b = appendBinary(append(b, packets.PropAuthenticationData), c.AuthData)
	}
	for _, p := range []struct {
		id   byte
		text string
	}{
		{packets.PropResponseInfo, c.ResponseInfo},
		{packets.PropServerReference, c.ServerReference},
		{packets.PropReasonString, c.ReasonString},
	} {
		if p.text != "" {
			b = appendString(append(b, p.id), p.text)
		}
	}
	if c.ReceiveMaximum != 0 && c.ReceiveMaximum != 65535 {
		b = binary.BigEndian.AppendUint16(append(b, packets.PropReceiveMaximum), c.ReceiveMaximum)
	}
	if c.TopicAliasMaximum != 0 {
		b = binary.BigEndian.AppendUint16(append(b, packets.PropTopicAliasMaximum), c.TopicAliasMaximum)
	}
	if c.HasMaximumQoS {
		b = append(b, packets.PropMaximumQos, c.MaximumQoS)
	}
	for _, p := range []struct {
		id   byte
		lack bool
	}{
		{packets.PropRetainAvailable, c.NoRetain},
		{packets.PropWildcardSubAvailable, c.NoWildcard},
		{packets.PropSubIDAvailable, c.NoSubscriptionID},
		{packets.PropSharedSubAvailable, c.NoShared},
	} {
		if p.lack {
			b = append(b, p.id, 0)
		}
	}
	if c.MaximumPacketSize != 0 {
		b = binary.BigEndian.AppendUint32(append(b, packets.PropMaximumPacketSize), c.MaximumPacketSize)
	}
	return appendUser(b, c.User)
}

// appendSubackV3 encodes a SUBACK for protocols before MQTT 5.
func appendSubackV3(b []byte, s *Suback) []byte {
	remaining := 2 + len(s.Reasons)
	if s.PacketID == 0 || remaining > MaxRemaining {
		return b
	}
	b = binary.BigEndian.AppendUint16(appendVarint(append(b, byte(TypeSuback)<<4), remaining), s.PacketID)
	for _, r := range s.Reasons {
		b = append(b, SubackV3(r))
	}
	return b
}
