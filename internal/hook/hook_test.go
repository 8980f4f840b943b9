package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// fake implements every hook with what its fields say.
type fake struct {
	name     string
	calls    *[]string
	register func(*Register) (*RegisterModifiers, Result)
	publish  func(*Publish) (*PublishModifiers, Result)
	subs     func(*Subscribe) (*SubscribeModifiers, Result)
	auth     func(*Auth) (AuthAnswer, Result)
	deliver  func(*Deliver) (*DeliverModifiers, Result)
	unsub    func(*Unsubscribe) ([]string, Result)
	notified func(Point)
}

func (f *fake) note(p Point) {
	if f.calls != nil {
		*f.calls = append(*f.calls, f.name+":"+p.String())
	}
	if f.notified != nil {
		f.notified(p)
	}
}

func (f *fake) AuthOnRegister(_ context.Context, r *Register) (*RegisterModifiers, Result) {
	f.note(PointAuthOnRegister)
	if f.register == nil {
		return nil, Pass()
	}
	return f.register(r)
}

func (f *fake) AuthOnPublish(_ context.Context, p *Publish) (*PublishModifiers, Result) {
	f.note(PointAuthOnPublish)
	if f.publish == nil {
		return nil, Pass()
	}
	return f.publish(p)
}

func (f *fake) AuthOnSubscribe(_ context.Context, s *Subscribe) (*SubscribeModifiers, Result) {
	f.note(PointAuthOnSubscribe)
	if f.subs == nil {
		return nil, Pass()
	}
	return f.subs(s)
}

func (f *fake) OnAuth(_ context.Context, a *Auth) (AuthAnswer, Result) {
	f.note(PointOnAuth)
	if f.auth == nil {
		return AuthAnswer{}, Pass()
	}
	return f.auth(a)
}

func (f *fake) OnDeliver(_ context.Context, d *Deliver) (*DeliverModifiers, Result) {
	f.note(PointOnDeliver)
	if f.deliver == nil {
		return nil, Pass()
	}
	return f.deliver(d)
}

func (f *fake) OnUnsubscribe(_ context.Context, u *Unsubscribe) ([]string, Result) {
	f.note(PointOnUnsubscribe)
	if f.unsub == nil {
		return nil, Pass()
	}
	return f.unsub(u)
}

func (f *fake) OnRegister(*Register)               { f.note(PointOnRegister) }
func (f *fake) OnPublish(*Publish)                 { f.note(PointOnPublish) }
func (f *fake) OnSubscribe(*Subscribe)             { f.note(PointOnSubscribe) }
func (f *fake) OnOfflineMessage(*Message)          { f.note(PointOnOfflineMessage) }
func (f *fake) OnMessageDrop(*Message)             { f.note(PointOnMessageDrop) }
func (f *fake) OnClientWakeup(message.SessionID)   { f.note(PointOnClientWakeup) }
func (f *fake) OnClientOffline(message.SessionID)  { f.note(PointOnClientOffline) }
func (f *fake) OnClientGone(message.SessionID)     { f.note(PointOnClientGone) }
func (f *fake) OnSessionExpired(message.SessionID) { f.note(PointOnSessionExpired) }

func (f *fake) OnTopicUnsubscribed(_ message.SessionID, _ []string) { f.note(PointOnTopicUnsubscribed) }

// callAll calls every hook of a chain once, with nothing in it.
func callAll(t *testing.T, c *Chain) {
	t.Helper()
	ctx, id := t.Context(), message.SessionID{ClientID: "c"}
	c.AuthOnRegister(ctx, &Register{}, false)
	c.AuthOnPublish(ctx, &Publish{})
	c.AuthOnSubscribe(ctx, &Subscribe{})
	c.OnRegister(&Register{})
	c.OnPublish(&Publish{})
	c.OnSubscribe(&Subscribe{})
	c.OnUnsubscribe(ctx, &Unsubscribe{})
	c.OnDeliver(ctx, &Deliver{})
	c.OnAuth(ctx, &Auth{})
	c.OnOfflineMessage(&Message{})
	c.OnMessageDrop(&Message{})
	c.OnClientWakeup(id)
	c.OnClientOffline(id)
	c.OnClientGone(id)
	c.OnSessionExpired(id)
	c.OnTopicUnsubscribed(id, nil)
}

func allPoints() []Point {
	var out []Point
	for p := range numPoints {
		out = append(out, p)
	}
	return out
}

func attach(t *testing.T, r *Registry, name string, p any) {
	t.Helper()
	if err := r.Attach(name, p); err != nil {
		t.Fatal(err)
	}
}

func TestEveryHookReachesEveryPluginInOrder(t *testing.T) {
	var calls []string
	r := New(Options{})
	attach(t, r, "a", &fake{name: "a", calls: &calls})
	attach(t, r, "b", &fake{name: "b", calls: &calls})
	callAll(t, r.Default())
	var want []string
	for _, p := range allPoints() {
		want = append(want, "a:"+p.String(), "b:"+p.String())
	}
	if d := cmp.Diff(want, calls); d != "" {
		t.Error(d)
	}
	if got := r.Plugins(); len(got) != 2 || !slices.Equal(got[0].Points, allPoints()) {
		t.Errorf("%v", got)
	}
	for _, p := range allPoints() {
		if !r.Default().Has(p) {
			t.Errorf("%s: nobody listens", p)
		}
	}
}

func TestVerdicts(t *testing.T) {
	answer := func(r Result) *fake {
		return &fake{
			register: func(*Register) (*RegisterModifiers, Result) { return nil, r },
			publish:  func(*Publish) (*PublishModifiers, Result) { return nil, r },
			subs:     func(*Subscribe) (*SubscribeModifiers, Result) { return nil, r },
		}
	}
	banned := Deny(packet.Banned, "x")
	for _, c := range []struct {
		name    string
		answers []Result
		want    Result
	}{
		{"none", nil, Deny(packet.NotAuthorized, "")},
		{"all pass", []Result{Pass(), Pass()}, Deny(packet.NotAuthorized, "")},
		{"pass, ok", []Result{Pass(), Allow()}, Allow()},
		{"ok before refuse", []Result{Allow(), banned}, Allow()},
		{"refuse before ok", []Result{banned, Allow()}, banned},
		{"refusal without reason", []Result{{Verdict: Refuse}}, Deny(packet.NotAuthorized, "")},
	} {
		r := New(Options{})
		for i, a := range c.answers {
			attach(t, r, fmt.Sprint(i), answer(a))
		}
		chain := r.Default()
		for hook, got := range map[string]Result{
			"register":  chain.AuthOnRegister(t.Context(), &Register{}, false),
			"publish":   chain.AuthOnPublish(t.Context(), &Publish{}),
			"subscribe": chain.AuthOnSubscribe(t.Context(), &Subscribe{}),
		} {
			if got != c.want {
				t.Errorf("%s: %s: %+v, want %+v", c.name, hook, got, c.want)
			}
		}
		if got := chain.AuthOnRegister(t.Context(), &Register{}, true); !got.Allowed() {
			t.Errorf("%s: anonymous: %+v", c.name, got)
		}
	}
	if got := DenyCredentials(); got.Reason != packet.BadUserNameOrPassword || got.Allowed() {
		t.Errorf("%+v", got)
	}
}

func TestNilAndEmptyChains(t *testing.T) {
	for name, c := range map[string]*Chain{"nil": nil, "empty": New(Options{}).Default()} {
		callAll(t, c)
		if c.AuthOnPublish(t.Context(), &Publish{}).Allowed() || c.AuthOnRegister(t.Context(), &Register{}, false).Allowed() ||
			c.AuthOnSubscribe(t.Context(), &Subscribe{}).Allowed() || c.OnAuth(t.Context(), &Auth{}).Reason != packet.BadAuthenticationMethod {
			t.Errorf("%s chain allows", name)
		}
		for _, p := range append(allPoints(), numPoints) {
			if c.Has(p) {
				t.Errorf("%s chain: somebody listens to %s", name, p)
			}
		}
		p, d, id := &Publish{}, &Deliver{}, message.SessionID{}
		if n := testing.AllocsPerRun(100, func() {
			c.OnPublish(p)
			c.OnDeliver(context.Background(), d)
			c.OnClientGone(id)
			c.AuthOnPublish(context.Background(), p)
		}); n != 0 {
			t.Errorf("%s chain allocates %v times", name, n)
		}
	}
}

func TestPermit(t *testing.T) {
	r := New(Options{})
	attach(t, r, "permit", Permit{})
	c := r.Default()
	p := &Publish{Topic: "a"}
	if !c.AuthOnRegister(t.Context(), &Register{}, false).Allowed() || !c.AuthOnPublish(t.Context(), p).Allowed() ||
		!c.AuthOnSubscribe(t.Context(), &Subscribe{}).Allowed() {
		t.Error("refused")
	}
	if n := testing.AllocsPerRun(100, func() { c.AuthOnPublish(context.Background(), p) }); n != 0 {
		t.Errorf("asking one plugin allocates %v times", n)
	}
}

func ptr[T any](v T) *T { return &v }

func TestRegisterModifiers(t *testing.T) {
	m := &RegisterModifiers{
		SubscriberID: &message.SessionID{Mountpoint: "mp", ClientID: "new"}, Username: ptr("bob"),
		CleanStart: ptr(false), SessionExpiry: ptr(uint32(60)), MaxMessageSize: ptr(10), QueueType: ptr("lifo"),
	}
	r := New(Options{})
	attach(t, r, "p", &fake{register: func(*Register) (*RegisterModifiers, Result) { return m, Allow() }})
	req := &Register{Client: Client{ID: message.SessionID{ClientID: "old"}}, CleanStart: true}
	if res := r.Default().AuthOnRegister(t.Context(), req, false); !res.Allowed() {
		t.Fatal(res)
	}
	want := &Register{
		Client:        Client{ID: message.SessionID{Mountpoint: "mp", ClientID: "new"}, Username: "bob", HasUsername: true},
		SessionExpiry: 60, HasSessionExpiry: true, Modifiers: m,
	}
	if d := cmp.Diff(want, req); d != "" {
		t.Error(d)
	}
}

func TestModifiersOfOthersThanOKDoNotCount(t *testing.T) {
	r := New(Options{})
	attach(t, r, "p", &fake{publish: func(*Publish) (*PublishModifiers, Result) {
		return &PublishModifiers{Topic: ptr("changed")}, Pass()
	}})
	attach(t, r, "permit", Permit{})
	p := &Publish{Topic: "a"}
	if res := r.Default().AuthOnPublish(t.Context(), p); !res.Allowed() || p.Topic != "a" {
		t.Errorf("%v, topic %s", res, p.Topic)
	}
}

func TestPublishModifiers(t *testing.T) {
	m := &PublishModifiers{
		Topic: ptr("t"), Payload: ptr([]byte("p")), QoS: ptr(byte(2)), Retain: ptr(true), Mountpoint: ptr("mp"),
		Throttle: ptr(time.Second), MessageExpiry: ptr(uint32(9)), WillDelay: ptr(uint32(8)),
		PropertyModifiers: PropertyModifiers{
			User: ptr([]message.UserProperty{{Name: "a", Value: "b"}}), ContentType: ptr("ct"), PayloadFormat: ptr(byte(1)),
			ResponseTopic: ptr("r"), CorrelationData: ptr([]byte{1}),
		},
	}
	r := New(Options{})
	attach(t, r, "p", &fake{publish: func(*Publish) (*PublishModifiers, Result) { return m, Allow() }})
	original := &message.Properties{ContentType: "old"}
	p := &Publish{Topic: "x", Properties: original}
	if res := r.Default().AuthOnPublish(t.Context(), p); !res.Allowed() {
		t.Fatal(res)
	}
	want := &Publish{
		Topic: "t", Payload: []byte("p"), QoS: 2, Retain: true, Mountpoint: "mp", Throttle: time.Second,
		Expiry: 9, HasExpiry: true, WillDelay: 8, Properties: &message.Properties{
			User: []message.UserProperty{{Name: "a", Value: "b"}}, ContentType: "ct", PayloadFormat: 1, HasFormat: true,
			ResponseTopic: "r", CorrelationData: []byte{1}, HasCorrelation: true,
		},
	}
	if d := cmp.Diff(want, p); d != "" {
		t.Error(d)
	}
	if original.ContentType != "old" {
		t.Error("the shared properties were written to")
	}
}

func TestSubscribeModifiers(t *testing.T) {
	r := New(Options{})
	attach(t, r, "p", &fake{subs: func(s *Subscribe) (*SubscribeModifiers, Result) {
		m := &SubscribeModifiers{}
		for _, sub := range s.Subscriptions {
			sub.Filter = "mine/" + sub.Filter
			tm := TopicModifier{Subscription: sub}
			if sub.QoS == 2 {
				tm.Refuse = packet.NotAuthorized
			}
			m.Topics = append(m.Topics, tm)
		}
		return m, Allow()
	}})
	original := []message.Subscription{{Filter: "a", QoS: 1}, {Filter: "b", QoS: 2}}
	s := &Subscribe{Subscriptions: original}
	if res := r.Default().AuthOnSubscribe(t.Context(), s); !res.Allowed() {
		t.Fatal(res)
	}
	if s.Subscriptions[0].Filter != "mine/a" || original[0].Filter != "a" ||
		!slices.Equal(s.Reasons, []packet.Reason{0, packet.NotAuthorized}) {
		t.Errorf("%+v, original %v", s, original)
	}
	s = &Subscribe{Subscriptions: original[:1]}
	if r.Default().AuthOnSubscribe(t.Context(), s); s.Reasons != nil {
		t.Errorf("reasons %v though all are granted", s.Reasons)
	}
}

// A filter that nobody allows does not take the others with it.
func TestSubscribeFilterByFilter(t *testing.T) {
	reg := New(Options{})
	only := func(allowed ...string) *fake {
		return &fake{subs: func(s *Subscribe) (*SubscribeModifiers, Result) {
			for _, sub := range s.Subscriptions {
				if !slices.Contains(allowed, sub.Filter) {
					return nil, Pass()
				}
			}
			return nil, Allow()
		}}
	}
	attach(t, reg, "first", only("a", "b"))
	attach(t, reg, "second", only("c"))
	for _, c := range []struct {
		filters []string
		allowed bool
		want    []packet.Reason
	}{
		{[]string{"a", "b"}, true, nil},
		{[]string{"a", "x", "c"}, true, []packet.Reason{0, packet.NotAuthorized, 0}},
		{[]string{"a", "c"}, true, []packet.Reason{0, 0}},
		{[]string{"x", "y"}, false, nil},
		{[]string{"x"}, false, nil},
	} {
		s := &Subscribe{}
		for _, f := range c.filters {
			s.Subscriptions = append(s.Subscriptions, message.Subscription{Filter: f})
		}
		res := reg.Default().AuthOnSubscribe(t.Context(), s)
		if d := cmp.Diff(c.want, s.Reasons); res.Allowed() != c.allowed || d != "" {
			t.Errorf("%v: allowed %v, %s", c.filters, res.Allowed(), d)
		}
	}
}

func TestInvalidModifiersRefuse(t *testing.T) {
	var l strings.Builder
	for _, c := range []struct {
		name string
		f    fake
		want string
	}{
		{"register id", fake{register: func(*Register) (*RegisterModifiers, Result) {
			return &RegisterModifiers{SubscriberID: &message.SessionID{}}, Allow()
		}}, "client_id is empty"},
		{"register queue", fake{register: func(*Register) (*RegisterModifiers, Result) {
			return &RegisterModifiers{QueueType: ptr("heap")}, Allow()
		}}, "queue_type"},
		{"register limit", fake{register: func(*Register) (*RegisterModifiers, Result) {
			return &RegisterModifiers{MaxOfflineMessages: ptr(-2)}, Allow()
		}}, "max_offline_messages"},
		{"register user", fake{register: func(*Register) (*RegisterModifiers, Result) {
			return &RegisterModifiers{Username: ptr("\xff")}, Allow()
		}}, "username"},
		{"publish topic", fake{publish: func(*Publish) (*PublishModifiers, Result) {
			return &PublishModifiers{Topic: ptr("a/#")}, Allow()
		}}, "topic"},
		{"publish qos", fake{publish: func(*Publish) (*PublishModifiers, Result) {
			return &PublishModifiers{QoS: ptr(byte(3))}, Allow()
		}}, "qos 3"},
		{"publish format", fake{publish: func(*Publish) (*PublishModifiers, Result) {
			return &PublishModifiers{PropertyModifiers: PropertyModifiers{PayloadFormat: ptr(byte(2))}}, Allow()
		}}, "payload_format_indicator"},
		{"publish throttle", fake{publish: func(*Publish) (*PublishModifiers, Result) {
			return &PublishModifiers{Throttle: ptr(-time.Second)}, Allow()
		}}, "throttle"},
		{"subscribe count", fake{subs: func(*Subscribe) (*SubscribeModifiers, Result) {
			return &SubscribeModifiers{}, Allow()
		}}, "0 given for 1 requested"},
		{"subscribe filter", fake{subs: func(*Subscribe) (*SubscribeModifiers, Result) {
			return &SubscribeModifiers{Topics: []TopicModifier{{Subscription: message.Subscription{Filter: "a#"}}}}, Allow()
		}}, "topics[0]"},
		{"subscribe reason", fake{subs: func(*Subscribe) (*SubscribeModifiers, Result) {
			return &SubscribeModifiers{Topics: []TopicModifier{{Subscription: message.Subscription{Filter: "a"}, Refuse: 1}}}, Allow()
		}}, "no refusal"},
	} {
		l.Reset()
		reg := metrics.New()
		r := New(Options{Logger: slog.New(slog.NewTextHandler(&l, nil)), Metrics: reg})
		if c.f.register == nil {
			c.f.register = func(*Register) (*RegisterModifiers, Result) { return nil, Allow() }
		}
		attach(t, r, "bad", &c.f)
		chain := r.Default()
		reg1 := chain.AuthOnRegister(t.Context(), &Register{}, false)
		pub := chain.AuthOnPublish(t.Context(), &Publish{Topic: "a"})
		sub := chain.AuthOnSubscribe(t.Context(), &Subscribe{Subscriptions: []message.Subscription{{Filter: "a"}}})
		asked := reg1
		switch {
		case c.f.publish != nil:
			asked = pub
		case c.f.subs != nil:
			asked = sub
		}
		if asked.Verdict != Refuse || asked.Reason != packet.NotAuthorized || !strings.Contains(l.String(), c.want) ||
			!strings.Contains(l.String(), "plugin=bad") || reg.Samples()[0].Value != 1 {
			t.Errorf("%s: %+v, log %s", c.name, asked, &l)
		}
	}
}

func TestOnAuth(t *testing.T) {
	r := New(Options{})
	attach(t, r, "scram", &fake{auth: func(a *Auth) (AuthAnswer, Result) {
		switch {
		case a.Method != "SCRAM":
			return AuthAnswer{}, Pass()
		case string(a.Data) == "first":
			return AuthAnswer{Continue: true, Data: []byte("challenge")}, Allow()
		case string(a.Data) == "proof":
			return AuthAnswer{Username: "bob"}, Allow()
		}
		return AuthAnswer{}, Deny(packet.NotAuthorized, "")
	}})
	for _, c := range []struct {
		method, data string
		verdict      Verdict
		reason       packet.Reason
		answer       AuthAnswer
	}{
		{"SCRAM", "first", OK, packet.ContinueAuthentication, AuthAnswer{Continue: true, Data: []byte("challenge")}},
		{"SCRAM", "proof", OK, packet.Success, AuthAnswer{Username: "bob"}},
		{"SCRAM", "junk", Refuse, packet.NotAuthorized, AuthAnswer{}},
		{"other", "", Refuse, packet.BadAuthenticationMethod, AuthAnswer{}},
	} {
		a := &Auth{Method: c.method, Data: []byte(c.data)}
		res := r.Default().OnAuth(t.Context(), a)
		if res.Verdict != c.verdict || res.Reason != c.reason || !cmp.Equal(a.Answer, c.answer) {
			t.Errorf("%s %s: %+v, %+v", c.method, c.data, res, a.Answer)
		}
	}
}

// TestOnAuthOwner: the plugin that began an exchange is asked to its end, with
// what it left.
func TestOnAuthOwner(t *testing.T) {
	r := New(Options{})
	first := &fake{auth: func(*Auth) (AuthAnswer, Result) { return AuthAnswer{}, Pass() }}
	attach(t, r, "first", first)
	attach(t, r, "second", &fake{auth: func(a *Auth) (AuthAnswer, Result) {
		n, _ := a.State.(int)
		return AuthAnswer{Continue: n < 2, State: n + 1}, Allow()
	}})
	a := &Auth{Method: "X"}
	for i := range 3 {
		if res := r.Default().OnAuth(t.Context(), a); !res.Allowed() || a.Answer.Continue != (i < 2) || a.State != i+1 {
			t.Fatalf("step %d: %+v, %+v", i, res, a)
		}
		first.auth = func(*Auth) (AuthAnswer, Result) { return AuthAnswer{}, Deny(packet.NotAuthorized, "") }
	}
	r.Detach("second")
	if res := r.Default().OnAuth(t.Context(), a); res.Reason != packet.BadAuthenticationMethod {
		t.Errorf("%+v", res)
	}
}

func TestOnAuthInvalidAnswer(t *testing.T) {
	for name, ans := range map[string]AuthAnswer{
		"data": {Data: make([]byte, 65536)}, "username": {Username: "a\x00"}, "user": {User: []message.UserProperty{{Name: "\xff"}}},
	} {
		r := New(Options{})
		attach(t, r, "p", &fake{auth: func(*Auth) (AuthAnswer, Result) { return ans, Allow() }})
		if res := r.Default().OnAuth(t.Context(), &Auth{}); res.Allowed() {
			t.Errorf("%s: allowed", name)
		}
	}
}

// TestMethodNeedsNoPlugin: who has proved who it is needs nobody to allow it,
// and can still be refused.
func TestMethodNeedsNoPlugin(t *testing.T) {
	r := New(Options{})
	f := &fake{}
	attach(t, r, "p", f)
	for _, c := range []struct {
		method string
		answer Result
		want   bool
	}{{"X", Pass(), true}, {"X", Deny(0, ""), false}, {"", Pass(), false}} {
		f.register = func(*Register) (*RegisterModifiers, Result) { return nil, c.answer }
		if res := r.Default().AuthOnRegister(t.Context(), &Register{Method: c.method}, false); res.Allowed() != c.want {
			t.Errorf("%+v: %+v", c, res)
		}
	}
}

func TestChangingHooks(t *testing.T) {
	f := &fake{
		deliver: func(d *Deliver) (*DeliverModifiers, Result) {
			return &DeliverModifiers{Topic: ptr("new/" + d.Topic), Payload: ptr([]byte("new"))}, Allow()
		},
		unsub: func(u *Unsubscribe) ([]string, Result) { return []string{"mine/" + u.Filters[0]}, Allow() },
	}
	r := New(Options{})
	attach(t, r, "p", f)
	d, u := &Deliver{Topic: "a"}, &Unsubscribe{Filters: []string{"f"}}
	r.Default().OnDeliver(t.Context(), d)
	r.Default().OnUnsubscribe(t.Context(), u)
	if d.Topic != "new/a" || string(d.Payload) != "new" || u.Filters[0] != "mine/f" {
		t.Errorf("%+v, %+v", d, u)
	}
	// What cannot be, or is refused, leaves message and filters as they are.
	for _, bad := range []*fake{
		{
			deliver: func(*Deliver) (*DeliverModifiers, Result) { return &DeliverModifiers{Topic: ptr("+")}, Allow() },
			unsub:   func(*Unsubscribe) ([]string, Result) { return []string{"a", "b"}, Allow() },
		},
		{
			deliver: func(*Deliver) (*DeliverModifiers, Result) { return nil, Deny(0, "") },
			unsub:   func(*Unsubscribe) ([]string, Result) { return nil, Deny(0, "") },
		},
		{
			deliver: func(*Deliver) (*DeliverModifiers, Result) { panic("x") },
			unsub:   func(*Unsubscribe) ([]string, Result) { panic("x") },
		},
	} {
		r := New(Options{})
		attach(t, r, "bad", bad)
		d, u := &Deliver{Topic: "a"}, &Unsubscribe{Filters: []string{"f"}}
		r.Default().OnDeliver(t.Context(), d)
		r.Default().OnUnsubscribe(t.Context(), u)
		if d.Topic != "a" || u.Filters[0] != "f" {
			t.Errorf("%+v, %+v", d, u)
		}
	}
}

func TestPanicsStayInTheirCall(t *testing.T) {
	var calls []string
	var panics []string
	reg := metrics.New()
	r := New(Options{Metrics: reg, OnPanic: func(plugin string, p Point, v any, stack []byte) {
		if !strings.Contains(string(stack), "hook_test.go") {
			t.Errorf("the stack does not show the plugin:\n%s", stack)
		}
		panics = append(panics, fmt.Sprintf("%s:%s:%v", plugin, p, v))
	}})
	attach(t, r, "bad", &fake{notified: func(Point) { panic("boom") }})
	attach(t, r, "good", &fake{name: "good", calls: &calls, publish: func(*Publish) (*PublishModifiers, Result) { return nil, Allow() }})
	c := r.Default()
	if res := c.AuthOnPublish(t.Context(), &Publish{}); res.Verdict != Refuse || res.Reason != packet.NotAuthorized {
		t.Errorf("%+v", res)
	}
	if len(calls) != 0 {
		t.Errorf("after a panic the next plugin was asked: %v", calls)
	}
	callAll(t, c)
	if len(panics) != 1+int(numPoints) || panics[0] != "bad:auth_on_publish:boom" || reg.Samples()[0].Value != int64(len(panics)) {
		t.Errorf("%d panics reported: %v", len(panics), panics)
	}
	for _, p := range []Point{PointOnRegister, PointOnPublish, PointOnClientGone, PointOnTopicUnsubscribed} {
		if !slices.Contains(calls, "good:"+p.String()) {
			t.Errorf("%s: the plugin after the one that panicked was not told", p)
		}
	}
}

func TestListenerChains(t *testing.T) {
	r := New(Options{})
	allow := func(id byte) *fake {
		return &fake{
			register: func(*Register) (*RegisterModifiers, Result) {
				return &RegisterModifiers{Username: ptr(string(id))}, Allow()
			},
			publish: func(*Publish) (*PublishModifiers, Result) {
				return &PublishModifiers{Mountpoint: ptr(string(id))}, Allow()
			},
		}
	}
	attach(t, r, "a", allow('a'))
	attach(t, r, "b", allow('b'))
	who := func(c *Chain) string {
		reg, pub := &Register{}, &Publish{Topic: "t"}
		c.AuthOnRegister(t.Context(), reg, false)
		c.AuthOnPublish(t.Context(), pub)
		return reg.Client.Username + pub.Mountpoint
	}
	chain := func(auth, authz []string) *Chain {
		c, err := r.Chain(auth, authz)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	own := chain([]string{"b"}, []string{"b", "a"})
	if own != chain([]string{"b"}, []string{"b", "a"}) {
		t.Error("equal listeners do not share a chain")
	}
	if got := who(r.Default()) + who(own) + who(chain(nil, []string{"b"})); got != "aa"+"bb"+"ab" {
		t.Errorf("%s", got)
	}
	for _, c := range []struct {
		auth, authz []string
		want        error
	}{{[]string{"c"}, nil, ErrUnknownPlugin}, {nil, []string{"a", "a"}, ErrDuplicate}} {
		if _, err := r.Chain(c.auth, c.authz); !errors.Is(err, c.want) {
			t.Errorf("%v", err)
		}
	}
	if !r.Detach("b") || r.Detach("b") {
		t.Error("detach")
	}
	if got := who(own); got != "a" { // nobody left to ask at CONNECT: refused
		t.Errorf("after the plugin of a listener was detached: %q", got)
	}
	if own.AuthOnRegister(t.Context(), &Register{}, false).Allowed() {
		t.Error("allowed by nobody")
	}
	attach(t, r, "b", allow('B'))
	if got := who(own); got != "BB" {
		t.Errorf("after it was attached again: %q", got)
	}
}

func TestAttachErrors(t *testing.T) {
	r := New(Options{})
	if err := r.Attach("x", 1); !errors.Is(err, ErrNoHooks) {
		t.Errorf("%v", err)
	}
	attach(t, r, "x", Permit{})
	if err := r.Attach("x", Permit{}); !errors.Is(err, ErrAttached) {
		t.Errorf("%v", err)
	}
}

// Detaching the last plugin of all must not turn a listener's own chain, which
// names it, into one of all plugins.
func TestDetachedChainDoesNotWiden(t *testing.T) {
	r := New(Options{})
	attach(t, r, "own", Permit{})
	c, err := r.Chain([]string{"own"}, []string{"own"})
	if err != nil {
		t.Fatal(err)
	}
	attach(t, r, "other", Permit{})
	r.Detach("own")
	if c.AuthOnPublish(t.Context(), &Publish{}).Allowed() {
		t.Error("another plugin was asked")
	}
}

func TestAttachWhileCalling(t *testing.T) {
	r := New(Options{})
	attach(t, r, "permit", Permit{})
	c := r.Default()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if !c.AuthOnPublish(context.Background(), &Publish{Topic: "a"}).Allowed() {
					t.Error("refused")
					return
				}
			}
		})
	}
	for range 100 {
		attach(t, r, "x", &fake{})
		r.Detach("x")
	}
	wg.Wait()
}

func TestNames(t *testing.T) {
	for _, p := range allPoints() {
		for _, name := range []string{p.String(), p.String() + "_m5"} {
			if got, ok := ParsePoint(name); !ok || got != p {
				t.Errorf("%s: %v, %v", name, got, ok)
			}
		}
	}
	if _, ok := ParsePoint("nothing"); ok {
		t.Error("unknown hook found")
	}
	for v, want := range map[Verdict]string{Next: "next", OK: "ok", Refuse: "error", 9: "verdict 9"} {
		if v.String() != want {
			t.Errorf("%s, want %s", v, want)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	r := New(Options{})
	if err := r.Attach("permit", Permit{}); err != nil {
		b.Fatal(err)
	}
	c, p := r.Default(), &Publish{Topic: "a"}
	b.ReportAllocs()
	for b.Loop() {
		c.AuthOnPublish(context.Background(), p)
		c.OnPublish(p)
	}
}
