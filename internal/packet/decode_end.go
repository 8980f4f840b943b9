package packet

import "github.com/mochi-mqtt/server/v2/packets"

// disconnect decodes the body of a DISCONNECT (MQTT 5.0 §3.14), whose reason
// may stand alone.
func (d *Decoder) disconnect(r *reader) *Disconnect {
	m := &Disconnect{}
	if d.Version != V5 || len(r.b) == 0 {
		return m
	}
	m.Reason = r.reason5(TypeDisconnect, d.Client)
	if len(r.b) == 0 {
		return m
	}
	var p properties
	r.properties(TypeDisconnect, &p)
	m.SessionExpiry, m.HasSessionExpiry = p.num[packets.PropSessionExpiryInterval], p.has(packets.PropSessionExpiryInterval)
	m.ReasonString, m.ServerReference, m.User = p.reasonString, p.serverReference, p.user
	switch {
	case m.HasSessionExpiry && d.Client: // [MQTT-3.14.2-2]
		r.fail(ProtocolError, "session expiry from a server")
	case p.has(packets.PropServerReference) && !d.Client: // §3.14.2.2.5
		r.fail(ProtocolError, "server reference from a client")
	}
	return m
}

// auth decodes the body of an AUTH (MQTT 5.0 §3.15).
func (d *Decoder) auth(r *reader) *Auth {
	a := &Auth{}
	if len(r.b) > 0 {
		a.Reason = Reason(r.byte())
	}
	a.Reason = r.check5(TypeAuth, a.Reason, d.Client)
	if len(r.b) == 0 {
		// Only Success stands without properties, and so without a method.
		if a.Reason != Success {
			r.fail(ProtocolError, "no authentication method")
		}
		return a
	}
	var p properties
	r.properties(TypeAuth, &p)
	if p.authMethod == "" && (a.Reason != Success || p.has(packets.PropAuthenticationData)) {
		r.fail(ProtocolError, "no authentication method") // §3.15.2.2.2
	}
	a.Method, a.Data = p.authMethod, clone(p.authData)
	a.ReasonString, a.User = p.reasonString, p.user
	return a
}

// reasonSet is a set of reason codes.
type reasonSet [4]uint64

func reasons(codes ...Reason) (s reasonSet) {
	for _, c := range codes {
		s[c>>6] |= 1 << (c & 63)
	}
	return s
}

func (s *reasonSet) has(c Reason) bool { return s[c>>6]>>(c&63)&1 != 0 }

// pubReasons are those of PUBACK and PUBREC (MQTT 5.0 §3.4.2.1, §3.5.2.1).
var pubReasons = reasons(Success, NoMatchingSubscribers, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
	TopicNameInvalid, PacketIdentifierInUse, QuotaExceeded, PayloadFormatInvalid)

// fromServerReasons are the codes that a server may send, by packet.
var fromServerReasons = [16]reasonSet{
	TypeConnack: reasons(Success, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecificError,
		UnsupportedProtocolVersion, ClientIdentifierNotValid, BadUserNameOrPassword, NotAuthorized, ServerUnavailable,
		ServerBusy, Banned, BadAuthenticationMethod, TopicNameInvalid, PacketTooLarge, QuotaExceeded,
		PayloadFormatInvalid, RetainNotSupported, QoSNotSupported, UseAnotherServer, ServerMoved,
		ConnectionRateExceeded), // [MQTT-3.2.2-8]
	TypePuback:  pubReasons, // [MQTT-3.4.2-1]
	TypePubrec:  pubReasons, // [MQTT-3.5.2-1]
	TypePubrel:  reasons(Success, PacketIdentifierNotFound),
	TypePubcomp: reasons(Success, PacketIdentifierNotFound),
	TypeSuback: reasons(GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
		TopicFilterInvalid, PacketIdentifierInUse, QuotaExceeded, SharedSubNotSupported, SubscriptionIDNotSupported,
		WildcardSubNotSupported), // [MQTT-3.9.3-2]
	TypeUnsuback: reasons(Success, NoSubscriptionExisted, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
		TopicFilterInvalid, PacketIdentifierInUse), // [MQTT-3.11.3-2]
	TypeDisconnect: reasons(NormalDisconnection, UnspecifiedError, MalformedPacket, ProtocolError,
		ImplementationSpecificError, NotAuthorized, ServerBusy, ServerShuttingDown, BadAuthenticationMethod,
		KeepAliveTimeout, SessionTakenOver, TopicFilterInvalid, TopicNameInvalid, ReceiveMaximumExceeded,
		TopicAliasInvalid, PacketTooLarge, MessageRateTooHigh, QuotaExceeded, AdministrativeAction,
		PayloadFormatInvalid, RetainNotSupported, QoSNotSupported, UseAnotherServer, ServerMoved,
		SharedSubNotSupported, ConnectionRateExceeded, MaximumConnectTime, SubscriptionIDNotSupported,
		WildcardSubNotSupported), // [MQTT-3.14.2-1]
	TypeAuth: reasons(Success, ContinueAuthentication), // [MQTT-3.15.2-1]
}

// fromClientReasons are the codes that a client may send, by packet.
var fromClientReasons = [16]reasonSet{
	TypePuback:  pubReasons,
	TypePubrec:  pubReasons,
	TypePubrel:  reasons(Success, PacketIdentifierNotFound), // [MQTT-3.6.2-1]
	TypePubcomp: reasons(Success, PacketIdentifierNotFound), // [MQTT-3.7.2-1]
	TypeDisconnect: reasons(NormalDisconnection, DisconnectWithWill, UnspecifiedError, MalformedPacket, ProtocolError,
		ImplementationSpecificError, TopicNameInvalid, ReceiveMaximumExceeded, TopicAliasInvalid, PacketTooLarge,
		MessageRateTooHigh, QuotaExceeded, AdministrativeAction, PayloadFormatInvalid), // [MQTT-3.14.2-1]
	TypeAuth: reasons(ContinueAuthentication, ReAuthenticate), // [MQTT-3.15.2-1]
}

// ServerReason returns r if a server may send it in a packet of that type, else
// otherwise: reasons come from plugins and from other packets too.
func ServerReason(t Type, r, otherwise Reason) Reason {
	if fromServerReasons[t].has(r) {
		return r
	}
	return otherwise
}

// reason5 reads an MQTT 5 reason code that the peer may use in this packet.
func (r *reader) reason5(t Type, server bool) Reason {
	code := Reason(r.byte())
	return r.check5(t, code, server)
}

func (r *reader) check5(t Type, code Reason, server bool) Reason {
	set := &fromClientReasons[t]
	if server {
		set = &fromServerReasons[t]
	}
	if !set.has(code) {
		r.fail(ProtocolError, "reason code is not one of this packet")
	}
	return code
}
