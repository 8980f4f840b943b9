package packet

import (
	"encoding/binary"

	"github.com/mochi-mqtt/server/v2/packets"
)

// appendConnect encodes a CONNECT for the version that it names. It is not
// left to mochi, whose encoder drops properties of the will that are present
// and empty or zero.
func appendConnect(b []byte, c *Connect) []byte {
	body := make([]byte, 0, 128)
	name, level := nameMQTT, c.Version
	if c.Version == V31 {
		name = nameV31
	}
	if c.Bridge {
		level |= bridgeBit
	}
	body = append(appendString(body, name), level, connectFlags(c))
	body = binary.BigEndian.AppendUint16(body, c.KeepAlive)
	if c.Version == V5 {
		body = appendBlock(body, connectPropertyBytes(c))
	}
	body = appendString(body, c.ClientID)
	if w := c.Will; w != nil {
		if c.Version == V5 {
			body = appendBlock(body, willPropertyBytes(w))
		}
		body = appendBinary(appendString(body, w.Topic), w.Payload)
	}
	if c.HasUsername {
		body = appendString(body, c.Username)
	}
	if c.HasPassword {
		body = appendBinary(body, c.Password)
	}
	if len(body) > MaxRemaining {
		return b
	}
	return appendBlock(append(b, byte(TypeConnect)<<4), body)
}

// appendBlock appends content behind its length.
func appendBlock(b, content []byte) []byte { return append(appendVarint(b, len(content)), content...) }

func connectFlags(c *Connect) (f byte) {
	if c.CleanStart {
		f |= connectCleanStart
	}
	if w := c.Will; w != nil {
		f |= connectWill | w.QoS<<3&connectWillQoS
		if w.Retain {
			f |= connectWillRetain
		}
	}
	if c.HasPassword {
		f |= connectPassword
	}
	if c.HasUsername {
		f |= connectUsername
	}
	return f
}

// connectPropertyBytes encodes the properties; those at their default are
// left out.
func connectPropertyBytes(c *Connect) (b []byte) {
	if c.HasSessionExpiry {
		b = binary.BigEndian.AppendUint32(append(b, packets.PropSessionExpiryInterval), c.SessionExpiry)
	}
	if c.ReceiveMaximum != 0 && c.ReceiveMaximum != 65535 {
		b = binary.BigEndian.AppendUint16(append(b, packets.PropReceiveMaximum), c.ReceiveMaximum)
	}
	if c.MaximumPacketSize != 0 {
		b = binary.BigEndian.AppendUint32(append(b, packets.PropMaximumPacketSize), c.MaximumPacketSize)
	}
	if c.TopicAliasMaximum != 0 {
		b = binary.BigEndian.AppendUint16(append(b, packets.PropTopicAliasMaximum), c.TopicAliasMaximum)
	}
	if c.RequestResponse {
		b = append(b, packets.PropRequestResponseInfo, 1)
	}
	if !c.RequestProblem {
		b = append(b, packets.PropRequestProblemInfo, 0)
	}
	if c.HasAuthMethod {
		b = appendString(append(b, packets.PropAuthenticationMethod), c.AuthMethod)
		if len(c.AuthData) > 0 {
			b = appendBinary(append(b, packets.PropAuthenticationData), c.AuthData)
		}
	}
	return appendUser(b, c.User)
}

func willPropertyBytes(w *Will) (b []byte) {
	if w.Delay != 0 {
		b = binary.BigEndian.AppendUint32(append(b, packets.PropWillDelayInterval), w.Delay)
	}
	if w.HasExpiry {
		b = binary.BigEndian.AppendUint32(append(b, packets.PropMessageExpiryInterval), w.Expiry)
	}
	return appendMessageProperties(b, w.Properties)
}
