package router

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
)

// join enters members of group g on filter t, named by what they are:
// here/there, online/offline.
func (w *world) join(node message.NodeID, online bool, ids ...string) {
	for _, id := range ids {
		s := &meta.Session{ID: client(id), Owner: node, Durable: true}
		if !online {
			s.OfflineSince = 1
		}
		w.meta.mu.Lock()
		w.meta.sessions[s.ID] = s
		w.meta.mu.Unlock()
		w.Apply(1, []meta.Event{meta.SharedChanged{Present: true, Member: meta.SharedMember{
			Session: s.ID, Node: node, Group: "g", Inner: "t", Durable: true, Subscription: message.Subscription{Filter: "$share/g/t", QoS: 2},
		}}})
	}
}

// takers publishes n messages and counts who got them.
func (w *world) takers(t *testing.T, n int) map[string]int {
	t.Helper()
	w.queues.got, w.links.sent = map[string][]queue.Delivery{}, nil
	for i := range n {
		w.publish(t, &message.Message{ID: message.ID{Sequence: uint64(i)}, Topic: "t", QoS: 2})
	}
	out := map[string]int{}
	for id, d := range w.queues.got {
		out[id] += len(d)
	}
	for _, f := range w.links.sent {
		out[f.Session.ClientID]++
	}
	return out
}

// What was given to one member before its routing was interrupted goes to no
// other.
func TestSharedMessageResumed(t *testing.T) {
	w := newWorld(t, nil)
	w.join(1, true, "a", "b")
	has := true
	w.queues.groupHas = func(id message.ID, group, filter string) bool {
		if id.Sequence != 7 || group != "g" || filter != "t" {
			t.Errorf("asked for %v %s %s", id, group, filter)
		}
		return has
	}
	for want := range 2 {
		m := &message.Message{ID: message.ID{Sequence: 7}, Topic: "t", QoS: 2}
		w.Publish(m, session.PublishOptions{Resumed: true}, func(r session.PublishResult) {
			if r.Matched != 1 || r.Err != nil {
				t.Errorf("%+v", r)
			}
		})
		if got := len(w.queues.names()); got != want {
			t.Errorf("%d members got it, want %d", got, want)
		}
		has = false
	}
}

func TestSharedPolicies(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		here   []string
		there  []string
		off    []string
		want   []string
	}{
		{Random, []string{"a"}, []string{"b"}, []string{"x"}, []string{"a", "b"}},
		{PreferLocal, []string{"a"}, []string{"b"}, []string{"x"}, []string{"a"}},
		{PreferLocal, nil, []string{"b"}, []string{"x"}, []string{"b"}},
		{LocalOnly, nil, []string{"b"}, nil, nil},
		{LocalOnly, []string{"a"}, []string{"b"}, nil, []string{"a"}},
		{PreferOnlineBeforeLocal, nil, []string{"b"}, []string{"x"}, []string{"b"}},
		{PreferOnlineBeforeLocal, nil, nil, []string{"x"}, []string{"x"}},
	} {
		w := newWorld(t, func(cfg *Config) { cfg.Policy = c.policy })
		w.join(self, true, c.here...)
		w.join(other, true, c.there...)
		w.join(self, false, c.off...)
		var got []string
		for id := range w.takers(t, 20) {
			got = append(got, id)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s here %v there %v offline %v: %v, want %v", c.policy, c.here, c.there, c.off, got, c.want)
		}
	}
}

// Within a policy no member gets more than 5 % above another, however the
// members lie on the nodes.
func TestSharedIsFair(t *testing.T) {
	w := newWorld(t, nil)
	w.join(self, true, "a")
	w.join(other, true, "b", "c", "d", "e", "f", "g")
	const n = 10_000
	got := w.takers(t, n)
	least, most := n, 0
	for _, k := range got {
		least, most = min(least, k), max(most, k)
	}
	if len(got) != 7 || most-least > n/7/20 {
		t.Errorf("%v", got)
	}
}

func TestSharedGoesToExactlyOne(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 5 {
		w.join(self, true, fmt.Sprint("h", i))
		w.join(other, true, fmt.Sprint("t", i))
	}
	sum := 0
	for _, k := range w.takers(t, 1000) {
		sum += k
	}
	if sum != 1000 {
		t.Errorf("%d deliveries of 1000 messages", sum)
	}
}

func TestSharedTriesTheNextMember(t *testing.T) {
	w := newWorld(t, nil)
	w.join(self, true, "full", "gone")
	w.join(other, true, "remote", "ok")
	w.queues.deliver = func(id message.SessionID, _ queue.Delivery) error {
		if id.ClientID == "full" {
			return queue.ErrFull
		}
		return queue.ErrNoSession
	}
	w.links.answer = func(_ message.NodeID, f peer.Frame) (peer.Code, error) {
		if f.Session.ClientID == "remote" {
			return 0, peer.ErrLinkDown
		}
		return peer.CodeAccepted, nil
	}
	for range 8 {
		if r := w.publish(t, &message.Message{Topic: "t", QoS: 2}); r.Err != nil {
			t.Error(r.Err)
		}
	}
	n := 0
	for _, f := range w.links.sent {
		if f.Session.ClientID == "ok" {
			n++
		}
	}
	if n != 8 {
		t.Errorf("the only member that can take messages got %d of 8", n)
	}
}

// What may have been delivered is never given to a second member.
func TestSharedUnknownOutcomeIsNotRepeated(t *testing.T) {
	w := newWorld(t, nil)
	w.join(other, true, "a", "b")
	w.links.answer = func(message.NodeID, peer.Frame) (peer.Code, error) { return 0, peer.ErrUnknownOutcome }
	if r := w.publish(t, &message.Message{Topic: "t", QoS: 2}); r.Err == nil {
		t.Error("a message of unknown fate was acknowledged")
	}
	if len(w.links.sent) != 1 {
		t.Errorf("sent to %d members", len(w.links.sent))
	}
}

// A member that turns out to be offline gets the message only when nobody is
// online.
func TestSharedOfflineMemberIsTheLastResort(t *testing.T) {
	w := newWorld(t, nil)
	w.join(self, true, "stale", "live")
	w.queues.deliver = func(id message.SessionID, d queue.Delivery) error {
		if id.ClientID == "stale" && d.OnlineOnly {
			return queue.ErrOffline
		}
		return nil
	}
	if got := w.takers(t, 10); got["live"] != 10 {
		t.Errorf("%v", got)
	}
	w.queues.deliver = func(_ message.SessionID, d queue.Delivery) error {
		if d.OnlineOnly {
			return queue.ErrOffline
		}
		return nil
	}
	got := w.takers(t, 10)
	if got["live"]+got["stale"] != 10 {
		t.Errorf("%v", got)
	}
}

func TestSharedMemberFollowsItsSession(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Policy = PreferLocal })
	w.join(self, true, "a")
	s := w.meta.sessions[client("a")]
	moved := &meta.Session{ID: s.ID, Owner: other, Durable: true}
	w.meta.sessions[s.ID] = moved
	w.Apply(2, []meta.Event{meta.SessionChanged{Old: s, New: moved}})
	if got := w.takers(t, 3); got["a"] != 3 || len(w.links.sent) != 3 {
		t.Errorf("%v, %d frames", got, len(w.links.sent))
	}
	w.Apply(3, []meta.Event{meta.SharedChanged{Member: meta.SharedMember{Session: s.ID, Group: "g", Inner: "t"}}})
	if got := w.takers(t, 3); len(got) != 0 {
		t.Errorf("after it left: %v", got)
	}
	if w.tables.lookup("").groups.Len() != 0 || len(w.tables.sessions) != 0 {
		t.Error("an empty group is left behind")
	}
}

// What an ended member had not been sent goes to another one.
func TestRedispatch(t *testing.T) {
	w := newWorld(t, nil)
	w.join(self, true, "ended", "other")
	d := queue.Delivery{Message: &message.Message{Topic: "t", QoS: 2}, Group: "g", Filter: "t"}
	for range 4 {
		w.Redispatch(client("ended"), d)
	}
	if got := len(w.queues.got["other"]); got != 4 || len(w.queues.got["ended"]) != 0 {
		t.Errorf("the other member got %d of 4", got)
	}
	w.Redispatch(client("other"), queue.Delivery{Message: d.Message, Group: "none", Filter: "t"})
	if got := w.counters.sharedNoMember.Value(); got != 1 {
		t.Errorf("%d messages without a member counted", got)
	}
}

// A shared subscription has its identifier and its say about the retain flag
// as others do [MQTT-3.3.4-3] [MQTT-3.3.1-13].
func TestSharedCarriesItsOptions(t *testing.T) {
	w := newWorld(t, nil)
	for _, rap := range []bool{false, true} {
		w.queues.got = map[string][]queue.Delivery{}
		s := &meta.Session{ID: client("a"), Owner: 1, Durable: true}
		w.meta.mu.Lock()
		w.meta.sessions[s.ID] = s
		w.meta.mu.Unlock()
		w.Apply(1, []meta.Event{meta.SharedChanged{Present: true, Member: meta.SharedMember{
			Session: s.ID, Node: 1, Group: "g", Inner: "t", Durable: true,
			Subscription: message.Subscription{Filter: "$share/g/t", QoS: 1, Identifier: 7, RetainAsPublished: rap},
		}}})
		w.publish(t, &message.Message{Topic: "t", QoS: 2, Retain: true})
		got := w.queues.got["a"]
		if len(got) != 1 || got[0].QoS != 1 || got[0].Retain != rap || !slices.Equal(got[0].SubscriptionIDs, []uint32{7}) {
			t.Errorf("%v: %+v", rap, got)
		}
	}
}
