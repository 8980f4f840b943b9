package meta

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/mqadmin/mqadmin/internal/logging"
	"github.com/mqadmin/mqadmin/internal/message"
)

// Raft's times. A killed leader is replaced in about a second; shorter ones
// elect without need on a busy host.
const (
	heartbeatTimeout = 500 * time.Millisecond
	leaseTimeout     = 250 * time.Millisecond
	commitTimeout    = 10 * time.Millisecond
	maxAppendEntries = 64
	trailingLogs     = 4096
)

// Names inside Config.Dir.
const (
	raftDir      = "raft"
	formerDir    = "raft.former"
	joinFile     = "join.state"
	journalFile  = "overlay.journal"
	logDir       = "log"
	snapshotKeep = 2
)

// node is one running Raft instance with its disk.
type node struct {
	id    raft.ServerID
	raft  *raft.Raft
	log   *timedLog
	snaps raft.SnapshotStore
	trans *transport
	fsm   *fsm
	// fresh: the directory was empty and a cluster of one was made.
	fresh bool
}

// startNode starts Raft on a directory. An empty one becomes a cluster of one
// if bootstrap is set, else it waits for a leader.
func (s *Store) startNode(dir string, bootstrap bool) (_ *node, err error) {
	hl := logging.HCLog(slog.New(newQuiet(s.log.Handler())).With("part", "raft"))
	l, err := s.cfg.Disk.OpenLog(filepath.Join(dir, logDir), s.cfg.SegmentBytes, hl.Named("wal"))
	if err != nil {
		return nil, err
	}
	n := &node{id: raft.ServerID(s.cfg.NodeID.String()), log: &timedLog{LogStore: l, took: s.took.fsync}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if n.snaps, err = s.cfg.Disk.OpenSnapshots(dir, snapshotKeep, hl.Named("snapshot")); err != nil {
		return nil, err
	}
	cache, err := raft.NewLogCache(cachedEntries, n.log)
	if err != nil {
		return nil, fmt.Errorf("opening metadata log: %w", err)
	}
	if n.trans, err = lend(s.cfg.Transport); err != nil {
		return nil, err
	}
	n.fsm = &fsm{store: s, state: newState()}
	conf := s.raftConfig(hl)
	had, err := raft.HasExistingState(cache, n.log, n.snaps)
	if err != nil {
		return nil, fmt.Errorf("reading metadata log: %w", err)
	}
	if n.fresh = !had && bootstrap; n.fresh {
		one := raft.Configuration{Servers: []raft.Server{{ID: n.id, Address: raft.ServerAddress(s.cfg.Address)}}}
		if err = raft.BootstrapCluster(conf, cache, n.log, n.snaps, n.trans, one); err != nil {
			return nil, fmt.Errorf("making a cluster of one: %w", err)
		}
	}
	if n.raft, err = raft.NewRaft(conf, n.fsm, cache, n.log, n.snaps, n.trans); err != nil {
		return nil, fmt.Errorf("starting raft: %w", err)
	}
	if n.sole() {
		n.trans.elect(n.id)
	}
	return n, nil
}

func (s *Store) raftConfig(hl hclog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(s.cfg.NodeID.String())
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = heartbeatTimeout, heartbeatTimeout, leaseTimeout
	c.CommitTimeout, c.MaxAppendEntries, c.BatchApplyCh = commitTimeout, maxAppendEntries, true
	c.TrailingLogs = trailingLogs
	// Snapshots are triggered by bytes, see fsm.
	c.SnapshotInterval, c.SnapshotThreshold = 24*time.Hour, math.MaxInt64
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true
	c.Logger = hl
	return c
}

// servers returns the latest configuration.
func (n *node) servers() []raft.Server {
	f := n.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// server returns the entry of a node in the latest configuration.
func (n *node) server(id message.NodeID) (raft.Server, bool) {
	for _, sv := range n.servers() {
		if sv.ID == raft.ServerID(id.String()) {
			return sv, true
		}
	}
	return raft.Server{}, false
}

// sole reports whether this node alone decides.
func (n *node) sole() bool {
	voters, self := 0, false
	for _, sv := range n.servers() {
		if sv.Suffrage == raft.Voter {
			voters++
			self = self || sv.ID == n.id
		}
	}
	return voters == 1 && self
}

// leader returns who leads, 0 if nobody is known to.
func (n *node) leader() message.NodeID {
	_, id := n.raft.LeaderWithID()
	if id == "" {
		return 0
	}
	if id == n.id && n.raft.State() != raft.Leader {
		return 0
	}
	v, err := message.ParseNodeID(string(id))
	if err != nil {
		return 0
	}
	return v
}

// close stops Raft and closes its disk. The transport stays open.
func (n *node) close() error {
	var errs []error
	if n.fsm != nil {
		n.fsm.closing.Store(true)
	}
	if n.raft != nil {
		errs = append(errs, n.raft.Shutdown().Error())
	}
	if n.trans != nil {
		n.trans.giveBack()
	}
	if n.log != nil {
		errs = append(errs, n.log.Close())
	}
	return errors.Join(errs...)
}
