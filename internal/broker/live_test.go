package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/logging"
)

// probe is another value of a setting, and what its user sees of it.
type probe struct {
	value string
	seen  func(b *Broker) any
}

// atConnect reads a field of what the next CONNECT copies.
func atConnect(value, field string) probe {
	return probe{value, func(b *Broker) any {
		return reflect.ValueOf(b.settings.load()).Elem().FieldByName(field).Interface()
	}}
}

// exported reads a field of what $SYS or Graphite ask for every second.
func exported[S any](value, field string, settings func(*Broker) S) probe {
	return probe{value, func(b *Broker) any { return reflect.ValueOf(settings(b)).FieldByName(field).Interface() }}
}

// probes has one for every setting that is said to take effect at run time.
func probes(dir string) map[string]probe {
	plugin := func(i int) func(*Broker) any {
		return func(b *Broker) any { return b.plugins.all()[i].File() }
	}
	return map[string]probe{
		"systree_enabled":                       exported("off", "Enabled", (*Broker).systreeSettings),
		"systree_interval":                      exported("1m", "Interval", (*Broker).systreeSettings),
		"systree_mountpoint":                    exported("mp", "Mountpoint", (*Broker).systreeSettings),
		"systree_qos":                           exported("1", "QoS", (*Broker).systreeSettings),
		"systree_retain":                        exported("on", "Retain", (*Broker).systreeSettings),
		"graphite_enabled":                      exported("on", "Enabled", (*Broker).graphiteSettings),
		"graphite_host":                         exported("192.0.2.1", "Host", (*Broker).graphiteSettings),
		"graphite_port":                         exported("2004", "Port", (*Broker).graphiteSettings),
		"graphite_interval":                     exported("1m", "Interval", (*Broker).graphiteSettings),
		"graphite_connect_timeout":              exported("1m", "ConnectTimeout", (*Broker).graphiteSettings),
		"graphite_reconnect_timeout":            exported("1m", "ReconnectTimeout", (*Broker).graphiteSettings),
		"graphite_prefix":                       exported("site", "Prefix", (*Broker).graphiteSettings),
		"graphite_api_key":                      exported("secret", "APIKey", (*Broker).graphiteSettings),
		"graphite_include_labels":               exported("on", "IncludeLabels", (*Broker).graphiteSettings),
		"allow_anonymous":                       atConnect("off", "AllowAnonymous"),
		"allow_publish_during_netsplit":         atConnect("on", "AllowPublish"),
		"allow_register_during_netsplit":        atConnect("on", "AllowRegister"),
		"allow_subscribe_during_netsplit":       atConnect("on", "AllowSubscribe"),
		"allow_unsubscribe_during_netsplit":     atConnect("on", "AllowUnsubscribe"),
		"authentication_max_rounds":             atConnect("3", "AuthMaxRounds"),
		"authentication_methods":                atConnect("SCRAM-SHA-256", "AuthMethods"),
		"disconnect_on_unauthorized_publish_v3": atConnect("on", "DisconnectUnauthorizedV3"),
		"max_client_id_size":                    atConnect("23", "MaxClientIDSize"),
		"max_connect_size":                      atConnect("1KB", "MaxConnectSize"),
		"max_inflight_messages":                 atConnect("7", "MaxInflight"),
		"max_keepalive":                         atConnect("30", "ServerKeepAlive"),
		"max_last_will_delay":                   atConnect("1h", "MaxLastWillDelay"),
		"max_message_rate":                      atConnect("9", "MaxMessageRate"),
		"max_message_size":                      atConnect("1KB", "MaxMessageSize"),
		"max_offline_messages":                  atConnect("8", "MaxOffline"),
		"max_online_messages":                   atConnect("8", "MaxOnline"),
		"max_subscriptions_per_client":          atConnect("5", "MaxSubscriptions"),
		"mqtt_connect_timeout":                  atConnect("1s", "ConnectTimeout"),
		"override_max_online_messages":          atConnect("on", "OverrideMaxOnline"),
		"persistent_client_expiration":          atConnect("1h", "PersistentExpiry"),
		"queue_type":                            atConnect("lifo", "LIFO"),
		"receive_max_broker":                    atConnect("10", "ReceiveMaxBroker"),
		"receive_max_client":                    atConnect("10", "ReceiveMaxClient"),
		"response_information":                  atConnect("answers/%c", "ResponseInformation"),
		"retry_interval":                        atConnect("3s", "RetryInterval"),
		"suppress_lwt_on_session_takeover":      atConnect("on", "SuppressWillOnTakeover"),
		"topic_alias_max_broker":                atConnect("4", "TopicAliasMaxBroker"),
		"topic_alias_max_client":                atConnect("4", "TopicAliasMaxClient"),
		"upgrade_outgoing_qos":                  atConnect("on", "UpgradeQoS"),

		"shared_subscription_policy": {"random", func(b *Broker) any { return b.router.Settings().Policy }},
		"max_retained_message_size":  {"5", func(b *Broker) any { return b.router.Settings().MaxRetainedMessage }},
		"max_retained_bytes":         {"infinity", func(b *Broker) any { return b.router.Settings().MaxRetainedBytes }},
		"remote_enqueue_timeout": {"7s", func(b *Broker) any {
			return fmt.Sprint(b.router.Settings().EnqueueTimeout, b.cluster.EnqueueTimeout())
		}},
		"cluster_ready_rpc_timeout":           {"1s", func(b *Broker) any { return b.adminConfig(nil).PeerTimeout() }},
		"vmq_passwd.password_file":            {filepath.Join(dir, "other"), plugin(0)},
		"vmq_acl.acl_file":                    {filepath.Join(dir, "other"), plugin(1)},
		"vmq_passwd.password_reload_interval": {"77s", func(b *Broker) any { return b.plugins.all()[0].Interval() }},
		"vmq_acl.acl_reload_interval":         {"77s", func(b *Broker) any { return b.plugins.all()[1].Interval() }},
		"log.syslog.level": {"error", func(b *Broker) any {
			for _, h := range b.log.Handlers() {
				if h.Name == "syslog" {
					return h.Level()
				}
			}
			return nil
		}},
		"log.console.level": {"error", func(b *Broker) any { return b.log.Level.Level() }},
	}
}

// TestRuntimeSettingsAreSeenByTheirUsers walks the table: whatever is said to
// take effect at run time does, by set and by a file that is read again, and is
// taken back by reset.
func TestRuntimeSettingsAreSeenByTheirUsers(t *testing.T) {
	dir := t.TempDir()
	lines := []string{
		"log.syslog = on", "plugins.vmq_passwd = on", "plugins.vmq_acl = on",
		"vmq_passwd.password_file = " + filepath.Join(dir, "passwd"), "vmq_acl.acl_file = " + filepath.Join(dir, "acl"),
	}
	extra := ""
	b := testBrokerWith(t, logging.Options{
		Console: "file", ConsoleFile: logging.File{Path: filepath.Join(dir, "console.log")},
		Syslog: logging.Syslog{Dial: func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }},
	},
		func() []string { return append(slices.Clone(lines), extra) }, dir)
	defer b.close()
	all := probes(dir)
	api := settingAPI{b}
	for _, key := range config.Keys() {
		s, _ := config.Lookup(key)
		if !s.Runtime || s.Status != config.Works {
			continue
		}
		p, ok := all[key]
		if !ok {
			t.Errorf("%s is said to take effect at run time; nothing here proves it", key)
			continue
		}
		delete(all, key)
		before := p.seen(b)
		if _, err := api.Set(t.Context(), admin.SetRequest{Changes: []admin.Change{{Key: key, Value: p.value}}}); err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		set := p.seen(b)
		if cmp.Equal(before, set) {
			t.Errorf("%s: its user has not seen that it was set: %v", key, set)
		}
		if _, err := api.Reset(t.Context(), admin.ResetRequest{Key: key}); err != nil || !cmp.Equal(before, p.seen(b)) {
			t.Errorf("%s: after the reset its user sees %v, before %v: %v", key, p.seen(b), before, err)
		}
		extra = key + " = " + p.value
		b.rereadFile()
		if !cmp.Equal(set, p.seen(b)) {
			t.Errorf("%s: its user has not seen the file that was read again: %v", key, p.seen(b))
		}
		extra = ""
		b.rereadFile()
	}
	for key := range all {
		t.Errorf("%s is proved to take effect at run time; the table says otherwise", key)
	}
}

func TestSetIsAllOrNothing(t *testing.T) {
	b := testBroker(t, t.TempDir(), "max_client_id_size = 50")
	defer b.close()
	api := settingAPI{b}
	for _, tc := range []struct {
		changes []admin.Change
		reason  pb.ErrorReason
		text    string
	}{
		{[]admin.Change{{Key: "max_client_id_size", Value: "60"}, {Key: "max_message_rate", Value: "x"}}, pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "max_message_rate: expected an integer"},
		{[]admin.Change{{Key: "max_client_id_size", Value: "60"}, {Key: "nodename", Value: "a@b"}}, pb.ErrorReason_ERROR_REASON_SETTING_NEEDS_RESTART, "restart"},
		{[]admin.Change{{Key: "max_client_id_size", Value: "60"}, {Key: "max_client_id_sise", Value: "1"}}, pb.ErrorReason_ERROR_REASON_SETTING_UNKNOWN, "did you mean max_client_id_size"},
	} {
		_, err := api.Set(t.Context(), admin.SetRequest{Changes: tc.changes})
		e, ok := errors.AsType[*admin.Error](err)
		if !ok || e.Reason != tc.reason || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%v", err)
		}
	}
	if got, err := api.Set(t.Context(), admin.SetRequest{Changes: []admin.Change{{Key: "max_client_id_size", Value: "60"}}, ValidateOnly: true}); err != nil || got[0].Value != "60" || got[0].Former != "50" {
		t.Error(got, err)
	}
	if n := b.settings.load().MaxClientIDSize; n != 50 {
		t.Errorf("max_client_id_size is %d", n)
	}
}

// What was set stays over a file that is read again, and where it was set
// decides what a reset takes back.
func TestResetByScope(t *testing.T) {
	extra := "retry_interval = 30"
	b := testBrokerWith(t, logging.Options{}, func() []string { return []string{extra, "topic_max_depth = 10"} }, t.TempDir())
	defer b.close()
	api := settingAPI{b}
	set := func(key, value string, everywhere bool) {
		t.Helper()
		if _, err := api.Set(t.Context(), admin.SetRequest{Changes: []admin.Change{{Key: key, Value: value}}, Everywhere: everywhere}); err != nil {
			t.Fatal(err)
		}
	}
	set("retry_interval", "5", false)
	set("max_message_rate", "5", true)
	set("vmq_acl.acl_reload_interval", "5", false)
	extra = "retry_interval = 40"
	b.rereadFile()
	origins := func() string {
		list, err := api.List(t.Context(), []string{"retry_interval", "max_message_rate", "vmq_acl.acl_reload_interval"}, "")
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range list {
			out = append(out, s.Value+" "+s.Origin.String()[len("SETTING_ORIGIN_"):])
		}
		return strings.Join(out, ", ")
	}
	for _, tc := range []struct {
		reset admin.ResetRequest
		want  string
	}{
		{admin.ResetRequest{Key: "topic_max_depth"}, "5 SET, 5 SET_ALL, 5 SET"},
		{admin.ResetRequest{Global: true}, "5 SET, 0 DEFAULT, 5 SET"},
		{admin.ResetRequest{App: "vmq_acl", Local: true}, "5 SET, 0 DEFAULT, 10 DEFAULT"},
		{admin.ResetRequest{}, "40 FILE, 0 DEFAULT, 10 DEFAULT"},
	} {
		if _, err := api.Reset(t.Context(), tc.reset); err != nil || origins() != tc.want {
			t.Errorf("%+v: %s, want %s (%v)", tc.reset, origins(), tc.want, err)
		}
	}
	for _, r := range []admin.ResetRequest{{App: "vmq_nothing"}, {Key: "nothing"}} {
		if _, err := api.Reset(t.Context(), r); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
}
