package meta

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/mqadmin/mqadmin/internal/file"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// openWait is how long Open of a sole voter waits for its own log to be
// applied before it serves from what is on disk.
const openWait = 10 * time.Second

// Store is one node's replica of the metadata.
type Store struct {
	cfg    Config
	log    *slog.Logger
	clock  clock
	prop   *proposer
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	// calls run on the run loop, which alone starts and stops sessions with a
	// leader and Raft instances.
	calls chan func()
	// slots bound the commands that wait.
	slots   chan struct{}
	started time.Time

	// applyMu serialises changes of the view and the observer's calls. It is
	// taken before mu. It guards journal.
	applyMu sync.Mutex
	journal *journal

	// mu guards the fields below and all states.
	mu sync.RWMutex
	// node runs Raft; nil for moments of a join.
	node *node
	// detached is what is read while the committed state is not current:
	// provisional, without quorum, or during a join.
	detached             *state
	provisional, joining bool
	// contacted: a leader has confirmed its quorum to us; the committed state
	// is current once attachAt is applied.
	contacted     bool
	attachAt      uint64
	netsplitSince time.Time
	// former is the state to merge after a join.
	former *state

	// progress is what Raft has applied, applied what is published.
	progress, applied, visible watermark
	leasedUntil                atomic.Int64
	leading                    atomic.Pointer[leadership]
	removedOnce, fatalOnce     sync.Once
	attached                   chan struct{} // closed at the first attach
	attachOnce                 sync.Once

	// resigned is closed by Resign, released once a leader knows.
	resigned, released      chan struct{}
	resignOnce, releaseOnce sync.Once

	// Of the run loop only.
	session   *session
	lostAt    time.Time
	retryAt   time.Time
	probing   atomic.Bool
	probedAt  time.Time
	detected  metrics.Counter // netsplits
	resolved  metrics.Counter
	journaled *metrics.Counter
	full      *metrics.Counter
	took      latencies
}

// latencies tell how long commands take, in microseconds.
type latencies struct{ put, commit, apply, fsync, commands *metrics.Histogram }

// Open starts the store. A directory without Raft state becomes a cluster of
// one node with a random id. It returns when the store can be read: a sole
// member after it leads, others with the provisional view from their disk.
func Open(cfg Config) (*Store, error) {
	s := newStore(cfg)
	if err := s.open(); err != nil {
		s.cancel()
		return nil, errors.Join(err, s.closeDisk())
	}
	s.wg.Go(s.run)
	s.wg.Go(s.watch)
	if s.node.sole() {
		select {
		case <-s.attached:
		case <-time.After(openWait):
		}
	}
	return s, nil
}

func newStore(cfg Config) *Store {
	setDefault(&cfg.NetsplitGrace, DefaultNetsplitGrace)
	setDefault(&cfg.MaxPending, DefaultMaxPending)
	setDefault(&cfg.MaxOverlay, DefaultMaxOverlay)
	setDefault(&cfg.SegmentBytes, DefaultSegmentBytes)
	setDefault(&cfg.SnapshotBytes, DefaultSnapshotBytes)
	setDefault(&cfg.SnapshotRate, DefaultSnapshotRate)
	setDefault(&cfg.Incarnation, 1)
	setDefault[Disk](&cfg.Disk, osDisk{})
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		cfg: cfg, log: cfg.Logger, prop: newProposer(cfg.NodeID, cfg.Incarnation), calls: make(chan func()),
		slots: make(chan struct{}, cfg.MaxPending), attached: make(chan struct{}), lostAt: time.Now(), started: time.Now(),
		resigned: make(chan struct{}), released: make(chan struct{}),
		journaled: cfg.Metrics.Counter("metadata_overlay_commands", "Metadata commands answered without quorum."),
		full:      cfg.Metrics.Counter("metadata_overlay_full", "Metadata commands refused because the overlay journal was full."),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.register(cfg.Metrics)
	return s
}

// register enters what a reset must not touch: a netsplit is under way while
// more were detected than resolved.
func (s *Store) register(m *metrics.Registry) {
	s.took = latencies{
		put:      m.Histogram("metadata_put_microseconds", "Commands of this node, from being handed in until they were applied here.", metrics.Decades()),
		commit:   m.Histogram("raft_commit_microseconds", "Log entries of this node as leader, from being handed to Raft until they were committed and applied here.", metrics.Latencies()),
		apply:    m.Histogram("raft_apply_microseconds", "Log entries applied here, routing tables and everything else that follows them included.", metrics.Latencies()),
		fsync:    m.Histogram("raft_fsync_microseconds", "Writes of the metadata log until they were on disk.", metrics.Latencies()),
		commands: m.Histogram("raft_entry_commands", "Commands in one log entry of this node as leader.", metrics.Sizes()),
	}
	m.CounterFunc("netsplit_detected", "Times that this node lost the quorum.", func() int64 { return int64(s.detected.Value()) })
	m.CounterFunc("netsplit_resolved", "Times that this node found the quorum again.", func() int64 { return int64(s.resolved.Value()) })
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// open reads the disk and starts Raft.
func (s *Store) open() error {
	if s.cfg.NodeID == 0 || s.cfg.Address == "" || s.cfg.Transport == nil {
		return errors.New("metadata store: node id, address and transport are required")
	}
	if err := file.MkdirAll(s.cfg.Disk.FS(), s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("opening metadata store: %w", err)
	}
	if err := s.recoverJoin(); err != nil {
		return err
	}
	j, commands, err := openJournal(s.cfg.Disk.FS(), filepath.Join(s.cfg.Dir, journalFile))
	if err != nil {
		return err
	}
	s.journal = j
	// Until it is known to be current, what is on disk is provisional.
	s.detached, s.provisional = newState(), true
	n, err := s.startNode(filepath.Join(s.cfg.Dir, raftDir), true)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.node = n
	s.mu.Unlock()
	_, wall := s.clock.now()
	revived := reviveJournal(commands, wall)
	s.prop.load(revived)
	if n.fresh {
		if err := s.proposeBootstrap(); err != nil {
			return err
		}
	}
	if n.sole() && len(revived) == 0 {
		return nil // it leads in a moment
	}
	return s.serveProvisional(revived)
}

// proposeBootstrap gives a new cluster its random id.
func (s *Store) proposeBootstrap() error {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("drawing a cluster id: %w", err)
	}
	return s.prop.add(&op{keep: true, cmd: &metapb.Command{Op: &metapb.Command_Bootstrap{Bootstrap: &metapb.Bootstrap{
		Cluster: binary.BigEndian.Uint64(id[:]) | 1,
		Member: memberToPB(&Member{
			ID: s.cfg.NodeID, Name: s.cfg.Name, Address: s.cfg.Address, Version: s.cfg.Version,
		}),
	}}}}, &s.clock, s.cfg.MaxOverlay)
}

// Close hands leadership over, waits for what is being written and stops.
func (s *Store) Close() error {
	if s.ctx.Err() != nil {
		return nil //nolint:nilerr // closed before
	}
	if s.leading.Load() != nil {
		ctx, cancel := context.WithTimeout(s.ctx, time.Second)
		if err := s.TransferLeadership(ctx); err != nil {
			s.log.Warn("leadership was not handed over", "error", err)
		}
		cancel()
	}
	s.cancel()
	s.wg.Wait()
	s.prop.drain(ErrClosed)
	return s.closeDisk()
}

// closeDisk closes what open opened.
func (s *Store) closeDisk() error {
	var errs []error
	if s.node != nil {
		errs = append(errs, s.node.close())
	}
	if s.journal != nil {
		errs = append(errs, s.journal.close())
	}
	return errors.Join(errs...)
}

// RegisterGRPC adds the store's service for other members to a gRPC server.
func (s *Store) RegisterGRPC(r grpc.ServiceRegistrar) {
	metapb.RegisterMetaServer(r, &service{store: s})
}

// fatal ends the node: it cannot go on without diverging from the others.
func (s *Store) fatal(err error) {
	s.fatalOnce.Do(func() {
		s.log.Error("metadata store must stop", "error", err)
		if s.cfg.OnFatal == nil {
			panic(err)
		}
		go s.cfg.OnFatal(err)
	})
}

// removed tells once that this node is no longer a member.
func (s *Store) removed() {
	s.removedOnce.Do(func() {
		s.log.Warn("this node was removed from the cluster")
		if s.cfg.OnRemoved != nil {
			go s.cfg.OnRemoved()
		}
	})
}

// self returns this node's id.
func (s *Store) self() message.NodeID { return s.cfg.NodeID }
