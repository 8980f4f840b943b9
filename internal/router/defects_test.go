package router

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/session"
)

// A subscription that is entered while the view is replaced is in the new
// tables too, and one that is removed meanwhile is not.
func TestSubscriptionsDuringResetStay(t *testing.T) {
	w := newWorld(t, nil)
	for round := range 300 {
		var wg sync.WaitGroup
		in, out := fmt.Sprint("in/", round), fmt.Sprint("out/", round)
		w.subscribe(t, "a", message.Subscription{Filter: out})
		wg.Go(func() { w.rebuild(1, noView{}) })
		wg.Go(func() {
			w.subscribe(t, "a", message.Subscription{Filter: in})
			if _, err := w.Unsubscribe(context.Background(), session.Subject{ID: client("a")}, []string{out}); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		tb := w.tables.lookup("")
		if _, ok := tb.local.Get(in, client("a")); !ok {
			t.Fatal("a subscription made during the change of views is lost")
		}
		if _, ok := tb.local.Get(out, client("a")); ok {
			t.Fatal("a subscription removed during the change of views is still there")
		}
	}
}

// noView is a view with nothing in it.
type noView struct{}

func (noView) Sessions(message.SessionID, func(*meta.Session) bool)   {}
func (noView) Session(message.SessionID) (*meta.Session, bool)        { return nil, false }
func (noView) Subscriptions(message.SessionID) []message.Subscription { return nil }
func (noView) Routes(func(meta.Route) bool)                           {}
func (noView) SharedMembers(func(*meta.SharedMember) bool)            {}
func (noView) AllRetained(func(*message.Message) bool)                {}

// A client may subscribe to 65,535 filters in one packet: that must not be as
// many goroutines.
func TestManyFiltersAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.meta.hold = make(chan struct{})
	before := runtime.NumGoroutine()
	subs := make([]message.Subscription, 5*maxWorkers)
	filters := make([]string, len(subs))
	for i := range subs {
		filters[i] = fmt.Sprint("f/", i)
		subs[i].Filter = filters[i]
	}
	who := session.Subject{ID: client("many")}
	done := make(chan []session.SubscribeResult)
	go func() {
		res, _ := w.Subscribe(context.Background(), who, subs)
		done <- res
	}()
	held := func() int {
		w.meta.mu.Lock()
		defer w.meta.mu.Unlock()
		return w.meta.held
	}
	for held() < maxWorkers {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine() - before; n > maxWorkers+10 {
		t.Errorf("%d goroutines for one SUBSCRIBE", n)
	}
	close(w.meta.hold)
	for i, r := range <-done {
		if r.Err != nil {
			t.Fatalf("%s: %v", filters[i], r.Err)
		}
	}
	if r := w.publish(t, &message.Message{Topic: filters[len(filters)-1]}); r.Matched != 1 {
		t.Errorf("matched %d", r.Matched)
	}
	if _, err := w.Unsubscribe(context.Background(), who, filters); err != nil || len(w.meta.proposals) != 2*len(filters) {
		t.Errorf("%d proposals, %v", len(w.meta.proposals), err)
	}
}
