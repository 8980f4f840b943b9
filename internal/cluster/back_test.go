package cluster

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/cluster/clusterpb"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// TestNothingHasPassedWithoutQuorum: a node that has lost its leader for a
// moment, as one that hung, does not know that nothing is on its way to it any
// more; or it would be struck as a source, and what is spooled for it would be
// nobody's (P1).
func TestNothingHasPassedWithoutQuorum(t *testing.T) {
	a, b := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie)
	if err := b.join(t, a); err != nil {
		t.Fatal(err)
	}
	b.stop()
	await(t, "the quorum is lost", func() error {
		if a.meta.Status().Quorum || a.port.Up(b.cfg.Self) {
			return errors.New("it is there")
		}
		return nil
	})
	l, err := a.passed(t.Context(), a.meta.Applied())
	if diff := cmp.Diff([]string{b.name}, l.absent); diff != "" || err != nil {
		t.Errorf("absent (-want +got), error %v:\n%s", err, diff)
	}
}

// TestSessionHasComeBack: what was due because a session had left is not done
// once it has come back, with other messages (P1).
func TestSessionHasComeBack(t *testing.T) {
	a, b := start(t, "a@127.0.0.1", cookie), start(t, "b@127.0.0.1", cookie)
	if err := b.join(t, a); err != nil {
		t.Fatal(err)
	}
	r := durable("mover")
	a.register(t, r)
	b.register(t, r)
	gone, _ := a.meta.Session(r.ID)
	reg := a.register(t, r)
	a.queues.add(r.ID, 5)

	// Its former owner asks for what it left behind, late.
	req := &clusterpb.PullRequest{Epoch: gone.Epoch.Index, Confirmed: 100, Limit: 10}
	if _, err := a.handOver(t.Context(), gone, req); !errors.Is(err, queue.ErrNotHanded) {
		t.Errorf("confirmed: %v", err)
	}
	req.Confirmed = 0
	if _, err := a.handOver(t.Context(), gone, req); !errors.Is(err, queue.ErrNotHanded) {
		t.Errorf("asked: %v", err)
	}
	// The worker gets to the event of its departure.
	ctx, cancel := context.WithCancel(t.Context())
	m := a.moves.begin(r.ID, reg.Epoch, cancel)
	defer a.moves.end(r.ID, m)
	a.departed(gone)
	if ctx.Err() != nil {
		t.Error("the move that brings its messages was cancelled")
	}
	if n := a.queues.len(r.ID); n != 5 {
		t.Errorf("%d of 5 messages are left", n)
	}
	b.register(t, r)
	a.departed(gone)
	if ctx.Err() == nil {
		t.Error("the move goes on though the session has left again")
	}
}
