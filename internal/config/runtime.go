package config

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Why a value is not taken at run time; each comes wrapped in text that names
// the setting.
var (
	// ErrUnknown: no such setting.
	ErrUnknown = errors.New("unknown setting")
	// ErrRestart: a change of the setting needs a restart.
	ErrRestart = errors.New("takes effect only after a restart")
	// ErrValue: the setting has no such value.
	ErrValue = errors.New("bad value")
)

// runtimeError is one sentence for the operator and one of the errors above
// for the program.
type runtimeError struct {
	text string
	kind error
}

func (e *runtimeError) Error() string { return e.text }

func (e *runtimeError) Unwrap() []error { return []error{e.kind, ErrConfig} }

// With returns a copy in which key, which must be settable at run time, has
// another value, checked as a line of the file is. everywhere says that every
// member gets it.
func (c *Config) With(key, value string, everywhere bool) (*Config, error) {
	key = canonicalKey(key)
	s, ok := lookup(key)
	switch {
	case !ok:
		return nil, unknown(key)
	case !s.Runtime:
		return nil, &runtimeError{key + " takes effect only after a restart: change the file", ErrRestart}
	}
	at := Origin{Kind: FromRuntime, Everywhere: everywhere}
	d := c.clone()
	d.entries[key] = &entry{key: key, set: s, value: value, at: at, valueAt: at, expanded: true}
	b := builder{opts: &Options{}, report: &report{}, c: d}
	b.opts.defaults()
	b.parse(d.entries[key])
	b.judge(d.entries[key])
	if err := b.report.err(); err != nil {
		var lines []string
		for _, e := range b.report.errs {
			lines = append(lines, e.Msg)
		}
		return nil, &runtimeError{strings.Join(lines, "; "), ErrValue}
	}
	return d, nil
}

func unknown(key string) error {
	return &runtimeError{fmt.Sprintf("unknown setting %q%s", key, didYouMean(key)), ErrUnknown}
}

func (c *Config) clone() *Config {
	d := *c
	d.entries = maps.Clone(c.entries)
	return &d
}

// Overrides returns the settings that were set at run time, as With takes
// them.
func (c *Config) Overrides() []Override {
	var out []Override
	for _, key := range sorted(maps.Keys(c.entries)) {
		if e := c.entries[key]; e.at.Kind == FromRuntime {
			out = append(out, Override{Key: key, Value: e.value, Everywhere: e.at.Everywhere})
		}
	}
	return out
}

// Override is one value that was set at run time.
type Override struct {
	Key, Value string
	Everywhere bool
}

// Reread returns the settings of now with those of next that need no restart,
// and the keys of the others that differ. next is a file that was read again;
// what was set at run time is not in it.
func (c *Config) Reread(next *Config) (merged *Config, restart []string) {
	merged = c.clone()
	keys := maps.Clone(c.entries)
	maps.Copy(keys, next.entries)
	for _, key := range sorted(maps.Keys(keys)) {
		s := keys[key].set
		e := next.entries[key]
		switch {
		case !s.Runtime:
			if c.String(key) != next.String(key) {
				restart = append(restart, key)
			}
		case e == nil:
			delete(merged.entries, key)
		default:
			merged.entries[key] = e
		}
	}
	return merged, restart
}

// CanonicalKey returns the key that key, perhaps an alias, stands for, or says
// which ones were perhaps meant.
func CanonicalKey(key string) (string, error) {
	k := canonicalKey(key)
	if _, ok := lookup(k); !ok || strings.Contains(k, "$") {
		return "", unknown(key)
	}
	return k, nil
}

// App returns the plugin that a setting belongs to, in VerneMQ's words, and
// vmq_server for those of the broker itself.
func App(key string) string {
	for _, app := range Apps()[1:] {
		if strings.HasPrefix(key, app+".") {
			return app
		}
	}
	return Apps()[0]
}

// Apps are the values of App.
func Apps() []string {
	return []string{"vmq_server", "vmq_acl", "vmq_passwd", "vmq_webhooks", "vmq_bridge", "vmq_diversity", "vmq_http_pub"}
}
