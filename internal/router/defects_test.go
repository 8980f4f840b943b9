package router

import (
	"context"
	"fmt"
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
