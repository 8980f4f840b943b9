package meta

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mqadmin/mqadmin/internal/file"
	"github.com/mqadmin/mqadmin/internal/logging"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// A join leaves a file that says how far it came. Prepared: the former
// directory is the valid one. Committed: the new one is, and the former is
// kept until it is merged.
const (
	joinPrepared  = "prepared\n"
	joinCommitted = "committed\n"
	mergeAtOnce   = 64
)

func (s *Store) path(name string) string { return filepath.Join(s.cfg.Dir, name) }

// writeJoin replaces the join file durably.
func (s *Store) writeJoin(phase string) error {
	if err := file.Replace(s.cfg.Disk.FS(), s.path(joinFile), []byte(phase)); err != nil {
		return fmt.Errorf("noting the join: %w", err)
	}
	return nil
}

// recoverJoin finishes what a join in a former process has left.
func (s *Store) recoverJoin() error {
	b, err := file.Read(s.cfg.Disk.FS(), s.path(joinFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("recovering a join: %w", err)
	}
	if string(b) != joinCommitted {
		s.log.Warn("a join was not completed, going back to the former metadata")
		return s.restoreFormer()
	}
	return s.loadFormer()
}

// restoreFormer makes the former directory the valid one again.
func (s *Store) restoreFormer() error {
	if fs := s.cfg.Disk.FS(); file.Exists(fs, s.path(formerDir)) {
		if err := fs.RemoveAll(s.path(raftDir)); err != nil {
			return fmt.Errorf("going back to the former metadata: %w", err)
		}
		if err := fs.Rename(s.path(formerDir), s.path(raftDir)); err != nil {
			return fmt.Errorf("going back to the former metadata: %w", err)
		}
	}
	return s.forgetJoin()
}

func (s *Store) forgetJoin() error {
	if err := s.cfg.Disk.FS().Remove(s.path(joinFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("ending a join: %w", err)
	}
	return file.SyncDir(s.cfg.Disk.FS(), s.cfg.Dir)
}

// loadFormer reads the state to merge from the former directory.
func (s *Store) loadFormer() error {
	dir := s.path(formerDir)
	if !file.Exists(s.cfg.Disk.FS(), dir) {
		return s.forgetJoin() // merged already
	}
	st, err := readDirectory(s.cfg.Disk, dir, s.cfg.SegmentBytes, logging.HCLog(s.log.With("part", "former")))
	if err != nil {
		return fmt.Errorf("reading the former metadata: %w", err)
	}
	s.former = st
	return nil
}

// PrepareJoin stops this node's own cluster of one, keeps its directory aside
// and waits as an empty replica for the leader of another cluster. Reads go on
// from the old state; proposals wait. Call it before RequestAdd.
func (s *Store) PrepareJoin(ctx context.Context) error {
	if len(s.Members()) > 1 {
		return ErrOtherMembers
	}
	s.mu.RLock()
	busy, ready := s.joining || s.former != nil, s.detached == nil
	s.mu.RUnlock()
	switch {
	case busy:
		return ErrJoining
	case !ready:
		return ErrNoQuorum
	}
	s.prop.setPaused(true)
	for !s.prop.idle() {
		if err := pause(ctx, time.Millisecond); err != nil {
			s.prop.setPaused(false)
			return err
		}
	}
	err := s.call(ctx, s.prepareJoin)
	if err != nil && !s.isJoining() {
		s.prop.setPaused(false)
	}
	return err
}

func (s *Store) prepareJoin() error {
	if err := s.writeJoin(joinPrepared); err != nil {
		return err
	}
	s.endSession()
	s.applyMu.Lock()
	s.mu.Lock()
	old := s.node
	s.detached, s.joining = old.fsm.state.copy(), true
	s.mu.Unlock()
	s.applyMu.Unlock()
	if err := old.close(); err != nil {
		s.log.Warn("stopping the former raft", "error", err)
	}
	if err := s.cfg.Disk.FS().Rename(s.path(raftDir), s.path(formerDir)); err != nil {
		return errors.Join(fmt.Errorf("putting the former metadata aside: %w", err), s.abortJoin())
	}
	n, err := s.startNode(s.path(raftDir), false)
	if err != nil {
		return errors.Join(err, s.abortJoin())
	}
	s.swapNode(n)
	return nil
}

// swapNode makes n the running Raft instance.
func (s *Store) swapNode(n *node) {
	s.mu.Lock()
	s.node = n
	s.mu.Unlock()
	s.progress.reset(0)
	s.visible.reset(0)
}

// CommitJoin waits until this node has caught up with the cluster that added
// it and switches to that cluster's state. Merge follows.
func (s *Store) CommitJoin(ctx context.Context, info JoinInfo) error {
	if !s.isJoining() {
		return ErrNotJoining
	}
	if err := s.progress.wait(ctx, s.ctx.Done(), info.Commit); err != nil {
		return fmt.Errorf("catching up with the cluster: %w", err)
	}
	if err := s.call(ctx, func() error { return s.commitJoin(info) }); err != nil {
		return err
	}
	for !s.isCurrent() { // the leader greets us as a member first
		if err := pause(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("switching to the cluster's state: %w", err)
		}
	}
	return nil
}

// isCurrent reports whether the committed state is what is read.
func (s *Store) isCurrent() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.detached == nil
}

func (s *Store) commitJoin(info JoinInfo) error {
	s.mu.RLock()
	st := s.node.fsm.state
	_, member := st.members.Get(s.self())
	cluster := st.cluster
	o, _ := st.origins.Get(s.self())
	s.mu.RUnlock()
	switch {
	case cluster != info.Cluster:
		return fmt.Errorf("caught up with cluster %s instead of %s: %w", cluster, info.Cluster, errOtherCluster)
	case !member:
		return ErrNoMember
	}
	if err := s.writeJoin(joinCommitted); err != nil {
		return err
	}
	// The cluster knows nothing of our sequences.
	inc := max(s.prop.current(), o.incarnation, o.fenced) + 1
	if s.cfg.OnIncarnation != nil {
		s.cfg.OnIncarnation(inc)
	}
	s.prop.reincarnate(inc)
	s.applyMu.Lock()
	s.mu.Lock()
	s.former, s.joining = s.detached.copy(), false
	s.mu.Unlock()
	s.attachIfCurrent()
	s.applyMu.Unlock()
	s.prop.setPaused(false)
	s.endSession() // greet the leader again, as a member now
	s.retryAt = time.Now()
	return nil
}

// AbortJoin goes back to the old cluster of one.
func (s *Store) AbortJoin(ctx context.Context) error {
	if !s.isJoining() {
		return ErrNotJoining
	}
	return s.call(ctx, s.abortJoin)
}

func (s *Store) abortJoin() error {
	s.endSession()
	s.mu.Lock()
	n := s.node
	s.node = nil
	s.mu.Unlock()
	if n != nil {
		if err := n.close(); err != nil {
			s.log.Warn("stopping raft", "error", err)
		}
	}
	if err := s.restoreFormer(); err != nil {
		return err
	}
	n, err := s.startNode(s.path(raftDir), false)
	if err != nil {
		return err
	}
	s.swapNode(n)
	s.mu.Lock()
	s.joining = false
	s.attachAt = s.detached.index
	s.mu.Unlock()
	s.prop.setPaused(false)
	s.retryAt = time.Now()
	return nil
}

// PendingMerge returns what the last join has left to be merged into the
// cluster, also after a restart; nil when there is nothing.
func (s *Store) PendingMerge() *View {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.former == nil {
		return nil
	}
	return &View{s.former.copy()}
}

// MergeResult counts what Merge has done.
type MergeResult struct {
	Sessions, Retained int
	// Lost are sessions with a connection here that the cluster also has: the
	// cluster's stay.
	Lost []message.SessionID
	// Registered are the sessions that this node owns now, with their new
	// epochs.
	Registered map[message.SessionID]message.Epoch
}

// Merge proposes the sessions, subscriptions and retained messages of
// PendingMerge where the cluster has none, then forgets the old state.
func (s *Store) Merge(ctx context.Context) (MergeResult, error) {
	out := MergeResult{Registered: map[message.SessionID]message.Epoch{}}
	v := s.PendingMerge()
	if v == nil {
		return out, nil
	}
	if err := s.mergeSessions(ctx, v, &out); err != nil {
		return out, fmt.Errorf("merging sessions: %w", err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(mergeAtOnce)
	v.AllRetained(func(m *message.Message) bool {
		out.Retained++
		g.Go(func() error {
			_, err := s.propose(gctx, &metapb.Command{Op: &metapb.Command_ImportRetained{
				ImportRetained: &metapb.ImportRetained{Message: m.AppendBinary(nil)},
			}}, false, false)
			return err
		})
		return gctx.Err() == nil
	})
	if err := g.Wait(); err != nil {
		return out, fmt.Errorf("merging retained messages: %w", err)
	}
	if err := s.cfg.Disk.FS().RemoveAll(s.path(formerDir)); err != nil {
		return out, fmt.Errorf("forgetting the former metadata: %w", err)
	}
	s.mu.Lock()
	s.former = nil
	s.mu.Unlock()
	return out, s.forgetJoin()
}

func (s *Store) mergeSessions(ctx context.Context, v *View, out *MergeResult) error {
	type answer struct {
		session *Session
		result  result
		err     error
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(mergeAtOnce)
	answers := make(chan answer, v.SessionCount())
	v.Sessions(message.SessionID{}, func(e *Session) bool {
		imp := &metapb.ImportSession{Session: sessionToPB(e)}
		for _, sub := range v.Subscriptions(e.ID) {
			imp.Subscriptions = append(imp.Subscriptions, subToPB(sub))
		}
		g.Go(func() error {
			r, err := s.propose(gctx, &metapb.Command{Op: &metapb.Command_ImportSession{ImportSession: imp}}, false, false)
			answers <- answer{e, r, err}
			if errors.Is(err, ErrSuperseded) {
				return nil
			}
			return err
		})
		return gctx.Err() == nil
	})
	err := g.Wait()
	close(answers)
	for a := range answers {
		switch {
		case a.err == nil:
			out.Sessions++
			out.Registered[a.session.ID] = a.result.reg.Epoch
		case errors.Is(a.err, ErrSuperseded) && a.session.Connected():
			out.Lost = append(out.Lost, a.session.ID)
		}
	}
	return err
}
