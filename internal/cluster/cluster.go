// Package cluster is what makes several brokers one: it gives every session
// one owner, moves queues between nodes, lets nodes join and leave, and tells
// the metadata when one is gone. It knows who is where; what is subscribed is
// the router's, and how nodes agree is the metadata store's.
package cluster

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
)

// Reasons with which the cluster ends connections (MQTT 5.0 §2.4).
const (
	takenOver        packet.Reason = 0x8E
	administrative   packet.Reason = 0x98
	useAnotherServer packet.Reason = 0x9C
)

// Sessions are the connections of this node. Implemented by session.Manager.
type Sessions interface {
	Disconnect(id message.SessionID, o session.DisconnectOptions) bool
	// SetEpoch takes the epoch of a session that was registered again.
	SetEpoch(id message.SessionID, e message.Epoch)
	Each(fn func(session.Info) bool)
	Shutdown(ctx context.Context, reason packet.Reason, serverReference string) error
	Connections() int
}

// Queues are the queues of this node. Implemented by queue.Manager.
type Queues interface {
	Open(r queue.OpenRequest) (*queue.Queue, bool, error)
	Delete(id message.SessionID) bool
	// DeleteIf deletes the queue if its epoch is accepted.
	DeleteIf(id message.SessionID, accepted func(message.Epoch) bool) bool
	// Idle starts the expiry of a session that was opened without a connection.
	Idle(id message.SessionID, since time.Time)
	// Moved forgets a session that another node has taken over completely, as
	// long as theirs agrees.
	Moved(id message.SessionID, theirs func() bool) bool
	Info(id message.SessionID) (queue.Info, bool)
	Each(fn func(queue.Info) bool)
	Mover
	Arrivals
}

// Records are the durable sessions on this node's disk. Implemented by
// msgstore.Store.
type Records interface {
	// Session returns nil when there is none.
	Session(id message.SessionID) (*message.SessionRecord, error)
}

// Router is told of clean sessions that ended and of routes to announce anew.
// Implemented by router.Router.
type Router interface {
	Forget(id message.SessionID)
	Reassert()
}

// Listeners take MQTT connections. Implemented by listener.Manager.
type Listeners interface {
	// Suspend stops accepting; connections that are there go on.
	Suspend()
}

// Config is what a Cluster is made of.
type Config struct {
	Self                   message.NodeID
	Name, Address, Version string
	Meta                   *meta.Store
	Port                   *peer.Port
	Sessions               Sessions
	Queues                 Queues
	Records                Records
	Router                 Router
	Rerouter               Rerouter
	Streams                Streams
	Spool                  peer.Spool
	Listeners              Listeners
	// EnqueueTimeout (remote_enqueue_timeout) is how long a CONNECT waits for
	// the queue of the session's former owner, until SetEnqueueTimeout.
	EnqueueTimeout time.Duration
	// JoinTimeout (max_joining_time) bounds a join.
	JoinTimeout time.Duration
	// QueueOptions are those of a session without a connection.
	QueueOptions func() queue.Options
	// DrainStep (max_msgs_per_drain_step) is how many messages of a queue move
	// in one part.
	DrainStep int
	// DownAfter is how long a link must be down until the leader counts the
	// node as down.
	DownAfter time.Duration
	// OnLeft is called when this node has left: its process must end.
	OnLeft  func()
	Metrics *metrics.Registry
	Logger  *slog.Logger
}

// Cluster is one node's part in the cluster. Its methods may be called from
// any goroutine.
type Cluster struct {
	cfg      Config
	log      *slog.Logger
	ctx      context.Context
	stop     context.CancelFunc
	wg       group
	ends     group      // ends of connections being noted
	endings  endings    // those among them that end a session
	changing sync.Mutex // one join or leave at a time
	// reconciling is held while disk and registry are compared.
	reconciling sync.Mutex
	cordoned    atomic.Bool
	enqueue     atomic.Int64 // remote_enqueue_timeout
	started     time.Time
	links       links
	moves       moves
	registers   registers
	work        work
	settled     chan struct{} // closed once this start is announced and compared
	counters    struct{ moved, moveErrors, downs *metrics.Counter }
}

// New returns a Cluster; Run does its work.
func New(cfg Config) *Cluster {
	c := &Cluster{cfg: cfg, log: cfg.Logger, started: time.Now()}
	c.SetEnqueueTimeout(cfg.EnqueueTimeout)
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.links.since = map[message.NodeID]link{}
	c.moves.running = map[message.SessionID]*moving{}
	c.moves.back = make(chan struct{})
	c.registers.under = map[message.SessionID]int{}
	c.work.init()
	c.settled = make(chan struct{})
	c.counters.moved = cfg.Metrics.Counter("cluster_messages_moved", "Queued messages taken over from other nodes.")
	c.counters.moveErrors = cfg.Metrics.Counter("cluster_move_errors", "Attempts to take over a queue that failed; they are repeated.")
	c.counters.downs = cfg.Metrics.Counter("cluster_nodes_down", "Times that this node, as leader, declared another one down.")
	return c
}

// SetEnqueueTimeout changes how long the next CONNECT waits for a queue that
// moves.
func (c *Cluster) SetEnqueueTimeout(d time.Duration) { c.enqueue.Store(int64(d)) }

// EnqueueTimeout returns what SetEnqueueTimeout set last.
func (c *Cluster) EnqueueTimeout() time.Duration { return time.Duration(c.enqueue.Load()) }

// Run follows the membership until ctx ends.
func (c *Cluster) Run(ctx context.Context) error {
	c.refreshMembers()
	c.wg.Go(func() { c.work.run(c.ctx) })
	c.wg.Go(c.announce)
	c.wg.Go(c.watchNodes)
	<-ctx.Done()
	c.stop()
	c.ends.Close()
	c.wg.Close()
	return nil
}

// announce makes this incarnation known, so that what the former one left of
// clean sessions is dropped, and finishes a join that was interrupted.
func (c *Cluster) announce() {
	for c.ctx.Err() == nil {
		_, err := c.cfg.Meta.NodeUp(c.ctx, c.cfg.Self, c.cfg.Meta.Incarnation())
		if err == nil {
			break
		}
		c.log.Warn("this start could not be announced to the cluster; trying again", "error", err)
		c.pause(time.Second)
	}
	c.cfg.Router.Reassert()
	c.reconcile()
	close(c.settled)
	c.wg.Go(c.rerouteLeftovers)
	if c.cfg.Meta.PendingMerge() != nil {
		if err := c.merge(c.ctx); err != nil && c.ctx.Err() == nil {
			c.log.Error("the join that was interrupted could not be finished", "error", err)
		}
	}
}

// Settled is closed once this start is known to the cluster and the sessions
// on this node's disk have been compared with the registry.
func (c *Cluster) Settled() <-chan struct{} { return c.settled }

func (c *Cluster) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

// Apply follows sessions and members; it is a meta.Observer. What takes time
// is done by a worker, in order.
func (c *Cluster) Apply(_ uint64, events []meta.Event) {
	for _, e := range events {
		switch e := e.(type) {
		case meta.SessionChanged:
			c.sessionChanged(e)
		case meta.MemberChanged:
			c.work.add(func() { c.memberChanged(e) })
		}
	}
}

// Reset follows a replaced view.
func (c *Cluster) Reset(_ uint64, v *meta.View) {
	c.expectOwn(v)
	c.work.add(func() {
		c.refreshMembers()
		c.renew()
		c.reconcile()
	})
}

// Quorum logs the change; what follows from it is decided per operation.
func (c *Cluster) Quorum(ok bool) {
	if ok {
		c.log.Info("the cluster has a leader with a majority")
	} else {
		c.log.Warn("no leader with a majority is in reach; what the allow_..._during_netsplit settings permit goes on here")
	}
}

// sessionChanged ends what this node must no longer do for a session.
func (c *Cluster) sessionChanged(e meta.SessionChanged) {
	if e.Old == nil {
		return
	}
	switch {
	case e.New == nil:
		c.work.add(func() { c.drop(e.Old) })
	case e.New.Owner == c.cfg.Self && e.Old.Owner != c.cfg.Self && e.New.Durable && e.New.Present:
		c.arrives(e.New)
	case e.New.Owner == c.cfg.Self && e.Old.Owner == c.cfg.Self && len(e.New.Sources) > len(e.Old.Sources):
		// A node has come back, or joined, that still holds messages of it.
		c.work.add(func() { c.startMove(e.New.ID, e.New.Epoch) })
	case e.Old.Owner == c.cfg.Self && e.New.Owner != c.cfg.Self:
		c.close(e.New.ID, takenOver)
		c.work.add(func() { c.departed(e.New) })
	}
}

// close ends the connection of a session here, if it has one that the registry
// does not know any more.
func (c *Cluster) close(id message.SessionID, reason packet.Reason) {
	c.cfg.Sessions.Disconnect(id, session.DisconnectOptions{Reason: reason, Only: c.goneOn(id)})
}

// drop removes what this node has of a session that was deleted, and nothing
// of one that its client has begun since.
func (c *Cluster) drop(s *meta.Session) {
	if now, ok := c.cfg.Meta.Session(s.ID); ok && now.Owner == c.cfg.Self {
		return // registered again meanwhile
	}
	c.moves.cancel(s.ID, c.goneOn(s.ID))
	c.cfg.Queues.Unexpect(s.ID)
	own := c.cfg.Meta.Status().Cluster
	deleted := func(e message.Epoch) bool { return e.Compare(s.Epoch, own) <= 0 }
	c.cfg.Sessions.Disconnect(s.ID, session.DisconnectOptions{Reason: administrative, Only: deleted})
	c.cfg.Queues.DeleteIf(s.ID, deleted)
}

// departed removes the queue of a session that went to another node, unless
// that node still has to pull it. When this is called the session may have come
// back: then what is here is its new stay's.
func (c *Cluster) departed(s *meta.Session) {
	c.moves.cancel(s.ID, c.goneOn(s.ID))
	if now, ok := c.cfg.Meta.Session(s.ID); !ok || now.Owner != c.cfg.Self {
		c.cfg.Queues.Unexpect(s.ID)
	}
	c.cfg.Queues.Moved(s.ID, func() bool {
		now, ok := c.cfg.Meta.Session(s.ID)
		return ok && now.Owner != c.cfg.Self && !c.holds(now)
	})
}

// goneOn tells of a registration of a session here whether the session has gone
// on without it.
func (c *Cluster) goneOn(id message.SessionID) func(message.Epoch) bool {
	return func(e message.Epoch) bool {
		now, ok := c.cfg.Meta.Session(id)
		return !ok || now.Owner != c.cfg.Self || !now.Is(e)
	}
}

// holds reports whether this node may have messages of the session that its
// owner has not pulled.
func (c *Cluster) holds(s *meta.Session) bool {
	for _, src := range s.Sources {
		if src.Node == c.cfg.Self {
			return true
		}
	}
	return false
}

// reconcile compares the queues and connections here with the registry, after
// a start and when the view was replaced.
func (c *Cluster) reconcile() {
	// One after the other: what one has registered again the next would take
	// for a session of this cluster that has ended.
	c.reconciling.Lock()
	defer c.reconciling.Unlock()
	if st := c.cfg.Meta.Status(); !st.Quorum || st.Provisional || st.Joining || c.cfg.Meta.PendingMerge() != nil {
		return // Reset, or the end of the merge, calls again when the registry is known
	}
	var gone []message.SessionID
	c.cfg.Queues.Each(func(q queue.Info) bool {
		s, ok := c.cfg.Meta.Session(q.ID)
		if q.Durable && (!ok || s.Owner != c.cfg.Self && !c.holds(s)) {
			gone = append(gone, q.ID)
		}
		return true
	})
	for _, id := range gone {
		c.restore(id)
	}
	var pulls []*meta.Session
	var missing []message.SessionID
	c.cfg.Meta.View().Sessions(message.SessionID{}, func(s *meta.Session) bool {
		switch {
		case s.Owner != c.cfg.Self:
		case s.Durable && !c.cfg.Queues.Known(s.ID):
			missing = append(missing, s.ID)
		case len(s.Sources) > 0:
			pulls = append(pulls, s)
		}
		return true
	})
	for _, id := range missing {
		if !c.registers.has(id) {
			c.cfg.Queues.Expect(id)
			c.settle(id)
		}
	}
	for _, s := range pulls {
		c.startMove(s.ID, s.Epoch)
	}
}

// work runs functions one after the other, in the order in which they were
// added, apart from the goroutine that applies metadata.
type work struct {
	mu    sync.Mutex
	queue []func()
	wake  chan struct{}
}

func (w *work) init() { w.wake = make(chan struct{}, 1) }

func (w *work) add(fn func()) {
	w.mu.Lock()
	w.queue = append(w.queue, fn)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *work) run(ctx context.Context) {
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		batch := w.queue
		w.queue = nil
		w.mu.Unlock()
		for _, fn := range batch {
			if ctx.Err() != nil {
				return
			}
			fn()
		}
	}
}
