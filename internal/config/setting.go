package config

import (
	"slices"
	"strings"
	"sync"
)

// Type is how the text of a setting is read.
type Type uint8

// The types of settings. Words of the setting ("infinity", "off") are
// accepted besides what the type allows.
const (
	TypeString Type = iota
	TypeFlag
	TypeInt
	TypeBytes
	TypePercent
	TypeEnum
	TypeDuration
	TypePeriod
	TypeAddress
	TypeFile
	TypeDir
	TypeList
)

// Unit is what a bare number of a TypeDuration setting counts.
type Unit uint8

// The units of durations, as VerneMQ's keys define them.
const (
	Milliseconds Unit = iota
	Seconds
	Minutes
)

// Status tells what the broker does with a setting.
type Status uint8

const (
	// Works says that the setting does what its documentation says.
	Works Status = iota
	// NoEffect is for keys accepted so that an existing file starts; Reason says why
	// there is nothing to set.
	NoEffect
	// NotYet is for keys accepted without effect in this version; warned at start.
	NotYet
	// Refused means that any other value than the default stops the start.
	Refused
)

// String is the word of the documentation.
func (s Status) String() string {
	switch s {
	case NoEffect:
		return "no effect here"
	case NotYet:
		return "not yet"
	case Refused:
		return "refuses to start unless it has its default"
	default:
		return "works"
	}
}

// Setting is one row of the table.
type Setting struct {
	// Key is a pattern: words that begin with "$" stand for a free name.
	Key     string
	Aliases []string
	Type    Type
	Unit    Unit
	// Default in the file's syntax, "" for none. <data>, <log>, <run>, <etc>
	// and <share> stand for directories.
	Default string
	// Inherits is the key pattern that is asked when this one is not set.
	Inherits string
	// Words are accepted besides the type's values; TypeEnum has only them.
	Words []string
	// Min and Max bound TypeInt and TypePercent when Max > Min.
	Min, Max int64
	// Doc is what `config describe` prints: what it does, in whose words.
	Doc string
	// Runtime settings can be changed with `mqadmin set`, and by a file that is
	// read again. A test of the broker proves for each that its user sees it.
	Runtime bool
	// Connect settings are copied by a connection at its CONNECT: one that is
	// open keeps the former value.
	Connect bool
	// Since is the first version that knows the key.
	Since string
	// Secret values are never shown.
	Secret bool
	// MustExist demands a readable PEM file at start.
	MustExist bool
	// Needs is a flag setting without which this one does nothing; no
	// warning about it is due then.
	Needs  string
	Status Status
	Reason string
	// Form describes the values where the type alone does not.
	Form string

	// check looks at a parsed value more closely, for Form.
	check func(v any) bool
	words []string
	area  string
}

// Flag settings and words that are spelled often.
const (
	on       = "on"
	off      = "off"
	infinity = "infinity"
)

// since is the version that introduced the keys of the first release.
const since = "0.1.0"

// index finds settings by key.
type index struct {
	all      []*Setting
	literal  map[string]*Setting
	patterns map[int][]*Setting // by number of words, most literal first
	aliases  map[string]string
}

// settings is the table, built on first use and never changed.
var settings = sync.OnceValue(buildIndex)

func buildIndex() *index {
	x := &index{literal: map[string]*Setting{}, patterns: map[int][]*Setting{}, aliases: map[string]string{}}
	for _, a := range areas() {
		for i := range a.settings {
			s := &a.settings[i]
			s.area = a.title
			s.words = strings.Split(s.Key, ".")
			if s.Since == "" {
				s.Since = since
			}
			x.add(s)
		}
	}
	for _, p := range x.patterns {
		slices.SortStableFunc(p, func(a, b *Setting) int { return names(a.words) - names(b.words) })
	}
	slices.SortFunc(x.all, func(a, b *Setting) int { return strings.Compare(a.Key, b.Key) })
	return x
}

func (x *index) add(s *Setting) {
	x.all = append(x.all, s)
	for _, a := range s.Aliases {
		x.aliases[a] = s.Key
	}
	if names(s.words) == 0 {
		if x.literal[s.Key] != nil {
			panic("config: the table holds " + s.Key + " twice")
		}
		x.literal[s.Key] = s
		return
	}
	x.patterns[len(s.words)] = append(x.patterns[len(s.words)], s)
}

// names counts the free names of a pattern.
func names(words []string) int {
	n := 0
	for _, w := range words {
		if strings.HasPrefix(w, "$") {
			n++
		}
	}
	return n
}

// lookup finds the setting of a canonical key: a literal key before a
// pattern.
func lookup(key string) (*Setting, bool) {
	x := settings()
	if s, ok := x.literal[key]; ok {
		return s, true
	}
	words := splitKey(key)
	for _, s := range x.patterns[len(words)] {
		if matches(s.words, words) {
			return s, true
		}
	}
	return nil, false
}

func matches(pattern, words []string) bool {
	for i, p := range pattern {
		if !strings.HasPrefix(p, "$") && p != words[i] {
			return false
		}
	}
	return true
}

// bind writes the names that key gives to pattern's words into target, a
// pattern over the same names: listener.tcp.$name.depth, …a.depth → listener.tcp.a.
func bind(pattern []string, key, target string) string {
	words := splitKey(key)
	out := strings.Split(target, ".")
	for i, w := range out {
		if at := slices.Index(pattern, w); strings.HasPrefix(w, "$") && at >= 0 {
			out[i] = words[at]
		}
	}
	return strings.Join(out, ".")
}

// canonicalKey replaces an alias by the key that it stands for.
func canonicalKey(key string) string {
	if k, ok := settings().aliases[key]; ok {
		return k
	}
	return key
}

// Lookup returns the setting that key, concrete or a pattern, belongs to.
func Lookup(key string) (Setting, bool) {
	s, ok := lookup(canonicalKey(key))
	if !ok {
		return Setting{}, false
	}
	return *s, true
}

// Keys returns every key pattern, sorted, for completion.
func Keys() []string {
	all := settings().all
	keys := make([]string, len(all))
	for i, s := range all {
		keys[i] = s.Key
	}
	return keys
}
