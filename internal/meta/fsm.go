package meta

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// fsm is the state machine as Raft sees it. Raft calls Apply, Snapshot and
// Restore from one goroutine.
type fsm struct {
	store *Store
	// state is guarded by Store.mu.
	state *state
	// logged counts the bytes applied since the last snapshot, saved is the
	// size of that.
	logged, saved atomic.Int64
	snapping      atomic.Bool
	closing       atomic.Bool
	failed        atomic.Bool
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	if l.Type != raft.LogCommand || f.failed.Load() {
		return nil
	}
	f.logged.Add(int64(len(l.Data)))
	if err := f.store.applyEntry(f, l); err != nil {
		f.failed.Store(true)
		f.store.fatal(err)
	}
	return nil
}

// due reports whether enough was logged for a snapshot.
func (f *fsm) due(threshold int64) bool {
	return f.logged.Load() > max(threshold, 4*f.saved.Load()) && !f.snapping.Load()
}

// Snapshot implements raft.FSM: it only marks the state as shared.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.failed.Load() {
		return nil, errors.New("state machine has stopped")
	}
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	return &snapshot{fsm: f, state: f.state.copy()}, nil
}

// Restore implements raft.FSM: it builds aside and swaps.
func (f *fsm) Restore(r io.ReadCloser) error {
	st, err := readSnapshot(r)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	f.store.restored(f, st)
	return nil
}

// snapshot is a frozen state on its way to disk.
type snapshot struct {
	fsm   *fsm
	state *state
}

// Persist implements raft.FSMSnapshot. It runs beside applying and is
// throttled so that it does not slow it down.
func (p *snapshot) Persist(sink raft.SnapshotSink) error {
	p.fsm.snapping.Store(true)
	defer p.fsm.snapping.Store(false)
	var total, chunk int64
	rate := p.fsm.store.cfg.SnapshotRate
	err := p.state.writeSnapshot(sink, func(n int) error {
		total, chunk = total+int64(n), chunk+int64(n)
		if chunk < rate/100 || p.fsm.closing.Load() {
			return nil
		}
		pause := time.Duration(chunk * int64(time.Second) / rate)
		chunk = 0
		select {
		case <-time.After(pause):
		case <-p.fsm.store.ctx.Done():
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	p.fsm.saved.Store(total)
	if err := sink.Close(); err != nil {
		return fmt.Errorf("writing snapshot: %w", err)
	}
	return nil
}

// Release implements raft.FSMSnapshot.
func (p *snapshot) Release() {}
