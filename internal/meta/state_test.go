package meta

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// maker makes commands of a few nodes with correct sequences.
type maker struct {
	seq   map[uint64]uint64
	stamp uint64
}

func (m *maker) from(node uint64, c *metapb.Command) *metapb.Command {
	m.seq[node]++
	m.stamp += 1 << 16
	c.Origin, c.Incarnation, c.Sequence, c.Stamp, c.Wall = node, 1, m.seq[node], m.stamp, int64(m.stamp>>16)
	return c
}

func newMaker() *maker { return &maker{seq: map[uint64]uint64{}, stamp: 1 << 32} }

func registerCmd(c string, clean, durable bool) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_Register{Register: &metapb.Register{Client: c, CleanStart: clean, Durable: durable, Expiry: 60}}}
}

func subscribeCmd(c string, e message.Epoch, filter string, qos uint32) *metapb.Command {
	return &metapb.Command{Op: &metapb.Command_Subscribe{Subscribe: &metapb.Subscribe{
		Client: c, Epoch: epochToPB(e), Subscriptions: []*metapb.Subscription{{Filter: filter, Qos: qos}},
	}}}
}

func retainedCmd(topic, payload string) *metapb.Command {
	m := &message.Message{Topic: topic, Payload: []byte(payload), Retain: true}
	return &metapb.Command{Op: &metapb.Command_SetRetained{SetRetained: &metapb.SetRetained{Message: m.AppendBinary(nil)}}}
}

// twoMembers returns a state with members 1 and 2, and its next index.
func twoMembers(t interface{ Fatal(...any) }, m *maker) (*state, uint64) {
	s := newState()
	for i, c := range []*metapb.Command{
		m.from(1, &metapb.Command{Op: &metapb.Command_Bootstrap{Bootstrap: &metapb.Bootstrap{Cluster: 7, Member: &metapb.Member{Id: 1, Name: "a"}}}}),
		m.from(1, &metapb.Command{Op: &metapb.Command_PutMember{PutMember: &metapb.PutMember{Member: &metapb.Member{Id: 2, Name: "b"}}}}),
	} {
		if r, err := s.apply(uint64(i+1), c); err != nil || r.err != nil {
			t.Fatal(err, r.err)
		}
	}
	s.takeEvents()
	return s, 3
}

// dump writes everything of a state in one order.
func dump(t interface{ Fatal(...any) }, s *state) string {
	var b bytes.Buffer
	b.WriteString(s.snapshotHeader().String())
	err := s.eachRecord(func(r *metapb.SnapshotRecord) error {
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		fmt.Fprintf(&b, "%x\n", raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.routes.Scan(func(k string, list []Route) bool { fmt.Fprintf(&b, "%q %+v\n", k, list); return true })
	s.shared.Scan(func(k string, m *SharedMember) bool { fmt.Fprintf(&b, "%q %+v\n", k, *m); return true })
	return b.String()
}

func reload(t interface{ Fatal(...any) }, s *state) *state {
	var b bytes.Buffer
	if err := s.writeSnapshot(&b, func(int) error { return nil }); err != nil {
		t.Fatal(err)
	}
	out, err := readSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestStateAgainstModel applies random commands and compares the registry,
// the subscriptions, the routes and the retained values with plain maps, and
// a state that went through a snapshot in the middle with one that did not.
func TestStateAgainstModel(t *testing.T) {
	type entry struct {
		owner   uint64
		durable bool
		epoch   message.Epoch
		subs    map[string]bool
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := newMaker()
		s, index := twoMembers(rt, m)
		other := reload(rt, s)
		model := map[string]*entry{}
		retained := map[string]string{}
		keys := map[string]bool{}
		apply := func(c *metapb.Command) result {
			r, err := s.apply(index, c)
			if err != nil {
				rt.Fatal(err)
			}
			if o, _ := other.apply(index, c); !errors.Is(o.err, r.err) {
				rt.Fatalf("after a snapshot %v, without %v", o.err, r.err)
			}
			index++
			return r
		}
		client := rapid.SampledFrom([]string{"x", "y", "z"})
		filter := rapid.SampledFrom([]string{"a", "a/#", "$share/g/a", "$share/g/b"})
		node := rapid.SampledFrom([]uint64{1, 2})
		rt.Repeat(map[string]func(*rapid.T){
			"register": func(rt *rapid.T) {
				c, n := client.Draw(rt, "client"), node.Draw(rt, "node")
				clean, durable := rapid.Bool().Draw(rt, "clean"), rapid.Bool().Draw(rt, "durable")
				r := apply(m.from(n, registerCmd(c, clean, durable)))
				old := model[c]
				e := &entry{owner: n, durable: durable, epoch: r.reg.Epoch, subs: map[string]bool{}}
				if present := old != nil && old.durable && !clean; present != r.reg.Present {
					rt.Fatalf("present %v, want %v", r.reg.Present, present)
				} else if present {
					e.subs = old.subs
				}
				model[c] = e
			},
			"release": func(rt *rapid.T) {
				c, durable := client.Draw(rt, "client"), rapid.Bool().Draw(rt, "durable")
				if e := model[c]; e != nil {
					apply(m.from(e.owner, &metapb.Command{Op: &metapb.Command_Release{Release: &metapb.Release{
						Client: c, Epoch: epochToPB(e.epoch), Durable: durable, Expiry: 9, At: 5,
					}}}))
					if e.durable = durable; !durable {
						delete(model, c)
					}
				}
			},
			"subscribe": func(rt *rapid.T) {
				c, f := client.Draw(rt, "client"), filter.Draw(rt, "filter")
				if e := model[c]; e != nil {
					r := apply(m.from(e.owner, subscribeCmd(c, e.epoch, f, 1)))
					if r.existed[0] != e.subs[f] {
						rt.Fatalf("existed %v", r.existed[0])
					}
					e.subs[f] = true
				}
			},
			"unsubscribe": func(rt *rapid.T) {
				c, f := client.Draw(rt, "client"), filter.Draw(rt, "filter")
				if e := model[c]; e != nil {
					apply(m.from(e.owner, &metapb.Command{Op: &metapb.Command_Unsubscribe{Unsubscribe: &metapb.Unsubscribe{
						Client: c, Epoch: epochToPB(e.epoch), Filters: []string{f},
					}}}))
					delete(e.subs, f)
				}
			},
			"stale": func(rt *rapid.T) {
				c := client.Draw(rt, "client")
				r := apply(m.from(1, subscribeCmd(c, message.Epoch{Cluster: 7, Index: 1}, "never", 0)))
				if r.err == nil {
					rt.Fatal("a stale epoch subscribed")
				}
			},
			"key": func(rt *rapid.T) {
				hash, scope := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "hash"), filter.Draw(rt, "scope")
				hash[0] &= 1 // few, so that they meet
				clear(hash[1:])
				id := string(hash) + scope
				if had := keys[id]; rapid.Bool().Draw(rt, "put") {
					r := apply(m.from(node.Draw(rt, "node"), &metapb.Command{Op: &metapb.Command_PutKey{PutKey: &metapb.PutKey{
						Key: &metapb.Key{Hash: hash, Scope: scope, Role: "viewer", Expires: 1, Created: 2, CreatedBy: "b"},
					}}}))
					if keys[id] = true; r.existed[0] != had {
						rt.Fatalf("existed %v, want %v", r.existed, had)
					}
				} else {
					r := apply(m.from(1, &metapb.Command{Op: &metapb.Command_DropKey{DropKey: &metapb.DropKey{Hash: hash, Scope: scope}}}))
					if delete(keys, id); r.existed[0] != had {
						rt.Fatalf("existed %v, want %v", r.existed, had)
					}
				}
				if v := (&View{s}); len(v.Keys()) != len(keys) {
					rt.Fatalf("%d keys, want %d", len(v.Keys()), len(keys))
				} else if k, ok := v.Key(hashFromPB(hash), scope); ok != keys[id] || ok && (k.Role != "viewer" || k.CreatedBy != "b") {
					rt.Fatalf("%+v, %v", k, ok)
				}
			},
			"retain": func(rt *rapid.T) {
				topic, p := client.Draw(rt, "topic"), client.Draw(rt, "payload")
				apply(m.from(node.Draw(rt, "node"), retainedCmd(topic, p)))
				retained[topic] = p
			},
			"forget": func(rt *rapid.T) {
				topic := client.Draw(rt, "topic")
				apply(m.from(1, &metapb.Command{Op: &metapb.Command_DeleteRetained{DeleteRetained: &metapb.DeleteRetained{Topic: topic}}}))
				delete(retained, topic)
			},
			"snapshot": func(rt *rapid.T) { other = reload(rt, other) },
			"": func(rt *rapid.T) {
				if s.sessions.Len() != len(model) || s.retained.Len() != len(retained) {
					rt.Fatalf("%d sessions, want %d", s.sessions.Len(), len(model))
				}
				routes, shared := map[string]int{}, 0
				for c, e := range model {
					got, ok := s.sessions.Get(sid(c).Key())
					if !ok || uint64(got.Owner) != e.owner || got.Epoch != e.epoch || got.Durable != e.durable {
						rt.Fatalf("session %s: %+v, want %+v", c, got, e)
					}
					var want []string
					for f := range e.subs {
						want = append(want, f)
						if strings.HasPrefix(f, "$share") {
							shared++
						} else {
							routes[fmt.Sprint(f, e.owner)]++
						}
					}
					var have []string
					for _, sub := range s.subscriptions(sid(c)) {
						have = append(have, sub.Filter)
					}
					slices.Sort(want)
					if !slices.Equal(want, have) {
						rt.Fatalf("%s: subscriptions %v, want %v", c, have, want)
					}
				}
				got := map[string]int{}
				(&View{s}).Routes(func(r Route) bool { got[fmt.Sprint(r.Filter, uint64(r.Node))] = r.Durable; return true })
				if d := cmp.Diff(routes, got); d != "" || s.shared.Len() != shared {
					rt.Fatalf("routes: %s; %d shared, want %d", d, s.shared.Len(), shared)
				}
				if a, b := dump(rt, s), dump(rt, other); a != b {
					rt.Fatalf("a snapshot changed the state: %s", cmp.Diff(a, b))
				}
			},
		})
	})
}

func TestCopyIsNotChanged(t *testing.T) {
	m := newMaker()
	s, index := twoMembers(t, m)
	r, _ := s.apply(index, m.from(1, registerCmd("c", false, true)))
	before := dump(t, s)
	c := s.copy()
	for i, cmd := range []*metapb.Command{m.from(1, subscribeCmd("c", r.reg.Epoch, "f", 1)), m.from(2, registerCmd("c", false, true)), m.from(1, retainedCmd("t", "p"))} {
		if _, err := s.apply(index+1+uint64(i), cmd); err != nil {
			t.Fatal(err)
		}
	}
	if after := dump(t, c); before != after {
		t.Error(cmp.Diff(before, after))
	}
}

func TestAdmission(t *testing.T) {
	m := newMaker()
	s, index := twoMembers(t, m)
	send := func(inc uint32, seq uint64) error {
		c := registerCmd("c", false, true)
		c.Origin, c.Incarnation, c.Sequence, c.Stamp = 2, inc, seq, 1
		r, err := s.apply(index, c)
		if err != nil {
			t.Fatal(err)
		}
		index++
		if r.refused != (r.err != nil) {
			t.Errorf("refused %v with %v", r.refused, r.err)
		}
		return r.err
	}
	for i, c := range []struct {
		inc  uint32
		seq  uint64
		want error
	}{
		{1, 2, errGap}, {1, 1, nil}, {1, 1, errOldDuplicate}, {1, 3, errGap}, {1, 2, nil}, {2, 3, errGap}, {1, 3, nil}, {2, 1, nil}, {1, 4, ErrFenced}, {2, 2, nil},
	} {
		if err := send(c.inc, c.seq); !errors.Is(err, c.want) {
			t.Errorf("step %d: %v, want %v", i, err, c.want)
		}
	}
	down := m.from(1, &metapb.Command{Op: &metapb.Command_NodeDown{NodeDown: &metapb.NodeDown{Node: 2, Incarnation: 2}}})
	if r, _ := s.apply(index, down); r.err != nil {
		t.Fatal(r.err)
	}
	index++
	if err := send(2, 3); !errors.Is(err, ErrFenced) {
		t.Errorf("a fenced incarnation: %v", err)
	}
	if err := send(3, 1); err != nil {
		t.Errorf("a new incarnation: %v", err)
	}
	stranger := m.from(9, registerCmd("c", false, true))
	if r, _ := s.apply(index, stranger); !errors.Is(r.err, ErrNoMember) {
		t.Errorf("a stranger: %v", r.err)
	}
}

func TestUnknownCommandStops(t *testing.T) {
	raw := []byte{0xfa, 0x3f, 0x00} // field 1023, empty
	if _, err := decodeEntry(encodeEntry([][]byte{raw})); !errors.Is(err, ErrUnknownCommand) {
		t.Errorf("an unknown command: %v", err)
	}
	if _, err := decodeEntry([]byte{99}); !errors.Is(err, ErrUnknownCommand) {
		t.Errorf("an unknown entry: %v", err)
	}
}

// overlayed marks a command as answered without quorum, at a stamp.
func overlayed(c *metapb.Command, stamp uint64) *metapb.Command {
	c.Overlay, c.Stamp = true, stamp
	return c
}

func TestMergeRules(t *testing.T) {
	const early, middle, late = 1 << 40, 2 << 40, 3 << 40
	m := newMaker()
	s, index := twoMembers(t, m)
	do := func(c *metapb.Command) result {
		t.Helper()
		r, err := s.apply(index, c)
		if err != nil {
			t.Fatal(err)
		}
		index++
		return r
	}
	at := func(stamp uint64, node uint64, c *metapb.Command) *metapb.Command {
		c = m.from(node, c)
		c.Stamp = stamp
		return c
	}
	won := do(at(middle, 1, registerCmd("c", false, true)))
	if r := do(overlayed(m.from(2, registerCmd("c", false, true)), early)); !errors.Is(r.err, ErrSuperseded) {
		t.Errorf("an older overlay registration: %v", r.err)
	}
	cur, _ := s.sessions.Get(sid("c").Key())
	if cur.Owner != 1 || cur.Epoch != won.reg.Epoch || len(cur.Sources) != 1 || cur.Sources[0].Node != 2 {
		t.Errorf("the loser is no source: %+v", cur)
	}
	if r := do(overlayed(m.from(2, registerCmd("c", false, true)), late)); r.err != nil || r.reg.Previous != 1 {
		t.Errorf("a later overlay registration: %+v", r)
	}
	if r := do(overlayed(m.from(2, registerCmd("c", false, true)), late)); r.err != nil {
		t.Errorf("the same once more: %v", r.err)
	}
	r := do(at(early, 1, registerCmd("c", false, true)))
	if cur, _ = s.sessions.Get(sid("c").Key()); r.err != nil || cur.Owner != 1 || cur.Stamp.Time <= late {
		t.Errorf("a committed registration did not take the entry: %+v", cur)
	}
	epoch := r.reg.Epoch
	do(at(middle, 1, subscribeCmd("c", epoch, "f", 1)))
	do(overlayed(m.from(2, subscribeCmd("c", message.Epoch{}, "f", 0)), early))
	do(overlayed(m.from(2, subscribeCmd("c", message.Epoch{}, "g", 2)), early))
	subs := s.subscriptions(sid("c"))
	if len(subs) != 2 || subs[0].QoS != 1 || subs[1].Filter != "g" {
		t.Errorf("merged subscriptions %+v", subs)
	}
	do(at(middle, 1, &metapb.Command{Op: &metapb.Command_Unsubscribe{Unsubscribe: &metapb.Unsubscribe{Client: "c", Epoch: epochToPB(epoch), Filters: []string{"f"}}}}))
	do(overlayed(m.from(2, subscribeCmd("c", message.Epoch{}, "f", 0)), early))
	if len(s.subscriptions(sid("c"))) != 1 {
		t.Error("an older subscription undid an unsubscribe")
	}
	wiped := do(at(late+1<<20, 1, registerCmd("c", true, true)))
	do(overlayed(m.from(2, subscribeCmd("c", message.Epoch{}, "h", 0)), late))
	if wiped.reg.Present || len(s.subscriptions(sid("c"))) != 0 {
		t.Error("a clean start did not wipe older subscriptions")
	}
	do(at(middle, 1, retainedCmd("t", "new")))
	do(overlayed(m.from(2, retainedCmd("t", "old")), early))
	if got, _ := s.retained.Get(routeKey("", "t")); string(got.Message.Payload) != "new" {
		t.Errorf("retained %q", got.Message.Payload)
	}
	expired := func(at int64) *metapb.Command {
		return m.from(1, &metapb.Command{Op: &metapb.Command_DeleteRetained{DeleteRetained: &metapb.DeleteRetained{Topic: "x", ExpiredAt: at}}})
	}
	short := (&message.Message{Topic: "x", Payload: []byte("p"), Expires: 100}).AppendBinary(nil)
	do(m.from(1, &metapb.Command{Op: &metapb.Command_SetRetained{SetRetained: &metapb.SetRetained{Message: short}}}))
	if r := do(expired(99)); r.existed[0] {
		t.Error("a retained message that has not expired was deleted as expired")
	}
	if r := do(expired(100)); !r.existed[0] || do(expired(100)).existed[0] {
		t.Error("an expired retained message was not deleted once")
	}
	do(at(late, 1, &metapb.Command{Op: &metapb.Command_DeleteRetained{DeleteRetained: &metapb.DeleteRetained{Topic: "t"}}}))
	do(overlayed(m.from(2, retainedCmd("t", "old")), middle))
	if _, ok := s.retained.Get(routeKey("", "t")); ok {
		t.Error("an older value undid a delete")
	}
	do(m.from(1, &metapb.Command{Op: &metapb.Command_TrimTombstones{TrimTombstones: &metapb.TrimTombstones{Index: index}}}))
	if s.tombs.Len() != 0 {
		t.Errorf("%d tombstones are left", s.tombs.Len())
	}
}
