package command

import (
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
)

// hints has one remedy per reason; {x} is the error's metadata x, {mqadmin} how
// the program was called. A hint that needs metadata the server did not send is
// left out.
var hints = map[string]string{
	"NO_QUORUM":         `start the missing members, or see who is away: {mqadmin} cluster show`,
	"NO_LEADER":         `an election may be running; try again, or see: {mqadmin} cluster show`,
	"NOT_READY":         `the node is catching up; try again, or see: {mqadmin} cluster show`,
	"NODE_UNKNOWN":      `the members are listed by: {mqadmin} cluster show`,
	"NODE_UNREACHABLE":  `name a running member by an address that this host reaches, as name@host or name@host:port (44053 if left out): {mqadmin} cluster join discovery-node=VerneMQ@192.168.100.124`,
	"NODE_DOWN":         `see who is away: {mqadmin} cluster show; or ask the member itself`,
	"SELF_JOIN":         `run it on the joining node and name a member of the other cluster`,
	"ALREADY_MEMBER":    `nothing needs to be done; the members are listed by: {mqadmin} cluster show`,
	"HAS_MEMBERS":       `take it out of its cluster first, on one of its members: {mqadmin} cluster leave node=<this node> -k`,
	"COOKIE_MISMATCH":   `set the same distributed_cookie in both configuration files and restart`,
	"VERSION_MISMATCH":  `bring both nodes to versions that are at most one release apart`,
	"NAME_TAKEN":        `give one of them another nodename`,
	"RISK_NOT_ACCEPTED": `if that is what you want: {command}`,
	"LAST_NODE":         `join another node first, or stop this one: broker stop`,
	"OPERATION_RUNNING": `wait until it is done and try again`,
	"SESSIONS_ONLINE":   `run the same command again, with a longer --timeout if need be`,
	"DIVERGED":          `wipe the metadata of one side and join it again; docs/clustering.md tells how`,
	"BAD_NODE_NAME":     `node names look like VerneMQ@192.168.100.124`,
	"NOT_AUTHENTICATED": `use the broker's socket (--socket), a client certificate (--cert, --key) or an API key (--token-file)`,
	"LOGIN_LIMITED":     `wait a minute, and look at the key in --token-file or MQADMIN_TOKEN`,
	"API_KEY_UNKNOWN":   `the keys of all scopes are listed by: {mqadmin} api-key show`,
	"API_KEY_EXISTS":    `nothing needs to be done; the keys are listed by: {mqadmin} api-key show`,
	"AUDIT_OFF":         `turn it on in the configuration file: {setting} = on`,
	"ROLE_TOO_LOW":      `run it as root or as the broker's user, with a client certificate whose organizational unit is {required_role}, or with an API key of that role`,
	"UNKNOWN_FIELD":     `the fields are listed by: {mqadmin} session show --help`,
	"TIMEOUT":           `a longer time can be given: --timeout 60s`,

	"SETTING_UNKNOWN":       `the settings are listed by: {mqadmin} config show`,
	"SETTING_NEEDS_RESTART": `change it in the configuration file, then: broker restart`,
	"LISTENER_UNKNOWN":      `the listeners are listed by: {mqadmin} listener show`,
	"LISTENER_EXISTS":       `to replace it, delete it first: {mqadmin} listener delete`,
	"PLUGIN_UNKNOWN":        `the plugins are listed by: {mqadmin} plugin show --internal`,
	"LOGGER_UNKNOWN":        `the loggers are listed by: {mqadmin} log show config`,
	"TRACE_RUNNING":         `end it first: {mqadmin} trace stop_all`,

	"SESSION_UNKNOWN":      `the sessions are listed by: {mqadmin} session show`,
	"SUBSCRIPTION_UNKNOWN": `its subscriptions are listed by: {mqadmin} subscriptions show {client_id}`,
}

func hint(info *errdetails.ErrorInfo, program string) string {
	h := strings.ReplaceAll(hints[info.GetReason()], "{mqadmin}", program)
	for k, v := range info.GetMetadata() {
		h = strings.ReplaceAll(h, "{"+k+"}", v)
	}
	if strings.ContainsAny(h, "{}") {
		return ""
	}
	return h
}
