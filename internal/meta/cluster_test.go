package meta

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
)

func mustRegister(t *testing.T, n *testNode, r RegisterRequest, o Options) Registration {
	t.Helper()
	reg, err := n.store.Register(t.Context(), r, o)
	if err != nil {
		t.Fatalf("register %v on %d: %v", r.ID, n.id, err)
	}
	return reg
}

func mustSubscribe(t *testing.T, n *testNode, c string, e message.Epoch, o Options, filters ...string) uint64 {
	t.Helper()
	var subs []message.Subscription
	for _, f := range filters {
		subs = append(subs, message.Subscription{Filter: f, QoS: 1})
	}
	_, index, err := n.store.Subscribe(t.Context(), sid(c), e, subs, o)
	if err != nil {
		t.Fatalf("subscribe %s on %d: %v", c, n.id, err)
	}
	return index
}

func TestFreshNodeLeadsAtOnce(t *testing.T) {
	begin := time.Now()
	n := newNetwork(t).node(1).start()
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("a fresh node took %v", d)
	} else {
		t.Logf("a fresh node took %v", d)
	}
	st := n.store.Status()
	if st.Role != RoleLeader || st.Cluster == 0 || !st.Quorum || st.Provisional || n.rec.resets != 1 {
		t.Errorf("status %+v, %d resets", st, n.rec.resets)
	}
	if m, ok := n.store.Member(1); !ok || m.Name != "n1" || !m.Up {
		t.Errorf("member %+v", m)
	}
}

func TestRestartFromDisk(t *testing.T) {
	n := newNetwork(t).node(1).start()
	reg := mustRegister(t, n, durable("c"), Options{})
	mustSubscribe(t, n, "c", reg.Epoch, Options{}, "a/#", "$share/g/x")
	if _, err := n.store.SetRoute(t.Context(), "", "clean", Options{}); err != nil {
		t.Fatal(err)
	}
	id := n.store.Status().Cluster
	n.crash()
	n.start()
	if n.store.Status().Cluster != id {
		t.Error("another cluster id after a restart")
	}
	s, ok := n.store.Session(sid("c"))
	if !ok || s.Epoch != reg.Epoch || len(n.store.Subscriptions(sid("c"))) != 2 || !n.rec.hasRoute("a/#", 1) {
		t.Fatalf("after a restart: %+v", s)
	}
	again := mustRegister(t, n, durable("c"), Options{})
	if !again.Present || again.Previous != 1 || len(again.Subscriptions) != 2 || len(again.Sources) != 0 {
		t.Errorf("registered again: %+v", again)
	}
	if n.rec.hasRoute("clean", 1) {
		t.Error("a clean route survived the process")
	}
}

func TestRegisterOnFollowerIsVisibleEverywhere(t *testing.T) {
	nodes := cluster(t, 3)
	var slowest time.Duration
	for i := range 20 {
		n := nodes[1+i%2]
		c := fmt.Sprint("c", i)
		begin := time.Now()
		reg := mustRegister(t, n, durable(c), Options{})
		index := mustSubscribe(t, n, c, reg.Epoch, Options{}, c+"/#")
		if err := n.store.WaitVisible(t.Context(), index); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(begin))
		for _, o := range nodes {
			if !o.rec.hasRoute(c+"/#", n.id) {
				t.Fatalf("node %d does not see the route that is visible", o.id)
			}
		}
	}
	t.Logf("slowest register + subscribe + visible: %v", slowest)
}

func TestTakeoverNamesSources(t *testing.T) {
	nodes := cluster(t, 2)
	a := mustRegister(t, nodes[0], durable("c"), Options{})
	mustSubscribe(t, nodes[0], "c", a.Epoch, Options{}, "f")
	b := mustRegister(t, nodes[1], durable("c"), Options{})
	want := []Source{{Node: 1, Epoch: a.Epoch, Since: a.Index, Until: b.Index}}
	if !b.Present || !b.Connected || b.Previous != 1 || len(b.Subscriptions) != 1 || cmp.Diff(want, b.Sources) != "" {
		t.Fatalf("takeover: %+v", b)
	}
	_, err := nodes[0].store.Release(t.Context(), ReleaseRequest{ID: sid("c"), Epoch: a.Epoch, At: time.Now()})
	if !errors.Is(err, ErrStaleEpoch) {
		t.Errorf("release with the old epoch: %v", err)
	}
	if !nodes[1].rec.hasRoute("f", 2) || nodes[1].rec.hasRoute("f", 1) {
		t.Error("the route did not follow the session")
	}
	if _, err := nodes[1].store.StrikeSource(t.Context(), sid("c"), want[0]); err != nil {
		t.Fatal(err)
	}
	if s, _ := nodes[1].store.Session(sid("c")); len(s.Sources) != 0 {
		t.Errorf("sources after the strike: %v", s.Sources)
	}
	if _, err := nodes[1].store.DeleteSession(t.Context(), sid("c"), message.Epoch{}); err != nil {
		t.Fatal(err)
	}
	if _, ok := nodes[1].store.Session(sid("c")); ok || nodes[1].rec.hasRoute("f", 2) {
		t.Error("the session or its route is still there")
	}
}

func TestLeaderKilled(t *testing.T) {
	nodes := cluster(t, 3)
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lead := leaderOf(t, nodes)
	var done sync.Map
	for _, n := range nodes {
		if n == lead {
			continue
		}
		store := n.store
		for i := range 50 {
			c := fmt.Sprint("c", n.id, "-", i)
			wg.Go(func() {
				if _, err := store.Register(ctx, durable(c), Options{}); err != nil {
					t.Errorf("%s: %v", c, err)
					return
				}
				done.Store(c, true)
			})
		}
	}
	lead.crash()
	wg.Wait()
	for _, n := range nodes {
		if n == lead {
			continue
		}
		done.Range(func(k, _ any) bool {
			await(t, "every node has "+k.(string), func() bool { _, ok := n.store.Session(sid(k.(string))); return ok })
			return true
		})
	}
	lead.start()
	await(t, "the killed node has caught up", func() bool {
		all := true
		done.Range(func(k, _ any) bool { _, ok := lead.store.Session(sid(k.(string))); all = all && ok; return all })
		return all
	})
}

func TestTwoNodesOneStoppedAndBack(t *testing.T) {
	quick := func(c *Config) { c.NetsplitGrace = 1500 * time.Millisecond }
	nodes := cluster(t, 2, quick)
	a, b := nodes[0], nodes[1]
	before := mustRegister(t, a, durable("old"), Options{})
	b.crash()
	await(t, "a is cut off", func() bool { return !a.store.Status().NetsplitSince.IsZero() })
	begin := time.Now()
	if _, err := a.store.Register(t.Context(), durable("no"), Options{}); !errors.Is(err, ErrNoQuorum) || time.Since(begin) > time.Second {
		t.Fatalf("register without overlay: %v after %v", err, time.Since(begin))
	}
	o := Options{Overlay: true}
	reg := mustRegister(t, a, durable("c"), o)
	mustSubscribe(t, a, "c", reg.Epoch, o, "f/#")
	mustSubscribe(t, a, "old", before.Epoch, o, "g")
	if err := a.store.WaitVisible(t.Context(), a.store.Applied()); err != nil {
		t.Fatal(err)
	}
	m := &message.Message{Topic: "t", Payload: []byte("x"), Retain: true}
	if _, err := a.store.SetRetained(t.Context(), m, o); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.store.Session(sid("c")); !ok || !a.rec.hasRoute("f/#", 1) || a.store.Status().Overlay != 4 {
		t.Fatalf("the overlay is not read: %+v", a.store.Status())
	}
	// The one that stayed restarts without quorum, on the provisional view.
	a.crash()
	a.start(quick)
	if st := a.store.Status(); !st.Provisional || !a.rec.hasRoute("f/#", 1) {
		t.Fatalf("provisional start: %+v", st)
	}
	if s, ok := a.store.Session(sid("c")); !ok || s.Connected() {
		t.Fatalf("session of the former process: %+v", s)
	}
	await(t, "a is cut off again", func() bool { return !a.store.Status().NetsplitSince.IsZero() })
	reg2 := mustRegister(t, a, durable("c"), o)
	if !reg2.Present || len(reg2.Subscriptions) != 1 {
		t.Fatalf("resumed without quorum: %+v", reg2)
	}
	b.start(quick)
	for _, n := range nodes {
		await(t, "both agree", func() bool {
			st := n.store.Status()
			_, retained := n.store.Retained("", "t")
			s, ok := n.store.Session(sid("c"))
			return st.Quorum && !st.Provisional && st.Overlay == 0 && retained && ok && s.Owner == 1 && s.Connected() && n.rec.hasRoute("f/#", 1) &&
				n.rec.hasRoute("g", 1)
		})
	}
	if s, _ := b.store.Session(sid("c")); !s.Is(reg2.Epoch) {
		t.Errorf("the epoch given out without quorum is not known: %+v", s)
	}
	if _, ok := a.store.Session(sid("no")); ok {
		t.Error("a refused registration came back")
	}
	if _, err := a.store.Release(t.Context(), ReleaseRequest{ID: sid("c"), Epoch: reg2.Epoch, Durable: true, Expiry: 5, At: time.Now()}); err != nil {
		t.Errorf("release with the overlay's epoch: %v", err)
	}
}

func TestDeadMemberDelaysVisibilityByItsLease(t *testing.T) {
	nodes := cluster(t, 3)
	lead := leaderOf(t, nodes)
	for _, n := range nodes {
		if n != lead {
			n.crash()
			break
		}
	}
	reg := mustRegister(t, lead, durable("c"), Options{})
	begin := time.Now()
	if err := lead.store.WaitVisible(t.Context(), reg.Index); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("visible after %v", d)
	}
}

// A node that stops in order, leading or not, is waited for by nobody: when
// Resign returns, the leader counts its lease as over.
func TestResignedMemberDelaysNobody(t *testing.T) {
	nodes := cluster(t, 3)
	for _, leads := range []bool{false, true} {
		lead := leaderOf(t, nodes)
		at := slices.IndexFunc(nodes, func(n *testNode) bool { return (n == lead) == leads })
		n := nodes[at]
		if err := n.store.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n.store.Leased() {
			t.Error("leased after it resigned")
		}
		nodes = slices.Delete(nodes, at, at+1)
		l := leaderOf(t, nodes).store.leading.Load()
		l.mu.Lock()
		le := *l.leases[n.id]
		l.mu.Unlock()
		if le.until.After(time.Now()) || !le.reported {
			t.Errorf("leading %v: the lease goes on until %v, reported %v", leads, le.until, le.reported)
		}
		n.stop()
	}
}

func TestAbandonedRegistrationIsReleased(t *testing.T) {
	nodes := cluster(t, 2)
	a, b := nodes[0], nodes[1]
	b.crash()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := a.store.Register(ctx, durable("c"), Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("register without quorum: %v", err)
	}
	b.start()
	mustRegister(t, a, durable("d"), Options{}) // behind c, which may have been lost with its leader or not
	await(t, "the session is offline", func() bool { s, ok := a.store.Session(sid("c")); return !ok || !s.Connected() })
}

func TestSnapshotsReachFollowersAndRestarts(t *testing.T) {
	small := func(c *Config) { c.SnapshotBytes = 4 << 10 }
	nodes := cluster(t, 2, small)
	lead := leaderOf(t, nodes)
	for i := range 200 {
		c := fmt.Sprint("c", i)
		mustSubscribe(t, lead, c, mustRegister(t, lead, durable(c), Options{}).Epoch, Options{}, "f/"+c)
	}
	for _, n := range nodes {
		await(t, "a snapshot is there", func() bool { l, err := n.store.node.snaps.List(); return err == nil && len(l) > 0 && l[0].Index > 20 })
		before := n.rec.resets
		n.crash()
		n.start(small)
		await(t, "the restarted node has all", func() bool {
			st := n.store.Status()
			return st.Quorum && !st.Provisional && n.store.View().SessionCount() == 200 && n.rec.hasRoute("f/c199", lead.id)
		})
		if before == 0 {
			t.Error("no reset before the restart")
		}
	}
	// A node that joins gets the snapshot, not the log.
	late := nodes[0].net.node(3).start(small)
	late.join(t, nodes[0])
	if n := late.store.View().SessionCount(); n != 200 || !late.rec.hasRoute("f/c0", lead.id) {
		t.Errorf("%d sessions on the joined node", n)
	}
}

func TestHungDiskEndsTheNode(t *testing.T) {
	n := newNetwork(t).node(1).start()
	n.store.node.log.since.Store(time.Now().Add(-2 * hungAfter).UnixNano())
	select {
	case err := <-n.fatal:
		if !errors.Is(err, ErrHungDisk) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a hung disk was not noticed")
	}
}
