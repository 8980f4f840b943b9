package broker

import (
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/peer"
)

// spool keeps the messages for nodes that cannot be reached in the message
// store, one log per node; it is the peer.Spool of the cluster port.
type spool struct{ store *msgstore.Store }

func spoolLog(node message.NodeID) string { return "spool/" + node.String() }

// Append implements peer.Spool.
func (s spool) Append(node message.NodeID, seq uint64, frame []byte, done func(error)) {
	b := s.store.NewBatch()
	b.AppendLog(spoolLog(node), seq, frame)
	s.store.Commit(b, done)
}

// Read implements peer.Spool.
func (s spool) Read(node message.NodeID, from uint64, limit int) ([]peer.Spooled, error) {
	records, err := s.store.ReadLog(spoolLog(node), from, limit)
	if err != nil {
		return nil, err
	}
	out := make([]peer.Spooled, len(records))
	for i, r := range records {
		out[i] = peer.Spooled{Seq: r.Seq, Frame: r.Data}
	}
	return out, nil
}

// Truncate implements peer.Spool. It does not wait for the disk: what comes
// back after a crash is recognised by its receiver.
func (s spool) Truncate(node message.NodeID, upTo uint64) error {
	b := s.store.NewBatch()
	b.TruncateLog(spoolLog(node), upTo)
	s.store.Commit(b, func(error) {})
	return nil
}
