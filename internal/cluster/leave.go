package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/mqadmin/mqadmin/internal/cluster/clusterpb"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
)

// The steps of a leave, in order.
const (
	LeaveCordon Phase = iota + 1
	LeaveDrain
	LeaveMigrate
	LeaveRemove
)

// leftLimit is how long this node may be behind one that has left.
const leftLimit = 2 * time.Second

// LeaveRequest says how a member is taken out of service.
type LeaveRequest struct {
	// Node is the member's name.
	Node string
	// KillSessions closes connections, moves queues and removes the member;
	// without it the member only stops taking connections.
	KillSessions bool
	// Interval between two reports; Timeout for connections to end.
	Interval, Timeout time.Duration
	// AcceptQuorumLoss accepts a removal that Raft cannot commit.
	AcceptQuorumLoss bool
}

// LeaveProgress is how far a leave is.
type LeaveProgress struct {
	Phase                       Phase
	Text                        string
	SessionsOnline              int64
	QueuesDone, QueuesTotal     int64
	MessagesDone, MessagesTotal int64
}

// Outcome is what a leave came to.
type Outcome byte

// The outcomes of a leave.
const (
	// Cordoned: new connections are refused; the node is still a member.
	Cordoned Outcome = iota + 1
	// Left: the queues were handed over and the node was removed.
	Left
	// Forgotten: the node could not be reached and was removed.
	Forgotten
)

// Leave takes a member out of service, wherever it is called.
func (c *Cluster) Leave(ctx context.Context, r LeaveRequest, progress func(LeaveProgress)) (Outcome, error) {
	target, err := c.find(r.Node)
	if err != nil {
		return 0, err
	}
	if target.ID != c.cfg.Self && !c.cfg.Port.Up(target.ID) {
		return Forgotten, c.forget(ctx, target, r, progress)
	}
	outcome := Cordoned
	if r.KillSessions {
		outcome = Left
	}
	if target.ID == c.cfg.Self {
		return outcome, c.leaveSelf(ctx, r, progress)
	}
	return outcome, c.leaveRemote(ctx, target, r, progress)
}

// find returns the member of that name; a name@host:port means the name.
func (c *Cluster) find(name string) (*meta.Member, error) {
	members := c.cfg.Meta.Members()
	for _, m := range members {
		if m.Name == name {
			return m, nil
		}
	}
	if bare, _, err := ParseNode(name); err == nil && bare != name {
		return c.find(bare)
	}
	return nil, &sentence{ErrUnknownNode, fmt.Sprintf("%s is not a member; the members are %s", name, names(members, 0))}
}

// names lists the members' names for a sentence, but for one of them.
func names(members []*meta.Member, but message.NodeID) string {
	var out []string
	for _, m := range members {
		if m.ID != but {
			out = append(out, m.Name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (c *Cluster) leaveRemote(ctx context.Context, target *meta.Member, r LeaveRequest, progress func(LeaveProgress)) error {
	conn, err := c.cfg.Port.Conn(ctx, target.ID)
	if err != nil {
		return fmt.Errorf("reaching %s: %w", target.Name, err)
	}
	stream, err := clusterpb.NewClusterServiceClient(conn).Leave(ctx, &clusterpb.LeaveRequest{
		KillSessions: r.KillSessions, IntervalMs: uint32(r.Interval.Milliseconds()), TimeoutMs: uint32(r.Timeout.Milliseconds()),
	})
	if err != nil {
		return fmt.Errorf("asking %s to leave: %w", target.Name, err)
	}
	for {
		p, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.leftMeanwhile(ctx, target, fromStatus(err))
		}
		progress(LeaveProgress{
			Phase: Phase(p.GetPhase()), Text: p.GetText(), SessionsOnline: p.GetSessionsOnline(),
			QueuesDone: p.GetQueuesDone(), QueuesTotal: p.GetQueuesTotal(), MessagesDone: p.GetMessagesDone(), MessagesTotal: p.GetMessagesTotal(),
		})
	}
}

// leftMeanwhile decides what a broken stream means: a node that has been
// removed closes its cluster port before it can answer, perhaps before this node
// knows that it was.
func (c *Cluster) leftMeanwhile(ctx context.Context, target *meta.Member, err error) error {
	late := time.NewTimer(leftLimit)
	defer late.Stop()
	tick := time.NewTicker(leftLimit / 100)
	defer tick.Stop()
	for {
		if _, still := c.cfg.Meta.Member(target.ID); !still {
			return nil
		}
		select {
		case <-tick.C:
		case <-late.C:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// forget removes a member that cannot be reached and gives its durable
// sessions to the others. What is on its disk is handed over if that comes
// back.
func (c *Cluster) forget(ctx context.Context, target *meta.Member, r LeaveRequest, progress func(LeaveProgress)) error {
	if !c.cfg.Meta.Status().Quorum {
		return &sentence{ErrRisk, fmt.Sprintf("%s cannot be reached, and without it the cluster has no majority that could remove it: start it again, or remove it with its vote by a forced recovery (cluster leave node=%s --accept-risk=quorum-loss), which this version does not have yet", target.Name, target.Name)}
	}
	progress(LeaveProgress{Phase: LeaveRemove, Text: target.Name + " cannot be reached; removing it"})
	var orphans []message.SessionID
	c.cfg.Meta.View().Sessions(message.SessionID{}, func(s *meta.Session) bool {
		if s.Owner == target.ID && s.Durable {
			orphans = append(orphans, s.ID)
		}
		return true
	})
	if err := c.cfg.Meta.RemoveMember(ctx, target.ID); err != nil {
		return c.membershipError(err)
	}
	return c.rehome(ctx, orphans, r.Interval, progress)
}

func (c *Cluster) membershipError(err error) error {
	switch {
	case errors.Is(err, meta.ErrNoQuorum):
		return &sentence{ErrNoQuorum, "the cluster has no leader with a majority, so its membership cannot change now; bring a majority of the members up first"}
	case errors.Is(err, meta.ErrLastMember):
		return &sentence{ErrLastNode, c.cfg.Name + " is the only member; stop it with `broker stop` instead"}
	}
	return err
}

// leaveSelf takes this node out of service.
func (c *Cluster) leaveSelf(ctx context.Context, r LeaveRequest, progress func(LeaveProgress)) error {
	if !c.changing.TryLock() {
		return &sentence{ErrRunning, "a join or leave is already under way on " + c.cfg.Name + "; wait for its end"}
	}
	defer c.changing.Unlock()
	if r.KillSessions && len(c.cfg.Meta.Members()) < 2 {
		return c.membershipError(meta.ErrLastMember)
	}
	if r.KillSessions && !c.cfg.Meta.Status().Quorum {
		return c.membershipError(meta.ErrNoQuorum)
	}
	progress(LeaveProgress{Phase: LeaveCordon, Text: "taking no new connections"})
	c.cordoned.Store(true)
	c.cfg.Listeners.Suspend()
	if !r.KillSessions {
		return nil
	}
	if err := c.drain(ctx, r, progress); err != nil {
		return err
	}
	var own []message.SessionID
	c.cfg.Meta.View().Sessions(message.SessionID{}, func(s *meta.Session) bool {
		if s.Owner == c.cfg.Self && s.Durable {
			own = append(own, s.ID)
		}
		return true
	})
	if err := c.rehome(ctx, own, r.Interval, progress); err != nil {
		return err
	}
	progress(LeaveProgress{Phase: LeaveRemove, Text: "leaving the membership"})
	if err := c.cfg.Meta.RemoveMember(ctx, c.cfg.Self); err != nil {
		return c.membershipError(err)
	}
	c.log.Info("left the cluster; stopping")
	c.cfg.OnLeft()
	return nil
}

// drain sends the clients of this node elsewhere and waits until none is left.
func (c *Cluster) drain(ctx context.Context, r LeaveRequest, progress func(LeaveProgress)) error {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.cfg.Sessions.Shutdown(ctx, useAnotherServer, c.serverReference()) }()
	tick := time.NewTicker(r.Interval)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			online := c.cfg.Sessions.Connections()
			progress(LeaveProgress{Phase: LeaveDrain, SessionsOnline: int64(online)})
			if err != nil || online > 0 {
				return &sentence{ErrSessionsOnline, fmt.Sprintf("%d sessions are still online after %v; repeat the command, with a longer --timeout if need be", online, r.Timeout)}
			}
			c.Flush(ctx) // a session whose end is not noted yet is not taken over
			return nil
		case <-tick.C:
			progress(LeaveProgress{Phase: LeaveDrain, SessionsOnline: int64(c.cfg.Sessions.Connections())})
		}
	}
}

// serverReference names the hosts of the other members for MQTT 5 clients
// (MQTT 5.0 §4.11).
func (c *Cluster) serverReference() string {
	var hosts []string
	for _, m := range c.cfg.Meta.Members() {
		if host, _, err := net.SplitHostPort(m.Address); err == nil && m.ID != c.cfg.Self {
			hosts = append(hosts, host)
		}
	}
	return strings.Join(hosts, " ")
}

// rehome gives sessions to the other reachable members in turn. A session
// that a client has taken to another node meanwhile is done as well.
func (c *Cluster) rehome(ctx context.Context, ids []message.SessionID, interval time.Duration, progress func(LeaveProgress)) error {
	p := LeaveProgress{Phase: LeaveMigrate, QueuesTotal: int64(len(ids))}
	for _, id := range ids {
		p.MessagesTotal += int64(c.pending(id))
	}
	progress(p)
	targets := c.targets()
	last := time.Now()
	for i, id := range ids {
		n, err := c.adoptAt(ctx, targets, i, id)
		if err != nil {
			return fmt.Errorf("moving the queue of %s: %w", id, err)
		}
		p.QueuesDone++
		p.MessagesDone += n
		if time.Since(last) >= interval {
			progress(p)
			last = time.Now()
		}
	}
	if len(ids) > 0 {
		progress(p)
	}
	return nil
}

// targets are the members that can take sessions now.
func (c *Cluster) targets() []message.NodeID {
	var out []message.NodeID
	for _, m := range c.cfg.Meta.Members() {
		if (m.ID == c.cfg.Self && !c.cordoned.Load()) || (m.ID != c.cfg.Self && c.cfg.Port.Up(m.ID)) {
			out = append(out, m.ID)
		}
	}
	return out
}

// adoptAt asks the targets, from the i-th on, until one takes the session.
func (c *Cluster) adoptAt(ctx context.Context, targets []message.NodeID, i int, id message.SessionID) (int64, error) {
	err := errors.New("no other member can be reached")
	for n := range targets {
		target := targets[(i+n)%len(targets)]
		var moved int64
		if moved, err = c.adoptOn(ctx, target, id); err == nil {
			return moved, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return 0, err
}

func (c *Cluster) adoptOn(ctx context.Context, node message.NodeID, id message.SessionID) (int64, error) {
	if node == c.cfg.Self {
		return c.adopt(ctx, id)
	}
	conn, err := c.cfg.Port.Conn(ctx, node)
	if err != nil {
		return 0, err
	}
	resp, err := clusterpb.NewClusterServiceClient(conn).Adopt(ctx, &clusterpb.AdoptRequest{
		Session: &clusterpb.SessionID{Mountpoint: id.Mountpoint, ClientId: id.ClientID}, Applied: c.cfg.Meta.Applied(),
	})
	return int64(resp.GetMessages()), err
}
