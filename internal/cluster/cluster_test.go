package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/cluster/clusterpb"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/session"
)

const cookie = "a cookie that is long enough"

func durable(id string) session.RegisterRequest {
	return session.RegisterRequest{ID: message.SessionID{ClientID: id}, Durable: true, Expiry: message.NeverExpires}
}

func (n *node) register(t *testing.T, r session.RegisterRequest) session.Registration {
	t.Helper()
	reg, err := n.Register(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

func (n *node) end(reg session.Registration, r session.RegisterRequest) {
	n.Ended(context.Background(), session.End{ID: r.ID, Epoch: reg.Epoch, Durable: r.Durable, Expiry: r.Expiry, At: time.Now()})
	n.Flush(context.Background())
}

func size(n *node, want int) func() error {
	return func() error {
		v := n.Members()
		running := 0
		for _, m := range v.Members {
			if m.Running {
				running++
			}
		}
		if len(v.Members) != want || running != want || !v.Status.Quorum {
			return fmt.Errorf("%s sees %d members, %d running, quorum %v", n.name, len(v.Members), running, v.Status.Quorum)
		}
		return nil
	}
}

func TestJoinMakesOneCluster(t *testing.T) {
	a, b, c := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie), start(t, "c@127.0.0.1", cookie)
	before := b.register(t, durable("from-b"))
	b.end(before, durable("from-b"))
	var steps []Phase
	if err := b.Join(context.Background(), a.discovery(), func(p Progress) { steps = append(steps, p.Phase) }); err != nil {
		t.Fatal(err)
	}
	if len(steps) < 4 || steps[0] != JoinConnect || steps[len(steps)-1] != JoinMerge {
		t.Errorf("progress %v", steps)
	}
	if err := c.join(t, b); err != nil { // any member can be the discovery node
		t.Fatal(err)
	}
	for _, n := range []*node{a, b, c} {
		await(t, "three members", size(n, 3))
		if s, ok := n.meta.Session(message.SessionID{ClientID: "from-b"}); !ok || s.Owner != b.cfg.Self {
			t.Errorf("%s: the session that b had before is %+v", n.name, s)
		}
	}
}

func TestJoinIsRefused(t *testing.T) {
	a, b := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie)
	if err := b.join(t, a); err != nil {
		t.Fatal(err)
	}
	lone, sameName, stranger := start(t, "lone@127.0.0.1", cookie), start(t, "a@127.0.0.1", cookie), start(t, "s@127.0.0.1", "quite another cookie")
	for _, c := range []struct {
		what string
		n    *node
		to   string
		want error
		text string
	}{
		{"nobody there", lone, "x@127.0.0.1:1", ErrUnreachable, "127.0.0.1:1"},
		{"no node name", lone, "127.0.0.1", ErrNodeName, "name@host"},
		{"itself by name", lone, "lone@127.0.0.1", ErrSelfJoin, "itself"},
		{"itself by address", lone, "x@" + lone.cfg.Address, ErrSelfJoin, "itself"},
		{"twice", b, a.discovery(), ErrAlreadyMember, "already"},
		{"has other members", a, lone.discovery(), ErrHasMembers, "b@127.0.0.1"},
		{"name is taken", sameName, b.discovery(), ErrNameTaken, "a@127.0.0.1"},
		{"wrong cookie", stranger, a.discovery(), peer.ErrCookie, "distributed_cookie"},
	} {
		cluster, _ := c.n.meta.View().Cluster()
		members := len(c.n.meta.Members())
		err := c.n.Join(context.Background(), c.to, func(Progress) {})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.what, err)
		}
		if now, _ := c.n.meta.View().Cluster(); now != cluster || len(c.n.meta.Members()) != members {
			t.Errorf("%s: the node was changed", c.what)
		}
		if _, err := c.n.meta.SetRoute(context.Background(), "", "f", meta.Options{}); err != nil {
			t.Errorf("%s: the node cannot write any more: %v", c.what, err)
		}
	}
	for _, n := range []*node{a, b} {
		await(t, "two members", size(n, 2))
	}
}

// Whoever has the cookie may look for a cluster and join it. Changing the
// membership of others takes a member, and speaking for another node nobody
// may.
func TestStrangerWithTheCookieChangesNothing(t *testing.T) {
	a, b, stranger := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie), start(t, "s@127.0.0.1", cookie)
	if err := b.join(t, a); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	conn, _, err := stranger.port.DialAddress(ctx, a.cfg.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	calls, metadata := clusterpb.NewClusterServiceClient(conn), metapb.NewMetaClient(conn)
	id := &clusterpb.SessionID{ClientId: "c"}
	for what, call := range map[string]func() error{
		"remove": func() error { return meta.RequestRemove(ctx, conn, b.cfg.Self) },
		"add": func() error {
			_, err := meta.RequestAdd(ctx, conn, meta.Member{ID: 99, Name: "x@127.0.0.1", Address: "127.0.0.1:1"})
			return err
		},
		"probe of another": func() error {
			_, err := metadata.Control(ctx, &metapb.ControlRequest{Action: &metapb.ControlRequest_Probe{Probe: &metapb.Hello{Node: uint64(b.cfg.Self), Address: "127.0.0.1:1"}}})
			return err
		},
		"forward as another": func() error {
			st, err := metadata.Forward(ctx)
			if err == nil {
				err = st.Send(&metapb.FromMember{Hello: &metapb.Hello{Node: uint64(b.cfg.Self)}})
			}
			if err == nil {
				_, err = st.Recv()
			}
			return err
		},
		"admit another": func() error {
			_, err := calls.Admit(ctx, &clusterpb.AdmitRequest{Member: &clusterpb.Member{Id: 99, Name: "x@127.0.0.1", Address: "127.0.0.1:1"}})
			return err
		},
		"withdraw another": func() error {
			_, err := calls.Withdraw(ctx, &clusterpb.WithdrawRequest{Node: uint64(b.cfg.Self)})
			return err
		},
		"pull":  func() error { _, err := calls.Pull(ctx, &clusterpb.PullRequest{Session: id}); return err },
		"adopt": func() error { _, err := calls.Adopt(ctx, &clusterpb.AdoptRequest{Session: id}); return err },
		"leave": func() error {
			st, err := calls.Leave(ctx, &clusterpb.LeaveRequest{KillSessions: true})
			if err == nil {
				_, err = st.Recv()
			}
			return err
		},
	} {
		if err := call(); err == nil {
			t.Errorf("%s: allowed", what)
		}
	}
	for _, n := range []*node{a, b} {
		await(t, "two members", size(n, 2))
	}
	if m, _ := a.meta.Member(b.cfg.Self); m.Address != b.cfg.Address {
		t.Errorf("b's address is %s now", m.Address)
	}
}

// A join that fails after the admission takes everything back on both sides.
func TestJoinThatIsCancelledChangesNothing(t *testing.T) {
	a, b := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie)
	own, _ := b.meta.View().Cluster()
	ctx, cancel := context.WithCancel(context.Background())
	err := b.Join(ctx, a.discovery(), func(p Progress) {
		if p.Phase == JoinCatchUp {
			cancel()
		}
	})
	if err == nil {
		t.Skip("the node had caught up before the cancellation was seen")
	}
	await(t, "the admission is taken back", size(a, 1))
	await(t, "the node is as before", size(b, 1))
	if now, _ := b.meta.View().Cluster(); now != own {
		t.Errorf("cluster %v, was %v", now, own)
	}
	if err := b.join(t, a); err != nil {
		t.Errorf("a second join: %v", err)
	}
}

func TestSessionMovesWithItsQueue(t *testing.T) {
	a, b := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie)
	if err := b.join(t, a); err != nil {
		t.Fatal(err)
	}
	r := durable("mover")
	first := a.register(t, r)
	if first.Present {
		t.Error("a new session is present")
	}
	a.queues.add(r.ID, 250)
	second := b.register(t, r)
	if !second.Present || second.Epoch.Compare(first.Epoch, first.Epoch.Cluster) <= 0 {
		t.Errorf("%+v after %+v", second, first)
	}
	if n := b.queues.len(r.ID); n != 250 {
		t.Errorf("%d of 250 messages moved", n)
	}
	if got := a.sessions.reason(r.ID); got != takenOver {
		t.Errorf("the old connection ended with %v", got)
	}
	await(t, "the source forgets the queue", func() error {
		if _, there := a.queues.Info(r.ID); there {
			return errors.New("it is still there")
		}
		if s, _ := a.meta.Session(r.ID); len(s.Sources) > 0 {
			return errors.New("the source is not struck")
		}
		return nil
	})
}

// Messages are as long as clients make them: a part that exceeds what gRPC
// takes by default moves as well, and nothing is remembered of a move that is
// done.
func TestLongMessagesMove(t *testing.T) {
	a, b := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie)
	if err := b.join(t, a); err != nil {
		t.Fatal(err)
	}
	r := durable("mover")
	a.register(t, r)
	const n = 12
	a.queues.add(r.ID, n)
	for i := range n {
		a.queues.entries[r.ID][i].Message.Payload = make([]byte, 600<<10)
	}
	a.queues.entries[r.ID][5].Message.Payload = make([]byte, 6<<20)
	b.register(t, r)
	if got := b.queues.len(r.ID); got != n {
		t.Errorf("%d of %d messages moved", got, n)
	}
	await(t, "the move is forgotten", func() error {
		b.moves.mu.Lock()
		defer b.moves.mu.Unlock()
		if len(b.moves.running) > 0 {
			return errors.New("it is remembered")
		}
		return nil
	})
}

// The source keeps the queue until its new owner has said that the inbound
// packet identifiers are on its disk.
func TestInboundIdentifiersAreConfirmed(t *testing.T) {
	a, b := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie)
	if err := b.join(t, a); err != nil {
		t.Fatal(err)
	}
	r := durable("mover")
	a.register(t, r)
	a.queues.add(r.ID, 0)
	a.queues.inbound = map[uint16]msgstore.Inbound{7: {ID: message.ID{Origin: 1, Sequence: 2}, Routed: true}, 8: {ID: message.ID{Origin: 1, Sequence: 3}}}
	b.queues.onImport = func() {
		if _, there := a.queues.Info(r.ID); !there {
			t.Error("the source has deleted what is not imported yet")
		}
	}
	b.register(t, r)
	if diff := cmp.Diff(a.queues.inbound, b.queues.inbound); diff != "" {
		t.Error(diff)
	}
	if _, there := a.queues.Info(r.ID); there {
		t.Error("the source still has the queue")
	}
}

func TestCleanSessionIsRemovedAtItsEnd(t *testing.T) {
	a := start(t, "a@127.0.0.1", cookie)
	r := session.RegisterRequest{ID: message.SessionID{ClientID: "c"}, CleanStart: true}
	reg := a.register(t, r)
	a.end(reg, r)
	if _, ok := a.meta.Session(r.ID); ok {
		t.Error("it is still registered")
	}
}

func TestDisconnectWithCleanupRemovesTheSessionEverywhere(t *testing.T) {
	a, b := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie)
	if err := b.join(t, a); err != nil {
		t.Fatal(err)
	}
	r := durable("c")
	reg := a.register(t, r)
	a.queues.add(r.ID, 3)
	a.end(reg, r)
	if _, cleaned, err := b.Disconnect(context.Background(), r.ID, true); err != nil || !cleaned {
		t.Fatalf("%v %v", cleaned, err)
	}
	await(t, "the queue is gone", func() error {
		if _, there := a.queues.Info(r.ID); there {
			return errors.New("it is still there")
		}
		return nil
	})
	if _, cleaned, err := b.Disconnect(context.Background(), message.SessionID{ClientID: "nobody"}, true); err != nil || cleaned {
		t.Errorf("an unknown client: %v %v", cleaned, err)
	}
}

func TestLeaveMovesQueuesAndRemovesTheNode(t *testing.T) {
	a, b, c := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie), start(t, "c@127.0.0.1", cookie)
	for _, n := range []*node{b, c} {
		if err := n.join(t, a); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		r := durable(fmt.Sprint("s", i))
		reg := c.register(t, r)
		c.queues.add(r.ID, 10)
		c.end(reg, r)
	}
	outcome, err := a.Leave(context.Background(), LeaveRequest{Node: c.name, Interval: time.Second, Timeout: 5 * time.Second}, func(LeaveProgress) {})
	if outcome != Cordoned || err != nil || len(a.meta.Members()) != 3 {
		t.Fatalf("without -k: %v %v", outcome, err)
	}
	var last LeaveProgress
	outcome, err = a.Leave(context.Background(), LeaveRequest{Node: c.name, KillSessions: true, Interval: time.Second, Timeout: 5 * time.Second}, func(p LeaveProgress) {
		if p.Phase == LeaveMigrate {
			last = p
		}
	})
	if outcome != Left || err != nil {
		t.Fatalf("with -k: %v %v", outcome, err)
	}
	if last.QueuesDone != 6 || last.MessagesDone != 60 {
		t.Errorf("progress %+v", last)
	}
	<-c.left
	for _, n := range []*node{a, b} {
		await(t, "two members", size(n, 2))
		moved := 0
		for i := range 6 {
			moved += n.queues.len(message.SessionID{ClientID: fmt.Sprint("s", i)})
		}
		if moved != 30 {
			t.Errorf("%s took %d messages of 60", n.name, moved)
		}
	}
}

func TestLeaveIsRefused(t *testing.T) {
	a := start(t, "a@127.0.0.1", cookie)
	for what, c := range map[string]struct {
		r    LeaveRequest
		want error
	}{
		"unknown":  {LeaveRequest{Node: "x@127.0.0.1"}, ErrUnknownNode},
		"the last": {LeaveRequest{Node: a.name, KillSessions: true, Interval: time.Second, Timeout: time.Second}, ErrLastNode},
	} {
		if _, err := a.Leave(context.Background(), c.r, func(LeaveProgress) {}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDeadNodeIsDeclaredDownAndCanBeForgotten(t *testing.T) {
	a, b, c := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie), start(t, "c@127.0.0.1", cookie)
	for _, n := range []*node{b, c} {
		if err := n.join(t, a); err != nil {
			t.Fatal(err)
		}
	}
	clean, kept := session.RegisterRequest{ID: message.SessionID{ClientID: "clean"}, CleanStart: true}, durable("kept")
	c.register(t, clean)
	c.register(t, kept)
	c.stop()
	await(t, "the dead node's clean session is gone", func() error {
		if _, ok := a.meta.Session(clean.ID); ok {
			return errors.New("it is still registered")
		}
		if s, ok := a.meta.Session(kept.ID); !ok || s.Connected() {
			return errors.New("the durable one is not offline")
		}
		return nil
	})
	spooled := make(chan error, 1)
	a.port.Send(c.cfg.Self, peer.Frame{Kind: peer.FramePublish, Message: &message.Message{Topic: "t", QoS: 1}}, func(_ peer.Code, err error) { spooled <- err })
	if err := <-spooled; err != nil || a.spool.len(c.cfg.Self) != 1 {
		t.Fatalf("spooling a message for the dead node: %v", err)
	}
	outcome, err := b.Leave(context.Background(), LeaveRequest{Node: c.name, Interval: time.Second, Timeout: time.Second}, func(LeaveProgress) {})
	if outcome != Forgotten || err != nil {
		t.Fatalf("%v %v", outcome, err)
	}
	s, ok := a.meta.Session(kept.ID)
	if !ok || s.Owner != a.cfg.Self && s.Owner != b.cfg.Self || len(s.Sources) != 1 {
		t.Errorf("the dead node's durable session is %+v", s)
	}
	await(t, "two members", size(a, 2))
	await(t, "the spool of the forgotten node is empty", func() error {
		if n := a.spool.len(c.cfg.Self); n != 0 {
			return fmt.Errorf("%d messages", n)
		}
		return nil
	})
}

func TestTwoNodesCannotForgetEachOther(t *testing.T) {
	a, b := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie)
	if err := b.join(t, a); err != nil {
		t.Fatal(err)
	}
	b.stop()
	await(t, "the quorum is lost", func() error {
		if a.meta.Status().Quorum {
			return errors.New("it is there")
		}
		return nil
	})
	_, err := a.Leave(context.Background(), LeaveRequest{Node: b.name, Interval: time.Second, Timeout: time.Second}, func(LeaveProgress) {})
	if !errors.Is(err, ErrRisk) || !strings.Contains(err.Error(), "--accept-risk=quorum-loss") {
		t.Errorf("%v", err)
	}
}

// A session on disk of a former cluster is registered again; one of this very
// cluster that the registry does not know has ended and is deleted.
func TestReconcile(t *testing.T) {
	a := start(t, "a@127.0.0.1", cookie)
	own, _ := a.meta.View().Cluster()
	wiped, ended := message.SessionID{ClientID: "wiped"}, message.SessionID{ClientID: "ended"}
	for id, cluster := range map[message.SessionID]message.ClusterID{wiped: own + 1, ended: own} {
		a.queues.add(id, 2)
		a.queues.records[id] = &message.SessionRecord{
			ID: id, Epoch: message.Epoch{Cluster: cluster, Index: 7}, Expiry: 600, OfflineSince: 1000,
			Subscriptions: []message.Subscription{{Filter: "t", QoS: 1}},
		}
	}
	a.reconcile()
	s, ok := a.meta.Session(wiped)
	if !ok || s.Owner != a.cfg.Self || s.Connected() || s.Expiry != 600 || s.OfflineSince != 1000 || len(a.meta.Subscriptions(wiped)) != 1 {
		t.Errorf("%+v", s)
	}
	if a.queues.len(wiped) != 2 {
		t.Error("its messages are gone")
	}
	if _, there := a.queues.Info(ended); there {
		t.Error("a session that has ended is still there")
	}
}

// A start compares disk and registry more than once at the same time: after
// the announcement and whenever the view is replaced.
func TestReconcileBesideItself(t *testing.T) {
	a := start(t, "a@127.0.0.1", cookie)
	own, _ := a.meta.View().Cluster()
	const n = 50
	for i := range n {
		id := message.SessionID{ClientID: fmt.Sprint("wiped", i)}
		a.queues.add(id, 2)
		a.queues.records[id] = &message.SessionRecord{ID: id, Epoch: message.Epoch{Cluster: own + 1, Index: 7}, Expiry: 600}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(a.reconcile)
	}
	wg.Wait()
	for i := range n {
		if got := a.queues.len(message.SessionID{ClientID: fmt.Sprint("wiped", i)}); got != 2 {
			t.Errorf("wiped%d has %d of 2 messages", i, got)
		}
	}
}

// The disk of a node that was forgotten comes back in a fresh node: what it
// held of a session goes to the session's owner.
func TestForgottenDiskHandsItsMessagesOver(t *testing.T) {
	a, b := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie)
	own, _ := a.meta.View().Cluster()
	r := durable("kept")
	a.register(t, r)
	a.queues.add(r.ID, 1)
	b.queues.add(r.ID, 5)
	b.queues.records[r.ID] = &message.SessionRecord{ID: r.ID, Epoch: message.Epoch{Cluster: own, Index: 3}, Expiry: r.Expiry}
	b.reconcile() // as after its start: the session is of another cluster than its own
	if s, ok := b.meta.Session(r.ID); !ok || s.Owner != b.cfg.Self {
		t.Fatalf("%+v", s)
	}
	if err := b.join(t, a); err != nil {
		t.Fatal(err)
	}
	await(t, "the owner has all messages", func() error {
		if n := a.queues.len(r.ID); n != 6 {
			return fmt.Errorf("it has %d", n)
		}
		if _, there := b.queues.Info(r.ID); there {
			return errors.New("the other still has a queue")
		}
		s, _ := a.meta.Session(r.ID)
		if s == nil || s.Owner != a.cfg.Self || len(s.Sources) != 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}
