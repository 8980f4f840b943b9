// Package topic knows topic names and filters: which are valid, which match,
// and how to find all filters that match a name, or all names that match a
// filter, among millions. Every function's cost is linear in the length of
// the name or filter, because both come from strangers.
package topic

import (
	"errors"
	"strings"
)

// MaxLength is the longest topic name or filter in bytes [MQTT-4.7.3-3].
const MaxLength = 65535

// sharePrefix begins the filter of a shared subscription (MQTT 5.0 §4.8.2).
const sharePrefix = "$share/"

// Errors of ValidateName and ValidateFilter.
var (
	// ErrEmpty: names and filters have one character at least [MQTT-4.7.3-1].
	ErrEmpty = errors.New("topic is empty")
	// ErrTooLong: more than MaxLength bytes [MQTT-4.7.3-3].
	ErrTooLong = errors.New("topic is longer than 65535 bytes")
	// ErrLevels: more levels than the configured limit.
	ErrLevels = errors.New("topic has too many levels")
	// ErrWildcard: a name contains + or # [MQTT-3.3.2-2], [MQTT-4.7.1-1].
	ErrWildcard = errors.New("topic name contains a wildcard")
	// ErrHash: # must be the last level and fill it [MQTT-4.7.1-1].
	ErrHash = errors.New("# must be alone in the last level")
	// ErrPlus: + must fill its level [MQTT-4.7.1-2].
	ErrPlus = errors.New("+ must be alone in its level")
	// ErrShare: $share/ must be followed by a group without + # and by a
	// filter [MQTT-4.8.2-1], [MQTT-4.8.2-2].
	ErrShare = errors.New("shared subscription needs $share/group/filter")
)

// ValidateName checks a topic name, of at most maxLevels levels when that is
// not 0. UTF-8 and U+0000 are the wire decoder's to check.
func ValidateName(name string, maxLevels int) error {
	switch {
	case name == "":
		return ErrEmpty
	case len(name) > MaxLength:
		return ErrTooLong
	}
	levels := 1
	for i := range len(name) {
		switch name[i] {
		case '+', '#':
			return ErrWildcard
		case '/':
			levels++
		}
	}
	if maxLevels > 0 && levels > maxLevels {
		return ErrLevels
	}
	return nil
}

// ValidateFilter checks a topic filter, "$share/group/" in front included;
// that prefix does not count as levels.
func ValidateFilter(filter string, maxLevels int) error {
	switch {
	case filter == "":
		return ErrEmpty
	case len(filter) > MaxLength:
		return ErrTooLong
	}
	if strings.HasPrefix(filter, sharePrefix) {
		group, inner, ok := SplitShare(filter)
		if !ok || inner == "" || strings.ContainsAny(group, "+#") {
			return ErrShare
		}
		filter = inner
	}
	levels := 1
	for i := range len(filter) {
		switch filter[i] {
		case '/':
			levels++
		case '#':
			if i != len(filter)-1 || i > 0 && filter[i-1] != '/' {
				return ErrHash
			}
		case '+':
			if i > 0 && filter[i-1] != '/' || i < len(filter)-1 && filter[i+1] != '/' {
				return ErrPlus
			}
		}
	}
	if maxLevels > 0 && levels > maxLevels {
		return ErrLevels
	}
	return nil
}

// SplitShare takes a shared subscription's filter apart. shared is false, and
// inner the whole filter, for everything that does not read "$share/", a group
// of at least one character, "/".
func SplitShare(filter string) (group, inner string, shared bool) {
	rest, ok := strings.CutPrefix(filter, sharePrefix)
	if !ok {
		return "", filter, false
	}
	group, inner, ok = strings.Cut(rest, "/")
	if !ok || group == "" {
		return "", filter, false
	}
	return group, inner, true
}

// HasWildcard reports whether a valid filter matches more than one name.
func HasWildcard(filter string) bool { return strings.ContainsAny(filter, "+#") }

// Match reports whether a valid filter, without its "$share/group/", matches
// a valid name. A filter that begins with a wildcard matches no name that
// begins with $ [MQTT-4.7.2-1].
func Match(filter, name string) bool {
	if name == "" || filter == "" || name[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		f, frest, fmore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		n, nrest, nmore := strings.Cut(name, "/")
		if f != "+" && f != n {
			return false
		}
		switch {
		case !nmore:
			// "a/#" matches its parent level "a" [MQTT-4.7.1-2].
			return !fmore || frest == "#"
		case !fmore:
			return false
		}
		filter, name = frest, nrest
	}
}
