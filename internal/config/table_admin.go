package config

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mqadmin/mqadmin/internal/logging"
)

func authSettings() []Setting {
	return []Setting{
		{Key: "plugins.vmq_passwd", Type: TypeFlag, Default: on, Doc: "Authenticate clients by the password file."},
		{Key: "plugins.vmq_acl", Type: TypeFlag, Default: on, Doc: "Authorize topics by the ACL file. Without a file (of settings) and with listeners on loopback only, it is off."},
		{Key: "vmq_passwd.password_file", Type: TypeFile, Default: "<etc>/vmq.passwd", Runtime: true, Doc: "Password file. One that is missing lets nobody in."},
		{Key: "vmq_passwd.password_reload_interval", Type: TypeDuration, Unit: Seconds, Default: "10", Runtime: true, Doc: "How often the password file is read again; 0 is never."},
		{Key: "vmq_acl.acl_file", Type: TypeFile, Default: "<etc>/vmq.acl", Runtime: true, Doc: "ACL file. One that is missing forbids every topic."},
		{Key: "vmq_acl.acl_reload_interval", Type: TypeDuration, Unit: Seconds, Default: "10", Runtime: true, Doc: "How often the ACL file is read again; 0 is never."},
		{Key: "authentication_methods", Type: TypeList, Runtime: true, Connect: true, Doc: "Methods with which MQTT 5 clients may authenticate in steps (AUTH packets). SCRAM-SHA-256 is answered from the password file, whose entries broker passwd --scram writes; others are for plugins. A client that names another one is refused with 0x8C."},
		{Key: "authentication_max_rounds", Type: TypeInt, Min: 1, Max: 1000, Default: "10", Runtime: true, Connect: true, Doc: "How many packets of a client one such authentication may take; all of them together have mqtt_connect_timeout."},
		{Key: "crl_refresh_interval", Type: TypeDuration, Default: "60000", Doc: "How often the certificates and the files of revoked ones of TLS listeners are read again."},
		{Key: "logging.obfuscation_secret", Secret: true, Default: "random", Status: NoEffect, Reason: "credentials are neither logged nor kept after authentication", Doc: "Secret that hides credentials in memory and logs."},
	}
}

func adminSettings() []Setting {
	modules := "what it belongs to is not served in this version"
	return []Setting{
		{Key: "admin.socket", Type: TypeFile, Default: "<run>/admin.sock", Doc: "Unix socket on which mqadmin reaches the broker. root and the broker's user are admins there."},
		{Key: "admin.socket.group", Doc: "System group whose members may also use the socket as admins."},
		{Key: "admin.listener", Type: TypeAddress, Doc: "Where mqadmin reaches the broker over the network, ip:port, with TLS and a client certificate or an API key. Without it not at all."},
		{Key: "admin.cafile", Type: TypeFile, MustExist: true, Doc: "Certificates (PEM) of the authorities that sign the certificates of people who use admin.listener. Without it they need an API key."},
		{Key: "admin.certfile", Type: TypeFile, MustExist: true, Doc: "The broker's certificate (PEM) on admin.listener."},
		{Key: "admin.keyfile", Type: TypeFile, MustExist: true, Doc: "The private key (PEM) of that certificate."},
		{Key: "admin.max_concurrent_calls", Type: TypeInt, Min: 1, Max: 65536, Default: "64", Doc: "How many calls of mqadmin may run at once; further ones wait."},
		{Key: "admin.max_connections", Type: TypeInt, Min: 1, Max: 1 << 20, Default: "1000", Doc: "How many connections each of the two may have; further ones wait."},
		{Key: "admin.max_failed_logins", Type: TypeInt, Min: 0, Max: 1 << 20, Default: "10", Doc: "How many wrong or expired API keys an address may send in a minute before it is refused; 0 is no limit. It goes for admin.listener and for HTTP."},
		{Key: "max_api_keys", Type: TypeInt, Min: 1, Max: 1 << 20, Default: "1000", Doc: "How many API keys there may be."},
		{Key: "http_modules", Type: TypeList, Default: "[vmq_metrics_http,vmq_http_mgmt_api,vmq_status_http,vmq_health_http,vmq_http_v2_api]", Doc: "What HTTP listeners serve unless they say otherwise. The management APIs (vmq_http_mgmt_api, vmq_http_v2_api) are not part of this version and are left out."},
		{Key: "http_module.$name.auth.mode", Type: TypeEnum, Words: []string{"noauth", "apikey"}, Default: "noauth", Doc: "How requests to one HTTP module (vmq_metrics_http, vmq_health_http, vmq_status_http) are authenticated: not at all, or with an API key of the scope metrics, health or status, as user name of HTTP Basic or in the header x-api-key. None of the three shows anything of a client."},
		{Key: "http_module.vmq_http_mgmt_api.auth.mode", Type: TypeEnum, Words: []string{"noauth", "apikey"}, Default: "apikey", Status: NoEffect, Reason: modules, Doc: "How requests to the management API are authenticated."},
		{Key: "http_module.vmq_http_pub.auth.mode", Type: TypeEnum, Words: []string{"noauth", "apikey"}, Default: "apikey", Status: NoEffect, Reason: modules, Doc: "How requests to publish over HTTP are authenticated."},
		{Key: "http_module.vmq_http_v2_api.auth.mode", Type: TypeEnum, Words: []string{"noauth", "apikey"}, Default: "apikey", Status: NoEffect, Reason: modules, Doc: "How requests to the second management API are authenticated."},
		{Key: "min_apikey_length", Type: TypeInt, Min: 0, Max: 1024, Default: "16", Doc: "Shortest API key that api-key add takes; made ones have 32 characters, or this if it is more."},
		{Key: "max_apikey_expiry_days", Type: TypeInt, Min: 0, Max: atLeast, Words: []string{"undefined"}, Default: "undefined", Doc: "Longest life of an API key in days; api-key create needs expires= then."},
		{Key: "vmq_web_ui.$section.$option", Status: NoEffect, Reason: "the status page has no settings of its own", Doc: "Setting of VerneMQ's web interface."},
		{Key: "vmq_web_ui.admin.user_pwd", Secret: true, Status: NoEffect, Reason: "the status page has no settings of its own", Doc: "Password of VerneMQ's web interface."},
		{Key: "vmq_web_ui.mgmt_api.key", Secret: true, Status: NoEffect, Reason: "the status page has no settings of its own", Doc: "API key of VerneMQ's web interface."},
	}
}

func metricSettings() []Setting {
	return []Setting{
		{Key: "systree_enabled", Type: TypeFlag, Default: on, Runtime: true, Doc: "Publish this node's metrics on $SYS/<node>/…, where each _ of a metric's name is a level: $SYS/VerneMQ@10.0.0.1/mqtt/publish/received. Nobody gets them who has not subscribed, and clients cannot publish there."},
		{Key: "systree_interval", Type: TypeDuration, Form: "a number of milliseconds or a duration such as 90s, of 100 ms or more", check: checkInterval, Default: "20000", Runtime: true, Needs: "systree_enabled", Doc: "How often $SYS topics are published; the first time a second after the start. A round is left out while messages of the one before are on their way, and counted in systree_rounds_skipped."},
		{Key: "systree_mountpoint", Runtime: true, Needs: "systree_enabled", Doc: "Mountpoint of $SYS messages; clients of others do not see them."},
		{Key: "systree_qos", Type: TypeInt, Min: 0, Max: 2, Default: "0", Runtime: true, Needs: "systree_enabled", Doc: "QoS of $SYS messages."},
		{Key: "systree_retain", Type: TypeFlag, Default: off, Runtime: true, Needs: "systree_enabled", Doc: "Retain $SYS messages, so that who subscribes has values at once. Each value of each node is then replicated to all nodes, every systree_interval."},
		{Key: "systree_reg_view", Default: "vmq_reg_trie", Status: NoEffect, Reason: "there is one routing index", Doc: "Routing view of $SYS messages."},
		{Key: "prometheus_namespace", Default: "vernemq_", Doc: "Prefix of every metric's name on /metrics; \"\" is none."},
		{Key: "graphite_enabled", Type: TypeFlag, Default: off, Runtime: true, Doc: "Push this node's metrics to Graphite, in its format for plain text over TCP. Each _ of a metric's name is a dot: mqtt.publish.received."},
		{Key: "graphite_host", Default: "localhost", Runtime: true, Needs: "graphite_enabled", Doc: "Graphite's host."},
		{Key: "graphite_port", Type: TypeInt, Min: 1, Max: 65535, Default: "2003", Runtime: true, Needs: "graphite_enabled", Doc: "Graphite's port for plain text."},
		{Key: "graphite_interval", Type: TypeDuration, Form: "a number of milliseconds or a duration such as 90s, of 100 ms or more", check: checkInterval, Default: "20000", Runtime: true, Needs: "graphite_enabled", Doc: "How often metrics are pushed. What cannot be pushed is not kept."},
		{Key: "graphite_connect_timeout", Type: TypeDuration, Form: "a number of milliseconds or a duration such as 90s, of 100 ms or more", check: checkInterval, Default: "5000", Runtime: true, Needs: "graphite_enabled", Doc: "How long connecting, and writing one push, may take."},
		{Key: "graphite_reconnect_timeout", Type: TypeDuration, Form: "a number of milliseconds or a duration such as 90s, of 100 ms or more", check: checkInterval, Default: "15000", Runtime: true, Needs: "graphite_enabled", Doc: "How long to wait before connecting again after an error, give or take a quarter. It doubles with each attempt that fails, up to eight times as long."},
		{Key: "graphite_prefix", Runtime: true, Needs: "graphite_enabled", Doc: "Prefix of every metric's path. Nodes that push to one Graphite need one each, or their values mix."},
		{Key: "graphite_api_key", Secret: true, Runtime: true, Needs: "graphite_enabled", Doc: "API key in front of the prefix, for hosted Graphite."},
		{Key: "graphite_include_labels", Type: TypeFlag, Default: off, Runtime: true, Needs: "graphite_enabled", Doc: "Push, beside the sum of each metric, one line for each combination of its labels, which follow the name: mqtt.puback.sent.mqtt_version_5.reason_code_success."},
	}
}

func logSettings() []Setting {
	levels := []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}
	formats := []string{"text", "json"}
	out := []Setting{
		{Key: "log.console", Type: TypeEnum, Words: []string{off, "file", "console", "both"}, Default: "file", Doc: "Where the console log goes: nowhere, to log.console.file, to standard output, or both. `broker console` always writes to standard output as well."},
		{Key: "log.console.level", Type: TypeEnum, Words: levels, Default: "info", Runtime: true, Doc: "What is logged: this level and worse."},
		{Key: "log.console.file", Type: TypeFile, Default: "<log>/console.log", Doc: "File of the console log."},
		{Key: "log.console.console.format", Type: TypeEnum, Words: formats, Default: "text", Doc: "Format on standard output."},
		{Key: "log.console.file.format", Type: TypeEnum, Words: formats, Default: "text", Doc: "Format in the file."},
		{Key: "log.error", Type: TypeFlag, Default: on, Doc: "Write errors to a file of their own, too."},
		{Key: "log.error.file", Type: TypeFile, Default: "<log>/error.log", Doc: "File of the error log."},
		{Key: "log.error.file.format", Type: TypeEnum, Words: formats, Default: "text", Doc: "Format of the error log."},
		{Key: "log.crash", Type: TypeFlag, Default: on, Doc: "Write panics, each of which ended one connection, to a file of their own."},
		{Key: "log.crash.file", Type: TypeFile, Default: "<log>/crash.log", Doc: "File of the crash log."},
		{Key: "log.crash.maximum_message_size", Type: TypeBytes, Default: "64KB", Doc: "Longest record of the crash log; the rest is cut. VerneMQ removed it in 2.0."},
		{Key: "log.crash.size", Type: TypeBytes, Words: []string{infinity}, Default: "10MB", Doc: "Rotate the crash log at this size; 0 is never. log.crash.rotation.size overrides it. VerneMQ removed it in 2.0."},
		{Key: "log.crash.rotation", Default: "$D0", Form: "a schedule such as $D0, $W0D23, $M1D5 or $H30, or off", check: checkRotation, Doc: "When the crash log is rotated: $D0 daily at hour 0, $W0D23 weekly on Sunday at hour 23, $M1D5 on the first of a month at hour 5, $H30 hourly at minute 30; off is never. VerneMQ removed it in 2.0."},
		{Key: "log.audit", Type: TypeFlag, Default: on, Doc: "Write down who did what through the admin API, in a file of its own, which mqadmin audit show reads."},
		{Key: "log.audit.file", Type: TypeFile, Default: "<log>/audit.log", Doc: "File of the audit log, one JSON object per line."},
		{Key: "log.audit.reads", Type: TypeFlag, Default: off, Doc: "Write down calls that change nothing, too."},
		{Key: "log.level", Type: TypeEnum, Words: append([]string{"all"}, levels...), Default: "all", Doc: "Lower bound of every log."},
		{Key: "log.template", Type: TypeEnum, Words: []string{"simple", "extended"}, Default: "extended", Status: NoEffect, Reason: "log lines are key=value or JSON", Doc: "Layout of a line of text."},
		{Key: "logging.keepalive_as_warning", Type: TypeFlag, Default: on, Status: NotYet, Reason: "a client that went silent is counted in client_keepalive_expired", Doc: "Log a client that went silent as a warning instead of an information."},
		{Key: "log.sasl", Type: TypeFlag, Default: off, Status: NoEffect, Reason: "there are no SASL reports", Doc: "Write Erlang's progress reports."},
		{Key: "log.sasl.file", Type: TypeFile, Default: "<log>/sasl.log", Needs: "log.sasl", Status: NoEffect, Reason: "there are no SASL reports", Doc: "File of Erlang's progress reports."},
		{Key: "sasl", Type: TypeFlag, Default: off, Status: NoEffect, Reason: "there are no SASL reports", Doc: "Erlang's progress reports."},
		{Key: "log.error.redirect", Type: TypeFlag, Default: on, Status: NoEffect, Reason: "there is one logger", Doc: "Send Erlang's error logger to the log. VerneMQ removed it in 2.0."},
		{Key: "log.error.messages_per_second", Type: TypeInt, Min: 0, Max: atLeast, Default: "100", Status: NoEffect, Reason: "there is one logger", Doc: "Bound of Erlang's error logger. VerneMQ removed it in 2.0."},
	}
	for _, name := range []string{"console", "error", "crash"} {
		out = append(out, rotationSettings(name, Setting{})...)
	}
	out = append(out, rotationSettings("audit", Setting{})...)
	out = append(out, rotationSettings("sasl", Setting{Needs: "log.sasl", Status: NoEffect, Reason: "there are no SASL reports"})...)
	return append(out, syslogSettings()...)
}

// rotationSettings are the same three for every log file.
func rotationSettings(name string, like Setting) []Setting {
	size, keep, pack := like, like, like
	size.Key, size.Type, size.Words, size.Default = "log."+name+".rotation.size", TypeBytes, []string{infinity}, infinity
	if name == "audit" {
		size.Default = "10MB"
	}
	size.Doc = "Rotate the " + name + " log at this size."
	keep.Key, keep.Type, keep.Max, keep.Default = "log."+name+".rotation.keep", TypeInt, 100000, "5"
	keep.Words = []string{"current"}
	keep.Doc = "How many rotated " + name + " logs are kept."
	pack.Key, pack.Type, pack.Default = "log."+name+".rotation.compress_on_rotate", TypeFlag, off
	pack.Doc = "Compress rotated " + name + " logs with gzip."
	return []Setting{size, keep, pack}
}

func syslogSettings() []Setting {
	rows := []Setting{
		{Key: "level", Type: TypeEnum, Words: []string{"all", "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}, Default: "all", Runtime: true, Doc: "What goes to syslog: this level and worse."},
		{Key: "format", Type: TypeEnum, Words: []string{"rfc3164", "rfc5424"}, Default: "rfc3164", Doc: "Format of the messages."},
		{Key: "facility", Type: TypeEnum, Words: strings.Fields("kern kernel user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp logaudit logalert clock local0 local1 local2 local3 local4 local5 local6 local7"), Default: "daemon", Doc: "Facility of the messages."},
		{Key: "app_name", Default: "broker", Form: "a word of at most 48 letters", check: checkAppName, Doc: "Name of the program in the messages."},
		{Key: "max_pending", Type: TypeInt, Min: 1, Max: 1_000_000, Default: "1000", Doc: "How many messages may wait while syslog does not take them; beyond, they are dropped and counted in log_syslog_dropped."},
		{Key: "remote.host", Doc: "Host of a remote syslog; without it messages go to this machine's, /dev/log."},
		{Key: "remote.port", Type: TypeInt, Min: 1, Max: 65535, Default: "514", Doc: "Port of a remote syslog."},
		{Key: "remote.protocol", Type: TypeEnum, Words: []string{"udp", "tcp", "tls"}, Default: "udp", Doc: "Transport to a remote syslog; tls needs log.syslog.format = rfc5424 and log.syslog.remote.tls.cafile."},
		{Key: "remote.tls.cafile", Type: TypeFile, MustExist: true, Doc: "Certificates (PEM) of the authorities of a remote syslog."},
	}
	for i := range rows {
		rows[i].Key = "log.syslog." + rows[i].Key
		rows[i].Needs = "log.syslog"
	}
	return append(rows, Setting{Key: "log.syslog", Type: TypeFlag, Default: off, Doc: "Write the log to syslog, too."})
}

func checkAppName(v any) bool {
	s := v.(string)
	return len(s) > 0 && len(s) <= 48 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func checkNodeName(v any) bool {
	name, host, ok := strings.Cut(v.(string), "@")
	return ok && name != "" && host != "" && !strings.ContainsAny(host, "@ /") && !strings.ContainsAny(name, " \t")
}

// checkInterval keeps work that is done again and again from being done all the
// time.
func checkInterval(v any) bool { return v.(time.Duration) >= 100*time.Millisecond }

func checkTopicName(v any) bool {
	s := v.(string)
	return utf8.ValidString(s) && !strings.ContainsAny(s, "+#\x00") && len(s) <= 65535
}

func checkRotation(v any) bool {
	_, err := logging.ParseSchedule(v.(string))
	return err == nil
}
