package msgstore

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/mqadmin/mqadmin/internal/message"
)

// model is what a store must hold: each batch is one step from one model to
// the next, and a crash may fall between any two.
type model struct {
	queues  map[string]map[uint64]message.ID
	inbound map[string]map[uint16]Inbound
	settled map[string]bool // id, destination
}

func newModel() model {
	return model{map[string]map[uint64]message.ID{}, map[string]map[uint16]Inbound{}, map[string]bool{}}
}

func (m model) clone() model {
	c := newModel()
	for k, v := range m.queues {
		c.queues[k] = maps.Clone(v)
	}
	for k, v := range m.inbound {
		c.inbound[k] = maps.Clone(v)
	}
	c.settled = maps.Clone(m.settled)
	return c
}

// step fills b with random operations and applies them to m.
func (m model) step(rng *rand.Rand, b *Batch, next *uint64) {
	for range 1 + rng.IntN(4) {
		name := fmt.Sprint("c", rng.IntN(5))
		q := m.queues[name]
		if q == nil {
			q = map[uint64]message.ID{}
			m.queues[name] = q
		}
		switch p := rng.IntN(100); {
		case p < 45:
			*next++
			mm := msg(*next, rng.IntN(3)*400)
			for i := range 1 + rng.IntN(3) { // fan-out
				other := fmt.Sprint("c", (rng.IntN(5)+i)%5)
				if m.queues[other] == nil {
					m.queues[other] = map[uint64]message.ID{}
				}
				b.Enqueue(sid(other), *next, mm, Entry{QoS: 1})
				m.queues[other][*next] = mm.ID
			}
		case p < 80:
			if keys := slices.Sorted(maps.Keys(q)); len(keys) > 0 {
				seq := keys[rng.IntN(min(3, len(keys)))]
				b.Dequeue(sid(name), seq)
				delete(q, seq)
			}
		case p < 90:
			b.SetEntry(sid(name), *next, Entry{QoS: 1, State: Sent, PacketID: uint16(*next)})
		case p < 98:
			if m.inbound[name] == nil {
				m.inbound[name] = map[uint16]Inbound{}
			}
			id := uint16(1 + rng.IntN(5))
			if in, ok := m.inbound[name][id]; ok && in.Routed {
				b.DeleteInbound(sid(name), id)
				b.Unsettle(in.ID, name)
				delete(m.inbound[name], id)
				delete(m.settled, in.ID.String()+name)
			} else {
				if !ok {
					in = Inbound{ID: message.ID{Sequence: *next, Origin: message.NodeID(id)}, Settling: true}
					b.Settle(in.ID, name)
					m.settled[in.ID.String()+name] = true
				} else {
					in.Routed = true
				}
				b.PutInbound(sid(name), id, in)
				m.inbound[name][id] = in
			}
		default:
			b.DeleteSession(sid(name))
			delete(m.queues, name)
			delete(m.inbound, name)
		}
	}
}

// matches compares the store with the model.
func (m model) matches(s *Store) error {
	for i := range 5 {
		name := fmt.Sprint("c", i)
		all, err := s.ReadQueue(sid(name), 0, 1<<20)
		if err != nil {
			return err
		}
		got := map[uint64]message.ID{}
		for _, st := range all {
			got[st.Seq] = st.Message.ID
		}
		if !maps.Equal(got, m.queues[name]) {
			return fmt.Errorf("%s: queue %v, want %v", name, got, m.queues[name])
		}
		in, err := s.Inbound(sid(name))
		if err != nil {
			return err
		}
		if !maps.Equal(in, m.inbound[name]) {
			return fmt.Errorf("%s: inbound %v, want %v", name, in, m.inbound[name])
		}
	}
	settled := map[string]bool{}
	err := s.Settled(func(id message.ID, destination string) bool {
		settled[id.String()+destination] = true
		return true
	})
	if err == nil && !maps.Equal(settled, m.settled) {
		err = fmt.Errorf("settled %v, want %v", settled, m.settled)
	}
	return err
}

// crashRun is a run of random batches and an image of the disk as a crash in
// the middle of it may leave it.
type crashRun struct {
	models []model // models[i]: after i batches
	image  *vfs.MemFS
	acked  int // batches acknowledged before the image was taken
}

// runToCrash takes the image right before a random write to the disk, of
// whatever kind: log, table, manifest, rename, fsync.
func runToCrash(t *testing.T, seed uint64, mode SyncMode) crashRun {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewCrashableMem()
	batches := 20 + rng.IntN(120)
	crash := vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rand.New(rand.NewPCG(seed, 2))}
	r := crashRun{models: []model{newModel()}}
	var acked, writes atomic.Int64
	take := sync.OnceFunc(func() {
		r.acked = int(acked.Load()) // first: what is acknowledged is in the image
		r.image = fs.CrashClone(crash)
	})
	crashAt := int64(rng.IntN(4 * batches))
	c := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if isWrite(op) && writes.Add(1) > crashAt {
			take()
		}
		return nil
	})))
	c.Sync = mode
	if seed%2 == 0 {
		c.memTable = 16 << 10 // flushes, new logs and compactions as well
	}
	s := open(t, c)
	var next uint64
	for i := range batches {
		m := r.models[i].clone()
		b := s.NewBatch()
		m.step(rng, b, &next)
		r.models = append(r.models, m)
		s.Commit(b, func(err error) {
			if err != nil {
				t.Errorf("seed %d: batch %d: %v", seed, i, err)
			}
			acked.Add(1)
		})
		if rng.IntN(8) == 0 {
			_, _ = s.ReadQueue(sid("c0"), 0, 10)
		}
		if rng.IntN(4) == 0 {
			commit(t, s, func(b *Batch) { b.PutMeta("k", nil) }) // let the disk catch up
		}
	}
	closeStore(t, s)
	take()
	return r
}

// Whatever the moment of the crash, the store opens, holds every acknowledged
// batch, no half of any, and its references agree.
func TestCrash(t *testing.T) {
	for seed := range *seeds {
		r := runToCrash(t, seed, SyncAlways)
		s := open(t, testConfig(r.image))
		if err := audit(s); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		var err error
		found := false
		for i := r.acked; i < len(r.models) && !found; i++ {
			e := r.models[i].matches(s)
			found = e == nil
			if err == nil {
				err = e
			}
		}
		if !found {
			t.Errorf("seed %d: after %d acknowledged batches: %v", seed, r.acked, err)
		}
		waitPurged(t, s) // what the crash interrupted goes on
		if err := audit(s); err != nil {
			t.Errorf("seed %d: after purge: %v", seed, err)
		}
		closeStore(t, s)
		if t.Failed() {
			return
		}
	}
}

// Without fsync a power failure may take batches, but only the last ones, and
// the store opens.
func TestCrashWithoutSync(t *testing.T) {
	for seed := range *seeds / 3 {
		r := runToCrash(t, seed, SyncNever)
		s := open(t, testConfig(r.image))
		if err := audit(s); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if !slices.ContainsFunc(r.models, func(m model) bool { return m.matches(s) == nil }) {
			t.Errorf("seed %d: the store holds what no batch left", seed)
		}
		closeStore(t, s)
	}
}
