package packet

import (
	"bytes"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqadmin/mqadmin/internal/message"
)

// appendCold encodes the packets that are rare on a connection, with mochi's
// encoders. They write what we give them and nothing else once response
// information is allowed; lengths are checked here because they are not there.
func appendCold(b []byte, version byte, p Packet) []byte {
	m := packets.Packet{ProtocolVersion: version, Mods: packets.Mods{AllowResponseInfo: true}}
	encode := coldEncoder(&m, p)
	if encode == nil {
		return b
	}
	buf := bytes.NewBuffer(b)
	if err := encode(buf); err != nil || m.FixedHeader.Remaining > MaxRemaining {
		return b
	}
	return buf.Bytes()
}

// coldEncoder fills m from p and returns the method that encodes it. It names
// the types itself because a call of p.Type would move every packet that is
// given to Append to the heap.
func coldEncoder(m *packets.Packet, p Packet) func(*bytes.Buffer) error {
	switch p := p.(type) {
	case *Subscribe:
		m.FixedHeader.Type = byte(TypeSubscribe)
		fillSubscribe(m, p)
		return m.SubscribeEncode
	case *Suback:
		m.FixedHeader.Type = byte(TypeSuback)
		m.PacketID = p.PacketID
		m.ReasonCodes = make([]byte, len(p.Reasons))
		for i, r := range p.Reasons {
			m.ReasonCodes[i] = byte(r)
		}
		setProblem(&m.Properties, p.ReasonString, p.User)
		return m.SubackEncode
	case *Unsubscribe:
		m.FixedHeader.Type = byte(TypeUnsubscribe)
		m.PacketID = p.PacketID
		m.FixedHeader.Qos = 1 // [MQTT-3.10.1-1]
		for _, f := range p.Filters {
			m.Filters = append(m.Filters, packets.Subscription{Filter: clip(f)})
		}
		setProblem(&m.Properties, "", p.User)
		return m.UnsubscribeEncode
	case *Unsuback:
		m.FixedHeader.Type = byte(TypeUnsuback)
		m.PacketID = p.PacketID
		for _, r := range p.Reasons {
			m.ReasonCodes = append(m.ReasonCodes, byte(r))
		}
		setProblem(&m.Properties, p.ReasonString, p.User)
		return m.UnsubackEncode
	case *Disconnect:
		m.FixedHeader.Type = byte(TypeDisconnect)
		m.ReasonCode = byte(p.Reason)
		m.Properties.SessionExpiryInterval, m.Properties.SessionExpiryIntervalFlag = p.SessionExpiry, p.HasSessionExpiry
		m.Properties.ServerReference = clip(p.ServerReference)
		setProblem(&m.Properties, p.ReasonString, p.User)
		return m.DisconnectEncode
	case *Auth:
		m.FixedHeader.Type = byte(TypeAuth)
		m.ReasonCode = byte(p.Reason)
		m.Properties.AuthenticationMethod = clip(p.Method)
		m.Properties.AuthenticationData = p.Data[:min(len(p.Data), 65535)]
		setProblem(&m.Properties, p.ReasonString, p.User)
		return m.AuthEncode
	}
	return nil
}

func setProblem(to *packets.Properties, reason string, user []message.UserProperty) {
	to.ReasonString = clip(reason)
	for _, u := range user {
		to.User = append(to.User, packets.UserProperty{Key: clip(u.Name), Val: clip(u.Value)})
	}
}

func fillSubscribe(m *packets.Packet, s *Subscribe) {
	m.PacketID = s.PacketID
	m.FixedHeader.Qos = 1 // [MQTT-3.8.1-1]
	for _, sub := range s.Subscriptions {
		m.Filters = append(m.Filters, packets.Subscription{
			Filter:            clip(sub.Filter),
			Qos:               sub.QoS,
			NoLocal:           sub.NoLocal,
			RetainAsPublished: sub.RetainAsPublished,
			RetainHandling:    sub.RetainHandling,
		})
	}
	if len(s.Subscriptions) > 0 && s.Subscriptions[0].Identifier != 0 {
		m.Properties.SubscriptionIdentifier = []int{int(s.Subscriptions[0].Identifier)}
	}
	setProblem(&m.Properties, "", s.User)
}
