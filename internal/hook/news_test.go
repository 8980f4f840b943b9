package hook

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// listening hears of queues.
type listening struct{ heard []string }

func (l *listening) OnMessageDrop(m *Message) {
	l.heard = append(l.heard, fmt.Sprint("drop ", m.Session.ClientID, " ", m.QoS, " ", m.Reason))
}

func (l *listening) OnOfflineMessage(m *Message) {
	l.heard = append(l.heard, fmt.Sprint("offline ", m.Session.ClientID))
}

func (l *listening) OnSessionExpired(id message.SessionID) {
	l.heard = append(l.heard, "expired "+id.ClientID)
}

func (l *listening) OnTopicUnsubscribed(id message.SessionID, filters []string) {
	l.heard = append(l.heard, fmt.Sprint("unsubscribed ", id.ClientID, " ", filters))
}

func TestNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, counts := New(Options{}), metrics.New()
		n := NewNews(reg.Default(), 3, counts)
		id := message.SessionID{ClientID: "c"}
		m := &message.Message{Topic: "t"}
		tell := func() {
			n.MessageDrop(id, m, 1, "queue_full")
			n.OfflineMessage(id, m, 1)
			n.SessionExpired(id, func() []message.Subscription { return []message.Subscription{{Filter: "a"}, {Filter: "b"}} })
		}
		dropped := counts.Counter("plugin_events_dropped", "")
		tell() // nobody listens
		if len(n.queue) != 0 || dropped.Value() != 0 {
			t.Errorf("%d queued for nobody, %d dropped", len(n.queue), dropped.Value())
		}
		if allocs := testing.AllocsPerRun(100, func() { n.MessageDrop(id, m, 1, "queue_full") }); allocs != 0 {
			t.Errorf("%v allocations for nobody", allocs)
		}
		l := &listening{}
		if err := reg.Attach("l", l); err != nil {
			t.Fatal(err)
		}
		tell()
		if dropped.Value() != 1 { // the fourth
			t.Errorf("%d dropped", dropped.Value())
		}
		ctx, cancel := context.WithCancel(t.Context())
		go n.Run(ctx)
		synctest.Wait()
		n.WillPublished(id, m) // no listener for that
		cancel()
		synctest.Wait()
		if got := fmt.Sprint(l.heard); got != "[drop c 1 queue_full offline c expired c]" {
			t.Error(got)
		}
		var none *News
		none.MessageDrop(id, m, 0, "")
	})
}
