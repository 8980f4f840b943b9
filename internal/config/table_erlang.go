package config

// database is one of the back ends of the authentication scripts.
type database struct {
	name   string
	port   string
	tls    string // default of ssl, "" when it has none
	hashes []string
	hash   string
}

func databases() []database {
	passwords := []string{"password", "md5", "sha1", "sha256"}
	return []database{
		{name: "postgres", port: "5432", tls: off, hashes: []string{"crypt", "bcrypt"}, hash: "crypt"},
		{name: "cockroachdb", port: "5432", tls: on, hashes: []string{"sha256", "bcrypt"}, hash: "bcrypt"},
		{name: "mysql", port: "3306", hashes: passwords, hash: "password"},
		{name: "mysql2", port: "3306", tls: off, hashes: passwords, hash: "sha256"},
		{name: "mongodb", port: "27017", tls: off},
		{name: "redis", port: "6379"},
	}
}

// settings are the rows of one database, without "vmq_diversity.".
func (d database) settings() []Setting {
	of := " of " + d.name + "."
	rows := []Setting{
		{Key: "auth_" + d.name + ".enabled", Type: TypeFlag, Default: off, Doc: "Authenticate against " + d.name + " with the script that comes with the plugin."},
		{Key: "auth_" + d.name + ".script", Type: TypeFile, Default: "<share>/lua/auth/" + d.name + ".lua", Doc: "That script."},
		{Key: d.name + ".host", Default: "localhost", Doc: "Host" + of},
		{Key: d.name + ".port", Type: TypeInt, Min: 1, Max: 65535, Default: d.port, Doc: "Port" + of},
		{Key: d.name + ".password", Secret: true, Doc: "Password" + of},
		{Key: d.name + ".pool_size", Type: TypeInt, Min: 1, Max: 1024, Default: "5", Doc: "Connections" + of},
	}
	switch d.name {
	case "redis":
		return append(rows,
			Setting{Key: "redis.user", Doc: "User" + of},
			Setting{Key: "redis.database", Type: TypeInt, Min: 0, Max: atLeast, Default: "0", Doc: "Number of the database."})
	case "mongodb":
		rows = append(rows,
			Setting{Key: "mongodb.login", Doc: "User" + of},
			Setting{Key: "mongodb.srv", Doc: "SRV record" + of},
			Setting{Key: "mongodb.auth_source", Default: "admin", Doc: "Database that authenticates."},
			Setting{Key: "mongodb.database", Doc: "Database" + of},
			Setting{Key: "mongodb.w_mode", Default: "safe", Doc: "Write concern" + of},
			Setting{Key: "mongodb.r_mode", Doc: "Read mode; VerneMQ removed it."},
			Setting{Key: "mongodb.read_preference", Type: TypeEnum, Words: []string{"primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"}, Default: "primaryPreferred", Doc: "Read preference" + of},
			Setting{Key: "mongodb.ssl.sni", Doc: "Host name for TLS."})
	default:
		rows = append(rows,
			Setting{Key: d.name + ".user", Default: "root", Doc: "User" + of},
			Setting{Key: d.name + ".database", Default: "vernemq_db", Doc: "Database" + of},
			Setting{Key: d.name + ".password_hash_method", Type: TypeEnum, Words: d.hashes, Default: d.hash, Doc: "How passwords are stored there."})
	}
	if d.tls == "" {
		return rows
	}
	return append(rows,
		Setting{Key: d.name + ".ssl", Type: TypeFlag, Default: d.tls, Doc: "Use TLS."},
		Setting{Key: d.name + ".cafile", Type: TypeFile, Doc: "Certificates of authorities" + of},
		Setting{Key: d.name + ".certfile", Type: TypeFile, Doc: "Client certificate."},
		Setting{Key: d.name + ".keyfile", Type: TypeFile, Doc: "Key of the client certificate."},
		Setting{Key: d.name + ".ssl.depth", Type: TypeInt, Min: 0, Max: 100, Default: "3", Doc: "Intermediate certificates that are accepted."},
		Setting{Key: d.name + ".ssl.customize_hostname_check", Type: TypeEnum, Words: []string{"https"}, Default: "https", Doc: "How host names are checked."},
		Setting{Key: d.name + ".ssl.verify", Type: TypeEnum, Words: []string{"verify_none", "verify_peer"}, Default: "verify_peer", Doc: "Whether the certificate is checked."},
		Setting{Key: d.name + ".ssl.use_system_cas", Type: TypeFlag, Default: on, Doc: "Trust the authorities that the system trusts."})
}

// erlangSettings are about a virtual machine that is not there.
func erlangSettings() []Setting {
	threads := "goroutines are scheduled by the Go runtime, there is no pool of threads to size"
	vm := "there is no Erlang virtual machine"
	dist := "nodes talk over the one cluster port, listener.vmq.clustering"
	watch := "process health is in the metrics"
	rows := []Setting{
		{Key: "erlang.max_ports", Type: TypeInt, Min: 1024, Max: 134217727, Default: "262144", Doc: "Raises the limit of open files of the process to this number, as far as the system allows. A connection takes one."},
		{Key: "erlang.async_threads", Type: TypeInt, Min: 0, Max: 1024, Default: "64", Reason: threads, Doc: "Threads for asynchronous input and output."},
		{Key: "erlang.async_threads.stack_size", Type: TypeBytes, Reason: threads, Doc: "Stack of those threads."},
		{Key: "erlang.smp", Type: TypeEnum, Words: []string{"enable", "auto", "disable"}, Reason: vm, Doc: "Multiprocessing."},
		{Key: "erlang.W", Reason: vm, Doc: "Level of warnings."},
		{Key: "erlang.K", Type: TypeFlag, Reason: vm, Doc: "Kernel polling."},
		{Key: "erlang.schedulers.total", Type: TypeInt, Reason: threads, Doc: "Schedulers."},
		{Key: "erlang.schedulers.online", Type: TypeInt, Reason: threads, Doc: "Schedulers that run."},
		{Key: "erlang.schedulers.force_wakeup_interval", Type: TypeDuration, Reason: threads, Doc: "How often schedulers are woken."},
		{Key: "erlang.schedulers.compaction_of_load", Type: TypeEnum, Words: []string{"true", "false"}, Reason: threads, Doc: "Gather load on few schedulers."},
		{Key: "erlang.schedulers.utilization_balancing", Type: TypeEnum, Words: []string{"true", "false"}, Reason: threads, Doc: "Balance load over schedulers."},
		{Key: "erlang.fullsweep_after", Type: TypeInt, Reason: vm, Doc: "Garbage collection."},
		{Key: "erlang.crash_dump", Type: TypeFile, Reason: "panics are written to log.crash.file", Doc: "File of a crash dump."},
		{Key: "erlang.max_ets_tables", Type: TypeInt, Reason: vm, Doc: "Limit of tables."},
		{Key: "erlang.process_limit", Type: TypeInt, Reason: vm, Doc: "Limit of processes."},
		{Key: "erlang.distribution_buffer_size", Type: TypeBytes, Reason: dist + "; see outgoing_clustering_buffer_size", Doc: "Buffer of links."},
		{Key: "erlang.distribution.port_range.minimum", Type: TypeInt, Reason: dist, Doc: "First port of Erlang's distribution."},
		{Key: "erlang.distribution.port_range.maximum", Type: TypeInt, Reason: dist, Doc: "Last port of Erlang's distribution."},
		{Key: "erlang.distribution.interface", Reason: dist, Doc: "Address of Erlang's distribution."},
		{Key: "erlang.distribution.net_ticktime", Type: TypeDuration, Unit: Seconds, Reason: dist + "; see link_ack_timeout", Doc: "When a silent node counts as down."},
		{Key: "runtime_health.thresholds.busy_processes", Type: TypeInt, Reason: watch, Doc: "Busy processes that are logged."},
		{Key: "runtime_health.thresholds.busy_ports", Type: TypeInt, Reason: watch, Doc: "Busy ports that are logged."},
		{Key: "runtime_health.triggers.process.garbage_collection", Type: TypeDuration, Words: []string{off}, Reason: watch, Doc: "Long garbage collections that are logged."},
		{Key: "runtime_health.triggers.process.long_schedule", Type: TypeDuration, Words: []string{off}, Reason: watch, Doc: "Long schedules that are logged."},
		{Key: "runtime_health.triggers.process.heap_size", Type: TypeBytes, Words: []string{off}, Reason: watch, Doc: "Large heaps that are logged."},
		{Key: "runtime_health.triggers.port", Type: TypeFlag, Reason: watch, Doc: "Log busy ports."},
		{Key: "runtime_health.triggers.distribution_port", Type: TypeFlag, Reason: watch, Doc: "Log busy links."},
	}
	for i := range rows {
		if rows[i].Reason != "" {
			rows[i].Status = NoEffect
		}
	}
	return rows
}
