package meta

import (
	"fmt"
	"math"

	"github.com/tidwall/btree"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// state is the replicated state machine: a pure function of the commands
// applied to it. Values in its maps are immutable and replaced, never changed,
// so that copy is O(1). It is not safe for concurrent use.
type state struct {
	index      uint64
	cluster    message.ClusterID
	generation message.Generation
	// stamp is the highest that was applied.
	stamp uint64
	// detached states take commands that no quorum has committed: they check
	// no sequences and give out overlay epochs.
	detached bool

	members  *btree.Map[message.NodeID, *Member]
	sessions *btree.Map[string, *Session]  // SessionID.Key
	subs     *btree.Map[string, *subEntry] // SessionID.Key, NUL, filter
	routes   *btree.Map[string, []Route]   // mountpoint, NUL, filter
	shared   *btree.Map[string, *SharedMember]
	retained *btree.Map[string, *Retained] // mountpoint, NUL, topic
	tombs    *btree.Map[string, tombstone]
	origins  *btree.Map[message.NodeID, origin]
	keys     *btree.Map[string, *Key] // hash, scope

	// events of the commands applied since takeEvents.
	events []Event
}

type subEntry struct {
	sub   message.Subscription
	stamp Stamp
}

// tombstone remembers a deletion, so that an older change that was made
// without quorum does not undo it.
type tombstone struct {
	stamp Stamp
	index uint64
}

// Prefixes of tombstone keys.
const (
	tombSession  = "s"
	tombSub      = "u"
	tombRetained = "r"
)

// origin is what is known of a proposer: the incarnation it proposes with, the
// last sequence applied, and the incarnation up to which it is fenced.
type origin struct {
	incarnation uint32
	sequence    uint64
	fenced      uint32
}

// result is what a command answers to its proposer.
type result struct {
	index uint64
	// refused: the command was not admitted, its sequence is not consumed.
	refused bool
	err     error
	reg     Registration
	existed []bool
}

func newState() *state {
	return &state{
		members:  new(btree.Map[message.NodeID, *Member]),
		sessions: new(btree.Map[string, *Session]),
		subs:     new(btree.Map[string, *subEntry]),
		routes:   new(btree.Map[string, []Route]),
		shared:   new(btree.Map[string, *SharedMember]),
		retained: new(btree.Map[string, *Retained]),
		tombs:    new(btree.Map[string, tombstone]),
		origins:  new(btree.Map[message.NodeID, origin]),
		keys:     new(btree.Map[string, *Key]),
	}
}

// copy returns a second state that shares all nodes until one of them writes.
func (s *state) copy() *state {
	c := *s
	c.members, c.sessions, c.subs = s.members.Copy(), s.sessions.Copy(), s.subs.Copy()
	c.routes, c.shared, c.retained = s.routes.Copy(), s.shared.Copy(), s.retained.Copy()
	c.tombs, c.origins, c.keys = s.tombs.Copy(), s.origins.Copy(), s.keys.Copy()
	c.events = nil
	return &c
}

func (s *state) takeEvents() []Event {
	e := s.events
	s.events = nil
	return e
}

func (s *state) emit(e Event) { s.events = append(s.events, e) }

// apply applies one command. The error is for the node, which must stop; a
// command that is refused says so in its result, on every node alike.
func (s *state) apply(index uint64, c *metapb.Command) (result, error) {
	if c.GetOp() == nil {
		return result{}, fmt.Errorf("applying index %d: %w", index, ErrUnknownCommand)
	}
	if !s.detached {
		s.index = index
		if err := s.admit(c); err != nil {
			return result{index: index, refused: true, err: err}, nil //nolint:nilerr // a refusal is a result, not a failure of the node
		}
	}
	s.stamp = max(s.stamp, c.GetStamp())
	r, err := s.dispatch(c)
	r.index = s.index
	return r, err
}

// admit decides by origin, incarnation and sequence whether the command is
// applied. The first command of a new incarnation ends what earlier ones left.
func (s *state) admit(c *metapb.Command) error {
	node := message.NodeID(c.GetOrigin())
	if _, ok := s.members.Get(node); !ok && c.GetBootstrap() == nil {
		return ErrNoMember
	}
	o, _ := s.origins.Get(node)
	inc := c.GetIncarnation()
	switch {
	case inc <= o.fenced || inc < o.incarnation:
		return ErrFenced
	case inc > o.incarnation:
		if c.GetSequence() != 1 {
			return errGap
		}
		o.incarnation, o.sequence = inc, 0
		s.sweep(node, inc, c.GetWall(), false)
	}
	switch seq := c.GetSequence(); {
	case seq <= o.sequence:
		return errOldDuplicate
	case seq > o.sequence+1:
		return errGap
	}
	o.sequence++
	s.origins.Set(node, o)
	return nil
}

func (s *state) dispatch(c *metapb.Command) (result, error) {
	switch op := c.GetOp().(type) {
	case *metapb.Command_Bootstrap:
		return s.bootstrap(c, op.Bootstrap), nil
	case *metapb.Command_PutMember:
		return s.putMember(c, op.PutMember.GetMember()), nil
	case *metapb.Command_DropMember:
		return s.dropMember(c, message.NodeID(op.DropMember.GetId())), nil
	case *metapb.Command_NodeUp:
		return s.nodeUp(c, op.NodeUp), nil
	case *metapb.Command_NodeDown:
		return s.nodeDown(c, op.NodeDown), nil
	case *metapb.Command_Register:
		return s.register(c, op.Register), nil
	case *metapb.Command_Release:
		return s.release(c, op.Release), nil
	case *metapb.Command_DeleteSession:
		return s.deleteSession(c, op.DeleteSession), nil
	case *metapb.Command_Subscribe:
		return s.subscribe(c, op.Subscribe), nil
	case *metapb.Command_Unsubscribe:
		return s.unsubscribe(c, op.Unsubscribe), nil
	case *metapb.Command_SetRoute:
		s.setClean(c, op.SetRoute.GetMountpoint(), op.SetRoute.GetFilter(), true)
		return result{}, nil
	case *metapb.Command_ClearRoute:
		s.setClean(c, op.ClearRoute.GetMountpoint(), op.ClearRoute.GetFilter(), false)
		return result{}, nil
	case *metapb.Command_JoinShared:
		return s.joinShared(c, op.JoinShared), nil
	case *metapb.Command_LeaveShared:
		return s.leaveShared(c, op.LeaveShared), nil
	case *metapb.Command_SetRetained:
		return s.setRetained(c, op.SetRetained.GetMessage(), false), nil
	case *metapb.Command_DeleteRetained:
		return s.deleteRetained(c, op.DeleteRetained), nil
	case *metapb.Command_StrikeSource:
		return s.strikeSource(op.StrikeSource), nil
	case *metapb.Command_SetHalf:
		return s.setHalf(op.SetHalf), nil
	case *metapb.Command_ImportSession:
		return s.importSession(c, op.ImportSession), nil
	case *metapb.Command_ImportRetained:
		return s.setRetained(c, op.ImportRetained.GetMessage(), true), nil
	case *metapb.Command_TrimTombstones:
		s.trimTombstones(op.TrimTombstones.GetIndex())
		return result{}, nil
	case *metapb.Command_PutKey:
		return s.putKey(op.PutKey.GetKey()), nil
	case *metapb.Command_DropKey:
		return s.dropKey(op.DropKey), nil
	}
	return result{}, fmt.Errorf("applying index %d: %T: %w", s.index, c.GetOp(), ErrUnknownCommand)
}

// stampOf returns the command's stamp.
func stampOf(c *metapb.Command) Stamp {
	return Stamp{Time: c.GetStamp(), Node: message.NodeID(c.GetOrigin())}
}

// merging reports whether the command was answered without quorum and now
// meets what was committed meanwhile, so that stamps decide.
func (s *state) merging(c *metapb.Command) bool { return c.GetOverlay() && !s.detached }

// settled returns the stamp that a change gets: one that a quorum committed is
// later than whatever it replaces.
func (s *state) settled(c *metapb.Command, replaced Stamp) Stamp {
	st := stampOf(c)
	if !s.merging(c) && replaced.After(st) {
		st.Time = replaced.Time + 1
	}
	return st
}

// bury leaves a tombstone.
func (s *state) bury(kind, key string, st Stamp) {
	if old, ok := s.tombs.Get(kind + key); ok && old.stamp.After(st) {
		st = old.stamp
	}
	s.tombs.Set(kind+key, tombstone{stamp: st, index: s.index})
}

// buried reports whether a deletion later than st is remembered.
func (s *state) buried(kind, key string, st Stamp) bool {
	t, ok := s.tombs.Get(kind + key)
	return ok && t.stamp.After(st)
}

func (s *state) trimTombstones(upTo uint64) {
	var gone []string
	s.tombs.Scan(func(k string, t tombstone) bool {
		if t.index <= upTo {
			gone = append(gone, k)
		}
		return true
	})
	for _, k := range gone {
		s.tombs.Delete(k)
	}
}

// overlayIndex makes the Index of an epoch given out without quorum: above all
// Raft indexes and in the order of the stamps.
func overlayIndex(stamp uint64) uint64 { return 1<<63 | stamp&math.MaxInt64 }

// epoch returns the epoch of a registration by this command.
func (s *state) epoch(c *metapb.Command) message.Epoch {
	e := message.Epoch{Cluster: s.cluster, Generation: s.generation.Number, Index: s.index}
	if s.detached {
		e.Index = overlayIndex(c.GetStamp())
	}
	return e
}
