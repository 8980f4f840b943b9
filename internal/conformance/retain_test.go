package conformance

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// clear removes a retained message, so that topics of one test stay its own.
func (c *client) clear(topic string) {
	c.t.Helper()
	c.publish(topic, "", 1, retain)
}

func retainedReplaces(e *env) {
	p := e.join("p")
	for i, payload := range []string{"one", "two", "three"} {
		p.publish(e.topic("a"), payload, byte(i), retain)
		c := e.join("c")
		c.subscribe(e.topic("a"), 2)
		if m := c.take(e.topic("a"), payload, byte(i)); !m.Retain {
			e.Error("retain is not set")
		}
		c.silent()
	}
	p.clear(e.topic("a"))
}

func retainedQoS0Replaces(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "old", 2, retain)
	p.publish(e.topic("a"), "new", 0, retain)
	c := e.join("c")
	c.subscribe(e.topic("a"), 2)
	c.take(e.topic("a"), "new", 0)
	c.silent()
	p.clear(e.topic("a"))
}

func retainFlagOfNewSubscription(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, retain)
	c := e.join("c")
	for _, filter := range []string{e.topic("a"), e.topic("+"), e.topic("#")} {
		c.subscribe(filter, 1)
		if m := c.take(e.topic("a"), "m", 1); !m.Retain {
			e.Errorf("%s: retain is not set", filter)
		}
	}
	p.clear(e.topic("a"))
}

func retainFlagOfEstablished(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	p := e.join("p")
	for _, payload := range []string{"m", ""} {
		p.publish(e.topic("a"), payload, 1, retain)
		if m := c.take(e.topic("a"), payload, 1); m.Retain {
			e.Error("retain is set for an established subscription")
		}
	}
}

func emptyRemovesRetained(e *env) {
	p := e.join("p")
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	p.publish(e.topic("a"), "m", 1, retain)
	c.take(e.topic("a"), "m", 1)
	p.publish(e.topic("a"), "", 1, retain)
	c.take(e.topic("a"), "", 1)
	late := e.join("late")
	late.subscribe(e.topic("a"), 1)
	late.silent()
}

func emptyIsNotRetained(e *env) {
	p := e.join("p")
	for qos := range byte(3) {
		p.publish(e.topic("a"), "", qos, retain)
	}
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	c.silent()
}

func notRetainedChangesNothing(e *env) {
	p := e.join("p")
	p.publish(e.topic("b"), "m", 1)
	p.publish(e.topic("a"), "kept", 1, retain)
	p.publish(e.topic("a"), "other", 1)
	p.publish(e.topic("a"), "", 1)
	c := e.join("c")
	c.subscribe(e.topic("#"), 1)
	c.take(e.topic("a"), "kept", 1)
	c.silent()
	p.clear(e.topic("a"))
}

func handling(h byte) func(*message.Subscription) {
	return func(s *message.Subscription) { s.RetainHandling = h }
}

func retainHandling0(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, retain)
	c := e.join("c")
	for range 3 {
		c.subscribe(e.topic("a"), 1, handling(0))
		c.take(e.topic("a"), "m", 1)
	}
	c.silent()
	p.clear(e.topic("a"))
}

func retainHandling1(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, retain)
	c := e.join("c", kept)
	c.subscribe(e.topic("a"), 1, handling(1))
	c.take(e.topic("a"), "m", 1)
	c.subscribe(e.topic("a"), 1, handling(1))
	c.silent()
	c.bye()
	c = e.join("c", resume) // it exists still
	c.subscribe(e.topic("a"), 0, handling(1))
	c.silent()
	c.unsubscribe(e.topic("a"))
	c.subscribe(e.topic("a"), 1, handling(1))
	c.take(e.topic("a"), "m", 1)
	c.subscribe(e.topic("+"), 1, handling(1)) // another filter is another subscription
	c.take(e.topic("a"), "m", 1)
	p.clear(e.topic("a"))
}

func retainHandling2(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, retain)
	c := e.join("c")
	c.subscribe(e.topic("a"), 1, handling(2))
	c.subscribe(e.topic("#"), 1, handling(2))
	c.silent()
	p.clear(e.topic("a"))
}

func asPublished(s *message.Subscription) { s.RetainAsPublished = true }

func retainAsPublished(e *env) {
	c := e.join("c")
	c.subscribe(e.topic("a"), 1, asPublished)
	p := e.join("p")
	p.publish(e.topic("a"), "kept", 1, retain)
	if m := c.take(e.topic("a"), "kept", 1); !m.Retain {
		e.Error("the retain flag is lost")
	}
	p.publish(e.topic("a"), "not", 1)
	if m := c.take(e.topic("a"), "not", 1); m.Retain {
		e.Error("a retain flag that nobody set")
	}
	p.clear(e.topic("a"))
	if m := c.take(e.topic("a"), "", 1); !m.Retain {
		e.Error("the retain flag of an empty message is lost")
	}
}

func retainedExpires(e *env) {
	p := e.join("p")
	p.publish(e.topic("a"), "m", 1, messageExpiry(10), retain)
	time.Sleep(11 * time.Second)
	c := e.join("c")
	c.subscribe(e.topic("a"), 1)
	c.silent()
}

func retainedKeepsQoS(e *env) {
	p := e.join("p")
	for published := range byte(3) {
		p.publish(e.topic("a"), "m", published, retain)
		for granted := range byte(3) {
			c := e.join("c")
			c.subscribe(e.topic("a"), granted)
			c.take(e.topic("a"), "m", min(published, granted))
		}
	}
	p.clear(e.topic("a"))
}

func retainedForWildcards(e *env) {
	topics := []string{"foo/bar/baz", "foo/bar", "foo", "/foo", "foo/", "$dollar/foo"}
	p := e.join("p")
	for _, t := range topics[:5] {
		p.publish(t, t, 0, retain)
	}
	for filter, want := range map[string][]string{
		"foo/bar/baz": {"foo/bar/baz"}, "foo/+/baz": {"foo/bar/baz"}, "foo/+/baz/#": {"foo/bar/baz"}, "foo/#": {"foo", "foo/", "foo/bar", "foo/bar/baz"},
		"#": {"/foo", "foo", "foo/", "foo/bar", "foo/bar/baz"}, "/#": {"/foo"}, "+/foo": {"/foo"}, "+": {"foo"}, "foo/+": {"foo/", "foo/bar"},
		"+/+/+": {"foo/bar/baz"}, "foo/foo/baz": nil, "+/bar/#": {"foo/bar", "foo/bar/baz"},
	} {
		c := e.join("c")
		c.subscribe(filter, 0)
		var got []string
		for _, m := range c.pass() {
			got = append(got, m.(*packet.Publish).Topic)
		}
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			e.Errorf("%s: %s", filter, d)
		}
	}
}

// manyRetained: more than the queue of a client may hold.
func manyRetained(e *env) {
	p := e.join("p")
	for i := range 50 {
		p.publish(e.topic(string(rune('A'+i))), "m", 1, retain)
	}
	c := e.join("c")
	c.subscribe(e.topic("#"), 1)
	for range 50 {
		c.settle(want[*packet.Publish](c))
	}
	c.silent()
}
