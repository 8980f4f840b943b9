package config

import (
	"encoding/pem"
	"iter"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Warning is about a setting that was given but does nothing (yet), or that
// was perhaps not meant as it stands.
type Warning struct {
	Key    string
	Origin Origin
	Text   string
}

// String gives "file:line: text".
func (w Warning) String() string { return w.Origin.String() + ": " + w.Text }

// envPrefix begins the environment variables that set something.
const envPrefix = "BROKER_"

// envReserved are BROKER_ variables that are no settings.
var envReserved = []string{"BROKER_CONFIG"}

// builder turns statements into a Config.
type builder struct {
	opts   *Options
	report *report
	c      *Config
}

func (b *builder) build(statements []statement, file string) (*Config, error) {
	b.c = &Config{entries: map[string]*entry{}, hasFile: file != ""}
	for _, s := range statements {
		if b.report.full() {
			return nil, b.report.err()
		}
		b.set(s.key, s.value, s.at, s.valueAt)
		if s.glued {
			b.warn(s.key, s.at, "the value ends at #, which starts a comment; put it into 'quotes' to keep the #")
		}
	}
	b.environment()
	for _, key := range sorted(maps.Keys(b.opts.Flags)) {
		at := Origin{Kind: FromFlag}
		b.set(key, b.opts.Flags[key], at, at)
	}
	sub := substitution{reader: &reader{opts: b.opts, report: b.report}, raw: b.c.entries}
	keys := sorted(maps.Keys(b.c.entries))
	for _, key := range keys {
		if e := b.c.entries[key]; e.at.Kind == FromFile {
			if _, ok := sub.expand(e); !ok {
				e.bad = true
			}
		}
	}
	b.directories(file)
	for _, key := range keys {
		b.parse(b.c.entries[key])
	}
	b.defaultListeners()
	b.listeners()
	b.syslog()
	for _, key := range keys {
		b.judge(b.c.entries[key])
	}
	if err := b.report.err(); err != nil {
		return nil, err
	}
	return b.c, nil
}

// set records one value; the last one for a key wins.
func (b *builder) set(key, value string, at, valueAt Origin) {
	key = canonicalKey(key)
	s, ok := lookup(key)
	if !ok {
		b.report.add(at, "unknown setting %q%s", key, didYouMean(key))
		return
	}
	b.c.entries[key] = &entry{key: key, set: s, value: value, at: at, valueAt: valueAt}
}

// environment reads BROKER_LISTENER__TCP__DEFAULT=… as listener.tcp.default.
// A variable that fits no setting is warned about only: Kubernetes, for one,
// injects BROKER_SERVICE_HOST beside a service of that name.
func (b *builder) environment() {
	for _, pair := range slices.Sorted(slices.Values(b.opts.Environ)) {
		name, value, _ := strings.Cut(pair, "=")
		rest, ok := strings.CutPrefix(name, envPrefix)
		if !ok || slices.Contains(envReserved, name) {
			continue
		}
		key := canonicalKey(strings.ToLower(strings.ReplaceAll(rest, "__", ".")))
		at := Origin{Kind: FromEnvironment, Name: name}
		if _, known := lookup(key); !known {
			key = foldedKey(key)
		}
		if key == "" {
			b.warn(name, at, "fits no setting and is ignored; "+envPrefix+"LISTENER__TCP__DEFAULT sets listener.tcp.default")
			continue
		}
		b.set(key, value, at, at)
	}
}

// foldedKey finds the few keys that hold capital letters.
func foldedKey(lower string) string {
	for _, s := range settings().all {
		if strings.ToLower(s.Key) == lower {
			return s.Key
		}
	}
	return ""
}

// directories decides what the placeholders stand for.
func (b *builder) directories(file string) {
	c := b.c
	given := func(key, otherwise string) string {
		if e := c.entries[key]; e != nil && !e.bad && e.value != "" {
			return e.value
		}
		return otherwise
	}
	if file != "" {
		c.dirs = map[string]string{
			"<data>": given("data_dir", "/var/lib/mqadmin"), "<run>": given("run_dir", "/run/mqadmin"),
			"<log>": given("log_dir", "/var/log/mqadmin"), "<etc>": filepath.Dir(file), "<share>": "/usr/share/mqadmin",
		}
		return
	}
	data := given("data_dir", "data")
	c.dirs = map[string]string{
		"<data>": data, "<run>": given("run_dir", filepath.Join(data, "run")), "<log>": given("log_dir", filepath.Join(data, "log")),
		"<etc>": filepath.Join(data, "etc"), "<share>": filepath.Join(data, "share"),
	}
}

// parse reads the text of e.
func (b *builder) parse(e *entry) {
	if e.bad {
		return
	}
	v, err := e.set.parse(e.value)
	if err == nil && e.set.check != nil && !e.set.check(v) {
		err = e.set.expected()
	}
	if err != nil {
		e.bad = true
		b.report.add(e.valueAt, "%s: expected %s, found %s%s", e.key, err, e.shown(), e.hint())
		return
	}
	e.parsed = b.c.place(e.set, v)
}

// shown is the value for an error message.
func (e *entry) shown() string {
	switch {
	case e.set.Secret || e.secret:
		return "something else (not shown: secret)"
	case e.value == "":
		return "nothing"
	default:
		return `"` + shorten(e.value) + `"`
	}
}

// hint guesses what was meant by a bad value.
func (e *entry) hint() string {
	text := strings.ToLower(e.value)
	if e.set.Type == TypeFlag {
		switch text {
		case "true", "yes", "1", "enable", "enabled", on:
			return "; did you mean on?"
		case "false", "no", "0", "disable", "disabled", off:
			return "; did you mean off?"
		}
	}
	return e.nameHint()
}

// nameHint guesses which known key was meant by one that ends in a free name:
// listener.tcp.max_conections is a well-formed listener.
func (e *entry) nameHint() string {
	last := len(e.set.words) - 1
	if strings.HasPrefix(e.set.words[last], "$") {
		for _, near := range nearest(e.key, 8) {
			if settings().literal[near] != nil && distance(near, e.key) <= 2 {
				return "; did you mean " + near + "?"
			}
		}
	}
	return ""
}

// judge applies the status of a setting that was given.
func (b *builder) judge(e *entry) {
	s := e.set
	if e.bad || e.at.Kind == FromDefault {
		return
	}
	if s.MustExist && e.value != "" {
		b.mustExist(e)
	}
	if s.Needs != "" && !b.needed(e) {
		return
	}
	switch s.Status {
	case NoEffect:
		b.warn(e.key, e.at, e.key+" has no effect: "+s.Reason)
	case NotYet:
		if s.Type != TypeFlag || e.parsed != false {
			b.warn(e.key, e.at, e.key+" has no effect yet: "+s.Reason)
		}
	case Refused:
		if e.value != s.Default && !reflect.DeepEqual(e.parsed, b.c.defaultOf(s)) {
			b.report.add(e.valueAt, "%s = %s is refused: %s%s", e.key, e.shown(), s.Reason, e.nameHint())
		}
	case Works:
	}
}

// needed reports whether the flag that e depends on is on.
func (b *builder) needed(e *entry) bool {
	key := bind(e.set.words, e.key, e.set.Needs)
	if n := b.c.entries[key]; n != nil {
		return n.parsed == true
	}
	s, ok := lookup(key)
	return ok && s.Default == on
}

func (b *builder) warn(key string, at Origin, text string) {
	b.c.warnings = append(b.c.warnings, Warning{Key: key, Origin: at, Text: text})
}

// mustExist demands that a file can be read and holds at least one PEM block.
func (b *builder) mustExist(e *entry) {
	path, _ := e.parsed.(string)
	text, err := (&reader{opts: b.opts}).read(path)
	if err != nil {
		b.report.add(e.valueAt, "%s: %v", e.key, err)
		return
	}
	if block, _ := pem.Decode(text); block == nil {
		b.report.add(e.valueAt, "%s: %s holds no PEM block (-----BEGIN …)", e.key, path)
	}
}

// syslog refuses what a daemon that speaks TLS does not understand.
func (b *builder) syslog() {
	c := b.c
	e := c.entries["log.syslog.remote.protocol"]
	if e == nil || e.bad || e.parsed != "tls" || !c.on("log.syslog") {
		return
	}
	if f := c.entries["log.syslog.format"]; f == nil || f.parsed != "rfc5424" {
		b.report.add(e.valueAt, "log.syslog.remote.protocol = tls needs log.syslog.format = rfc5424")
	}
	if c.String("log.syslog.remote.tls.cafile") == "" {
		b.report.add(e.valueAt, "log.syslog.remote.protocol = tls needs log.syslog.remote.tls.cafile")
	}
}

// on reports whether a flag is set to on; it may be bad, too.
func (c *Config) on(key string) bool {
	e := c.entries[key]
	return e != nil && e.parsed == true
}

func sorted(keys iter.Seq[string]) []string { return slices.Sorted(keys) }
