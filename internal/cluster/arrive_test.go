package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/session"
)

// TestAbsentMemberKeepsTheSource: a member that cannot be reached may have
// spooled messages for the former owner of a session that has moved. The move
// does not wait for it, and the former owner stays a source until it is back
// or removed.
func TestAbsentMemberKeepsTheSource(t *testing.T) {
	a, b, c := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie), start(t, "c@127.0.0.1", cookie)
	for _, n := range []*node{b, c} {
		if err := n.join(t, a); err != nil {
			t.Fatal(err)
		}
	}
	r := durable("mover")
	a.register(t, r)
	a.queues.add(r.ID, 7)
	c.stop()
	await(t, "the dead node's links are down", func() error {
		if a.port.Up(c.cfg.Self) || b.port.Up(c.cfg.Self) {
			return errors.New("one is up")
		}
		return nil
	})
	begin := time.Now()
	b.register(t, r)
	if took := time.Since(begin); took >= b.cfg.EnqueueTimeout {
		t.Errorf("the move waited %v for a dead node", took)
	}
	if n := b.queues.len(r.ID); n != 7 {
		t.Errorf("%d of 7 messages moved", n)
	}
	if s, _ := b.meta.Session(r.ID); len(s.Sources) != 1 || s.Sources[0].Node != a.cfg.Self {
		t.Errorf("sources %+v", s.Sources)
	}
	// What arrives late is handed over once nothing can come any more.
	a.queues.add(r.ID, 2)
	await(t, "the dead node is removed", func() error { // which takes a majority, and so a machine that keeps up
		_, err := b.Leave(context.Background(), LeaveRequest{Node: c.name, Interval: time.Second, Timeout: time.Second}, func(LeaveProgress) {})
		return err
	})
	await(t, "the source is struck and everything is here", func() error {
		if s, _ := b.meta.Session(r.ID); len(s.Sources) != 0 || b.queues.len(r.ID) != 9 {
			return fmt.Errorf("sources %+v, %d messages", s.Sources, b.queues.len(r.ID))
		}
		return nil
	})
}

// TestArrivalWithoutItsClient: a session that is this node's because of a
// registration that nobody waits for any more has a queue all the same.
func TestArrivalWithoutItsClient(t *testing.T) {
	a, b := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie)
	if err := b.join(t, a); err != nil {
		t.Fatal(err)
	}
	r := durable("mover")
	reg := a.register(t, r)
	a.queues.add(r.ID, 3)
	a.Ended(t.Context(), session.End{ID: r.ID, Epoch: reg.Epoch, Durable: true, Expiry: r.Expiry, At: time.Now()})
	if _, err := b.meta.Register(t.Context(), meta.RegisterRequest{ID: r.ID, Durable: true, Expiry: message.NeverExpires}, meta.Options{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the queue has moved", func() error {
		if b.queues.Expected(r.ID) || b.queues.len(r.ID) != 3 || a.queues.Known(r.ID) {
			return fmt.Errorf("expected %v, %d messages, old queue there %v", b.queues.Expected(r.ID), b.queues.len(r.ID), a.queues.Known(r.ID))
		}
		return nil
	})
}
