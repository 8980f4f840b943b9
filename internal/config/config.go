// Package config knows every setting of the broker: one table feeds the
// parser of the `key = value` file, validation, `chkconfig`, `config
// effective`, `config describe`, completion and docs/configuration.md, so
// that none of them can disagree.
package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"time"
)

// Config is one checked set of settings. It is immutable.
type Config struct {
	entries   map[string]*entry
	dirs      map[string]string // placeholder → directory
	hasFile   bool
	local     bool
	listeners []Listener
	warnings  []Warning
}

// entry is one setting that has a value of its own.
type entry struct {
	key      string // canonical and concrete
	set      *Setting
	value    string // text, after substitution
	parsed   any
	at       Origin
	valueAt  Origin
	expanded bool
	bad      bool // already reported
	secret   bool // holds the value of a secret, or of a file
}

// Default returns the configuration without a file: directories under
// ./data, MQTT on 127.0.0.1:1883, cluster port on 127.0.0.1:44053, HTTP on
// 127.0.0.1:8888. As long as every MQTT listener is on loopback, anonymous
// clients may do everything (LocalOnly), as a person who tries the broker
// expects; any other address ends that.
func Default(o Options) (*Config, error) {
	o.defaults()
	b := builder{opts: &o, report: &report{}}
	return b.build(nil, "")
}

// Load reads the file at path and what it includes. All errors of a file come
// together, as Errors.
func Load(path string, o Options) (*Config, error) {
	o.defaults()
	text, err := (&reader{opts: &o}).read(path)
	if err != nil {
		return nil, Errors{{File: path, Msg: err.Error()}}
	}
	return Parse(path, text, o)
}

// Parse is Load on text; name stands in error messages and is what includes
// are relative to.
func Parse(name string, text []byte, o Options) (*Config, error) {
	o.defaults()
	b := builder{opts: &o, report: &report{}}
	r := &reader{opts: &o, report: b.report}
	statements := r.file(name, text)
	return b.build(statements, name)
}

// value finds what holds for key: its own value, else what it inherits, else
// the default.
func (c *Config) value(key string) (*Setting, any, *entry) {
	key = canonicalKey(key)
	s, ok := lookup(key)
	if !ok {
		panic("config: no setting " + key + " in the table")
	}
	if e := c.entries[key]; e != nil && !(s.Inherits != "" && inherits(e.parsed)) {
		return s, e.parsed, e
	}
	if s.Inherits != "" {
		_, v, e := c.value(bind(s.words, key, s.Inherits))
		return s, v, e
	}
	return s, c.defaultOf(s), nil
}

// inherits reports the schema's -1: as if not set.
func inherits(v any) bool {
	switch v := v.(type) {
	case int:
		return v == -1
	case time.Duration:
		return v == -1
	default:
		return false
	}
}

func (c *Config) defaultOf(s *Setting) any {
	if s.Default == "" {
		return nil
	}
	v, err := s.parse(s.Default)
	if err != nil {
		panic("config: the default of " + s.Key + " is not " + err.Error())
	}
	return c.place(s, v)
}

// place puts the directories into paths.
func (c *Config) place(s *Setting, v any) any {
	path, ok := v.(string)
	if !ok || s.Type != TypeFile && s.Type != TypeDir || !strings.HasPrefix(path, "<") {
		return v
	}
	name, rest, found := strings.Cut(path, ">")
	if dir, known := c.dirs[name+">"]; found && known {
		return filepath.Join(dir, filepath.FromSlash(rest))
	}
	return v
}

// typed returns the value of key as T and panics if the table has another type.
func typed[T any](c *Config, key, want string, allowed ...Type) T {
	s, v, _ := c.value(key)
	for _, t := range allowed {
		if s.Type != t {
			continue
		}
		if v == nil {
			var zero T
			return zero
		}
		return v.(T)
	}
	panic(fmt.Sprintf("config: %s is not %s but %s", key, want, s.typeText()))
}

// Flag returns an on/off setting. Like all getters it panics on a key that is
// not in the table or has another type: that is a programming error.
func (c *Config) Flag(key string) bool { return typed[bool](c, key, "a flag", TypeFlag) }

// Int returns an integer or a percentage; Infinity for "infinity", 0 for
// other words.
func (c *Config) Int(key string) int { return typed[int](c, key, "an integer", TypeInt, TypePercent) }

// Bytes returns a size in bytes; Infinity for "infinity", 0 for other words.
func (c *Config) Bytes(key string) int64 { return typed[int64](c, key, "a size", TypeBytes) }

// Duration returns a time span; Never for "never", "client" and "infinity",
// 0 for "off".
func (c *Config) Duration(key string) time.Duration {
	return typed[time.Duration](c, key, "a duration", TypeDuration, TypePeriod)
}

// Enum returns one word out of the setting's list.
func (c *Config) Enum(key string) string { return typed[string](c, key, "an enumeration", TypeEnum) }

// List returns the elements of a list.
func (c *Config) List(key string) []string { return typed[[]string](c, key, "a list", TypeList) }

// Address returns where to listen; the zero Address if the setting has none.
func (c *Config) Address(key string) Address {
	return typed[Address](c, key, "an address", TypeAddress)
}

// String returns a string or path, and any other setting as the text that
// stands in the file, or its default.
func (c *Config) String(key string) string {
	s, v, e := c.value(key)
	if text, ok := v.(string); ok {
		return text
	}
	if e != nil {
		return e.value
	}
	for s.Default == "" && s.Inherits != "" {
		s, _ = lookup(s.Inherits)
	}
	return s.Default
}

// Origin says where the value of key comes from.
func (c *Config) Origin(key string) Origin {
	if _, _, e := c.value(key); e != nil {
		return e.at
	}
	return Origin{}
}

// IsSet reports whether the file, the environment, the command line or a
// person at run time gave key.
func (c *Config) IsSet(key string) bool {
	return c.Origin(key).Kind != FromDefault
}

// HasFile reports whether a file was read.
func (c *Config) HasFile() bool { return c.hasFile }

// LocalOnly reports that there is no file and no MQTT listener off loopback,
// so that anonymous clients were allowed by default.
func (c *Config) LocalOnly() bool { return c.local }

// Names returns the free names that the settings give under a prefix such as
// "plugins" or "http_module", sorted.
func (c *Config) Names(prefix string) []string {
	words := splitKey(prefix)
	found := map[string]bool{}
	for key := range c.entries {
		k := splitKey(key)
		if len(k) > len(words) && strings.HasPrefix(key, prefix+".") {
			found[unescape(k[len(words)])] = true
		}
	}
	return sorted(maps.Keys(found))
}
