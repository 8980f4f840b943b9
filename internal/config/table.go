package config

import "math"

// area groups settings for the documentation.
type area struct {
	title    string
	settings []Setting
}

// areas is the whole table. A new setting is one line in one of these lists.
func areas() []area {
	return []area{
		{"Node and directories", nodeSettings()},
		{"Sessions and messages", sessionSettings()},
		{"Cluster", clusterSettings()},
		{"Storage", storeSettings()},
		{"Listeners", listenerSettings()},
		{"Authentication and authorization", authSettings()},
		{"Administration and HTTP", adminSettings()},
		{"Metrics", metricSettings()},
		{"Logging", logSettings()},
		{"Plugins", pluginSettings()},
		{"Webhooks", webhookSettings()},
		{"Bridges", bridgeSettings()},
		{"Lua scripts and databases", diversitySettings()},
		{"Settings of the Erlang system", erlangSettings()},
	}
}

// atLeast is the Max of integers that are bounded below only.
const atLeast = math.MaxInt64

func nodeSettings() []Setting {
	return []Setting{
		{Key: "nodename", Aliases: []string{"node.name"}, Default: "broker@127.0.0.1", Form: "name@host", check: checkNodeName, Doc: "Name of this node, name@host. Other nodes reach it at host on the cluster port."},
		{Key: "data_dir", Aliases: []string{"platform_data_dir", "setup.data_dir"}, Type: TypeDir, Default: "<data>", Doc: "Directory of everything that must survive a restart. Without a file ./data, with one /var/lib/mqadmin. <data> in other settings."},
		{Key: "run_dir", Type: TypeDir, Default: "<run>", Doc: "Directory of the pid file and the admin socket. Without a file it is run inside data_dir, with one /run/mqadmin. <run> in other settings."},
		{Key: "log_dir", Aliases: []string{"setup.log_dir"}, Type: TypeDir, Default: "<log>", Doc: "Directory of log files that name no other. Without a file it is log inside data_dir, with one /var/log/mqadmin. <log> in other settings."},
		{Key: "shutdown_timeout", Type: TypeDuration, Unit: Seconds, Default: "30s", Doc: "How long a stopping broker waits for connections to end and queues to reach the disk."},
	}
}

func sessionSettings() []Setting {
	return append([]Setting{
		{Key: "allow_anonymous", Type: TypeFlag, Default: off, Runtime: true, Connect: true, Doc: "Accept clients without asking any plugin who they are; what they may do is still decided by the authorization plugins. Without a file and with listeners on loopback only, it is on."},
		{Key: "allow_multiple_sessions", Type: TypeFlag, Default: off, Doc: "Let several connections to one node share a session by using one client id; the clean session flag is then ignored, so every session stays for persistent_client_expiration. A connection to another node still takes the session over, with its queue. VerneMQ removed it in 2.0."},
		{Key: "queue_type", Type: TypeEnum, Words: []string{"fifo", "lifo"}, Default: "fifo", Runtime: true, Connect: true, Doc: "Order in which a queue hands out messages, and so which end is dropped when it is full."},
		{Key: "queue_deliver_mode", Type: TypeEnum, Words: []string{"fanout", "balance"}, Default: "fanout", Needs: "allow_multiple_sessions", Doc: "How the connections of one session share its messages: each gets all, or each message goes to one of them, in turn."},
		{Key: "retry_interval", Type: TypeDuration, Unit: Seconds, Default: "20", Runtime: true, Connect: true, Doc: "After this time an unacknowledged QoS 1 or 2 packet is sent again to MQTT 3.1 and 3.1.1 clients. 0 is never; MQTT 5 forbids it."},
		{Key: "max_client_id_size", Type: TypeInt, Min: 1, Max: 65535, Default: "100", Runtime: true, Connect: true, Doc: "Longest client id, in bytes; longer ones are refused with code 2 (MQTT 3) or 0x85 (MQTT 5)."},
		{Key: "max_subscriptions_per_client", Type: TypeInt, Min: 0, Max: atLeast, Default: "0", Runtime: true, Connect: true, Doc: "How many subscriptions a client may hold, 0 is no limit. Replacing one is always allowed."},
		{Key: "persistent_client_expiration", Type: TypePeriod, Words: []string{"never"}, Default: "never", Runtime: true, Connect: true, Doc: "Delete a persistent session that has been offline this long. MQTT 5 clients say so themselves."},
		{Key: "max_last_will_delay", Type: TypePeriod, Words: []string{"client"}, Default: "client", Runtime: true, Connect: true, Doc: "Longest will delay of MQTT 5 clients; client takes what the client asks for."},
		{Key: "max_inflight_messages", Type: TypeInt, Min: 0, Max: 65535, Default: "20", Runtime: true, Connect: true, Doc: "How many QoS 1 and 2 messages may be unacknowledged towards an MQTT 3 client; 0 is as many as there are packet ids."},
		{Key: "receive_max_client", Type: TypeInt, Min: 1, Max: 65535, Default: "65535", Runtime: true, Connect: true, Doc: "Upper bound of the same for an MQTT 5 client, whatever receive maximum it sends."},
		{Key: "receive_max_broker", Type: TypeInt, Min: 1, Max: 65535, Default: "65535", Runtime: true, Connect: true, Doc: "Receive maximum that MQTT 5 clients are told; who exceeds it is disconnected with 0x93."},
		{Key: "max_incoming_inflight", Type: TypeInt, Min: 1, Max: 65535, Default: "1000", Doc: "How many PUBLISH packets of an MQTT 3 client may await their acknowledgement; beyond, its socket is not read."},
		{Key: "max_online_messages", Type: TypeInt, Min: -1, Max: atLeast, Default: "1000", Runtime: true, Connect: true, Doc: "How many messages may wait for a connected client beside those in flight; -1 is no limit, 0 drops all."},
		{Key: "max_offline_messages", Type: TypeInt, Min: -1, Max: atLeast, Default: "1000", Runtime: true, Connect: true, Doc: "How many messages may wait for a client that is offline; -1 is no limit, 0 keeps none."},
		{Key: "override_max_online_messages", Type: TypeFlag, Default: off, Runtime: true, Connect: true, Doc: "Do not drop messages that waited while the client was offline because max_online_messages is smaller."},
		{Key: "max_message_rate", Type: TypeInt, Min: 0, Max: atLeast, Default: "0", Runtime: true, Connect: true, Doc: "PUBLISH packets per second that are read from one client, 0 is no limit; beyond, reading pauses."},
		{Key: "max_message_size", Aliases: []string{"message_size_limit"}, Type: TypeBytes, Default: "0", Runtime: true, Connect: true, Doc: "Largest packet (remaining length) of a client in bytes; 0 is the protocol's limit of 268435455. Larger ones close the connection, for MQTT 5 with 0x95."},
		{Key: "max_connect_size", Type: TypeBytes, Default: "512KB", Runtime: true, Connect: true, Doc: "Largest CONNECT (remaining length) in bytes, because it is read before anybody is known; 0 is max_message_size. The default has room for the longest client id, will, user name and password that there can be. Larger ones close the connection and are counted in mqtt_invalid_msg_size_error."},
		{Key: "upgrade_outgoing_qos", Type: TypeFlag, Default: off, Runtime: true, Connect: true, Doc: "Deliver with the QoS of the subscription when it is higher than that of the message."},
		{Key: "overlapping_subscriptions", Type: TypeEnum, Words: []string{"merge", "separate"}, Default: "merge", Doc: "What a client gets whose subscriptions match a message more than once: one copy with the highest QoS and all subscription identifiers, or one for each of them, as from VerneMQ."},
		{Key: "mqtt_connect_timeout", Type: TypeDuration, Default: "5000", Runtime: true, Connect: true, Doc: "How long a new connection may take to send its CONNECT and to complete the authentication that it asks for, and an open one to authenticate again."},
		{Key: "max_keepalive", Type: TypeInt, Min: 0, Max: 65535, Default: "0", Runtime: true, Connect: true, Doc: "Longest keepalive of MQTT 5 clients, in seconds; one that asks for more, or for none, is told to use this one. 0 is no limit. Older clients cannot be told and keep theirs."},
		{Key: "topic_alias_max_client", Type: TypeInt, Min: 0, Max: 65535, Default: "0", Runtime: true, Connect: true, Doc: "How many topic aliases an MQTT 5 client may use towards the broker."},
		{Key: "topic_alias_max_broker", Type: TypeInt, Min: 0, Max: 65535, Default: "0", Runtime: true, Connect: true, Doc: "How many topic aliases the broker uses towards an MQTT 5 client."},
		{Key: "response_information", Form: "a topic without wildcards", check: checkTopicName, Runtime: true, Connect: true, Doc: "Topic below which an MQTT 5 client should choose its response topics; clients that ask for it are told in CONNACK. The levels %c, %u and %m stand for client id, user name and mountpoint, as in the ACL file, which should allow it. Without it nobody is told anything."},
		{Key: "topic_max_depth", Type: TypeInt, Min: 0, Max: 65535, Default: "10", Doc: "How many levels a topic may have, in PUBLISH and SUBSCRIBE; 0 is no limit. Deeper ones close the connection."},
		{Key: "shared_subscription_policy", Type: TypeEnum, Words: []string{"prefer_local", "random", "local_only", "prefer_online_before_local"}, Default: "prefer_local", Runtime: true, Doc: "Which member of a shared group gets a message: one on this node if there is one, any, only one on this node, or an online one before a local one."},
		{Key: "shared_subscription_timeout_action", Type: TypeEnum, Words: []string{"ignore", "requeue"}, Default: "ignore", Status: NoEffect, Reason: "a message that a member did not take always goes to another one", Doc: "What happens to a message that a group's member did not take in time."},
		{Key: "suppress_lwt_on_session_takeover", Type: TypeFlag, Default: off, Runtime: true, Connect: true, Doc: "Publish no will when the same client id connects again."},
		{Key: "disconnect_on_unauthorized_publish_v3", Type: TypeFlag, Default: off, Runtime: true, Connect: true, Doc: "Close an MQTT 3 connection that publishes where it may not, instead of acknowledging and dropping."},
		{Key: "max_retained_message_size", Type: TypeBytes, Default: "1MB", Runtime: true, Doc: "Largest payload that is retained, 0 is no limit; a message with a larger one is routed without being retained, and counted."},
		{Key: "max_retained_bytes", Type: TypeBytes, Words: []string{infinity}, Default: "1GB", Runtime: true, Doc: "How much memory all retained messages may take together; beyond, new topics are not retained, and counted."},
		{Key: "max_ws_frame_size", Type: TypeBytes, Words: []string{infinity}, Default: "268435456", Doc: "Largest WebSocket message in bytes, all its frames together; a larger one closes the connection with status 1009. infinity leaves it to max_message_size."},
		{Key: "tcp_listen_options", Status: NoEffect, Reason: "sockets always have no-delay and keep-alive; see listener.tcp.buffer_sizes", Doc: "Erlang's socket options."},
	}, sessionInternals()...)
}

// sessionInternals are keys about parts of VerneMQ that are built otherwise here.
func sessionInternals() []Setting {
	moved := "queues move by numbered pulls, which need no pacing"
	views := "there is one routing index"
	return []Setting{
		{Key: "subscriber_retain_mode", Type: TypeEnum, Words: []string{"immediate", "syncwait"}, Default: "immediate", Runtime: true, Status: NoEffect, Reason: "a subscriber always sees the retained messages that its node has applied", Doc: "When retained messages are read."},
		{Key: "expire_retain_cache", Type: TypeDuration, Unit: Seconds, Default: "0", Status: NoEffect, Reason: "expired retained messages are removed as they expire", Doc: "Interval in which expired retained messages are removed."},
		{Key: "max_drain_time", Type: TypeDuration, Default: "500", Status: NoEffect, Reason: moved, Doc: "How long a queue that has moved waits for stragglers."},
		{Key: "max_msgs_per_drain_step", Type: TypeInt, Min: 1, Max: atLeast, Default: "100", Status: NoEffect, Reason: moved, Doc: "How many messages are sent at once when a queue moves."},
		{Key: "queue_sup_sup_children", Type: TypeInt, Min: 1, Max: atLeast, Default: "50", Status: NoEffect, Reason: "queues have no supervisors", Doc: "Number of queue supervisors."},
		{Key: "fanout.shard_count", Type: TypeInt, Min: 1, Max: atLeast, Default: "1", Status: NoEffect, Reason: views, Doc: "Shards of the fan-out table."},
		{Key: "fanout.async_handoff", Type: TypeFlag, Default: off, Status: NoEffect, Reason: views, Doc: "Deliver shards of a fan-out by workers."},
		{Key: "default_reg_view", Default: "vmq_reg_trie", Status: NoEffect, Reason: views, Doc: "Module of the routing view."},
		{Key: "reg_views", Type: TypeList, Default: "[vmq_reg_trie]", Status: NoEffect, Reason: views, Doc: "Routing views that are started."},
		{Key: "coordinate_registrations", Type: TypeFlag, Default: on, Runtime: true, Status: NoEffect, Reason: "registrations always go through the metadata store; allow_register_during_netsplit decides what happens without it", Doc: "Serialise registrations of one client id."},
	}
}
