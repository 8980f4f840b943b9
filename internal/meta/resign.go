package meta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mqadmin/mqadmin/internal/message"
)

// Resign hands leadership over and gives the lease back, so that what the
// others write does not wait for a node that is about to stop. Call it when this
// node serves no client any more; Leased is false from then on. A node that has
// nobody to tell returns at once, and it waits for a leader no longer than the
// lease would have lasted.
func (s *Store) Resign(ctx context.Context) error {
	s.resignOnce.Do(func() { close(s.resigned) })
	s.mu.RLock()
	alone := s.node == nil || s.node.sole() || !s.contacted
	s.mu.RUnlock()
	if l := s.leading.Load(); l != nil && !alone {
		_, ok := l.successor(time.Now())
		alone = !ok
	}
	if alone {
		return nil
	}
	if err := s.TransferLeadership(ctx); err != nil {
		return err
	}
	late := time.NewTimer(memberLease)
	defer late.Stop()
	select {
	case <-s.released:
		return nil
	case <-late.C:
		return errors.New("no leader has taken the lease back; the others wait for its end")
	case <-ctx.Done():
		return fmt.Errorf("giving the lease back: %w", ctx.Err())
	case <-s.ctx.Done():
		return ErrClosed
	}
}

func (s *Store) hasResigned() bool {
	select {
	case <-s.resigned:
		return true
	default:
		return false
	}
}

// TransferLeadership hands leadership to the voter that has applied most of
// those that live. On a node that does not lead, or when no other voter lives, it
// does nothing: an election would not be sooner.
func (s *Store) TransferLeadership(ctx context.Context) error {
	l := s.leading.Load()
	if l == nil {
		return nil
	}
	next, ok := l.successor(time.Now())
	if !ok {
		return nil
	}
	f := l.node.raft.LeadershipTransferToServer(next.ID, next.Address)
	done := make(chan error, 1)
	go func() { done <- f.Error() }() // bounded by the election timeout
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("handing leadership over to %s: %w", next.ID, err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// successor is the voter with a lease that has applied most.
func (l *leadership) successor(now time.Time) (next raft.Server, ok bool) {
	servers := l.node.servers()
	l.mu.Lock()
	defer l.mu.Unlock()
	most := uint64(0)
	for _, sv := range servers {
		id, err := message.ParseNodeID(string(sv.ID))
		le := l.leases[id]
		if err != nil || sv.Suffrage != raft.Voter || le == nil || !le.willing || !le.until.After(now) || ok && le.applied <= most {
			continue
		}
		next, ok, most = sv, true, le.applied
	}
	return next, ok
}
