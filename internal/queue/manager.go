package queue

import (
	"context"
	"log/slog"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Config is what a Manager is made of.
type Config struct {
	// Store keeps durable sessions; nil refuses them.
	Store Store
	// Expired is called after a durable session has been deleted because its
	// expiry passed, from a goroutine of its own.
	Expired func(id message.SessionID, epoch message.Epoch)
	// PublishWill publishes a will whose time has come; done is called once,
	// when every destination has it or it was refused.
	PublishWill func(id message.SessionID, w Will, done func(error))
	// Dropped is told of each message that a limit or an expiry dropped
	// ("queue_full", "expired", …), and Stored of each that was queued for an
	// offline session. Either may be nil; neither may block.
	Dropped func(id message.SessionID, m *message.Message, qos byte, reason string)
	Stored  func(id message.SessionID, m *message.Message, qos byte)
	// Defaults are the options of sessions that have not connected since the
	// start.
	Defaults func() Options
	// HeadPage bounds the messages of a durable queue kept in memory; default
	// 256.
	HeadPage int
	Metrics  *metrics.Registry
	Logger   *slog.Logger
}

// Manager holds the queues of a node. Its methods may be called from any
// goroutine.
type Manager struct{}

// New returns a Manager with the durable sessions that the store has; their
// queues are read when they are needed. Start begins their timers.
func New(cfg Config) (*Manager, error) { return nil, nil }

// Start begins the timers of sessions and wills that were read from the store.
// Call it once Expired and PublishWill can do their work.
func (m *Manager) Start() {}

// Close stops the timers and forgets all queues; durable ones stay on disk.
func (m *Manager) Close() {}

// Open returns the queue of a session, made or emptied as r says. present
// tells whether there was one before.
func (m *Manager) Open(r OpenRequest) (q *Queue, present bool, err error) { return nil, false, nil }

// Get returns the queue of a session, nil if this node has none.
func (m *Manager) Get(id message.SessionID) *Queue { return nil }

// Delete ends a session here: its queue, its inbound identifiers, its record
// and its will are removed, its connection is closed with reason 0x98. It
// reports whether there was one.
func (m *Manager) Delete(id message.SessionID) bool { return false }

// Deliver hands d to the queue of id. It never blocks; done is called exactly
// once, when the queue has the message (durable: on disk), with ErrNoSession,
// ErrFull, ErrOffline or the store's error otherwise.
func (m *Manager) Deliver(id message.SessionID, d Delivery, done func(error)) {}

// Each calls fn with every queue until it returns false.
func (m *Manager) Each(fn func(Info) bool) {}

// Info describes the queue of a session.
func (m *Manager) Info(id message.SessionID) (Info, bool) { return Info{}, false }

// Handed is a part of a queue on its way to another node.
type Handed struct {
	Entries []Stored
	// Inbound are the QoS 2 messages that the client has not released; in the
	// first part only.
	Inbound map[uint16]message.ID
	// Next is where the following part starts; More tells whether there is one
	// at present.
	Next uint64
	More bool
}

// Take reads a part of the queue of id for its new owner, from the sequence
// number from on (0: the beginning). The queue goes to state drain: nothing is
// delivered to a connection any more, new messages are still accepted.
func (m *Manager) Take(id message.SessionID, from uint64, limit int) (Handed, error) {
	return Handed{}, nil
}

// Confirm deletes what the new owner has stored: everything before upTo.
func (m *Manager) Confirm(ctx context.Context, id message.SessionID, upTo uint64) error { return nil }

// Mark identifies a pull of one source: its parts are numbered by the source's
// sequence numbers.
type Mark struct {
	Source message.NodeID
	Epoch  message.Epoch
	// Next is where the following part starts.
	Next uint64
}

// Import writes a part that Take returned on another node. The mark is
// written in the same batch, so a part that is imported again is recognised
// and skipped. While the queue is held, imported messages go out before those
// that were delivered here. done is called once, when all is on disk.
func (m *Manager) Import(id message.SessionID, h Handed, mark Mark, done func(error)) {}

// ImportMark returns how far the pull from a source has come; 0 when nothing
// was imported.
func (m *Manager) ImportMark(id message.SessionID, source message.NodeID, epoch message.Epoch) (uint64, error) {
	return 0, nil
}

// ForgetMark removes the mark of a source that has confirmed its deletion.
func (m *Manager) ForgetMark(id message.SessionID, source message.NodeID, epoch message.Epoch) {}

// Release lets messages that were delivered here go out: every source has
// been imported, or is not waited for any longer.
func (m *Manager) Release(id message.SessionID) {}
