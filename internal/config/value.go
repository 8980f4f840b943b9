package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Infinity is what Int and Bytes return for the word "infinity".
const Infinity = math.MaxInt64

// Never is what Duration returns for the words "never", "client" and
// "infinity": no limit.
const Never time.Duration = math.MaxInt64

// Address is where a listener listens.
type Address struct {
	Network string // "tcp" or "unix"
	Address string // host:port, or the path of the socket
}

// parse reads text as a value of the setting. The error completes
// "expected …".
func (s *Setting) parse(text string) (any, error) {
	// VerneMQ's generated files put some values into double quotes, which
	// its syntax keeps as part of the value. A secret may really hold them.
	if n := len(text); n >= 2 && text[0] == '"' && text[n-1] == '"' && (!s.Secret || n == 2) {
		text = text[1 : n-1]
	}
	if s.Type != TypeEnum && slices.Contains(s.Words, text) {
		return s.word(text), nil
	}
	switch s.Type {
	case TypeFlag:
		return s.parseFlag(text)
	case TypeInt:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || !s.inRange(n) {
			return nil, s.expected()
		}
		return int(n), nil
	case TypeBytes:
		return s.parseBytes(text)
	case TypePercent:
		n, err := strconv.ParseInt(strings.TrimSuffix(text, "%"), 10, 64)
		if err != nil || !s.inRange(n) {
			return nil, s.expected()
		}
		return int(n), nil
	case TypeEnum:
		if !slices.Contains(s.Words, text) {
			return nil, s.expected()
		}
		return text, nil
	case TypeDuration:
		return s.parseDuration(text)
	case TypePeriod:
		return s.parsePeriod(text)
	case TypeAddress:
		return s.parseAddress(text)
	case TypeList:
		return parseList(text), nil
	default:
		return text, nil
	}
}

// word is the value of a word that stands beside the type.
func (s *Setting) word(text string) any {
	switch s.Type {
	case TypeFlag:
		return text == "true"
	case TypeInt, TypePercent:
		if text == infinity {
			return math.MaxInt
		}
		return 0
	case TypeBytes:
		if text == infinity {
			return int64(Infinity)
		}
		return int64(0)
	case TypeDuration, TypePeriod:
		if text == off {
			return time.Duration(0)
		}
		return Never
	default:
		return text
	}
}

func (s *Setting) inRange(n int64) bool {
	return s.Max <= s.Min || n >= s.Min && n <= s.Max || n == -1 && s.Inherits != ""
}

// parseFlag knows on and off only, as VerneMQ; "true" is a common slip that
// gets its own answer through expected.
func (s *Setting) parseFlag(text string) (any, error) {
	switch text {
	case on:
		return true, nil
	case off:
		return false, nil
	}
	return nil, s.expected()
}

// parseBytes reads an integer with KB, MB or GB (all upper or all lower
// case), binary multiples.
func (s *Setting) parseBytes(text string) (any, error) {
	digits, factor := text, int64(1)
	for _, u := range []struct {
		upper, lower string
		factor       int64
	}{{"KB", "kb", 1 << 10}, {"MB", "mb", 1 << 20}, {"GB", "gb", 1 << 30}} {
		if d, ok := strings.CutSuffix(text, u.upper); ok {
			digits, factor = d, u.factor
		} else if d, ok := strings.CutSuffix(text, u.lower); ok {
			digits, factor = d, u.factor
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return nil, s.expected()
	}
	return n * factor, nil
}

// parseDuration reads a number of the setting's unit, or cuttlefish's
// concatenation of <n>f|w|d|h|m|s|ms (f: fortnight).
func (s *Setting) parseDuration(text string) (any, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		unit := s.Unit.duration()
		if n == -1 && s.Inherits != "" {
			return time.Duration(-1), nil
		}
		if n < 0 || n > int64(Never/unit) {
			return nil, s.expected()
		}
		return time.Duration(n) * unit, nil
	}
	total, rest := time.Duration(0), text
	for rest != "" {
		n, unit, r, ok := amount(rest)
		d, known := cuttlefishUnits[unit]
		if !ok || !known || n > int64((Never-total)/d) {
			return nil, s.expected()
		}
		total += time.Duration(n) * d
		rest = r
	}
	if text == "" {
		return nil, s.expected()
	}
	return total, nil
}

var cuttlefishUnits = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
	"d": 24 * time.Hour, "w": 7 * 24 * time.Hour, "f": 14 * 24 * time.Hour,
}

// periodUnits are those of persistent_client_expiration: there a month has
// four weeks and a year 48.
var periodUnits = map[string]time.Duration{
	"s": time.Second, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
	"m": 4 * 7 * 24 * time.Hour, "y": 48 * 7 * 24 * time.Hour,
}

func (s *Setting) parsePeriod(text string) (any, error) {
	n, unit, rest, ok := amount(text)
	d, known := periodUnits[unit]
	if !ok || !known || rest != "" || n > int64(Never/d) {
		return nil, s.expected()
	}
	return time.Duration(n) * d, nil
}

// amount splits "10ms…" into the number, the letters after it and the rest.
func amount(text string) (n int64, unit, rest string, ok bool) {
	i := 0
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++
	}
	j := i
	for j < len(text) && text[j] >= 'a' && text[j] <= 'z' {
		j++
	}
	n, err := strconv.ParseInt(text[:i], 10, 64)
	return n, text[i:j], text[j:], err == nil
}

// parseAddress reads addr:port, split at the last colon so that ::1:1883 is
// IPv6, or local:/path:0.
func (s *Setting) parseAddress(text string) (any, error) {
	host, port, ok := cutLast(text, ':')
	if !ok {
		return nil, s.expected()
	}
	if path, isLocal := strings.CutPrefix(host, "local:"); isLocal {
		if port != "0" || path == "" {
			return nil, s.expected()
		}
		return Address{Network: "unix", Address: path}, nil
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if err != nil {
		return nil, s.expected()
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, s.expected()
	}
	return Address{Network: "tcp", Address: netip.AddrPortFrom(ip, uint16(n)).String()}, nil
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// parseList reads "a,b", Erlang's "[a, b]" or OpenSSL's "a:b".
func parseList(text string) []string {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		text = text[1 : len(text)-1]
	}
	sep := ','
	if !strings.Contains(text, ",") && strings.Contains(text, ":") {
		sep = ':' // cipher lists in OpenSSL's syntax
	}
	out := []string{}
	for e := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == sep }) {
		if e = strings.Trim(strings.TrimSpace(e), `'"`); e != "" {
			out = append(out, e)
		}
	}
	return out
}

func (u Unit) duration() time.Duration {
	switch u {
	case Seconds:
		return time.Second
	case Minutes:
		return time.Minute
	default:
		return time.Millisecond
	}
}

// expected says what the setting accepts.
func (s *Setting) expected() error { return errors.New(s.Accepts()) }

// Accepts describes the values of the setting: "on or off".
func (s *Setting) Accepts() string {
	if s.Type == TypeEnum {
		return orList(s.Words)
	}
	return orList(append([]string{s.typeText()}, s.Words...))
}

func (s *Setting) typeText() string {
	if s.Form != "" {
		return s.Form
	}
	switch s.Type {
	case TypeFlag:
		return "on or off"
	case TypeInt:
		return s.bounded("an integer")
	case TypeBytes:
		return "a size in bytes, KB, MB or GB (64KB)"
	case TypePercent:
		return s.bounded("a percentage")
	case TypeDuration:
		unit := [...]string{"milliseconds", "seconds", "minutes"}[s.Unit]
		return "a number of " + unit + " or a duration such as 90s or 1h30m"
	case TypePeriod:
		return "a number followed by s, h, d, w, m (4 weeks) or y (48 weeks)"
	case TypeAddress:
		return "an IP address and port such as 127.0.0.1:1883, or local:/path/to/socket:0"
	case TypeFile:
		return "the path of a file"
	case TypeDir:
		return "the path of a directory"
	case TypeList:
		return "a list separated by commas"
	default:
		return "text"
	}
}

func (s *Setting) bounded(what string) string {
	switch {
	case s.Max <= s.Min:
		return what
	case s.Max == math.MaxInt64:
		return fmt.Sprintf("%s of at least %d", what, s.Min)
	default:
		return fmt.Sprintf("%s from %d to %d", what, s.Min, s.Max)
	}
}

// orList joins words: "a, b or c".
func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
