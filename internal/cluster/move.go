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
	// Take and Confirm touch nothing unless theirs, asked under the queue's lock,
	// agrees: queue.ErrNotHanded.
	Take(ctx context.Context, id message.SessionID, from uint64, limit int, theirs func() bool) (queue.Handed, error)
	Confirm(ctx context.Context, id message.SessionID, upTo uint64, theirs func() bool) error
	Import(id message.SessionID, h queue.Handed, mark queue.Mark, done func(error))
	ImportMark(id message.SessionID, mark queue.Mark) (uint64, error)
	ForgetMark(id message.SessionID, mark queue.Mark)
	// Imported tells that every source has been imported.
	Imported(id message.SessionID)
	Release(id message.SessionID)
}

// moves are the queues on their way to this node.
type moves struct {
	mu      sync.Mutex
	running map[message.SessionID]*moving
	back    chan struct{} // closed and replaced when a node is back
}

// wake makes the moves that wait for a node look again.
func (m *moves) wake() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.back)
	m.back = make(chan struct{})
}

func (m *moves) nodeBack() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.back
}

// moving is one session's move to its registration of epoch.
type moving struct {
	epoch message.Epoch
	stop  context.CancelFunc
}

// begin replaces the session's move, if one is running.
func (m *moves) begin(id message.SessionID, epoch message.Epoch, stop context.CancelFunc) *moving {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.running[id]; ok {
		old.stop()
	}
	n := &moving{epoch, stop}
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

// cancel stops a session's move if over agrees with its epoch: who calls may
// speak of a registration before that one.
func (m *moves) cancel(id message.SessionID, over func(message.Epoch) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, ok := m.running[id]; ok && over(n.epoch) {
		n.stop()
	}
}

// startMove pulls what other nodes hold of a session of this node, in the
// background. The channel gets, when every source has been asked once, those
// that did not hand over what they have.
func (c *Cluster) startMove(id message.SessionID, epoch message.Epoch) <-chan []message.NodeID {
	ctx, cancel := context.WithCancel(c.ctx)
	m := c.moves.begin(id, epoch, cancel)
	asked := make(chan []message.NodeID, 1)
	var once sync.Once
	c.wg.Go(func() {
		defer c.moves.end(id, m)
		c.move(ctx, id, epoch, func(missing []message.NodeID) { once.Do(func() { asked <- missing }) })
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
func (c *Cluster) move(ctx context.Context, id message.SessionID, epoch message.Epoch, asked func(missing []message.NodeID)) {
	defer asked(nil)
	for pause := retryMove; ctx.Err() == nil; pause = min(2*pause, retryMoveMax) {
		s, ok := c.cfg.Meta.Session(id)
		if !ok || s.Owner != c.cfg.Self || !s.Is(epoch) || len(s.Sources) == 0 {
			return
		}
		back := c.moves.nodeBack()
		left, wait := 0, time.Duration(0)
		var missing []message.NodeID
		for _, src := range s.Sources {
			err := c.pull(ctx, s, src)
			if err == nil {
				continue
			}
			left++
			wait = max(wait, c.notDrained(ctx, s, src, err, pause))
			if !handedOver(err) {
				missing = append(missing, src.Node)
			}
		}
		if left == 0 {
			c.cfg.Queues.Imported(id)
			return
		}
		asked(missing)
		c.cfg.Queues.Release(id)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-back:
			t.Stop()
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// notDrained tells why a source could not be struck, and returns when to ask
// it again.
func (c *Cluster) notDrained(ctx context.Context, s *meta.Session, src meta.Source, err error, pause time.Duration) time.Duration {
	if _, ok := errors.AsType[*absentError](err); ok {
		return retryMoveMax // or when a node is back
	}
	c.counters.moveErrors.Inc()
	if ctx.Err() == nil && pause == retryMove {
		c.log.Warn("a part of a session's queue cannot be fetched now; it will be when that node is back", "client", s.ID.String(), "node", c.nameOf(src.Node), "error", err)
	}
	return pause
}

// pull takes a session's queue from one source, part by part, and strikes the
// source once it has deleted everything.
func (c *Cluster) pull(ctx context.Context, s *meta.Session, src meta.Source) error {
	if src.Node == c.cfg.Self { // the session has come back: its queue was here all the time
		return c.strikeOwn(ctx, s.ID, src)
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
	for end := time.Now().Add(c.EnqueueTimeout()); ; {
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
		switch {
		case !drained(h):
		case resp.GetUnfinished() && time.Now().Before(end):
			continue // the source has waited before it answered
		case resp.GetUnfinished():
			return errUnfinished
		case len(resp.GetAbsent()) > 0:
			return &absentError{resp.GetAbsent()}
		default:
			return c.strike(ctx, s.ID, src)
		}
		h.Next = max(h.Next, 1) // a part of inbound identifiers alone counts as well
		if err := c.imported(ctx, s.ID, h, queue.Mark{
			Source: src.Node, Epoch: src.Epoch, From: next, Next: h.Next, Chained: len(s.Sources) > 1,
			Inbound: src == s.Sources[len(s.Sources)-1] && src.Node == s.Previous,
		}); err != nil {
			return err
		}
		c.counters.moved.Add(len(h.Entries))
		next = h.Next
	}
}

// errUnfinished: a source is drained, and messages from a node that can be
// reached did not all arrive there in time.
var errUnfinished = errors.New("messages for the session are still on their way to its former node")

// handedOver reports whether a source that could not be struck has handed over
// what it had: only what may still reach it is missing.
func handedOver(err error) bool {
	_, absent := errors.AsType[*absentError](err)
	return absent || errors.Is(err, errUnfinished)
}

// strikeOwn strikes this node as a source of its own session once nothing from
// before can reach it any more.
func (c *Cluster) strikeOwn(ctx context.Context, id message.SessionID, src meta.Source) error {
	for end := time.Now().Add(c.EnqueueTimeout()); ; {
		l, err := c.passed(ctx, src.Until)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && len(l.slow) == 0 && len(l.absent) == 0:
			return c.strike(ctx, id, src)
		case err == nil && len(l.slow) == 0:
			return &absentError{l.absent}
		case time.Now().After(end):
			return errors.Join(errUnfinished, err)
		}
		c.pause(retryOwn) // a member that cannot be asked fails at once
	}
}

// retryOwn is the pause before the members are asked again what may still come
// from them.
const retryOwn = 20 * time.Millisecond

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
	if err := c.awaitEpoch(ctx, req.GetEpoch()); err != nil {
		return nil, status.Errorf(codes.Unavailable, "the session's move is not known here yet: %v", err)
	}
	owner, ok := c.cfg.Meta.Session(id)
	if !ok || owner.Owner != who.Node {
		return nil, status.Errorf(codes.FailedPrecondition, "%s does not own the session", who.Name)
	}
	resp, err := c.handOver(ctx, owner, req)
	if errors.Is(err, queue.ErrNotHanded) {
		return nil, status.Errorf(codes.FailedPrecondition, "%s does not own the session any more", who.Name)
	}
	return resp, err
}

// awaitEpoch waits, not for ever, until this node has applied a registration.
func (c *Cluster) awaitEpoch(ctx context.Context, epoch uint64) error {
	const overlay = 1 << 63 // an epoch given out without quorum is no index of Raft's
	if epoch&overlay != 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.EnqueueTimeout())
	defer cancel()
	return c.cfg.Meta.WaitApplied(ctx, epoch)
}

// handOver deletes what the owner of a session has confirmed and returns the
// next part. The session may go on, and even come back to this node, at any
// moment: then nothing here is the caller's any more.
func (c *Cluster) handOver(ctx context.Context, owner *meta.Session, req *clusterpb.PullRequest) (*clusterpb.PullResponse, error) {
	id := owner.ID
	theirs := func() bool {
		now, ok := c.cfg.Meta.Session(id)
		return ok && now.Owner == owner.Owner && now.Epoch == owner.Epoch
	}
	if req.GetConfirmed() > 0 {
		if err := c.cfg.Queues.Confirm(ctx, id, req.GetConfirmed(), theirs); err != nil {
			return nil, err
		}
	}
	h, err := c.takePart(ctx, id, req, theirs)
	if err != nil || !drained(h) {
		return handedTo(cutPart(h), req.GetConfirmed() == 0), err
	}
	l, err := c.passed(ctx, lastUntil(owner, c.cfg.Self))
	if err != nil || len(l.slow) > 0 {
		return &clusterpb.PullResponse{Next: req.GetConfirmed(), Last: true, Unfinished: true}, ctx.Err()
	}
	// Once more: what came before the last mark is in the queue now.
	if h, err = c.takePart(ctx, id, req, theirs); err != nil || !drained(h) {
		return handedTo(cutPart(h), req.GetConfirmed() == 0), err
	}
	if len(l.absent) == 0 {
		c.cfg.Queues.Moved(id, theirs) // the caller has everything on its disk
	}
	return &clusterpb.PullResponse{Next: req.GetConfirmed(), Last: true, Absent: l.absent}, nil
}

// takePart reads the part that a caller asks for; nothing when this node has no
// queue of the session.
func (c *Cluster) takePart(ctx context.Context, id message.SessionID, req *clusterpb.PullRequest, theirs func() bool) (queue.Handed, error) {
	h, err := c.cfg.Queues.Take(ctx, id, req.GetConfirmed(), int(req.GetLimit()), theirs)
	switch {
	case !errors.Is(err, queue.ErrNoSession):
		return h, err
	case !theirs(): // the queue is about to be opened here
		return h, queue.ErrNotHanded
	}
	return queue.Handed{Next: req.GetConfirmed()}, nil
}

func drained(h queue.Handed) bool { return len(h.Entries) == 0 && len(h.Inbound) == 0 && !h.More }

// lastUntil is the index up to which a node has owned the session, as far as
// it still is a source.
func lastUntil(s *meta.Session, node message.NodeID) (until uint64) {
	for _, src := range s.Sources {
		if src.Node == node {
			until = max(until, src.Until)
		}
	}
	return until
}

// Adopt takes an offline session over on behalf of a node that leaves or is
// gone.
func (s *service) Adopt(ctx context.Context, req *clusterpb.AdoptRequest) (*clusterpb.AdoptResponse, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	if err := s.c.cfg.Meta.WaitApplied(ctx, req.GetApplied()); err != nil { // or it still counts as connected
		return nil, toStatus(err)
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
	c.registers.begin(id)
	defer c.registered(id)
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
	left := false
	for _, src := range now.Sources {
		if !c.alive(src.Node) {
			continue // pulled when its disk comes back
		}
		err := c.pull(ctx, now, src)
		if _, absent := errors.AsType[*absentError](err); absent {
			left = true
			continue
		}
		if err != nil {
			return 0, err
		}
	}
	if left {
		c.startMove(id, now.Epoch)
	}
	return int64(c.pending(id)), nil
}

func (c *Cluster) alive(node message.NodeID) bool { return node == c.cfg.Self || c.cfg.Port.Up(node) }

func (c *Cluster) pending(id message.SessionID) int {
	info, _ := c.cfg.Queues.Info(id)
	return info.Pending + info.Inflight
}
