package config

func clusterSettings() []Setting {
	return []Setting{
		{Key: "distributed_cookie", Secret: true, Doc: "Secret that all nodes of a cluster share; each side of a link proves that it knows it. Needed unless the cluster port is on loopback. Use 16 random characters or more."},
		{Key: "allow_register_during_netsplit", Type: TypeFlag, Default: off, Runtime: true, Connect: true, Doc: "Accept CONNECT while this node sees no quorum."},
		{Key: "allow_publish_during_netsplit", Type: TypeFlag, Default: off, Runtime: true, Connect: true, Doc: "Accept PUBLISH while this node sees no quorum."},
		{Key: "allow_subscribe_during_netsplit", Type: TypeFlag, Default: off, Runtime: true, Connect: true, Doc: "Accept SUBSCRIBE while this node sees no quorum."},
		{Key: "allow_unsubscribe_during_netsplit", Type: TypeFlag, Default: off, Runtime: true, Connect: true, Doc: "Accept UNSUBSCRIBE while this node sees no quorum."},
		{Key: "netsplit_grace", Type: TypeDuration, Default: "3s", Doc: "How long a node looks for a leader with quorum before the netsplit settings decide; operations wait that long."},
		{Key: "remote_enqueue_timeout", Type: TypeDuration, Words: []string{infinity}, Default: "5000", Runtime: true, Doc: "How long a client that moved waits for the queue on its old node before it goes on without."},
		{Key: "link_ack_timeout", Type: TypeDuration, Default: "2s", Doc: "After this time without acknowledgement a link between nodes counts as down and its messages go to the durable spool."},
		{Key: "outgoing_clustering_buffer_size", Type: TypeBytes, Default: "67108864", Doc: "Bytes in memory for each node that is slow or cut off; what only clean sessions need is dropped beyond, and counted."},
		{Key: "incoming_clustering_buffer_size", Type: TypeBytes, Default: "268500992", Doc: "Largest frame that is accepted from another node, in bytes; it must hold the largest message."},
		{Key: "outgoing_clustering_flush_threshold", Type: TypeBytes, Default: "65536", Status: NoEffect, Reason: "a write begins as soon as the one before it has ended, with all that has come meanwhile", Doc: "Most bytes that are gathered into one write to another node."},
		{Key: "outgoing_cluster_handshake_ack_timeout", Type: TypeDuration, Default: "5000", Doc: "How long another node may take to prove itself when a link is made."},
		{Key: "cluster_ready_rpc_timeout", Type: TypeDuration, Default: "5000", Runtime: true, Doc: "How long a command that asks every member waits for the answers."},
		{Key: "cluster_spool_full", Type: TypeEnum, Words: []string{"refuse", "drop"}, Default: "refuse", Runtime: true, Status: NotYet, Reason: "the spool grows until the disk has 64 MiB left, and then the publisher gets no acknowledgement", Doc: "What happens to a message for a node that cannot be reached once its spool is full: the publisher gets no acknowledgement, or the message is dropped and counted."},
		{Key: "cluster_spool_max_bytes", Type: TypeBytes, Words: []string{"auto"}, Default: "auto", Status: NotYet, Reason: "the spool grows until the disk has 64 MiB left, and then the publisher gets no acknowledgement", Doc: "How large the spool for one unreachable node may grow; auto is a quarter of the disk space that was free at start."},
		{Key: "max_joining_time", Type: TypeDuration, Default: "60s", Doc: "How long `cluster join` waits until the new node has caught up."},
		{Key: "metadata.max_pending_commands", Type: TypeInt, Min: 1, Max: atLeast, Default: "65536", Doc: "Most commands that wait for the metadata log; beyond, operations are refused as not ready."},
		{Key: "metadata.snapshot_min_bytes", Type: TypeBytes, Default: "64MB", Doc: "Smallest growth of the metadata log after which a snapshot is taken; with a large snapshot it is that snapshot's size."},
		{Key: "metadata_plugin", Type: TypeEnum, Words: []string{"vmq_plumtree", "vmq_swc"}, Default: "vmq_swc", Status: NoEffect, Reason: "metadata is replicated with Raft", Doc: "Replicated metadata store."},
		{Key: "outgoing_connect_options", Status: NoEffect, Reason: "names Erlang's socket options", Doc: "Socket options of links to other nodes."},
		{Key: "plumtree.directory", Type: TypeDir, Status: NoEffect, Reason: "metadata is replicated with Raft", Doc: "Directory of Plumtree's metadata."},
		{Key: "plumtree.outstanding_limit", Type: TypeInt, Status: NoEffect, Reason: "metadata is replicated with Raft", Doc: "Plumtree: bound of outstanding broadcasts."},
		{Key: "plumtree.drop_i_have_threshold", Type: TypeInt, Status: NoEffect, Reason: "metadata is replicated with Raft", Doc: "Plumtree: bound of lazy pushes."},
		swc("directory", TypeDir), swc("dkm_directory", TypeDir), swc("db_backend", TypeString), swc("swc_groups", TypeInt),
		swc("sync_interval", TypeDuration), swc("sync_interval.leeway", TypeDuration), swc("gc_interval", TypeDuration),
		swc("periodic_gc", TypeFlag), swc("sync_timeout", TypeDuration), swc("fast_call_timeout", TypeDuration),
		swc("enable_broadcast", TypeFlag), swc("exchange_batch_size", TypeInt), swc("init_sync_procedure", TypeFlag),
		swc("prevent_nonempty_join", TypeFlag),
	}
}

// swc is a setting of VerneMQ's metadata store.
func swc(option string, t Type) Setting {
	return Setting{
		Key: "vmq_swc." + option, Type: t, Status: NoEffect, Reason: "metadata is replicated with Raft",
		Doc: "Setting of the metadata store of VerneMQ.",
	}
}

func storeSettings() []Setting {
	return append([]Setting{
		{Key: "message_store.sync", Type: TypeEnum, Words: []string{"always", "interval", "never"}, Default: "always", Doc: "When messages are forced to the disk: before they are acknowledged, at an interval, or when the system likes. Only always keeps acknowledged messages when the machine (not just the process) fails."},
		{Key: "message_store.sync_interval", Type: TypeDuration, Default: "1s", Doc: "The interval of message_store.sync = interval."},
		{Key: "message_store.directory", Aliases: []string{"vmq_generic_msg_store.store_dir", "leveldb_message_store.directory"}, Type: TypeDir, Default: "<data>/messages", Doc: "Directory of queued messages."},
		{Key: "message_store.max_pending_bytes", Type: TypeBytes, Default: "64MB", Doc: "Most bytes that wait for the disk; beyond, publishers wait."},
		{Key: "message_store.min_free_space", Type: TypeBytes, Default: "64MB", Doc: "With less free space on the disk of the message store, publishes that have to be stored are refused (MQTT 5: reason 0x97), so that there is room to deliver and delete; 0 tries until the disk is full."},
		{Key: "leveldb.maximum_memory.percent", Type: TypePercent, Min: 1, Max: 100, Default: "70", Doc: "Sizes the cache of the message store: this share of an eighth of the machine's memory (VerneMQ gives that share of the whole memory to LevelDB)."},
		{Key: "leveldb.maximum_memory", Type: TypeBytes, Doc: "Size of the cache of the message store in bytes; overrides the percentage."},
		{Key: "message_store_plugin", Default: "vmq_generic_msg_store", Status: NoEffect, Reason: "there is one message store", Doc: "Plugin of the message store."},
		{Key: "vmq_generic_msg_store.db_backend", Default: "leveldb", Status: NoEffect, Reason: "there is one message store", Doc: "Back end of the message store."},
		{Key: "vmq_generic_msg_store.nr_of_buckets", Type: TypeInt, Min: 1, Max: atLeast, Default: "12", Status: NoEffect, Reason: "the message store is one database", Doc: "Number of databases of the message store."},
	}, leveldbSettings()...)
}

func leveldbSettings() []Setting {
	rows := []struct {
		option string
		t      Type
		words  []string
	}{
		{"data_root", TypeDir, nil},
		{"sync_on_write", TypeFlag, nil},
		{"limited_developer_mem", TypeFlag, nil},
		{"write_buffer_size_min", TypeBytes, nil},
		{"write_buffer_size_max", TypeBytes, nil},
		{"bloomfilter", TypeFlag, nil},
		{"block_cache_threshold", TypeBytes, nil},
		{"block.size", TypeBytes, nil},
		{"block.restart_interval", TypeInt, nil},
		{"block.size_steps", TypeInt, nil},
		{"verify_checksums", TypeFlag, nil},
		{"verify_compaction", TypeFlag, nil},
		{"threads", TypeInt, nil},
		{"fadvise_willneed", TypeFlag, []string{"true", "false"}},
		{"compression", TypeFlag, nil},
		{"compression.algorithm", TypeEnum, []string{"snappy", "lz4"}},
		{"compaction.trigger.tombstone_count", TypeInt, []string{off}},
		{"tiered", TypeInt, []string{off}},
		{"tiered.path.fast", TypeDir, nil},
		{"tiered.path.slow", TypeDir, nil},
		{"cache_object_warming", TypeFlag, []string{"true", "false"}},
		{"expiration", TypeFlag, nil},
		{"expiration.retention_time", TypeDuration, []string{"unlimited"}},
		{"expiration.mode", TypeEnum, []string{"whole_file", "normal", off}},
	}
	out := make([]Setting, 0, len(rows))
	for _, r := range rows {
		out = append(out, Setting{
			Key: "leveldb." + r.option, Type: r.t, Words: r.words, Status: NoEffect,
			Reason: "messages are stored in Pebble; see message_store.sync", Doc: "Setting of LevelDB.",
		})
	}
	return out
}
