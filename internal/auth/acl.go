package auth

import (
	"context"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/hook"
)

// ACLName is the name of the ACL plugin in plugins.<name> and in authz_plugins.
const ACLName = "vmq_acl"

// ACL is the ACL file plugin: what no line of the file allows is left to the
// next plugin, and so refused when there is none. Deliveries are not checked.
//
// The topic of a PUBLISH must match a write line. A filter of a SUBSCRIBE must
// be covered by a read line: whatever the filter can match, the line matches
// (VerneMQ compares it as if it were a topic, so that "a/+" lets "a/#" pass).
// In a line "#" and "+" also stand for levels that begin with "$", so the
// packaged "topic #" lets clients read $SYS. The filter within a shared
// subscription is what is checked, or the whole of it against lines that begin
// with "$share/".
type ACL struct{ file *file[rules] }

// NewACL returns the plugin with the file loaded. A file that cannot be used
// is logged, and the plugin then allows nothing.
func NewACL(o FileOptions) *ACL {
	a := &ACL{file: newFile(ACLName, o, parseRules)}
	_ = a.file.load() // logged, and shown by the gauge
	return a
}

// Run re-reads the file at its interval until ctx ends.
func (a *ACL) Run(ctx context.Context) { a.file.run(ctx) }

// Reload re-reads the file now. On an error the last good content stays.
// Subscriptions that were granted stay too.
func (a *ACL) Reload() error { return a.file.load() }

// File returns the path in use, for whoever watches it.
func (a *ACL) File() string { return a.file.name() }

// Configure changes path and interval at run time and loads the file.
func (a *ACL) Configure(path string, interval time.Duration) error {
	return a.file.configure(path, interval)
}

// Interval returns how often the file is read again.
func (a *ACL) Interval() time.Duration { return a.file.every() }

// Prompt says that the hooks look at memory only; see hook.Prompt.
func (a *ACL) Prompt() {}

// AuthOnPublish allows a topic that a write line matches. The topic is the one
// within the client's mountpoint.
func (a *ACL) AuthOnPublish(_ context.Context, p *hook.Publish) (*hook.PublishModifiers, hook.Result) {
	r := a.file.good.Load()
	if r != nil && r.allows(accessWrite, &p.Client, p.Topic) {
		return nil, hook.Allow()
	}
	return nil, hook.Pass()
}

// AuthOnSubscribe allows a SUBSCRIBE whose filters are all covered by read
// lines.
func (a *ACL) AuthOnSubscribe(_ context.Context, s *hook.Subscribe) (*hook.SubscribeModifiers, hook.Result) {
	r := a.file.good.Load()
	if r == nil {
		return nil, hook.Pass()
	}
	for i := range s.Subscriptions {
		if !r.allowsFilter(&s.Client, s.Subscriptions[i].Filter) {
			return nil, hook.Pass()
		}
	}
	return nil, hook.Allow()
}

// access is what a line allows.
type access int

const (
	accessRead access = iota
	accessWrite
	numAccess
)

// rules is a loaded ACL file.
type rules struct {
	all    [numAccess]*node            // topic lines before the first user, pattern lines
	byUser [numAccess]map[string]*node // topic lines behind a user line
}

// node is one level of the lines that share what leads to it.
type node struct {
	levels              map[string]*node
	plus                *node
	user, client, mount *node // %u, %c, %m
	end                 bool  // a line ends here
	hash                bool  // a line goes on with "#": all below, and this level itself
}

// allows reports whether a line covers the topic or filter.
func (r *rules) allows(a access, c *hook.Client, topic string) bool {
	if r.all[a].covers(c, topic) {
		return true
	}
	return c.HasUsername && r.byUser[a][c.Username].covers(c, topic)
}

// allowsFilter reports whether a filter may be subscribed to.
func (r *rules) allowsFilter(c *hook.Client, filter string) bool {
	group, shared := strings.CutPrefix(filter, sharePrefix)
	if !shared {
		return r.allows(accessRead, c, filter)
	}
	if r.allowsShare(c, filter) {
		return true
	}
	_, inner, ok := strings.Cut(group, "/")
	return ok && r.allows(accessRead, c, inner)
}

// allowsShare looks only at lines that begin with "$share/": "+/+/x" is about
// ordinary topics.
func (r *rules) allowsShare(c *hook.Client, filter string) bool {
	rest := filter[len(sharePrefix):]
	if r.all[accessRead].share().covers(c, rest) {
		return true
	}
	return c.HasUsername && r.byUser[accessRead][c.Username].share().covers(c, rest)
}

const sharePrefix = "$share/"

// share returns what follows "$share/" in the lines.
func (n *node) share() *node {
	if n == nil {
		return nil
	}
	return n.levels["$share"]
}

// covers reports whether every topic that the filter (or topic) stands for is
// matched by one line below n.
func (n *node) covers(c *hook.Client, filter string) bool {
	if n == nil {
		return false
	}
	if n.hash {
		return true
	}
	level, rest, more := strings.Cut(filter, "/")
	switch level {
	case "#":
		return false // only "#" covers "#", and there was none on the way
	case "+":
		return n.plus.next(c, rest, more)
	}
	// Client ids and user names with wildcards in them cannot come here: the
	// level is an ordinary one.
	return n.levels[level].next(c, rest, more) || n.plus.next(c, rest, more) ||
		level == c.ID.ClientID && n.client.next(c, rest, more) ||
		c.HasUsername && level == c.Username && n.user.next(c, rest, more) ||
		level == c.ID.Mountpoint && n.mount.next(c, rest, more)
}

// next goes on behind a level that has matched.
func (n *node) next(c *hook.Client, rest string, more bool) bool {
	if n == nil {
		return false
	}
	if !more {
		return n.end || n.hash
	}
	return n.covers(c, rest)
}

// add files a line under n. Substitution is for pattern lines only.
func (n *node) add(filter string, pattern bool) {
	for level := range strings.SplitSeq(filter, "/") {
		switch {
		case level == "#":
			n.hash = true
			return
		case level == "+":
			n = child(&n.plus)
		case pattern && level == "%u":
			n = child(&n.user)
		case pattern && level == "%c":
			n = child(&n.client)
		case pattern && level == "%m":
			n = child(&n.mount)
		default:
			next := n.levels[level]
			if next == nil {
				if n.levels == nil {
					n.levels = map[string]*node{}
				}
				next = &node{}
				n.levels[level] = next
			}
			n = next
		}
	}
	n.end = true
}

// child returns *p, made if there was none.
func child(p **node) *node {
	if *p == nil {
		*p = &node{}
	}
	return *p
}
