package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/cluster/clusterpb"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
)

// Streams tell how far the messages between nodes have come. Implemented by
// router.Router.
type Streams interface {
	// Settle returns when every message that this node matched before index is
	// in its queues or on its links.
	Settle(ctx context.Context, index uint64) error
	// Mark sends a mark of index to a node behind all those messages.
	Mark(ctx context.Context, to message.NodeID, index uint64) error
	// Passed returns the last mark that came from a node.
	Passed(node message.NodeID) uint64
	AwaitPassed(ctx context.Context, node message.NodeID, index uint64) error
}

// markTimeout bounds one wait for the marks of the other members; a caller that
// may wait longer asks again.
const markTimeout = 500 * time.Millisecond

// laggards are the members whose streams have not passed an index.
type laggards struct {
	// absent cannot be reached: what they have spooled comes when they are back.
	absent []string
	// slow can be reached and have not answered yet.
	slow []string
}

// absentError says that a source is drained as far as the reachable members
// go.
type absentError struct{ nodes []string }

func (e *absentError) Error() string {
	return "messages may still come from " + strings.Join(e.nodes, ", ")
}

// passed waits until no message that was matched before index can reach this
// node any more, whoever published it, and returns the members of which that
// is not known.
func (c *Cluster) passed(ctx context.Context, index uint64) (l laggards, err error) {
	if index == 0 {
		return l, nil // matched without quorum: there is no order to wait for
	}
	ctx, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	if err := c.cfg.Streams.Settle(ctx, index); err != nil {
		return l, fmt.Errorf("waiting for the messages of this node: %w", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, m := range c.cfg.Meta.Members() {
		switch {
		case m.ID == c.cfg.Self || c.cfg.Streams.Passed(m.ID) >= index:
		case !c.cfg.Port.Up(m.ID):
			l.absent = append(l.absent, m.Name)
		default:
			wg.Go(func() {
				if err := c.askMark(ctx, m, index); err != nil {
					mu.Lock()
					defer mu.Unlock()
					l.slow = append(l.slow, m.Name)
				}
			})
		}
	}
	wg.Wait()
	return l, nil
}

func (c *Cluster) askMark(ctx context.Context, m *meta.Member, index uint64) error {
	conn, err := c.cfg.Port.Conn(ctx, m.ID)
	if err != nil {
		return err
	}
	if _, err := clusterpb.NewClusterServiceClient(conn).Mark(ctx, &clusterpb.MarkRequest{Index: index}); err != nil {
		return err
	}
	return c.cfg.Streams.AwaitPassed(ctx, m.ID, index)
}

// Mark answers a node that wants to know how far this one's stream has come.
func (s *service) Mark(ctx context.Context, req *clusterpb.MarkRequest) (*clusterpb.MarkResponse, error) {
	who, err := s.member(ctx)
	if err != nil {
		return nil, err
	}
	return &clusterpb.MarkResponse{}, toStatus(s.c.cfg.Streams.Mark(ctx, who.Node, req.GetIndex()))
}
