package auth

import (
	"errors"
	"strings"
	"testing"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
)

func newACL(t testing.TB, lines ...string) *ACL {
	t.Helper()
	m := &memory{data: strings.Join(lines, "\n")}
	a := NewACL(FileOptions{ReadFile: m.read})
	if a.file.good.Load() == nil {
		t.Fatalf("the ACL did not load: %s", a.file.lastErr)
	}
	return a
}

func client(user string) hook.Client {
	return hook.Client{
		ID: message.SessionID{Mountpoint: "mp", ClientID: "cid"}, Username: user, HasUsername: user != "",
	}
}

func mayWrite(t testing.TB, a *ACL, c hook.Client, topic string) bool {
	t.Helper()
	_, r := a.AuthOnPublish(t.Context(), &hook.Publish{Client: c, Topic: topic})
	if r.Verdict == hook.Refuse {
		t.Errorf("%s: refused instead of left to the next plugin", topic)
	}
	return r.Allowed()
}

func mayRead(t testing.TB, a *ACL, c hook.Client, filters ...string) bool {
	t.Helper()
	s := &hook.Subscribe{Client: c}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, message.Subscription{Filter: f})
	}
	_, r := a.AuthOnSubscribe(t.Context(), s)
	return r.Allowed()
}

func TestACLRead(t *testing.T) {
	for _, c := range []struct {
		acl, filter string
		want        bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a", false},
		{"a/b", "a/b/c", false},
		{"a/b", "a/+", false},
		{"a/+", "a/b", true},
		{"a/+", "a/+", true},
		{"a/+", "a/", true},
		{"a/+", "a", false},
		{"a/+", "a/b/c", false},
		{"a/+", "a/#", false}, // VerneMQ allows it
		{"+", "#", false},
		{"a/+/c", "a/#", false},
		{"a/+/#", "a/#", false},
		{"a/+/#", "a/+/#", true},
		{"a/+/#", "a/b", true},
		{"a/#", "a/#", true},
		{"a/#", "a", true},
		{"a/#", "a/b/+/#", true},
		{"a/#", "+/b", false},
		{"a/#", "ab", false},
		{"#", "#", true},
		{"#", "+/+", true},
		{"#", "$SYS/#", true}, // as VerneMQ: the packaged "topic #" opens $SYS
		{"+/x", "$SYS/x", true},
		{"/a", "/a", true},
		{"/a", "a", false},
		// Shared subscriptions: what they read is what counts.
		{"#", "$share/g/a/b", true},
		{"a/#", "$share/g/a/b", true},
		{"a/#", "$share/g/b", false},
		{"a/+", "$share/g/a/#", false},
		{"+/+/secret", "$share/g/secret", false}, // VerneMQ allows it
		{"$share/g/x", "$share/g/x", true},
		{"$share/g/x", "$share/h/x", false},
		{"$share/+/x", "$share/h/x", true},
		{"$share/g/#", "$share/g/x/y", true},
		{"$share/#", "$share/g/x/y", true},
		{"$share/g/x", "x", false},
	} {
		a := newACL(t, "topic read "+c.acl)
		if got := mayRead(t, a, client(""), c.filter); got != c.want {
			t.Errorf("topic read %s: subscribing %s: %v", c.acl, c.filter, got)
		}
		if mayWrite(t, a, client(""), "a/b") {
			t.Errorf("topic read %s allows publishing", c.acl)
		}
	}
}

func TestACLFile(t *testing.T) {
	a := newACL(
		t, "# comment", "topic all/#", "topic read ro", "topic write wo", "",
		"user alice", "topic alice/#", "topic read with blank", "pattern p/%u/%c/%m", "pattern write w/%c\r",
		"user bob", "topic bob", "user alice", "topic again",
	)
	for _, c := range []struct {
		user, op, topic string
		want            bool
	}{
		{"", "w", "all/x", true},
		{"", "r", "all/x", true},
		{"", "r", "ro", true},
		{"", "w", "ro", false},
		{"", "w", "wo", true},
		{"", "r", "wo", false},
		{"", "w", "alice/x", false},
		{"alice", "w", "alice/x", true},
		{"alice", "w", "all/x", true},
		{"alice", "r", "with blank", true},
		{"alice", "w", "bob", false},
		{"alice", "w", "again", true},
		{"bob", "w", "bob", true},
		{"bob", "w", "again", false},
		{"bob", "w", "p/bob/cid/mp", true},
		{"bob", "w", "p/alice/cid/mp", false},
		{"bob", "w", "p/bob/other/mp", false},
		{"bob", "w", "p/bob/cid/", false},
		{"", "w", "p//cid/mp", false},
		{"", "w", "p/%u/cid/mp", false},
		{"", "w", "w/cid", true},
		{"", "r", "w/cid", false},
	} {
		got := mayWrite(t, a, client(c.user), c.topic)
		if c.op == "r" {
			got = mayRead(t, a, client(c.user), c.topic)
		}
		if got != c.want {
			t.Errorf("%s %s %q: %v", c.user, c.op, c.topic, got)
		}
	}
	if !mayRead(t, a, client(""), "ro", "all/#") || mayRead(t, a, client(""), "ro", "wo") {
		t.Error("a SUBSCRIBE is allowed if and only if all its filters are")
	}
}

// A client may choose its id: it must not widen what it gets.
func TestACLSubstitutionIsNoWildcard(t *testing.T) {
	a := newACL(t, "pattern %c/x", "pattern u/%u")
	for _, id := range []string{"+", "#"} {
		c := client(id)
		c.ID.ClientID = id
		for _, f := range []string{id + "/x", "u/" + id, "#", "+/x", "u/+", "u/#"} {
			if mayRead(t, a, c, f) {
				t.Errorf("client and user %s may subscribe %s", id, f)
			}
		}
	}
	c := client("a/b")
	c.ID.ClientID = "a/b"
	if mayWrite(t, a, c, "a/b/x") || mayWrite(t, a, c, "u/a/b") {
		t.Error("substitution spans levels")
	}
}

func TestACLErrors(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"topic", "want a filter"},
		{"topic ", "want a filter"},
		{"topic read ", "want a filter"},
		{"topic  a", "one blank"},
		{"topic read  a", "one blank"},
		{"topic a/#/b", "# must be the last level"},
		{"topic a+/b", "whole level"},
		{"topic a/b#", "whole level"},
		{"topic readwrite a", "readwrite"},
		{"topic deny a", "no deny"},
		{"pattern read ", "want a filter"},
		{"user", "want user NAME"},
		{"user  ", "want user NAME"},
		{"Topic a", "want topic, user or pattern"},
		{" topic a", "want topic, user or pattern"},
		{"allow a", "want topic, user or pattern"},
		{"topic \xff", "not UTF-8"},
		{"topic a\x00", "NUL"},
	} {
		_, err := parseRules("f", []byte("topic a\n"+c.line))
		var pe *ParseError
		if !errors.As(err, &pe) || pe.Line != 2 || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.line, err, c.want)
		}
	}
}

func TestACLWithoutFileAllowsNothing(t *testing.T) {
	a := NewACL(FileOptions{ReadFile: (&memory{err: errors.New("no")}).read})
	if mayWrite(t, a, client("a"), "a") || mayRead(t, a, client("a"), "a") {
		t.Error("allowed")
	}
	empty := newACL(t, "")
	if mayWrite(t, empty, client("a"), "a") || mayRead(t, empty, client("a"), "a") {
		t.Error("an empty file allows")
	}
}

func TestACLReload(t *testing.T) {
	m := &memory{data: "topic a"}
	a := NewACL(FileOptions{ReadFile: m.read})
	m.data = "topic b"
	if err := a.Reload(); err != nil || mayWrite(t, a, client(""), "a") || !mayWrite(t, a, client(""), "b") {
		t.Errorf("not reloaded: %v", err)
	}
	m.data = "nonsense"
	if err := a.Reload(); err == nil || !mayWrite(t, a, client(""), "b") {
		t.Errorf("the last good content is gone: %v", err)
	}
	if err := a.Configure("x", 0); err == nil {
		t.Error("configured with a broken file without error")
	}
}

// covers is checked against a plain statement of the rule: every topic over a
// small alphabet that the filter matches, the line matches too.
func FuzzACL(f *testing.F) {
	f.Add("topic read a/+", "a/#", "a/b")
	f.Add("topic #\nuser u\ntopic a", "$share/g/x", "b")
	f.Add("pattern %u/%c/%m", "+/x", "u/c/m")
	f.Fuzz(func(t *testing.T, file, filter, topic string) {
		r, err := parseRules("f", []byte(file))
		if err != nil {
			var pe *ParseError
			if !errors.As(err, &pe) || pe.Line < 1 {
				t.Fatalf("no line in %v", err)
			}
			return
		}
		c := client("u")
		if checkFilter(filter) == "" && !strings.HasPrefix(filter, sharePrefix) && !strings.Contains(file, sharePrefix) &&
			r.allowsFilter(&c, filter) != r.allowsFilter(&c, sharePrefix+"g/"+filter) {
			t.Fatalf("%q alone and in a group are not treated alike", filter)
		}
		if checkFilter(filter) != "" || strings.ContainsAny(topic, "+#") || topic == "" || strings.HasPrefix(filter, sharePrefix) {
			return
		}
		if matches(filter, topic) && r.allows(accessRead, &c, filter) && !r.allows(accessRead, &c, topic) {
			t.Fatalf("%q may be subscribed to, and matches %q, which may not", filter, topic)
		}
	})
}

// matches is the rule of MQTT without the exception for "$".
func matches(filter, topic string) bool {
	fs, ts := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, f := range fs {
		if f == "#" {
			return true
		}
		if i >= len(ts) || f != "+" && f != ts[i] {
			return false
		}
	}
	return len(fs) == len(ts)
}

func BenchmarkACLPublish(b *testing.B) {
	a := newACL(b, "topic a/+/c", "pattern devices/%c/#")
	p := &hook.Publish{Client: client("u"), Topic: "devices/cid/x/y"}
	b.ReportAllocs()
	for b.Loop() {
		if _, r := a.AuthOnPublish(b.Context(), p); !r.Allowed() {
			b.Fatal(r)
		}
	}
}
