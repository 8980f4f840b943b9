package broker

import (
	"crypto/tls"
	"time"

	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/listener"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
)

// sessionSettings reads what sessions take a copy of at CONNECT.
func sessionSettings(c *config.Config) *session.Settings {
	return &session.Settings{
		AllowAnonymous:           c.Flag("allow_anonymous"),
		ConnectTimeout:           c.Duration("mqtt_connect_timeout"),
		MaxClientIDSize:          c.Int("max_client_id_size"),
		MaxMessageSize:           int(c.Bytes("max_message_size")),
		MaxConnectSize:           int(c.Bytes("max_connect_size")),
		MaxMessageRate:           c.Int("max_message_rate"),
		MaxSubscriptions:         c.Int("max_subscriptions_per_client"),
		MaxInflight:              c.Int("max_inflight_messages"),
		ReceiveMaxClient:         c.Int("receive_max_client"),
		ReceiveMaxBroker:         c.Int("receive_max_broker"),
		TopicAliasMaxClient:      c.Int("topic_alias_max_client"),
		TopicAliasMaxBroker:      c.Int("topic_alias_max_broker"),
		MaxOnline:                c.Int("max_online_messages"),
		MaxOffline:               c.Int("max_offline_messages"),
		LIFO:                     c.Enum("queue_type") == "lifo",
		UpgradeQoS:               c.Flag("upgrade_outgoing_qos"),
		OverrideMaxOnline:        c.Flag("override_max_online_messages"),
		RetryInterval:            c.Duration("retry_interval"),
		Mode:                     deliverMode(c),
		PersistentExpiry:         expirySeconds(c.Duration("persistent_client_expiration")),
		MaxLastWillDelay:         willDelay(c.Duration("max_last_will_delay")),
		TopicMaxDepth:            c.Int("topic_max_depth"),
		SuppressWillOnTakeover:   c.Flag("suppress_lwt_on_session_takeover"),
		DisconnectUnauthorizedV3: c.Flag("disconnect_on_unauthorized_publish_v3"),
		AllowRegister:            c.Flag("allow_register_during_netsplit"),
		AllowPublish:             c.Flag("allow_publish_during_netsplit"),
		AllowSubscribe:           c.Flag("allow_subscribe_during_netsplit"),
		AllowUnsubscribe:         c.Flag("allow_unsubscribe_during_netsplit"),
		MaxPendingAcks:           c.Int("max_incoming_inflight"),
		ServerKeepAlive:          uint16(c.Int("max_keepalive")),
		ResponseInformation:      c.String("response_information"),
		AuthMethods:              c.List("authentication_methods"),
		AuthMaxRounds:            c.Int("authentication_max_rounds"),
	}
}

// queueOptions are those of sessions that have not connected since the start.
func queueOptions(s *session.Settings) queue.Options {
	return queue.Options{
		MaxInflight: s.MaxInflight, MaxOnline: s.MaxOnline, MaxOffline: s.MaxOffline, LIFO: s.LIFO,
		UpgradeQoS: s.UpgradeQoS, OverrideMaxOnline: s.OverrideMaxOnline, RetryInterval: s.RetryInterval,
	}
}

// deliverMode is how the connections of one client id share their session.
func deliverMode(c *config.Config) queue.DeliverMode {
	switch {
	case !c.Flag("allow_multiple_sessions"):
		return queue.Exclusive
	case c.Enum("queue_deliver_mode") == "balance":
		return queue.Balance
	}
	return queue.Fanout
}

// expirySeconds turns a period into a session expiry interval.
func expirySeconds(d time.Duration) uint32 {
	if d == config.Never || d.Seconds() >= message.NeverExpires {
		return message.NeverExpires
	}
	return uint32(d.Seconds())
}

// willDelay keeps "client" as negative: the client's wish stands.
func willDelay(d time.Duration) time.Duration {
	if d == config.Never {
		return -1
	}
	return d
}

// limit turns infinity into 0, which packages below read as no limit.
func limit(n int) int { return int(unlimited(int64(n))) }

// listenerConfig translates one listener of the settings.
func listenerConfig(cfg *config.Config, l config.Listener) listener.Config {
	c := listener.Config{
		Key:     listener.Key{Type: listener.Type(l.Type), Name: l.Name},
		Network: l.Network, Address: l.Address, Mountpoint: l.Mountpoint, MaxConnections: limit(l.MaxConnections),
		MaxRefusals: cfg.Int("listener.max_connection_refusals"), SendBuffer: l.BufferSizes.Send, ReceiveBuffer: l.BufferSizes.Receive,
		ProxyProtocol: l.ProxyProtocol, ProxyCN: l.ProxyProtocol && l.ProxyProtocolUseCN,
		AllowedProtocols: l.AllowedProtocolVersions, AllowAnonymousOverride: l.AllowAnonymousOverride,
		AuthPlugins: l.AuthPlugins, AuthzPlugins: l.AuthzPlugins,
		MaxConnectionLifetime: l.MaxConnectionLifetime, ForwardConnectionOpts: l.ForwardConnectionOpts,
		MaxFrame: unlimited(cfg.Bytes("max_ws_frame_size")), MaxRequestLine: l.MaxRequestLineLength, MaxHeaderValue: l.MaxHeaderValueLength,
		Modules: l.HTTPModules,
	}
	if f := l.Forwarded; f != nil {
		c.Forwarded = &listener.Forwarded{Trusted: f.Trusted, UseCN: f.UseCN, CNHeader: f.CNHeader}
	}
	if t := l.TLS; t != nil {
		c.HandshakeTimeout = t.HandshakeTimeout
		c.TLS = &listener.TLS{
			CertFile: t.CertFile, KeyFile: t.KeyFile, CAFile: t.CAFile, CRLFile: t.CRLFile, KeyPassword: t.KeyPassword,
			RequireCertificate: t.RequireCertificate, UseIdentityAsUsername: t.UseIdentityAsUsername,
			Depth: t.Depth, Versions: tlsVersions(t), Ciphers: t.Ciphers, Curves: t.Curves,
		}
	}
	return c
}

// tlsVersions names the allowed range of versions.
func tlsVersions(t *config.TLS) []string {
	var out []string
	for _, v := range []struct {
		version uint16
		name    string
	}{{tls.VersionTLS12, "tlsv1.2"}, {tls.VersionTLS13, "tlsv1.3"}} {
		if v.version >= t.MinVersion && v.version <= t.MaxVersion {
			out = append(out, v.name)
		}
	}
	return out
}

// pendingBytes turns infinity into what the message store takes for no limit.
func pendingBytes(n int64) int64 {
	if n == config.Infinity {
		return -1
	}
	return n
}

// minFreeBytes turns 0 into what the store takes for no limit.
func minFreeBytes(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// unlimited turns infinity into 0.
func unlimited(n int64) int64 {
	if n == config.Infinity {
		return 0
	}
	return n
}
