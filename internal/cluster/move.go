package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mqadmin/mqadmin/internal/cluster/clusterpb"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// Mover hands queues over and takes them in parts. Implemented by
// queue.Manager.
type Mover interface {
	Take(ctx context.Context, id message.SessionID, from uint64, limit int) (queue.Handed, error)
	Confirm(ctx context.Context, id message.SessionID, upTo uint64) error
	Import(id message.SessionID, h queue.Handed, mark queue.Mark, done func(error))
	ImportMark(id message.SessionID, mark queue.Mark) (uint64, error)
	ForgetMark(id message.SessionID, mark queue.Mark)
	Release(id message.SessionID)
}

// moves are the queues on their way to this node.
type moves struct {
	mu      sync.Mutex
	running map[message.SessionID]*moving
}

// moving is one session's move.
type moving struct{ stop context.CancelFunc }

// begin replaces the session's move, if one is running.
func (m *moves) begin(id message.SessionID, stop context.CancelFunc) *moving {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.running[id]; ok {
		old.stop()
	}
	n := &moving{stop}
	m.running[id] = n
	return n
}

// end forgets a move, unless another one has taken its place.
func (m *moves) end(id message.SessionID, n *moving) {
	n.stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running[id] == n {
		delete(m.running, id)
	}
}

func (m *moves) cancel(id message.SessionID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, ok := m.running[id]; ok {
		n.stop()
	}
}

// startMove pulls what other nodes hold of a session of this node, in the
// background. The channel is closed when every source has been asked once.
func (c *Cluster) startMove(id message.SessionID, epoch message.Epoch) <-chan struct{} {
	ctx, cancel := context.WithCancel(c.ctx)
	m := c.moves.begin(id, cancel)
	asked := make(chan struct{})
	c.wg.Go(func() {
		defer c.moves.end(id, m)
		c.move(ctx, id, epoch, sync.OnceFunc(func() { close(asked) }))
	})
	return asked
}

// The pause before a source that did not answer is asked again; it doubles.
const (
	retryMove    = 2 * time.Second
	retryMoveMax = 2 * time.Minute
)

// move pulls from every source until all are struck or the session is no
// longer this registration's.
func (c *Cluster) move(ctx context.Context, id message.SessionID, epoch message.Epoch, asked func()) {
	defer asked()
	for pause := retryMove; ctx.Err() == nil; pause = min(2*pause, retryMoveMax) {
		s, ok := c.cfg.Meta.Session(id)
		if !ok || s.Owner != c.cfg.Self || !s.Is(epoch) || len(s.Sources) == 0 {
			return
		}
		left := 0
		for _, src := range s.Sources {
			if err := c.pull(ctx, s, src); err != nil {
				left++
				c.counters.moveErrors.Inc()
				if ctx.Err() == nil && pause == retryMove {
					c.log.Warn("a part of a session's queue cannot be fetched now; it will be when that node is back", "client", id.String(), "node", c.nameOf(src.Node), "error", err)
				}
			}
		}
		if left == 0 {
			return
		}
		asked()
		c.cfg.Queues.Release(id)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// pull takes a session's queue from one source, part by part, and strikes the
// source once it has deleted everything.
func (c *Cluster) pull(ctx context.Context, s *meta.Session, src meta.Source) error {
	if src.Node == c.cfg.Self {
		return c.strike(ctx, s.ID, src)
	}
	conn, err := c.cfg.Port.Conn(ctx, src.Node)
	if err != nil {
		return err
	}
	client := clusterpb.NewClusterServiceClient(conn)
	next, err := c.cfg.Queues.ImportMark(s.ID, queue.Mark{Source: src.Node, Epoch: src.Epoch})
	if err != nil {
		return err
	}
	for {
		resp, err := client.Pull(ctx, &clusterpb.PullRequest{
			Session: &clusterpb.SessionID{Mountpoint: s.ID.Mountpoint, ClientId: s.ID.ClientID},
			Epoch:   s.Epoch.Index, Confirmed: next, Limit: uint32(c.cfg.DrainStep),
		}, grpc.MaxCallRecvMsgSize(maxPart))
		if err != nil {
			return err
		}
		h, err := handedOf(resp)
		if err != nil {
			return err
		}
		if len(h.Entries) == 0 && len(h.Inbound) == 0 && !h.More {
			break
		}
		h.Next = max(h.Next, 1) // a part of inbound identifiers alone counts as well
		if err := c.imported(ctx, s.ID, h, queue.Mark{Source: src.Node, Epoch: src.Epoch, From: next, Next: h.Next}); err != nil {
			return err
		}
		c.counters.moved.Add(len(h.Entries))
		next = h.Next
	}
	return c.strike(ctx, s.ID, src)
}

func (c *Cluster) strike(ctx context.Context, id message.SessionID, src meta.Source) error {
	if _, err := c.cfg.Meta.StrikeSource(ctx, id, src); err != nil && !over(err) {
		return fmt.Errorf("striking a drained source: %w", err)
	}
	c.cfg.Queues.ForgetMark(id, queue.Mark{Source: src.Node, Epoch: src.Epoch})
	return nil
}

// imported writes a part and waits until it is on disk.
func (c *Cluster) imported(ctx context.Context, id message.SessionID, h queue.Handed, mark queue.Mark) error {
	done := make(chan error, 1)
	c.cfg.Queues.Import(id, h, mark, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pull hands a part of a queue to its new owner. It answers only once this
// node knows of the new owner: from then on nothing is delivered here.
func (s *service) Pull(ctx context.Context, req *clusterpb.PullRequest) (*clusterpb.PullResponse, error) {
	who, err := s.member(ctx)
	if err != nil {
		return nil, err
	}
	c := s.c
	id := message.SessionID{Mountpoint: req.GetSession().GetMountpoint(), ClientID: req.GetSession().GetClientId()}
	const overlay = 1 << 63 // an epoch given out without quorum is no index of Raft's
	if req.GetEpoch()&overlay == 0 && c.cfg.Meta.Status().Quorum {
		if err := c.cfg.Meta.WaitApplied(ctx, req.GetEpoch()); err != nil {
			return nil, err
		}
	}
	owner, ok := c.cfg.Meta.Session(id)
	if !ok || owner.Owner != who.Node {
		return nil, status.Errorf(codes.FailedPrecondition, "%s does not own the session", who.Name)
	}
	c.close(id, takenOver)
	if req.GetConfirmed() > 0 {
		if err := c.cfg.Queues.Confirm(ctx, id, req.GetConfirmed()); err != nil && !errors.Is(err, queue.ErrNoSession) {
			return nil, err
		}
	}
	h, err := c.cfg.Queues.Take(ctx, id, req.GetConfirmed(), int(req.GetLimit()))
	if errors.Is(err, queue.ErrNoSession) {
		return &clusterpb.PullResponse{Last: true, Next: req.GetConfirmed()}, nil
	}
	if err != nil {
		return nil, err
	}
	if len(h.Entries) == 0 && len(h.Inbound) == 0 && !h.More {
		c.cfg.Queues.Moved(id) // the caller has everything on its disk
	}
	return handedTo(cutPart(h), req.GetConfirmed() == 0), nil
}

// Adopt takes an offline session over on behalf of a node that leaves or is
// gone.
func (s *service) Adopt(ctx context.Context, req *clusterpb.AdoptRequest) (*clusterpb.AdoptResponse, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	n, err := s.c.adopt(ctx, message.SessionID{Mountpoint: req.GetSession().GetMountpoint(), ClientID: req.GetSession().GetClientId()})
	return &clusterpb.AdoptResponse{Messages: uint64(n)}, toStatus(err)
}

// adopt registers a session here without a connection, pulls its queue and
// returns the number of messages it has. A session that a client has
// connected to meanwhile is left to that.
func (c *Cluster) adopt(ctx context.Context, id message.SessionID) (int64, error) {
	old, ok := c.cfg.Meta.Session(id)
	if !ok || old.Owner == c.cfg.Self || old.Connected() && c.alive(old.Owner) {
		return 0, nil
	}
	reg, err := c.cfg.Meta.Register(ctx, meta.RegisterRequest{ID: id, Durable: true, Expiry: old.Expiry}, meta.Options{})
	if err != nil {
		return 0, err
	}
	since := time.UnixMilli(old.OfflineSince)
	if old.OfflineSince == 0 {
		since = time.Now()
	}
	if _, err = c.cfg.Meta.Release(ctx, meta.ReleaseRequest{ID: id, Epoch: reg.Epoch, Durable: true, Expiry: old.Expiry, At: since}); err != nil && !over(err) {
		return 0, err
	}
	if _, _, err := c.cfg.Queues.Open(c.held(id, old.Expiry, reg)); err != nil {
		return 0, err
	}
	c.cfg.Queues.Idle(id, since)
	defer c.cfg.Queues.Release(id)
	now, ok := c.cfg.Meta.Session(id)
	if !ok {
		return 0, nil
	}
	for _, src := range now.Sources {
		if !c.alive(src.Node) {
			continue // pulled when its disk comes back
		}
		if err := c.pull(ctx, now, src); err != nil {
			return 0, err
		}
	}
	return int64(c.pending(id)), nil
}

func (c *Cluster) alive(node message.NodeID) bool { return node == c.cfg.Self || c.cfg.Port.Up(node) }

func (c *Cluster) pending(id message.SessionID) int {
	info, _ := c.cfg.Queues.Info(id)
	return info.Pending + info.Inflight
}
