package broker

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/mqadmin/mqadmin/internal/auth"
	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/session"
)

// plugin is a file plugin that runs with the broker.
type plugin interface {
	Run(ctx context.Context)
	Reload() error
	File() string
}

// watched lists what is read again when it changes.
func (b *Broker) watched() []source {
	var out []source
	for _, p := range b.plugins {
		out = append(out, source{files: []string{p.File()}, reload: func() { _ = p.Reload() }}) // logged, and shown by a gauge
	}
	return append(out, source{files: b.listeners.Files(), reload: func() { _ = b.listeners.Reload() }}) // as above
}

// settingsBox holds the settings that new connections copy.
type settingsBox struct {
	p atomic.Pointer[session.Settings]
}

func (s *settingsBox) load() *session.Settings   { return s.p.Load() }
func (s *settingsBox) store(v *session.Settings) { s.p.Store(v) }

// openPlugins attaches what decides about clients, in VerneMQ's order.
func (b *Broker) openPlugins() error {
	attach := func(name string, p plugin) error {
		b.plugins = append(b.plugins, p)
		return b.hooks.Attach(name, p)
	}
	if b.cfg.Flag("plugins.vmq_passwd") && !b.cfg.LocalOnly() {
		p := auth.NewPasswd(fileOptions(b.cfg, "vmq_passwd.password_file", "vmq_passwd.password_reload_interval", b))
		if err := attach(auth.PasswdName, p); err != nil {
			return err
		}
	}
	if b.cfg.Flag("plugins.vmq_acl") && !b.cfg.LocalOnly() {
		p := auth.NewACL(fileOptions(b.cfg, "vmq_acl.acl_file", "vmq_acl.acl_reload_interval", b))
		if err := attach(auth.ACLName, p); err != nil {
			return err
		}
	}
	if b.cfg.LocalOnly() {
		return b.hooks.Attach("local_only", localOnly{})
	}
	return nil
}

func fileOptions(c *config.Config, path, interval string, b *Broker) auth.FileOptions {
	return auth.FileOptions{
		Path: c.String(path), ReadFile: os.ReadFile, Interval: c.Duration(interval),
		Logger: b.log.With("part", "auth"), Metrics: b.metrics,
	}
}

// localOnly allows publish and subscribe on a broker without a configuration
// file whose listeners are all on loopback: whoever tries it should not have
// to write an ACL first.
type localOnly struct{}

// AuthOnPublish allows every topic.
func (localOnly) AuthOnPublish(context.Context, *hook.Publish) (*hook.PublishModifiers, hook.Result) {
	return nil, hook.Allow()
}

// AuthOnSubscribe allows every filter.
func (localOnly) AuthOnSubscribe(context.Context, *hook.Subscribe) (*hook.SubscribeModifiers, hook.Result) {
	return nil, hook.Allow()
}

// storeCache turns leveldb.maximum_memory.percent into the size of the message
// store's cache: that share of an eighth of the machine's memory. LevelDB's
// percentage was of all memory; here the operating system's page cache does
// most of the work.
func storeCache(c *config.Config) int64 {
	const smallest = 8 << 20
	if c.IsSet("leveldb.maximum_memory") {
		return max(c.Bytes("leveldb.maximum_memory"), smallest)
	}
	return max(systemMemory()/8/100*int64(c.Int("leveldb.maximum_memory.percent")), smallest)
}

// systemMemory returns the machine's memory in bytes where the system tells,
// else 4 GiB.
func systemMemory() int64 {
	const unknown = 4 << 30
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return unknown
	}
	defer f.Close()
	var kib int64
	if _, err := fmt.Fscanf(f, "MemTotal: %d kB", &kib); err != nil {
		return unknown
	}
	return kib << 10
}
