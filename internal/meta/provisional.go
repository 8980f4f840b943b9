package meta

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// serveProvisional makes the view that is read until a leader is known: Raft
// itself restores only the snapshot and applies the log when somebody leads,
// which in a cluster of two with one dead is never. So the whole log on disk
// is replayed into a second state, and the former process's journal on top.
func (s *Store) serveProvisional(revived []*op) error {
	s.mu.Lock()
	st := s.node.fsm.state.copy()
	s.mu.Unlock()
	if err := replayLog(s.node.log, st); err != nil {
		return err
	}
	st.detached = true
	for _, o := range revived {
		if _, err := st.apply(st.index, o.cmd); err != nil {
			return err
		}
	}
	st.events = nil
	s.clock.observe(st.stamp)
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.mu.Lock()
	s.detached = st
	v := &View{st.copy()}
	s.mu.Unlock()
	s.applied.reset(st.index)
	if s.cfg.Observer != nil {
		s.cfg.Observer.Reset(v.Index(), v)
	}
	return nil
}

// replayLog applies what the log holds beyond the state.
func replayLog(l raft.LogStore, st *state) error {
	first, err := l.FirstIndex()
	if err != nil {
		return fmt.Errorf("replaying metadata log: %w", err)
	}
	last, err := l.LastIndex()
	if err != nil {
		return fmt.Errorf("replaying metadata log: %w", err)
	}
	for i := max(first, st.index+1, 1); i <= last; i++ {
		var e raft.Log
		if err := l.GetLog(i, &e); errors.Is(err, raft.ErrLogNotFound) {
			continue
		} else if err != nil {
			return fmt.Errorf("replaying metadata log: %w", err)
		}
		if e.Type != raft.LogCommand {
			continue
		}
		commands, err := decodeEntry(e.Data)
		if err != nil {
			return err
		}
		for _, c := range commands {
			if _, err := st.apply(i, c); err != nil {
				return err
			}
		}
		st.events = st.events[:0]
	}
	return nil
}

// readDirectory reads the state of a data directory that no Raft runs on.
func readDirectory(disk Disk, dir string, segmentBytes int, hl hclog.Logger) (_ *state, err error) {
	l, err := disk.OpenLog(filepath.Join(dir, logDir), segmentBytes, hl)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	snaps, err := disk.OpenSnapshots(dir, snapshotKeep, hl)
	if err != nil {
		return nil, err
	}
	st := newState()
	list, err := snaps.List()
	if err != nil {
		return nil, fmt.Errorf("listing metadata snapshots: %w", err)
	}
	if len(list) > 0 {
		_, r, err := snaps.Open(list[0].ID)
		if err != nil {
			return nil, fmt.Errorf("opening metadata snapshot: %w", err)
		}
		st, err = readSnapshot(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
	}
	return st, replayLog(l, st)
}
