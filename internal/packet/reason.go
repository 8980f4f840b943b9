package packet

import (
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Reason is an MQTT 5 reason code (MQTT 5.0 §2.4): below 0x80 success, from
// 0x80 on failure.
type Reason byte

// The reason codes of MQTT 5.0. Several names share 0x00.
const (
	Success                     Reason = 0x00
	NormalDisconnection         Reason = 0x00
	GrantedQoS0                 Reason = 0x00
	GrantedQoS1                 Reason = 0x01
	GrantedQoS2                 Reason = 0x02
	DisconnectWithWill          Reason = 0x04
	NoMatchingSubscribers       Reason = 0x10
	NoSubscriptionExisted       Reason = 0x11
	ContinueAuthentication      Reason = 0x18
	ReAuthenticate              Reason = 0x19
	UnspecifiedError            Reason = 0x80
	MalformedPacket             Reason = 0x81
	ProtocolError               Reason = 0x82
	ImplementationSpecificError Reason = 0x83
	UnsupportedProtocolVersion  Reason = 0x84
	ClientIdentifierNotValid    Reason = 0x85
	BadUserNameOrPassword       Reason = 0x86
	NotAuthorized               Reason = 0x87
	ServerUnavailable           Reason = 0x88
	ServerBusy                  Reason = 0x89
	Banned                      Reason = 0x8A
	ServerShuttingDown          Reason = 0x8B
	BadAuthenticationMethod     Reason = 0x8C
	KeepAliveTimeout            Reason = 0x8D
	SessionTakenOver            Reason = 0x8E
	TopicFilterInvalid          Reason = 0x8F
	TopicNameInvalid            Reason = 0x90
	PacketIdentifierInUse       Reason = 0x91
	PacketIdentifierNotFound    Reason = 0x92
	ReceiveMaximumExceeded      Reason = 0x93
	TopicAliasInvalid           Reason = 0x94
	PacketTooLarge              Reason = 0x95
	MessageRateTooHigh          Reason = 0x96
	QuotaExceeded               Reason = 0x97
	AdministrativeAction        Reason = 0x98
	PayloadFormatInvalid        Reason = 0x99
	RetainNotSupported          Reason = 0x9A
	QoSNotSupported             Reason = 0x9B
	UseAnotherServer            Reason = 0x9C
	ServerMoved                 Reason = 0x9D
	SharedSubNotSupported       Reason = 0x9E
	ConnectionRateExceeded      Reason = 0x9F
	MaximumConnectTime          Reason = 0xA0
	SubscriptionIDNotSupported  Reason = 0xA1
	WildcardSubNotSupported     Reason = 0xA2
)

// codes are mochi's words for the codes, in order of their values.
var codes = []packets.Code{
	packets.CodeSuccess, packets.CodeGrantedQos1, packets.CodeGrantedQos2,
	packets.CodeDisconnectWillMessage, packets.CodeNoMatchingSubscribers, packets.CodeNoSubscriptionExisted,
	packets.CodeContinueAuthentication, packets.CodeReAuthenticate,
	packets.ErrUnspecifiedError, packets.ErrMalformedPacket, packets.ErrProtocolViolation,
	packets.ErrImplementationSpecificError, packets.ErrUnsupportedProtocolVersion,
	packets.ErrClientIdentifierNotValid, packets.ErrBadUsernameOrPassword, packets.ErrNotAuthorized,
	packets.ErrServerUnavailable, packets.ErrServerBusy, packets.ErrBanned, packets.ErrServerShuttingDown,
	packets.ErrBadAuthenticationMethod, packets.ErrKeepAliveTimeout, packets.ErrSessionTakenOver,
	packets.ErrTopicFilterInvalid, packets.ErrTopicNameInvalid, packets.ErrPacketIdentifierInUse,
	packets.ErrPacketIdentifierNotFound, packets.ErrReceiveMaximum, packets.ErrTopicAliasInvalid,
	packets.ErrPacketTooLarge, packets.ErrMessageRateTooHigh, packets.ErrQuotaExceeded,
	packets.ErrAdministrativeAction, packets.ErrPayloadFormatInvalid, packets.ErrRetainNotSupported,
	packets.ErrQosNotSupported, packets.ErrUseAnotherServer, packets.ErrServerMoved,
	packets.ErrSharedSubscriptionsNotSupported, packets.ErrConnectionRateExceeded, packets.ErrMaxConnectTime,
	packets.ErrSubscriptionIdentifiersNotSupported, packets.ErrWildcardSubscriptionsNotSupported,
}

// String returns the reason in words, "not authorized", or its number when
// MQTT 5.0 does not know it.
func (r Reason) String() string {
	for _, c := range codes {
		if c.Code == byte(r) {
			return c.Reason
		}
	}
	return fmt.Sprintf("reason 0x%02X", byte(r))
}

// Failed reports whether r is an error (MQTT 5.0 §2.4).
func (r Reason) Failed() bool { return r >= 0x80 }

// Return codes of CONNACK in MQTT 3.1 and 3.1.1 (MQTT 3.1.1 §3.2.2.3).
const (
	v3Accepted          = 0
	v3UnacceptableLevel = 1
	v3IdentifierReject  = 2
	v3Unavailable       = 3
	v3BadCredentials    = 4
	v3NotAuthorized     = 5
)

// fromV3 are the reasons that the return codes of 3.x are read as.
var fromV3 = [...]Reason{
	v3Accepted:          Success,
	v3UnacceptableLevel: UnsupportedProtocolVersion,
	v3IdentifierReject:  ClientIdentifierNotValid,
	v3Unavailable:       ServerUnavailable,
	v3BadCredentials:    BadUserNameOrPassword,
	v3NotAuthorized:     NotAuthorized,
}

// ConnackV3 returns the CONNACK return code of MQTT 3.1 and 3.1.1 for r: no
// other value than 0 to 5 may reach a 3.x client (MQTT 3.1.1 §3.2.2.3).
// Reasons without a counterpart there read as "server unavailable", after
// which clients try again later.
func ConnackV3(r Reason) byte {
	if !r.Failed() {
		return v3Accepted
	}
	switch r {
	case UnsupportedProtocolVersion:
		return v3UnacceptableLevel
	case ClientIdentifierNotValid:
		return v3IdentifierReject
	case BadUserNameOrPassword:
		return v3BadCredentials
	case NotAuthorized, Banned, BadAuthenticationMethod:
		return v3NotAuthorized
	default:
		return v3Unavailable
	}
}

// SubackV3 returns the SUBACK return code of MQTT 3.x for r: the granted QoS
// or 0x80 (MQTT 3.1.1 §3.9.3).
func SubackV3(r Reason) byte {
	if r > GrantedQoS2 {
		return byte(UnspecifiedError)
	}
	return byte(r)
}
