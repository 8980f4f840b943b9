package broker

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mqadmin/mqadmin/internal/config"
	"github.com/mqadmin/mqadmin/internal/router"
)

// live holds the settings in force: those of the file, and over them what was
// set at run time. What follows changes is told of each; everything else was
// read at the start from Broker.cfg.
type live struct {
	cfg atomic.Pointer[config.Config]

	mu        sync.Mutex     // serialises changes; guards what follows
	file      *config.Config // without what was set at run time
	followers []func(before, after *config.Config)
}

func newLive(c *config.Config) *live {
	l := &live{file: c}
	l.cfg.Store(c)
	return l
}

// config returns the settings in force.
func (l *live) config() *config.Config { return l.cfg.Load() }

// follow calls fn after each change, from the goroutine that made it, one
// change at a time.
func (l *live) follow(fn func(before, after *config.Config)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followers = append(l.followers, fn)
}

// set takes all of the values or none. With try nothing changes. It returns the
// settings before and after.
func (l *live) set(values []config.Override, try bool) (before, after *config.Config, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before = l.cfg.Load()
	after, err = with(before, values)
	if err == nil && !try {
		l.apply(after)
	}
	return before, after, err
}

func with(c *config.Config, values []config.Override) (*config.Config, error) {
	for _, o := range values {
		var err error
		if c, err = c.With(o.Key, o.Value, o.Everywhere); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// reset takes back what was set and drop chooses.
func (l *live) reset(drop func(config.Override) bool) (before, after *config.Config, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before = l.cfg.Load()
	after, err = with(l.file, slices.DeleteFunc(before.Overrides(), drop))
	if err == nil {
		l.apply(after)
	}
	return before, after, err
}

// reread takes a file that was read again, as far as it needs no restart, and
// returns the settings that differ and do need one. What was set at run time
// stays.
func (l *live) reread(next *config.Config) (restart []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	file, restart := l.file.Reread(next)
	after, err := with(file, l.cfg.Load().Overrides())
	if err != nil {
		return nil, err
	}
	l.file = file
	l.apply(after)
	return restart, nil
}

// apply is called with mu held.
func (l *live) apply(c *config.Config) {
	before := l.cfg.Swap(c)
	for _, fn := range l.followers {
		fn(before, c)
	}
}

// followSettings tells every part of the settings that can change while it
// runs. Whoever reads them from live per use needs no line here.
func (b *Broker) followSettings() {
	b.live.follow(func(before, after *config.Config) {
		b.settings.store(sessionSettings(after))
		b.router.Set(routerSettings(after))
		b.cluster.SetEnqueueTimeout(after.Duration("remote_enqueue_timeout"))
		b.reconfigure(before, after)
		b.setLogLevel(after)
	})
}

// routerSettings are those that apply to each message.
func routerSettings(c *config.Config) router.Settings {
	return router.Settings{
		Policy:             router.Policy(c.Enum("shared_subscription_policy")),
		MaxRetainedMessage: int(unlimited(c.Bytes("max_retained_message_size"))), MaxRetainedBytes: unlimited(c.Bytes("max_retained_bytes")),
		EnqueueTimeout: c.Duration("remote_enqueue_timeout"),
	}
}

// setLogLevel is log.console.level and log.syslog.level, bounded by log.level.
func (b *Broker) setLogLevel(c *config.Config) {
	o, err := c.Logging()
	if err != nil || b.log.Level == nil { // levels were checked as words of the table
		return
	}
	b.log.Level.Set(o.Level)
	_ = b.log.SetLevel("syslog", o.Syslog.Level) // there may be none
}
