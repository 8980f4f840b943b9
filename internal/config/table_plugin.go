package config

import (
	"slices"
	"strings"
)

func pluginSettings() []Setting {
	later := "this plugin comes with a later version; set it to off"
	foreign := "plugins of other makers cannot be loaded; webhooks, scripts and bridges come with a later version"
	return []Setting{
		{Key: "plugins.vmq_diversity", Type: TypeFlag, Default: off, Status: Refused, Reason: later, Doc: "Lua scripts and authentication against databases."},
		{Key: "plugins.vmq_webhooks", Type: TypeFlag, Default: off, Status: Refused, Reason: later, Doc: "Hooks over HTTP."},
		{Key: "plugins.vmq_bridge", Type: TypeFlag, Default: off, Status: Refused, Reason: later, Doc: "Bridges to other brokers."},
		{Key: "plugins.vmq_http_pub", Type: TypeFlag, Default: off, Status: Refused, Reason: later, Doc: "Publish over HTTP."},
		{Key: "plugins.$name", Type: TypeFlag, Default: off, Status: Refused, Reason: foreign, Doc: "Turn a plugin on."},
		{Key: "plugins.$name.path", Type: TypeDir, Needs: "plugins.$name", Status: Refused, Reason: foreign, Doc: "Directory of a plugin."},
		{Key: "plugins.$name.priority", Type: TypeInt, Min: 0, Max: atLeast, Doc: "Order in which plugins start and are asked: low ones first, those without a priority last (vmq_passwd, then vmq_acl)."},
		{Key: "max_plugin_events", Type: TypeInt, Min: 1, Max: 10_000_000, Default: "10000", Doc: "How many events about queues and sessions (messages dropped or stored for somebody offline, sessions expired, wills published) may wait for plugins; beyond, they are dropped and counted in plugin_events_dropped."},
		{Key: "wait_for_proc", Default: "vmq_server_sup", Status: NoEffect, Reason: "names an Erlang process", Doc: "Process that plugins wait for."},
		{Key: "default_schema_dir", Type: TypeDir, Words: []string{off}, Default: off, Status: NoEffect, Reason: "the settings are built in", Doc: "Directory of further schema files."},
	}
}

// ofPlugin prepares the settings of a plugin that this version does not have.
func ofPlugin(plugin, prefix string, rows []Setting) []Setting {
	for i := range rows {
		rows[i].Key = prefix + rows[i].Key
		rows[i].Needs, rows[i].Status = "plugins."+plugin, NotYet
		rows[i].Reason = "plugins." + plugin + " comes with a later version"
	}
	return rows
}

func webhookSettings() []Setting {
	hooks := strings.Fields("auth_on_register auth_on_publish auth_on_subscribe on_register on_publish on_subscribe on_unsubscribe " +
		"on_deliver on_offline_message on_client_wakeup on_client_offline on_client_gone on_session_expired " +
		"auth_on_register_m5 auth_on_publish_m5 auth_on_subscribe_m5 on_register_m5 on_publish_m5 on_subscribe_m5 " +
		"on_unsubscribe_m5 on_deliver_m5 on_auth_m5")
	bools := []string{"true", "false"}
	return ofPlugin("vmq_webhooks", "vmq_webhooks.", []Setting{
		{Key: "$name.hook", Type: TypeEnum, Words: hooks, Doc: "Hook that calls the endpoint."},
		{Key: "$name.endpoint", Doc: "URL that is called."},
		{Key: "$name.base64encode", Type: TypeFlag, Words: bools, Default: on, Doc: "Encode payloads in base64."},
		{Key: "$name.no_payload", Type: TypeFlag, Words: bools, Default: off, Doc: "Leave the payload out of auth_on_publish."},
		{Key: "$name.response_timeout", Type: TypeDuration, Default: "5000", Doc: "How long the endpoint may take."},
		{Key: "clique_lead_line", Doc: "Line in the usage of vmq-admin."},
		{Key: "pool_max_connections", Type: TypeInt, Min: 1, Max: atLeast, Default: "100", Runtime: true, Doc: "Connections to endpoints."},
		{Key: "pool_timeout", Type: TypeDuration, Default: "60000", Runtime: true, Doc: "How long an idle connection is kept."},
		{Key: "cafile", Type: TypeFile, Runtime: true, Doc: "Certificates of authorities of https endpoints."},
		{Key: "tls_version", Type: TypeEnum, Words: []string{"tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3"}, Default: "tlsv1.2", Runtime: true, Doc: "TLS version towards endpoints."},
		{Key: "verify_peer", Type: TypeFlag, Default: on, Runtime: true, Doc: "Check the certificates of endpoints."},
		{Key: "depth", Type: TypeInt, Min: 0, Max: 1000, Default: "100", Runtime: true, Doc: "Intermediate certificates that are accepted."},
		{Key: "certfile", Type: TypeFile, Runtime: true, Doc: "Client certificate."},
		{Key: "use_crls", Type: TypeFlag, Words: bools, Default: on, Doc: "Check lists of revoked certificates."},
		{Key: "keyfile", Type: TypeFile, Runtime: true, Doc: "Key of the client certificate."},
		{Key: "keyfile_password", Secret: true, Doc: "Passphrase of that key."},
	})
}

func bridgeSettings() []Setting {
	out := ofPlugin("vmq_bridge", "vmq_bridge.", []Setting{
		{Key: "clique_lead_line", Doc: "Line in the usage of vmq-admin."},
		{Key: "registry_mfa", Doc: "Erlang function; VerneMQ removed it."},
	})
	for _, t := range []string{"tcp", "ssl"} {
		out = append(out, ofPlugin("vmq_bridge", "vmq_bridge."+t+".$name", bridgeOptions(t))...)
	}
	return out
}

func bridgeOptions(bridgeType string) []Setting {
	rows := []Setting{
		{Key: "", Doc: "Remote broker of a " + bridgeType + " bridge, host:port."},
		{Key: ".cleansession", Type: TypeFlag, Default: off, Doc: "Connect with a clean session."},
		{Key: ".client_id", Default: "auto", Doc: "Client id; auto is made of host and bridge name."},
		{Key: ".mountpoint", Doc: "Mountpoint on this side."},
		{Key: ".keepalive_interval", Type: TypeDuration, Unit: Seconds, Default: "60", Doc: "Keepalive."},
		{Key: ".persistent_queue", Type: TypeFlag, Default: off, Doc: "Keep outgoing messages on disk."},
		{Key: ".queue_dir", Type: TypeDir, Doc: "Directory of that queue."},
		{Key: ".username", Doc: "User name at the remote broker."},
		{Key: ".password", Secret: true, Doc: "Password at the remote broker."},
		{Key: ".segment_size", Type: TypeBytes, Default: "4096", Doc: "Size of a segment of the queue on disk."},
		{Key: ".outgoing_batch_size", Type: TypeInt, Min: 1, Max: atLeast, Default: "100", Doc: "Messages that are taken from the queue at once."},
		{Key: ".topic.$topic_id", Doc: "Rule: pattern [[[out|in|both] qos] local-prefix remote-prefix]."},
		{Key: ".restart_timeout", Type: TypeDuration, Unit: Seconds, Default: "10", Doc: "How long to wait before connecting again."},
		{Key: ".try_private", Type: TypeFlag, Default: on, Doc: "Try the protocol levels for bridges first."},
		{Key: ".mqtt_version", Type: TypeEnum, Words: []string{"3", "4", "5"}, Default: "3", Doc: "Protocol version."},
		{Key: ".max_outgoing_buffered_messages", Type: TypeInt, Min: 0, Max: atLeast, Default: "0", Doc: "Messages that may wait, 0 is no limit."},
		{Key: ".pubrel_queue_ratio", Type: TypePercent, Min: 0, Max: 100, Default: "0", Doc: "Share of the queue that is kept for PUBREL."},
		{Key: ".inet_version", Type: TypeEnum, Words: []string{"inet", "inet6"}, Default: "inet", Doc: "Address family."},
	}
	if bridgeType != "ssl" {
		return rows
	}
	return slices.Concat(rows, []Setting{
		{Key: ".sni", Doc: "Host name for TLS."},
		{Key: ".cafile", Type: TypeFile, Doc: "Certificates of authorities."},
		{Key: ".capath", Type: TypeFile, Doc: "Directory of certificates of authorities."},
		{Key: ".certfile", Type: TypeFile, Doc: "Client certificate."},
		{Key: ".keyfile", Type: TypeFile, Doc: "Key of the client certificate."},
		{Key: ".insecure", Type: TypeFlag, Default: off, Doc: "Do not check the remote certificate."},
		{Key: ".tls_version", Type: TypeEnum, Words: []string{"tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3"}, Default: "tlsv1.2", Doc: "TLS version."},
		{Key: ".identity", Doc: "Identity for pre-shared keys."},
		{Key: ".psk", Secret: true, Doc: "Pre-shared key."},
		{Key: ".depth", Type: TypeInt, Min: 0, Max: 100, Default: "1", Doc: "Intermediate certificates that are accepted."},
		{Key: ".customize_hostname_check", Type: TypeEnum, Words: []string{"https"}, Default: "https", Doc: "How host names are checked."},
	})
}

func diversitySettings() []Setting {
	auto := []string{"auto"}
	out := ofPlugin("vmq_diversity", "", []Setting{
		{Key: "vmq_diversity.keep_state", Type: TypeFlag, Default: off, Runtime: true, Doc: "Keep the state of a script between calls."},
		{Key: "vmq_diversity.nr_lua_states", Type: TypeInt, Min: 1, Max: atLeast, Default: "1", Doc: "Interpreters for each script."},
		{Key: "vmq_diversity.script_dir", Type: TypeDir, Default: "<share>/lua", Doc: "Directory of scripts that are loaded at start."},
		{Key: "vmq_diversity.$script.file", Type: TypeFile, Doc: "A script to load."},
		{Key: "vmq_diversity.clique_lead_line", Doc: "Line in the usage of vmq-admin."},
		{Key: "vmq_diversity.memcache.host", Default: "localhost", Doc: "Host of memcached."},
		{Key: "vmq_diversity.memcache.port", Type: TypeInt, Min: 1, Max: 65535, Default: "11211", Doc: "Port of memcached."},
		{Key: "vmq_bcrypt.pool_size", Type: TypeInt, Min: 1, Max: 1024, Words: auto, Default: "1", Doc: "Workers for bcrypt."},
		{Key: "vmq_bcrypt.nif_pool_size", Type: TypeInt, Min: 1, Max: 1024, Words: auto, Default: "4", Doc: "Native workers for bcrypt."},
		{Key: "vmq_bcrypt.nif_pool_max_overflow", Type: TypeInt, Min: 0, Max: 1024, Default: "10", Doc: "Further native workers for bcrypt."},
		{Key: "vmq_bcrypt.default_log_rounds", Type: TypeInt, Min: 4, Max: 31, Default: "12", Doc: "Cost of bcrypt."},
		{Key: "vmq_bcrypt.mechanism", Type: TypeEnum, Words: []string{"nif", "port"}, Default: "port", Doc: "How bcrypt is called."},
	})
	for _, db := range databases() {
		out = append(out, ofPlugin("vmq_diversity", "vmq_diversity.", db.settings())...)
	}
	return append(out, httpPubSettings()...)
}

func httpPubSettings() []Setting {
	rows := []Setting{
		{Key: "mqtt_auth.mode", Type: TypeEnum, Words: []string{"on-behalf-of", "predefined"}, Default: "on-behalf-of", Doc: "Whose credentials a publish over HTTP uses."},
		{Key: "mqtt_auth.auth_plugin", Default: "mqtt", Doc: "Plugin that authenticates it."},
		{Key: "mqtt_auth.user", Doc: "Predefined user name."},
		{Key: "mqtt_auth.password", Secret: true, Doc: "Predefined password."},
		{Key: "mqtt_auth.client_id", Doc: "Predefined client id."},
		{Key: "mountpoint", Doc: "Mountpoint of publishes over HTTP."},
	}
	out := ofPlugin("vmq_http_pub", "vmq_http_pub.", slices.Clone(rows))
	for _, t := range httpTypes {
		out = append(out, ofPlugin("vmq_http_pub", "listener."+t+".$name.http_modules.vmq_http_pub.", slices.Clone(rows))...)
	}
	return out
}
