package meta

import (
	"errors"
	"testing"
	"time"
)

func TestJoinMergesAndAbortRestores(t *testing.T) {
	net := newNetwork(t)
	a, b := net.node(1).start(), net.node(2).start()
	mustRegister(t, a, durable("both"), Options{})
	own := mustRegister(t, b, durable("mine"), Options{})
	mustSubscribe(t, b, "mine", own.Epoch, Options{}, "m/#")
	mustRegister(t, b, durable("both"), Options{})
	former := b.store.Status().Cluster

	if err := b.store.PrepareJoin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.store.Session(sid("mine")); !ok {
		t.Error("the old view is not read during a join")
	}
	if err := b.store.AbortJoin(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "b leads its own cluster again", func() bool { st := b.store.Status(); return st.Quorum && st.Cluster == former && !st.Provisional })
	mustRegister(t, b, durable("later"), Options{})

	// A crash in the middle of a join restores, too.
	if err := b.store.PrepareJoin(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.crash()
	b.start()
	if st := b.store.Status(); st.Cluster != former || !st.Quorum {
		t.Fatalf("after a crash in the middle of a join: %+v", st)
	}

	r := b.join(t, a)
	if r.Sessions != 2 {
		t.Errorf("merged %+v", r)
	}
	for _, n := range []*testNode{a, b} {
		await(t, "both have the merged session", func() bool {
			s, ok := n.store.Session(sid("mine"))
			both, ok2 := n.store.Session(sid("both"))
			return ok && s.Owner == 2 && ok2 && both.Owner == 1 && len(both.Sources) == 1 && n.rec.hasRoute("m/#", 2)
		})
	}
	await(t, "b votes", func() bool { return len(a.store.Status().Voters) == 2 })
	if err := b.store.PrepareJoin(t.Context()); !errors.Is(err, ErrOtherMembers) {
		t.Errorf("join with other members: %v", err)
	}
	mustRegister(t, b, durable("after"), Options{})
}

func TestRemoveMember(t *testing.T) {
	nodes := cluster(t, 3)
	lead := leaderOf(t, nodes)
	if err := nodes[1].store.RemoveMember(t.Context(), lead.id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lead.removed:
	case <-time.After(20 * time.Second):
		t.Fatal("the removed leader was not told")
	}
	rest := nodes[1]
	if rest == lead {
		rest = nodes[2]
	}
	await(t, "two are left", func() bool { return len(rest.store.Members()) == 2 })
	mustRegister(t, rest, durable("c"), Options{})
	if err := rest.store.RemoveMember(t.Context(), 99); !errors.Is(err, ErrNoMember) {
		t.Errorf("removing a stranger: %v", err)
	}
}

func TestFencedNodeTakesNewIncarnation(t *testing.T) {
	nodes := cluster(t, 2)
	a, b := nodes[0], nodes[1]
	if _, err := b.store.Register(t.Context(), RegisterRequest{ID: sid("clean"), CleanStart: true}, Options{}); err != nil {
		t.Fatal(err)
	}
	inc := b.store.Incarnation()
	if _, err := a.store.NodeDown(t.Context(), 2, inc); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.store.Session(sid("clean")); ok {
		t.Error("a clean session of a dead node is still there")
	}
	if _, err := b.store.NodeUp(t.Context(), 2, 0); err != nil {
		t.Fatal(err)
	}
	if b.store.Incarnation() <= inc {
		t.Error("no new incarnation")
	}
	await(t, "b is up", func() bool { m, _ := a.store.Member(2); return m.Up && m.Incarnation > inc })
	mustRegister(t, b, durable("c"), Options{})
}

func TestAddressChange(t *testing.T) {
	nodes := cluster(t, 2)
	b := nodes[1]
	b.crash()
	b.moved = "elsewhere:1"
	b.start()
	await(t, "the new address is known", func() bool {
		m, ok := nodes[0].store.Member(2)
		st := b.store.Status()
		return ok && m.Address == "elsewhere:1" && st.Quorum && !st.Provisional
	})
	mustRegister(t, b, durable("c"), Options{})
}
