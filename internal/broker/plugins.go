package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

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
	Interval() time.Duration
	Configure(path string, interval time.Duration) error
}

// filePlugin is one that this version has, and its settings.
type filePlugin struct {
	plugin
	open                 func(auth.FileOptions) plugin
	kind                 any    // of its type, for its hooks
	stop                 func() // ends its goroutine; nil before it runs
	name, file, interval string
}

// watched lists what is read again when it changes.
func (b *Broker) watched() []source {
	var out []source
	for _, p := range b.plugins.all() {
		out = append(out, source{files: []string{p.File()}, reload: func() { _ = p.Reload() }}) // logged, and shown by a gauge
	}
	return append(out, source{files: b.secretFiles(), reload: func() { _ = b.reloadSecrets() }}) // as above
}

// settingsBox holds the settings that new connections copy.
type settingsBox struct {
	p atomic.Pointer[session.Settings]
}

func (s *settingsBox) load() *session.Settings   { return s.p.Load() }
func (s *settingsBox) store(v *session.Settings) { s.p.Store(v) }

// openPlugins attaches what decides about clients: by priority, those without
// one last, and where that says nothing in VerneMQ's order.
func (b *Broker) openPlugins() error {
	if b.cfg.LocalOnly() {
		return b.hooks.Attach("local_only", localOnly{})
	}
	all := builtinPlugins()
	slices.SortStableFunc(all, func(x, y filePlugin) int { return cmp.Compare(priority(b.cfg, x.name), priority(b.cfg, y.name)) })
	for _, p := range all {
		if !b.cfg.Flag("plugins." + p.name) {
			continue
		}
		if err := b.attach(p); err != nil {
			return err
		}
	}
	return nil
}

// builtinPlugins are those that this version has, in VerneMQ's order.
func builtinPlugins() []filePlugin {
	return []filePlugin{
		{open: func(o auth.FileOptions) plugin { return auth.NewPasswd(o) }, kind: (*auth.Passwd)(nil), name: auth.PasswdName, file: "vmq_passwd.password_file", interval: "vmq_passwd.password_reload_interval"},
		{open: func(o auth.FileOptions) plugin { return auth.NewACL(o) }, kind: (*auth.ACL)(nil), name: auth.ACLName, file: "vmq_acl.acl_file", interval: "vmq_acl.acl_reload_interval"},
	}
}

// attach turns a plugin on.
func (b *Broker) attach(p filePlugin) error {
	c := b.live.config()
	p.plugin = p.open(auth.FileOptions{
		Path: c.String(p.file), ReadFile: os.ReadFile, Interval: c.Duration(p.interval),
		Logger: b.log.With("part", "auth"), Metrics: b.metrics,
	})
	if err := b.hooks.Attach(p.name, p.plugin); err != nil {
		return err
	}
	b.plugins.add(p)
	return nil
}

// turnPlugin turns a built-in plugin on or off and reports whether that was
// something new.
func (b *Broker) turnPlugin(name string, on bool) (bool, error) {
	if !on {
		off := b.hooks.Detach(name)
		b.plugins.remove(name)
		return off, nil
	}
	i := slices.IndexFunc(builtinPlugins(), func(p filePlugin) bool { return p.name == name })
	err := b.attach(builtinPlugins()[i])
	if errors.Is(err, hook.ErrAttached) {
		return false, nil
	}
	if w := b.files.Load(); w != nil {
		w.refresh()
	}
	return err == nil, err
}

// pluginSet are the plugins that are on. While the broker runs each has a
// goroutine, which ends when it is turned off or the broker stops.
type pluginSet struct {
	mu   sync.Mutex // guards what follows
	list []filePlugin
	run  func(filePlugin) (stop func()) // nil until start
}

// all returns those that are on, in the order in which they were turned on.
func (s *pluginSet) all() []filePlugin {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

func (s *pluginSet) add(p filePlugin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		p.stop = s.run(p)
	}
	s.list = append(s.list, p)
}

func (s *pluginSet) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(slices.Clone(s.list), func(p filePlugin) bool {
		if p.name == name && p.stop != nil {
			p.stop()
		}
		return p.name == name
	})
}

// start runs all of them and those that are added later, until ctx ends.
func (s *pluginSet) start(ctx context.Context, group *errgroup.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = func(p filePlugin) func() {
		ctx, stop := context.WithCancel(ctx)
		group.Go(func() error { p.Run(ctx); return nil })
		return stop
	}
	for i, p := range s.list {
		s.list[i].stop = s.run(p)
	}
}

// priority is a plugin's place in the order: low ones first.
func priority(c *config.Config, name string) int {
	key := "plugins." + name + ".priority"
	if !c.IsSet(key) {
		return math.MaxInt
	}
	return c.Int(key)
}

// reconfigure gives plugins other files and intervals.
func (b *Broker) reconfigure(before, after *config.Config) {
	for _, p := range b.plugins.all() {
		if before.String(p.file) != after.String(p.file) || before.Duration(p.interval) != after.Duration(p.interval) {
			_ = p.Configure(after.String(p.file), after.Duration(p.interval)) // logged, and shown by a gauge
		}
	}
	if w := b.files.Load(); w != nil {
		w.refresh()
	}
}

// localOnly allows publish and subscribe on a broker without a configuration
// file whose listeners are all on loopback: whoever tries it should not have
// to write an ACL first.
type localOnly struct{}

// Prompt says that it looks nowhere.
func (localOnly) Prompt() {}

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
