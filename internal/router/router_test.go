package router

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	self  = message.NodeID(1)
	other = message.NodeID(2)
)

func client(id string) message.SessionID { return message.SessionID{ClientID: id} }

// fakeQueues answers what deliver says and notes what it was given.
type fakeQueues struct {
	deliver  func(id message.SessionID, d queue.Delivery) error
	groupHas func(id message.ID, group, filter string) bool
	mu       sync.Mutex
	got      map[string][]queue.Delivery
}

func (f *fakeQueues) Deliver(id message.SessionID, d queue.Delivery, done func(error)) {
	var err error
	if f.deliver != nil {
		err = f.deliver(id, d)
	}
	if err == nil {
		f.mu.Lock()
		f.got[id.ClientID] = append(f.got[id.ClientID], d)
		f.mu.Unlock()
	}
	done(err)
}

func (f *fakeQueues) GroupHas(id message.ID, group, filter string) bool {
	return f.groupHas != nil && f.groupHas(id, group, filter)
}

func (f *fakeQueues) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for id := range f.got {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

type fakeLinks struct {
	answer func(to message.NodeID, f peer.Frame) (peer.Code, error)
	down   map[message.NodeID]bool
	mu     sync.Mutex
	sent   []peer.Frame
}

func (f *fakeLinks) Send(to message.NodeID, fr peer.Frame, done func(peer.Code, error)) {
	f.mu.Lock()
	f.sent = append(f.sent, fr)
	f.mu.Unlock()
	code, err := peer.CodeAccepted, error(nil)
	if f.answer != nil {
		code, err = f.answer(to, fr)
	}
	done(code, err)
}

func (f *fakeLinks) Up(n message.NodeID) bool { return !f.down[n] }

// fakeMeta is a registry in memory that applies at once, as a lone node does.
type fakeMeta struct {
	mu        sync.Mutex
	index     uint64
	sessions  map[message.SessionID]*meta.Session
	subs      map[message.SessionID][]message.Subscription
	proposals []string
	observer  meta.Observer
	fail      error
	hold      chan struct{} // not nil: SetRoute waits until it is closed
	held      int           // how many wait
	wait      func() error  // not nil: the answer of WaitApplied
}

func (f *fakeMeta) Applied() uint64 { f.mu.Lock(); defer f.mu.Unlock(); return f.index }

func (f *fakeMeta) WaitApplied(ctx context.Context, index uint64) error {
	if f.wait != nil {
		return f.wait()
	}
	<-ctx.Done()
	return ctx.Err()
}
func (f *fakeMeta) WaitVisible(context.Context, uint64) error { return nil }

func (f *fakeMeta) Session(id message.SessionID) (*meta.Session, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.sessions[id]
	return s, ok
}

func (f *fakeMeta) Subscriptions(id message.SessionID) []message.Subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.subs[id]
}

func (f *fakeMeta) propose(what string, ev ...meta.Event) (uint64, error) {
	f.mu.Lock()
	if f.fail != nil {
		defer f.mu.Unlock()
		return 0, f.fail
	}
	f.index++
	f.proposals = append(f.proposals, what)
	index := f.index
	f.mu.Unlock()
	f.observer.Apply(index, ev)
	return index, nil
}

func (f *fakeMeta) Subscribe(_ context.Context, id message.SessionID, _ message.Epoch, subs []message.Subscription, _ meta.Options) ([]bool, uint64, error) {
	existed := make([]bool, len(subs))
	f.mu.Lock()
	for i, s := range subs {
		existed[i] = slices.ContainsFunc(f.subs[id], func(o message.Subscription) bool { return o.Filter == s.Filter })
	}
	f.subs[id] = append(f.subs[id], subs...)
	f.mu.Unlock()
	index, err := f.propose("subscribe", meta.SubscriptionsChanged{Session: id, Added: subs})
	return existed, index, err
}

func (f *fakeMeta) Unsubscribe(_ context.Context, id message.SessionID, _ message.Epoch, filters []string, _ meta.Options) ([]bool, uint64, error) {
	index, err := f.propose("unsubscribe", meta.SubscriptionsChanged{Session: id, Removed: filters})
	return make([]bool, len(filters)), index, err
}

func (f *fakeMeta) SetRoute(_ context.Context, _, filter string, _ meta.Options) (uint64, error) {
	if f.hold != nil {
		f.mu.Lock()
		f.held++
		f.mu.Unlock()
		<-f.hold
	}
	return f.propose("set " + filter)
}

func (f *fakeMeta) ClearRoute(_ context.Context, _, filter string, _ meta.Options) (uint64, error) {
	return f.propose("clear " + filter)
}

func (f *fakeMeta) JoinShared(_ context.Context, id message.SessionID, _ message.Epoch, sub message.Subscription, _ meta.Options) (uint64, error) {
	return f.propose("join "+sub.Filter, meta.SharedChanged{Present: true, Member: meta.SharedMember{Session: id, Node: self, Group: "g", Inner: "t", Subscription: sub}})
}

func (f *fakeMeta) LeaveShared(_ context.Context, _ message.SessionID, filter string, _ meta.Options) (uint64, error) {
	return f.propose("leave " + filter)
}

func (f *fakeMeta) SetRetained(_ context.Context, m *message.Message, _ meta.Options) (uint64, error) {
	return f.propose("retain "+m.Topic, meta.RetainedChanged{Topic: m.Topic, Message: m})
}

func (f *fakeMeta) DeleteRetained(_ context.Context, _, topic string, _ meta.Options) (uint64, error) {
	return f.propose("forget "+topic, meta.RetainedChanged{Topic: topic})
}

type world struct {
	*Router
	queues *fakeQueues
	links  *fakeLinks
	meta   *fakeMeta
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := &world{
		queues: &fakeQueues{got: map[string][]queue.Delivery{}},
		links:  &fakeLinks{down: map[message.NodeID]bool{}},
		meta:   &fakeMeta{sessions: map[message.SessionID]*meta.Session{}, subs: map[message.SessionID][]message.Subscription{}},
	}
	cfg := Config{
		Self: self, Queues: w.queues, Links: w.links, Metadata: w.meta,
		Settings: Settings{Policy: Random, EnqueueTimeout: 10 * time.Millisecond}, Metrics: metrics.New(), Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	w.Router = New(cfg)
	w.meta.observer = w.Router
	w.Quorum(true)
	t.Cleanup(w.Close)
	return w
}

// publish routes a message and returns the result; the fakes answer at once.
func (w *world) publish(t *testing.T, m *message.Message) session.PublishResult {
	t.Helper()
	done := make(chan session.PublishResult, 1)
	w.Publish(m, session.PublishOptions{}, func(r session.PublishResult) { done <- r })
	select {
	case r := <-done:
		return r
	case <-time.After(5 * time.Second):
		t.Fatal("the message was never completed")
		panic("unreachable")
	}
}

func (w *world) subscribe(t *testing.T, id string, subs ...message.Subscription) {
	t.Helper()
	res, err := w.Subscribe(context.Background(), session.Subject{ID: client(id)}, subs)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

func TestOverlappingSubscriptionsMakeOneCopy(t *testing.T) {
	w := newWorld(t, nil)
	w.subscribe(t, "c", message.Subscription{Filter: "a/+", QoS: 0, Identifier: 1},
		message.Subscription{Filter: "a/#", QoS: 2, Identifier: 2, RetainAsPublished: true}, message.Subscription{Filter: "x", QoS: 1})
	if r := w.publish(t, &message.Message{Topic: "a/b", QoS: 1}); r.Matched != 1 || r.Err != nil {
		t.Errorf("%+v", r)
	}
	got := w.queues.got["c"]
	if len(got) != 1 {
		t.Fatalf("%d copies", len(got))
	}
	slices.Sort(got[0].SubscriptionIDs)
	if got[0].QoS != 2 || !slices.Equal(got[0].SubscriptionIDs, []uint32{1, 2}) {
		t.Errorf("QoS %d, identifiers %v", got[0].QoS, got[0].SubscriptionIDs)
	}
}

// TestOverlappingSubscriptionsSeparate: a copy for each subscription, with its
// own QoS, identifier and retain flag, of messages from here and from other
// nodes.
func TestOverlappingSubscriptionsSeparate(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Separate = true })
	w.subscribe(t, "c", message.Subscription{Filter: "a/+", QoS: 0, Identifier: 1},
		message.Subscription{Filter: "a/#", QoS: 2, Identifier: 2, RetainAsPublished: true}, message.Subscription{Filter: "x", QoS: 1},
		message.Subscription{Filter: "#", NoLocal: true})
	durable := client("d")
	w.meta.sessions[durable] = &meta.Session{ID: durable, Owner: self, Durable: true}
	if _, err := w.Subscribe(context.Background(), session.Subject{ID: durable, Durable: true}, []message.Subscription{{Filter: "a/b", QoS: 1}, {Filter: "a/+", QoS: 2}}); err != nil {
		t.Fatal(err)
	}
	m := &message.Message{Topic: "a/b", QoS: 1, Retain: true, Publisher: "c"}
	for name, send := range map[string]func(){
		"publish": func() {
			if r := w.publish(t, m); r.Matched != 4 || r.Err != nil {
				t.Errorf("%+v", r)
			}
		},
		"frame": func() {
			codes := make(chan peer.Code, 1)
			w.Receive(peer.Identity{}, peer.Frame{Kind: peer.FramePublish, Message: m}, func(c peer.Code) { codes <- c })
			if c := <-codes; c != peer.CodeAccepted {
				t.Error(c)
			}
		},
	} {
		w.queues.got = map[string][]queue.Delivery{}
		send()
		byQoS := func(a, b queue.Delivery) int { return int(a.QoS) - int(b.QoS) }
		for id, want := range map[string][]queue.Delivery{
			"c": {{QoS: 0, SubscriptionIDs: []uint32{1}}, {QoS: 2, SubscriptionIDs: []uint32{2}, Retain: true}},
			"d": {{QoS: 1}, {QoS: 2}},
		} {
			got := w.queues.got[id]
			slices.SortFunc(got, byQoS)
			for i := range got {
				if got[i].Message != m {
					t.Errorf("%s: %s has another message", name, id)
				}
				got[i].Message = nil
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: %s: %s", name, id, d)
			}
		}
	}
}

func TestManySubscribersGetOneCopyEach(t *testing.T) {
	w := newWorld(t, nil)
	const n = 100
	for i := range n {
		id := string(rune('A' + i))
		w.subscribe(t, id, message.Subscription{Filter: "t"}, message.Subscription{Filter: "+", QoS: 1})
	}
	if r := w.publish(t, &message.Message{Topic: "t"}); r.Matched != n {
		t.Errorf("matched %d", r.Matched)
	}
	for id, d := range w.queues.got {
		if len(d) != 1 || d[0].QoS != 1 {
			t.Errorf("%s: %v", id, d)
		}
	}
}

func TestNoLocalKeepsAMessageFromItsPublisherOnly(t *testing.T) {
	w := newWorld(t, nil)
	w.subscribe(t, "p", message.Subscription{Filter: "t", NoLocal: true})
	w.subscribe(t, "q", message.Subscription{Filter: "t", NoLocal: true})
	w.publish(t, &message.Message{Topic: "t", Publisher: "p"})
	if got := w.queues.names(); !slices.Equal(got, []string{"q"}) {
		t.Errorf("delivered to %v", got)
	}
}

// No local is an option of one subscription: another of the same client that
// overlaps has its own say.
func TestNoLocalIsOfOneSubscription(t *testing.T) {
	w := newWorld(t, nil)
	w.subscribe(t, "p", message.Subscription{Filter: "t/+", NoLocal: true, QoS: 2, Identifier: 1}, message.Subscription{Filter: "t/#", QoS: 1, Identifier: 2})
	w.publish(t, &message.Message{Topic: "t/1", Publisher: "p", QoS: 2})
	w.publish(t, &message.Message{Topic: "t/2", Publisher: "q", QoS: 2})
	got := w.queues.got["p"]
	for _, d := range got {
		slices.Sort(d.SubscriptionIDs)
	}
	if len(got) != 2 || got[0].QoS != 1 || !slices.Equal(got[0].SubscriptionIDs, []uint32{2}) || got[1].QoS != 2 ||
		!slices.Equal(got[1].SubscriptionIDs, []uint32{1, 2}) {
		t.Errorf("%+v", got)
	}
}

func TestCleanSessionsShareOneRoute(t *testing.T) {
	w := newWorld(t, nil)
	w.subscribe(t, "a", message.Subscription{Filter: "t"})
	w.subscribe(t, "b", message.Subscription{Filter: "t"})
	for _, id := range []string{"a", "b"} {
		if ok, err := w.Unsubscribe(context.Background(), session.Subject{ID: client(id)}, []string{"t", "none"}); err != nil || !slices.Equal(ok, []bool{true, false}) {
			t.Errorf("%s: %v %v", id, ok, err)
		}
	}
	if d := cmp.Diff([]string{"set t", "clear t"}, w.meta.proposals); d != "" {
		t.Error(d)
	}
	if w.tables.entries() != 0 {
		t.Errorf("%d entries are left", w.tables.entries())
	}
}

func TestARouteThatCannotBeSetIsRefusedAndTriedAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.meta.fail = meta.ErrNoQuorum
	res, err := w.Subscribe(context.Background(), session.Subject{ID: client("a")}, []message.Subscription{{Filter: "t"}})
	if err != nil || !errors.Is(res[0].Err, session.ErrNotReady) {
		t.Fatalf("%v %v", res, err)
	}
	w.meta.mu.Lock()
	w.meta.fail = nil
	w.meta.mu.Unlock()
	w.subscribe(t, "a", message.Subscription{Filter: "t"})
	if r := w.publish(t, &message.Message{Topic: "t"}); r.Matched != 1 {
		t.Errorf("matched %d", r.Matched)
	}
	if !slices.Contains(w.meta.proposals, "set t") {
		t.Errorf("proposed %v", w.meta.proposals)
	}
}

func TestDurableSubscriptionsFollowTheRegistry(t *testing.T) {
	w := newWorld(t, nil)
	id := client("d")
	w.meta.sessions[id] = &meta.Session{ID: id, Owner: self, Durable: true}
	if _, err := w.Subscribe(context.Background(), session.Subject{ID: id, Durable: true}, []message.Subscription{{Filter: "t", QoS: 1}}); err != nil {
		t.Fatal(err)
	}
	if r := w.publish(t, &message.Message{Topic: "t"}); r.Matched != 1 {
		t.Fatalf("matched %d", r.Matched)
	}
	old := w.meta.sessions[id]
	w.meta.sessions[id] = &meta.Session{ID: id, Owner: other, Durable: true}
	w.Apply(9, []meta.Event{meta.SessionChanged{Old: old, New: w.meta.sessions[id]}})
	if r := w.publish(t, &message.Message{Topic: "t"}); r.Matched != 0 {
		t.Errorf("a session that moved away still matches: %d", r.Matched)
	}
	w.Apply(10, []meta.Event{meta.SessionChanged{Old: w.meta.sessions[id], New: old}})
	if r := w.publish(t, &message.Message{Topic: "t"}); r.Matched != 1 {
		t.Errorf("a session that came back does not match: %d", r.Matched)
	}
}

func TestOneCopyGoesToEachRemoteNode(t *testing.T) {
	w := newWorld(t, nil)
	w.Apply(1, []meta.Event{
		meta.RouteChanged{Filter: "a/+", Node: other, Present: true},
		meta.RouteChanged{Filter: "a/#", Node: other, Present: true},
		meta.RouteChanged{Filter: "a/b", Node: self, Present: true},
	})
	if r := w.publish(t, &message.Message{Topic: "a/b", QoS: 1}); r.Matched != 1 || len(w.links.sent) != 1 {
		t.Errorf("%+v, %d frames", r, len(w.links.sent))
	}
}

func TestAFailedNodeFailsQoS1AndNotQoS0(t *testing.T) {
	w := newWorld(t, nil)
	w.links.answer = func(message.NodeID, peer.Frame) (peer.Code, error) { return 0, peer.ErrBufferFull }
	w.Apply(1, []meta.Event{meta.RouteChanged{Filter: "t", Node: other, Present: true}})
	if r := w.publish(t, &message.Message{Topic: "t", QoS: 1}); !errors.Is(r.Err, peer.ErrBufferFull) {
		t.Errorf("QoS 1: %v", r.Err)
	}
	if r := w.publish(t, &message.Message{Topic: "t"}); r.Err != nil {
		t.Errorf("QoS 0: %v", r.Err)
	}
}

func TestWithoutQuorumOnlyWhoMayPublishes(t *testing.T) {
	w := newWorld(t, nil)
	w.Quorum(false)
	if r := w.publish(t, &message.Message{Topic: "t"}); !errors.Is(r.Err, session.ErrNotReady) {
		t.Errorf("%v", r.Err)
	}
	done := make(chan session.PublishResult, 1)
	w.Publish(&message.Message{Topic: "t"}, session.PublishOptions{AllowNetsplit: true}, func(r session.PublishResult) { done <- r })
	if r := <-done; r.Err != nil {
		t.Errorf("%v", r.Err)
	}
}

func TestRetained(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxRetainedMessage = 4 })
	w.publish(t, &message.Message{Topic: "a/b", Payload: []byte("one"), Retain: true, QoS: 1})
	w.publish(t, &message.Message{Topic: "a/c", Payload: []byte("large"), Retain: true, QoS: 1})
	w.publish(t, &message.Message{Topic: "a/d", Payload: []byte("old"), Retain: true, QoS: 1, Expires: 1})
	var got []string
	w.Retained("", "a/+", func(m *message.Message) { got = append(got, m.Topic) })
	if !slices.Equal(got, []string{"a/b"}) {
		t.Errorf("retained %v", got)
	}
	if n, bytes := w.tables.retained(); n != 2 || bytes == 0 {
		t.Errorf("%d messages, %d bytes", n, bytes)
	}
	w.publish(t, &message.Message{Topic: "a/b", Retain: true, QoS: 1})
	w.publish(t, &message.Message{Topic: "a/d", Retain: true, QoS: 1})
	if n, bytes := w.tables.retained(); n != 0 || bytes != 0 {
		t.Errorf("after the deletes: %d messages, %d bytes", n, bytes)
	}
}

func TestMaxRetainedMessageSize(t *testing.T) {
	for _, limit := range []int{0, 1, 1000} {
		r := metrics.New()
		w := newWorld(t, func(c *Config) { c.MaxRetainedMessage, c.Metrics = limit, r })
		w.subscribe(t, "c", message.Subscription{Filter: "#", QoS: 1})
		kept := 1000
		if limit > 0 {
			kept = limit
		}
		w.publish(t, &message.Message{Topic: "fits", Payload: make([]byte, kept), Retain: true, QoS: 1})
		w.publish(t, &message.Message{Topic: "more", Payload: make([]byte, kept+1), Retain: true, QoS: 1})
		want, refused := []string{"fits"}, int64(1)
		if limit == 0 {
			want, refused = []string{"fits", "more"}, 0
		}
		var got []string
		w.Retained("", "#", func(m *message.Message) { got = append(got, m.Topic) })
		slices.Sort(got)
		if !slices.Equal(got, want) || len(w.queues.got["c"]) != 2 { // what is not retained is delivered
			t.Errorf("%d: retained %v, %d delivered", limit, got, len(w.queues.got["c"]))
		}
		for _, s := range r.Samples() {
			if s.Name == "retain_message_too_large" && s.Value != refused {
				t.Errorf("%d: counted %d", limit, s.Value)
			}
		}
	}
}

func TestReceiveMatchesAgainAmongOwnSessions(t *testing.T) {
	w := newWorld(t, nil)
	w.subscribe(t, "c", message.Subscription{Filter: "t", QoS: 1})
	codes := make(chan peer.Code, 1)
	w.Receive(peer.Identity{}, peer.Frame{Kind: peer.FramePublish, Message: &message.Message{Topic: "t"}}, func(c peer.Code) { codes <- c })
	if c := <-codes; c != peer.CodeAccepted || len(w.queues.got["c"]) != 1 {
		t.Errorf("%v, %v", c, w.queues.got)
	}
	for want, err := range map[peer.Code]error{peer.CodeFull: queue.ErrFull, peer.CodeNoSession: queue.ErrNoSession, peer.CodeOffline: queue.ErrOffline, peer.CodeError: errors.New("disk")} {
		w.queues.deliver = func(message.SessionID, queue.Delivery) error { return err }
		w.Receive(peer.Identity{}, peer.Frame{Kind: peer.FrameDirect, Session: client("c"), Message: &message.Message{Topic: "t"}}, func(c peer.Code) { codes <- c })
		if c := <-codes; c != want {
			t.Errorf("%v: %v, want %v", err, c, want)
		}
	}
}

func TestReceiveWaitsForMetadataForALimitedTime(t *testing.T) {
	w := newWorld(t, nil)
	codes := make(chan peer.Code, 1)
	w.Receive(peer.Identity{}, peer.Frame{Kind: peer.FramePublish, Applied: 99, Message: &message.Message{Topic: "t"}}, func(c peer.Code) { codes <- c })
	if c := <-codes; c != peer.CodeAccepted {
		t.Errorf("%v", c)
	}
}

func TestForgetAndReassert(t *testing.T) {
	w := newWorld(t, nil)
	w.subscribe(t, "a", message.Subscription{Filter: "t"}, message.Subscription{Filter: "$share/g/t"})
	w.Reassert()
	w.Forget(client("a"))
	w.wg.Wait()
	if w.tables.lookup("").local.Entries() != 0 {
		t.Error("the session still has subscriptions here")
	}
	w.meta.mu.Lock()
	defer w.meta.mu.Unlock()
	if last := w.meta.proposals[len(w.meta.proposals)-1]; last != "clear t" && !slices.Contains(w.meta.proposals, "clear t") {
		t.Errorf("proposed %v", w.meta.proposals)
	}
}
