package session

import (
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// versions index the counters: MQTT 3.1 and 3.1.1 count as "4".
const (
	v4 = iota
	v5
	numVersions
)

// perVersion is a counter with the label mqtt_version.
type perVersion [numVersions]*metrics.Counter

// perReason is a counter with the label mqtt_version, and with reason_code for
// MQTT 5.
type perReason struct {
	v4    *metrics.Counter
	v5    map[packet.Reason]*metrics.Counter
	other *metrics.Counter
}

// inc counts one packet; reasons that have no label of their own count under
// the kind's own name without one.
func (p *perReason) inc(version byte, r packet.Reason) {
	if version != packet.V5 {
		p.v4.Inc()
		return
	}
	if c, ok := p.v5[r]; ok {
		c.Inc()
		return
	}
	p.other.Inc()
}

// labels of VerneMQ for reason codes.
var (
	reasonNames = map[packet.Reason]string{
		packet.Success: "success", packet.DisconnectWithWill: "disconnect_with_will_msg",
		packet.NoMatchingSubscribers:  "no_matching_subscribers",
		packet.ContinueAuthentication: "continue_authentication", packet.ReAuthenticate: "reauthenticate",
		packet.UnspecifiedError: "unspecified_error", packet.MalformedPacket: "malformed_packet",
		packet.ProtocolError: "protocol_error", packet.ImplementationSpecificError: "impl_specific_error",
		packet.UnsupportedProtocolVersion: "unsupported_protocol_version",
		packet.ClientIdentifierNotValid:   "client_identifier_not_valid",
		packet.BadUserNameOrPassword:      "bad_username_or_password", packet.NotAuthorized: "not_authorized",
		packet.ServerUnavailable: "server_unavailable", packet.ServerBusy: "server_busy", packet.Banned: "banned",
		packet.ServerShuttingDown: "server_shutting_down", packet.BadAuthenticationMethod: "bad_authentication_method",
		packet.KeepAliveTimeout: "keep_alive_timeout", packet.SessionTakenOver: "session_taken_over",
		packet.TopicFilterInvalid: "topic_filter_invalid", packet.TopicNameInvalid: "topic_name_invalid",
		packet.PacketIdentifierInUse: "packet_id_in_use", packet.PacketIdentifierNotFound: "packet_id_not_found",
		packet.ReceiveMaximumExceeded: "receive_max_exceeded", packet.TopicAliasInvalid: "topic_alias_invalid",
		packet.PacketTooLarge: "packet_too_large", packet.MessageRateTooHigh: "message_rate_too_high",
		packet.QuotaExceeded: "quota_exceeded", packet.AdministrativeAction: "administrative_action",
		packet.PayloadFormatInvalid: "payload_format_invalid", packet.RetainNotSupported: "retain_not_supported",
		packet.QoSNotSupported: "qos_not_supported", packet.UseAnotherServer: "use_another_server",
		packet.ServerMoved: "server_moved", packet.SharedSubNotSupported: "shared_subs_not_supported",
		packet.ConnectionRateExceeded: "connection_rate_exceeded", packet.MaximumConnectTime: "max_connect_time",
		packet.SubscriptionIDNotSupported: "subscription_ids_not_supported",
		packet.WildcardSubNotSupported:    "wildcard_subs_not_supported",
	}

	publishReasons = []packet.Reason{
		packet.Success, packet.NoMatchingSubscribers, packet.UnspecifiedError, packet.ImplementationSpecificError,
		packet.NotAuthorized, packet.TopicNameInvalid, packet.PacketIdentifierInUse, packet.QuotaExceeded,
		packet.PayloadFormatInvalid,
	}
	releaseReasons    = []packet.Reason{packet.Success, packet.PacketIdentifierNotFound}
	authReasons       = []packet.Reason{packet.Success, packet.ContinueAuthentication, packet.ReAuthenticate}
	disconnectReceive = []packet.Reason{
		packet.NormalDisconnection, packet.DisconnectWithWill, packet.UnspecifiedError, packet.MalformedPacket,
		packet.ProtocolError, packet.ImplementationSpecificError, packet.TopicNameInvalid,
		packet.ReceiveMaximumExceeded, packet.TopicAliasInvalid, packet.PacketTooLarge, packet.MessageRateTooHigh,
		packet.QuotaExceeded, packet.AdministrativeAction, packet.PayloadFormatInvalid,
	}
	disconnectSend = []packet.Reason{
		packet.NormalDisconnection, packet.UnspecifiedError, packet.MalformedPacket, packet.ProtocolError,
		packet.ImplementationSpecificError, packet.NotAuthorized, packet.ServerBusy, packet.ServerShuttingDown,
		packet.KeepAliveTimeout, packet.SessionTakenOver, packet.TopicFilterInvalid, packet.TopicNameInvalid,
		packet.ReceiveMaximumExceeded, packet.TopicAliasInvalid, packet.PacketTooLarge, packet.MessageRateTooHigh,
		packet.QuotaExceeded, packet.AdministrativeAction, packet.PayloadFormatInvalid, packet.RetainNotSupported,
		packet.QoSNotSupported, packet.UseAnotherServer, packet.ServerMoved, packet.SharedSubNotSupported,
		packet.ConnectionRateExceeded, packet.MaximumConnectTime, packet.SubscriptionIDNotSupported,
		packet.WildcardSubNotSupported,
	}
	connackV5 = []packet.Reason{
		packet.Success, packet.UnspecifiedError, packet.MalformedPacket, packet.ProtocolError,
		packet.ImplementationSpecificError, packet.UnsupportedProtocolVersion, packet.ClientIdentifierNotValid,
		packet.BadUserNameOrPassword, packet.NotAuthorized, packet.ServerUnavailable, packet.ServerBusy,
		packet.Banned, packet.BadAuthenticationMethod, packet.TopicNameInvalid, packet.PacketTooLarge,
		packet.QuotaExceeded, packet.PayloadFormatInvalid, packet.RetainNotSupported, packet.QoSNotSupported,
		packet.UseAnotherServer, packet.ServerMoved, packet.ConnectionRateExceeded,
	}
	// connackV3 are the return codes 0 to 5 under VerneMQ's names.
	connackV3 = [...]string{
		"success", "unsupported_protocol_version", "client_identifier_not_valid", "server_unavailable",
		"bad_username_or_password", "not_authorized",
	}
	// legacyConnack are listed by VerneMQ and never counted by it.
	legacyConnack = [...]string{
		"accepted", "unacceptable_protocol", "identifier_rejected", "server_unavailable", "bad_credentials",
		"not_authorized",
	}
)

// counters are all that a connection counts, registered when the Manager is
// made so that metrics show lists them from the start.
type counters struct {
	socketOpen, socketClose, socketCloseTimeout, socketError, bytesReceived, bytesSent *metrics.Counter
	tooLargeForClient, inboundInterrupted, authRounds                                  *metrics.Counter

	connectReceived, publishReceived, subscribeReceived, unsubscribeReceived, pingreqReceived perVersion
	publishSent, subackSent, unsubackSent, pingrespSent                                       perVersion
	publishAuthError, subscribeAuthError, invalidSize                                         perVersion
	pubackInvalid, pubrecInvalid, pubcompInvalid                                              perVersion
	publishError, subscribeError, unsubscribeError, keepaliveExpired                          perVersion
	invalidTopic, throttled, subscriptionsRefused, lifetimeExpired                            perVersion

	// received and sent by kind: PUBACK to PUBCOMP, DISCONNECT, AUTH.
	received, sent [packet.TypeAuth + 1]*perReason
	connackSent3   [len(connackV3)]*metrics.Counter
	connackSent5   *perReason
}

func versionLabel(v int) metrics.Label {
	return metrics.Label{Name: "mqtt_version", Value: string('4' + rune(v))}
}

func byVersion(r *metrics.Registry, name, help string) (p perVersion) {
	for v := range p {
		p[v] = r.Counter(name, help, versionLabel(v))
	}
	return p
}

func byReason(r *metrics.Registry, name, help string, reasons []packet.Reason, only5 bool) *perReason {
	p := &perReason{v4: &metrics.Counter{}, v5: map[packet.Reason]*metrics.Counter{}}
	if !only5 {
		p.v4 = r.Counter(name, help, versionLabel(v4))
	}
	for _, reason := range reasons {
		text := reasonNames[reason]
		if reason == packet.NormalDisconnection && (name == "mqtt_disconnect_received" || name == "mqtt_disconnect_sent") {
			text = "normal_disconnect"
		}
		p.v5[reason] = r.Counter(name, help, versionLabel(v5), metrics.Label{Name: "reason_code", Value: text})
	}
	p.other = p.v5[packet.UnspecifiedError]
	if p.other == nil {
		p.other = p.v5[packet.Success]
	}
	return p
}

func (c *counters) register(r *metrics.Registry) {
	c.socketOpen = r.Counter("socket_open", "Connections accepted by the MQTT listeners.")
	c.socketClose = r.Counter("socket_close", "Connections of the MQTT listeners that have ended.")
	c.socketCloseTimeout = r.Counter("socket_close_timeout", "Connections closed because no CONNECT came in time.")
	c.socketError = r.Counter("socket_error", "Connections that ended with an error of the network.")
	c.bytesReceived = r.Counter("bytes_received", "Bytes read from clients.")
	c.bytesSent = r.Counter("bytes_sent", "Bytes written to clients.")
	c.tooLargeForClient = r.Counter("mqtt_publish_too_large_drop", "Messages not sent because they exceed the maximum packet size of the client.")
	c.inboundInterrupted = r.Counter("mqtt_publish_resumed", "QoS 2 messages of clients whose routing was taken up again after an interruption.")

	c.authRounds = r.Counter("mqtt_auth_rounds_exceeded", "Enhanced authentications ended because they took more steps than authentication_max_rounds.")

	c.connectReceived = byVersion(r, "mqtt_connect_received", "CONNECT packets from clients.")
	c.publishReceived = byVersion(r, "mqtt_publish_received", "PUBLISH packets from clients.")
	c.subscribeReceived = byVersion(r, "mqtt_subscribe_received", "SUBSCRIBE packets from clients.")
	c.unsubscribeReceived = byVersion(r, "mqtt_unsubscribe_received", "UNSUBSCRIBE packets from clients.")
	c.pingreqReceived = byVersion(r, "mqtt_pingreq_received", "PINGREQ packets from clients.")
	c.publishSent = byVersion(r, "mqtt_publish_sent", "PUBLISH packets to clients, repetitions included.")
	c.subackSent = byVersion(r, "mqtt_suback_sent", "SUBACK packets to clients.")
	c.unsubackSent = byVersion(r, "mqtt_unsuback_sent", "UNSUBACK packets to clients.")
	c.pingrespSent = byVersion(r, "mqtt_pingresp_sent", "PINGRESP packets to clients.")
	c.publishAuthError = byVersion(r, "mqtt_publish_auth_error", "PUBLISH packets and wills that no plugin allowed.")
	c.subscribeAuthError = byVersion(r, "mqtt_subscribe_auth_error", "SUBSCRIBE packets that no plugin allowed.")
	c.invalidSize = byVersion(r, "mqtt_invalid_msg_size_error", "Packets refused because they exceed max_message_size.")
	c.pubackInvalid = byVersion(r, "mqtt_puback_invalid_error", "PUBACK packets for an identifier that is not in flight.")
	c.pubrecInvalid[v4] = r.Counter("mqtt_pubrec_invalid_error", "PUBREC packets for an identifier that is not in flight.", versionLabel(v4))
	c.pubrecInvalid[v5] = &metrics.Counter{} // MQTT 5 answers them with a reason
	c.pubcompInvalid = byVersion(r, "mqtt_pubcomp_invalid_error", "PUBCOMP packets for an identifier that is not in flight.")
	c.publishError = byVersion(r, "mqtt_publish_error", "PUBLISH packets refused because the cluster was not ready.")
	c.subscribeError = byVersion(r, "mqtt_subscribe_error", "SUBSCRIBE packets of which a filter could not be entered.")
	c.unsubscribeError = byVersion(r, "mqtt_unsubscribe_error", "UNSUBSCRIBE packets that could not be carried out.")
	c.keepaliveExpired = byVersion(r, "client_keepalive_expired", "Connections closed because the client was silent for 1.5 times its keep-alive.")
	c.invalidTopic = byVersion(r, "mqtt_invalid_topic_error", "Packets refused because a topic or filter is not valid or is deeper than topic_max_depth.")
	c.throttled = byVersion(r, "mqtt_publish_throttled", "Times that a client was not read for a while because of max_message_rate.")
	c.subscriptionsRefused = byVersion(r, "mqtt_subscribe_quota_exceeded", "Filters refused because of max_subscriptions_per_client.")
	c.lifetimeExpired = byVersion(r, "client_lifetime_expired", "Connections closed because of max_connection_lifetime.")
	c.registerReasons(r)
}

func (c *counters) registerReasons(r *metrics.Registry) {
	for _, k := range []struct {
		kind     packet.Type
		name     string
		in, out  []packet.Reason
		only5In  bool
		only5Out bool
	}{
		{packet.TypePuback, "puback", publishReasons, publishReasons, false, false},
		{packet.TypePubrec, "pubrec", publishReasons, publishReasons, false, false},
		{packet.TypePubrel, "pubrel", releaseReasons, releaseReasons, false, false},
		{packet.TypePubcomp, "pubcomp", releaseReasons, releaseReasons, false, false},
		{packet.TypeDisconnect, "disconnect", disconnectReceive, disconnectSend, false, true},
		{packet.TypeAuth, "auth", authReasons, authReasons, true, true},
	} {
		text := k.kind.String() + " packets "
		c.received[k.kind] = byReason(r, "mqtt_"+k.name+"_received", text+"from clients.", k.in, k.only5In)
		c.sent[k.kind] = byReason(r, "mqtt_"+k.name+"_sent", text+"to clients.", k.out, k.only5Out)
	}
	for i, text := range connackV3 {
		c.connackSent3[i] = r.Counter("mqtt_connack_sent", "CONNACK packets to clients.", versionLabel(v4),
			metrics.Label{Name: "return_code", Value: text})
	}
	c.connackSent5 = byReason(r, "mqtt_connack_sent", "CONNACK packets to clients.", connackV5, true)
	for _, text := range legacyConnack {
		r.Counter("mqtt_connack_"+text+"_sent", "Always 0; mqtt_connack_sent counts CONNACK packets.", versionLabel(v4))
	}
	r.Counter("client_expired", "Always 0; kept for dashboards that name it.")
}

// connack counts a CONNACK.
func (c *counters) connack(version byte, r packet.Reason) {
	if version == packet.V5 {
		c.connackSent5.inc(version, r)
		return
	}
	c.connackSent3[packet.ConnackV3(r)].Inc()
}
