package queue

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// Config is what a Manager is made of.
type Config struct {
	// Store keeps durable sessions; with nil they live in memory.
	Store Store
	// Expired is called after a durable session has been deleted because its
	// expiry passed, from a goroutine of its own.
	Expired func(id message.SessionID, epoch message.Epoch)
	// PublishWill publishes a will whose time has come; done is called once,
	// when every destination has it or it was refused.
	PublishWill func(id message.SessionID, w Will, done func(error))
	// Dropped is told of each message that a limit or an expiry dropped
	// ("queue_full", "expired"), and Stored of each that was queued for an
	// offline session. Redispatch gets the messages of shared groups that a
	// session which ended had not been sent: another member must have them.
	// Each may be nil; none may block or call back into the queue.
	Dropped    func(id message.SessionID, m *message.Message, qos byte, reason string)
	Stored     func(id message.SessionID, m *message.Message, qos byte)
	Redispatch func(id message.SessionID, d Delivery)
	// Defaults are the options of sessions that have not connected since the
	// start; nil means no limits.
	Defaults func() Options
	// HeadPage bounds the messages of a durable queue kept in memory; default
	// 256.
	HeadPage int
	Metrics  *metrics.Registry
	Logger   *slog.Logger
}

const (
	defaultHeadPage = 256
	shards          = 64 // so that queues on several cores seldom meet
)

// Manager holds the queues of a node. Its methods may be called from any
// goroutine.
type Manager struct {
	cfg  Config
	log  *slog.Logger
	seed maphash.Seed
	wg   sync.WaitGroup

	shard [shards]struct {
		sync.RWMutex
		queues   map[message.SessionID]*Queue
		expected map[message.SessionID]*early
	}

	mu       sync.Mutex // guards what follows
	restored []restoredWill
	closed   bool

	settled settlements

	wmu   sync.Mutex                  // guards wills and keeps their batches in order
	wills map[message.SessionID]*Will // those on disk

	setup, teardown, initialized, in, out, dropped, expired, unhandled *metrics.Counter
	storeErrors, sharedLost, inboundForgotten                          *metrics.Counter
}

// restoredWill is a will found in the store, until Start.
type restoredWill struct {
	id message.SessionID
	w  *Will
}

// New returns a Manager with the durable sessions that the store has; their
// queues are read when they are needed. Start begins their timers.
func New(cfg Config) (*Manager, error) {
	m := &Manager{cfg: cfg, log: cfg.Logger, seed: maphash.MakeSeed(), wills: map[message.SessionID]*Will{}}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.cfg.HeadPage <= 0 {
		m.cfg.HeadPage = defaultHeadPage
	}
	if m.cfg.Defaults == nil {
		m.cfg.Defaults = func() Options { return Options{MaxOnline: -1, MaxOffline: -1} }
	}
	for i := range m.shard {
		m.shard[i].queues = map[message.SessionID]*Queue{}
	}
	m.register(cfg.Metrics)
	if cfg.Store == nil {
		return m, nil
	}
	return m, m.restore()
}

func (m *Manager) register(r *metrics.Registry) {
	m.setup = r.Counter("queue_setup", "Queues made for sessions, or found in the message store at the start.")
	m.teardown = r.Counter("queue_teardown", "Queues removed because their session ended.")
	m.initialized = r.Counter("queue_initialized_from_storage", "Queues of durable sessions found in the message store at the start.")
	m.in = r.Counter("queue_message_in", "Messages that queues accepted or dropped for a limit.")
	m.out = r.Counter("queue_message_out", "Messages that queues gave to connections, repetitions included.")
	m.dropped = r.Counter("queue_message_drop", "Messages dropped because a queue was at its limit.")
	m.expired = r.Counter("queue_message_expired", "Messages whose expiry passed before they were sent.")
	m.unhandled = r.Counter("queue_message_unhandled", "Messages that ended with their session, or of QoS 0 for an offline one.")
	m.storeErrors = r.Counter("queue_store_errors", "Changes of queues that the message store refused.")
	m.sharedLost = r.Counter("queue_shared_message_lost", "QoS 2 messages of shared subscriptions in flight when their session ended.")
	m.inboundForgotten = r.Counter("queue_inbound_forgotten", "QoS 2 messages that a client may publish twice because its session is shared by several connections.")
	r.Gauge("queue_processes", "Queues of this node, one per session.", func() int64 { return int64(m.Len()) })
}

// restore reads the sessions and wills, not their messages.
func (m *Manager) restore() error {
	var branches []message.SessionID
	err := m.cfg.Store.Sessions(func(r *message.SessionRecord) bool {
		if _, branch := sessionOf(r.ID); branch {
			branches = append(branches, r.ID)
			return true
		}
		q := m.make(OpenRequest{
			ID: r.ID, Epoch: r.Epoch, Durable: true, Expiry: r.Expiry, UpperHalf: r.UpperHalf,
			Subscriptions: r.Subscriptions, Options: m.cfg.Defaults(),
		})
		q.offlineSince, q.served = time.Now(), true
		if r.OfflineSince != 0 {
			q.offlineSince = time.UnixMilli(r.OfflineSince)
		}
		m.shardOf(r.ID).queues[r.ID] = q
		m.setup.Inc()
		m.initialized.Inc()
		return true
	})
	if err != nil {
		return fmt.Errorf("reading the sessions of this node: %w", err)
	}
	if err := m.mergeBranches(branches); err != nil {
		return err
	}
	err = m.cfg.Store.Wills(func(id message.SessionID, b []byte) bool {
		w, err := DecodeWill(b)
		if err != nil {
			m.log.Error("will is not readable and is lost", "client", id, "error", err)
			return true
		}
		m.restored = append(m.restored, restoredWill{id, &w})
		m.wills[id] = &w
		return true
	})
	if err != nil {
		return fmt.Errorf("reading the wills of this node: %w", err)
	}
	if err = m.restoreSettled(); err != nil {
		return fmt.Errorf("reading which messages were being published: %w", err)
	}
	return nil
}

// Start begins the timers of sessions and wills that were read from the store.
// Call it once Expired and PublishWill can do their work.
func (m *Manager) Start() {
	m.mu.Lock()
	wills := m.restored
	m.restored = nil
	m.mu.Unlock()
	for _, r := range wills {
		m.resumeWill(r.id, r.w)
	}
	for _, q := range m.all() {
		q.mu.Lock()
		if q.att == nil {
			q.startExpiry()
		}
		q.mu.Unlock()
	}
}

// Close stops the timers and forgets all queues; durable ones stay on disk.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	queues := m.all()
	for _, q := range queues {
		queues = append(queues, q.hub.Load().branches()...)
	}
	for _, q := range queues {
		q.commitUndo()
		q.mu.Lock()
		a, first := q.att, !q.closed
		q.att, q.closed = nil, true
		q.stopTimers()
		q.mu.Unlock()
		if first {
			m.remove(q)
			close(q.gone)
		}
		if a != nil {
			a.consumer.Close(packet.ServerShuttingDown)
		}
	}
	m.closeEarly()
	m.wg.Wait()
}

// spawn runs fn in a goroutine that Close waits for. What comes after Close has
// begun, such as the answer of the store for a will, runs all the same: it ends
// with the store at the latest.
func (m *Manager) spawn(fn func()) {
	m.mu.Lock()
	owned := !m.closed
	if owned {
		m.wg.Add(1)
	}
	m.mu.Unlock()
	go func() {
		if owned {
			defer m.wg.Done()
		}
		fn()
	}()
}

type shard = struct {
	sync.RWMutex
	queues   map[message.SessionID]*Queue
	expected map[message.SessionID]*early
}

func (m *Manager) shardOf(id message.SessionID) *shard {
	return &m.shard[maphash.Comparable(m.seed, id)%shards]
}

// Get returns the queue of a session, nil if this node has none.
func (m *Manager) Get(id message.SessionID) *Queue {
	s := m.shardOf(id)
	s.RLock()
	defer s.RUnlock()
	return s.queues[id]
}

// Len returns the number of queues.
func (m *Manager) Len() int {
	n := 0
	for i := range m.shard {
		m.shard[i].RLock()
		n += len(m.shard[i].queues)
		m.shard[i].RUnlock()
	}
	return n
}

func (m *Manager) all() []*Queue {
	var out []*Queue
	for i := range m.shard {
		m.shard[i].RLock()
		for _, q := range m.shard[i].queues {
			out = append(out, q)
		}
		m.shard[i].RUnlock()
	}
	return out
}

// remove takes q out of the table, if it is still the session's queue.
func (m *Manager) remove(q *Queue) {
	s := m.shardOf(q.id)
	s.Lock()
	defer s.Unlock()
	if s.queues[q.id] == q {
		delete(s.queues, q.id)
	}
}

func (m *Manager) make(r OpenRequest) *Queue {
	q := &Queue{
		m: m, id: r.ID, stored: r.Durable && m.cfg.Store != nil, epoch: r.Epoch, expiry: r.Expiry, opts: r.Options,
		subs: r.Subscriptions, held: r.Held, startedAt: time.Now(), gone: make(chan struct{}),
	}
	q.win.upper = r.UpperHalf
	return q
}

// Open returns the queue of a session, made or emptied as r says; a new durable
// session is on disk when it returns. present
// tells whether there was one before. The former connection, if it is still
// attached, is ended with 0x8E.
func (m *Manager) Open(r OpenRequest) (q *Queue, present bool, err error) {
	if r.Clean {
		m.Unexpect(r.ID) // what waited was for the session that ends here
	} else if err := m.unpark(r.ID); err != nil {
		return nil, false, fmt.Errorf("opening the queue of %s: %w", r.ID, err)
	}
	for {
		q := m.Get(r.ID)
		if q != nil {
			if b, err := m.join(q, r); b != nil || err != nil {
				return b, true, err
			}
		}
		if q != nil && (r.Clean || r.Durable && !q.stored && m.cfg.Store != nil) {
			q.end(packet.SessionTakenOver, endReplaced)
			<-q.gone
			present, q = !r.Clean, nil
		}
		if q != nil {
			if err := q.reopen(r); err != nil {
				<-q.gone // it ended meanwhile
				continue
			}
			return q, true, nil
		}
		q = m.make(r)
		if err := q.found(); err != nil {
			return nil, false, err
		}
		if err := q.split(); err != nil {
			return nil, false, err
		}
		if !m.enter(q) {
			continue
		}
		m.setup.Inc()
		return q, present, nil
	}
}

// found writes the record of a new session and waits for it: the deletion of a
// former session of that id, committed before, is then on disk too, and nothing
// of it can be read any more.
func (q *Queue) found() error {
	if !q.stored {
		return nil
	}
	done := make(chan error, 1)
	q.commit(func(b *msgstore.Batch) func(error) {
		b.PutSession(q.record())
		return func(err error) { done <- err }
	})
	if err := <-done; err != nil {
		return fmt.Errorf("storing the session %s: %w", q.id, err)
	}
	return nil
}

// reopen gives an existing queue to a new registration.
func (q *Queue) reopen(r OpenRequest) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	old := q.detach()
	q.configure(r.Options)
	q.epoch, q.expiry, q.held = r.Epoch, r.Expiry, r.Held
	if r.Subscriptions != nil {
		q.subs = r.Subscriptions
	}
	q.win.upper, q.draining = r.UpperHalf, false
	q.offlineSince = time.Time{}
	q.stopTimers()
	w := q.will
	q.will = nil // resumed in time [MQTT-3.1.3-9]
	q.mu.Unlock()
	if old != nil {
		old.consumer.Close(packet.SessionTakenOver)
	}
	if w != nil {
		q.m.forgetWill(q.id, w)
	}
	q.putRecord()
	return nil
}

// SetEpoch takes the new epoch of a session that was registered again without
// a new connection. A will of the present registration stays in force.
func (m *Manager) SetEpoch(id message.SessionID, e message.Epoch) {
	q := m.Get(id)
	if q == nil {
		return
	}
	for _, b := range q.hub.Load().branches() {
		m.setEpoch(b, e)
	}
	m.setEpoch(q, e)
}

func (m *Manager) setEpoch(q *Queue, e message.Epoch) {
	id := q.id
	q.mu.Lock()
	old := q.epoch
	q.epoch = e
	q.mu.Unlock()
	q.putRecord()
	if m.cfg.Store == nil {
		return
	}
	m.wmu.Lock()
	defer m.wmu.Unlock()
	if w := m.wills[id]; w != nil && w.Epoch == old {
		w.Epoch = e
		b := m.cfg.Store.NewBatch()
		b.PutWill(id, w.AppendBinary(nil))
		m.cfg.Store.Commit(b, m.logCommit)
	}
}

// Idle says of a queue that was opened without a connection since when its
// session has been offline, and starts its expiry.
func (m *Manager) Idle(id message.SessionID, since time.Time) {
	q := m.Get(id)
	if q == nil {
		return
	}
	shared := q.hub.Load().branches()
	q.mu.Lock()
	idle := q.att == nil && !q.closed && len(shared) == 0
	if idle {
		q.stopTimers()
		q.offlineSince = since
		q.startExpiry()
	}
	q.mu.Unlock()
	if idle {
		q.putRecord()
	}
}

// Delete ends a session here: its queue, its inbound identifiers, its record
// are removed, its connection is closed with reason 0x98, and a delayed will
// is published. It reports whether there was one.
func (m *Manager) Delete(id message.SessionID) bool {
	q := m.Get(id)
	return q != nil && q.end(packet.AdministrativeAction, endDeleted)
}

// DeleteIf is Delete for a queue whose epoch is accepted.
func (m *Manager) DeleteIf(id message.SessionID, accepted func(message.Epoch) bool) bool {
	q := m.Get(id)
	return q != nil && q.endIf(func() bool { return accepted(q.epoch) }, packet.AdministrativeAction, endDeleted)
}

// Each calls fn with every queue until it returns false.
func (m *Manager) Each(fn func(Info) bool) {
	for _, q := range m.all() {
		if !fn(q.Info()) {
			return
		}
	}
}

// Info describes the queue of a session.
func (m *Manager) Info(id message.SessionID) (Info, bool) {
	q := m.Get(id)
	if q == nil {
		return Info{}, false
	}
	return q.Info(), true
}

// Info describes the queue of a session, with what its connections have.
func (q *Queue) Info() Info {
	i := q.info()
	for _, q := range q.hub.Load().branches() {
		b := q.info()
		i.Pending, i.Inflight, i.Inbound = i.Pending+b.Pending, i.Inflight+b.Inflight, i.Inbound+b.Inbound
		if b.State == Online && i.State == Offline {
			i.State, i.OfflineSince = Online, time.Time{}
		}
	}
	return i
}

func (q *Queue) info() Info {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.bound(); err != nil && !errors.Is(err, ErrClosed) {
		q.m.logCommit(err)
	}
	i := Info{
		ID: q.id, Epoch: q.epoch, State: Online, Durable: q.expiry > 0, Expiry: q.expiry,
		Pending: q.waiting(), Inflight: q.win.len(), Inbound: len(q.inbound), StartedAt: q.startedAt,
		OfflineSince: q.offlineSince, Options: q.opts,
	}
	switch {
	case q.draining:
		i.State = Drain
	case q.att == nil:
		i.State = Offline
	}
	return i
}

func (m *Manager) notify(id message.SessionID, msg *message.Message, reason string) {
	if m.cfg.Dropped != nil && msg != nil {
		m.cfg.Dropped(id, msg, msg.QoS, reason)
	}
}
