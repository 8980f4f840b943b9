package topic

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestValidateName(t *testing.T) {
	tests := []struct {
		name   string
		levels int
		want   error
	}{
		{"a", 0, nil},
		{"/", 0, nil},
		{"a//b/", 4, nil},
		{"$SYS/broker", 0, nil},
		{"a b/ü", 0, nil},
		{"", 0, ErrEmpty}, // [MQTT-4.7.3-1]
		{strings.Repeat("a", 65535), 0, nil},
		{strings.Repeat("a", 65536), 0, ErrTooLong}, // [MQTT-4.7.3-3]
		{"a/+", 0, ErrWildcard},                     // [MQTT-3.3.2-2]
		{"a#b", 0, ErrWildcard},
		{"a/b/c", 2, ErrLevels},
		{"a/b", 2, nil},
	}
	for _, tt := range tests {
		if err := ValidateName(tt.name, tt.levels); !errors.Is(err, tt.want) {
			t.Errorf("ValidateName(%.20q, %d) = %v, want %v", tt.name, tt.levels, err, tt.want)
		}
	}
}

func TestValidateFilter(t *testing.T) {
	tests := []struct {
		filter string
		levels int
		want   error
	}{
		{"a", 0, nil},
		{"#", 0, nil},
		{"+", 0, nil},
		{"+/+/#", 3, nil},
		{"/+", 0, nil},
		{"+/", 0, nil},
		{"a/+/b/#", 0, nil},
		{"$SYS/#", 0, nil},
		{"$share", 0, nil}, // only "$share/" begins a shared subscription
		{"$shared/x", 0, nil},
		{"", 0, ErrEmpty},
		{strings.Repeat("a", 65536), 0, ErrTooLong},
		{"a#", 0, ErrHash}, // [MQTT-4.7.1-1]
		{"a/#/b", 0, ErrHash},
		{"#/", 0, ErrHash},
		{"##", 0, ErrHash},
		{"a/b#", 0, ErrHash},
		{"ab/+e", 0, ErrPlus}, // [MQTT-4.7.1-2], mochi.md 22
		{"a+/b", 0, ErrPlus},
		{"++", 0, ErrPlus},
		{"+#", 0, ErrPlus},
		{"a/b/c", 2, ErrLevels},
		{"$share/g/a/b", 2, nil},
		{"$share/g/a/b/c", 2, ErrLevels},
		{"$share/g/#", 0, nil},
		{"$share/g//", 0, nil},
		{"$share/", 0, ErrShare}, // [MQTT-4.8.2-1]
		{"$share/g", 0, ErrShare},
		{"$share/g/", 0, ErrShare}, // [MQTT-4.8.2-2]
		{"$share//a", 0, ErrShare},
		{"$share/g+/a", 0, ErrShare},
		{"$share/#/a", 0, ErrShare},
		{"$share/g/a+", 0, ErrPlus},
	}
	for _, tt := range tests {
		if err := ValidateFilter(tt.filter, tt.levels); !errors.Is(err, tt.want) {
			t.Errorf("ValidateFilter(%.20q, %d) = %v, want %v", tt.filter, tt.levels, err, tt.want)
		}
	}
}

func TestSplitShare(t *testing.T) {
	tests := []struct {
		filter, group, inner string
		shared               bool
	}{
		{"$share/g/a/b", "g", "a/b", true},
		{"$share/g//", "g", "/", true},
		{"$share/g/", "g", "", true},
		{"a/b", "", "a/b", false},
		{"$share/g", "", "$share/g", false},
		{"$share//a", "", "$share//a", false},
		{"$SHARE/g/a", "", "$SHARE/g/a", false},
	}
	for _, tt := range tests {
		g, in, ok := SplitShare(tt.filter)
		if g != tt.group || in != tt.inner || ok != tt.shared {
			t.Errorf("SplitShare(%q) = %q, %q, %v", tt.filter, g, in, ok)
		}
	}
}

var matchTests = []struct {
	filter, name string
	want         bool
}{
	{"a", "a", true},
	{"a", "b", false},
	{"a/b", "a", false},
	{"a", "a/b", false},
	{"#", "a", true},
	{"#", "a/b/c", true},
	{"#", "/", true},
	{"a/#", "a", true}, // the parent level [MQTT-4.7.1-2]
	{"a/#", "a/b/c", true},
	{"a/#", "ab", false},
	{"+/#", "a", true},
	{"foo/+/baz/#", "foo/bar/baz", true}, // mochi.md 15
	{"foo/+/baz/#", "foo/bar/baz/x/y", true},
	{"foo/+/baz/#", "foo/bar", false},
	{"+", "a", true},
	{"+", "a/b", false},
	{"+", "/a", false},
	{"/+", "/a", true},
	{"+/+", "/a", true},
	{"+/+", "/", true},
	{"a/+", "a/", true},
	{"a/+", "a", false},
	{"a/+/b", "a//b", true},
	{"a//b", "a//b", true},
	{"a//b", "a/b", false},
	{"A", "a", false}, // topics are case sensitive
	{"#", "$SYS/x", false},
	{"+/x", "$SYS/x", false}, // [MQTT-4.7.2-1]
	{"$SYS/#", "$SYS/x", true},
	{"$SYS/+", "$SYS/x", true},
	{"a/#", "a/$x", true},
	{"a/+", "a/$x", true},
}

func TestMatch(t *testing.T) {
	for _, tt := range matchTests {
		if got := Match(tt.filter, tt.name); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.filter, tt.name, got)
		}
		x := NewIndex[int, int]()
		x.Set(tt.filter, 1, 1)
		hits := 0
		x.Match(tt.name, func(int, int) { hits++ })
		if (hits == 1) != tt.want || hits > 1 {
			t.Errorf("Index %q, %q: %d hits", tt.filter, tt.name, hits)
		}
		s := NewStore[int]()
		s.Set(tt.name, 1)
		hits = 0
		s.MatchFilter(tt.filter, func(string, int) bool { hits++; return true })
		if (hits == 1) != tt.want || hits > 1 {
			t.Errorf("Store %q, %q: %d hits", tt.filter, tt.name, hits)
		}
	}
}

// naiveMatch is the specification's rule over split levels.
func naiveMatch(filter, name string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	if strings.HasPrefix(name, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	if f[len(f)-1] == "#" {
		f = f[:len(f)-1]
		if len(n) < len(f) {
			return false
		}
		n = n[:len(f)]
	}
	return slices.EqualFunc(f, n, func(f, n string) bool { return f == "+" || f == n })
}

// naiveValidFilter is the specification's rule over split levels.
func naiveValidFilter(filter string) bool {
	if filter == "" || len(filter) > MaxLength {
		return false
	}
	levels := strings.Split(filter, "/")
	if levels[0] == "$share" && len(levels) > 1 {
		if len(levels) < 3 || levels[1] == "" || strings.ContainsAny(levels[1], "+#") || strings.Join(levels[2:], "/") == "" {
			return false
		}
		levels = levels[2:]
	}
	for i, l := range levels {
		if strings.Contains(l, "+") && l != "+" || strings.Contains(l, "#") && (l != "#" || i != len(levels)-1) {
			return false
		}
	}
	return true
}

func FuzzFilter(f *testing.F) {
	for _, tt := range matchTests {
		f.Add(tt.filter, tt.name)
	}
	f.Add("$share/g/a/#", "a")
	f.Add("$share//a", "a")
	f.Fuzz(func(t *testing.T, filter, name string) {
		valid := ValidateFilter(filter, 0) == nil
		if valid != naiveValidFilter(filter) {
			t.Fatalf("ValidateFilter(%q) = %v", filter, valid)
		}
		if !valid || ValidateName(name, 0) != nil {
			return
		}
		_, inner, _ := SplitShare(filter)
		want := naiveMatch(inner, name)
		if got := Match(inner, name); got != want {
			t.Fatalf("Match(%q, %q) = %v", inner, name, got)
		}
		x, s := NewIndex[int, int](), NewStore[int]()
		x.Set(inner, 1, 1)
		s.Set(name, 1)
		hits := 0
		x.Match(name, func(int, int) { hits++ })
		s.MatchFilter(inner, func(string, int) bool { hits += 10; return true })
		if want && hits != 11 || !want && hits != 0 {
			t.Fatalf("%q, %q: index and store say %d, want match %v", inner, name, hits, want)
		}
	})
}
