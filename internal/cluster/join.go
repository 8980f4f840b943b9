package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mqadmin/mqadmin/internal/cluster/clusterpb"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/peer"
)

// Phase is a step of a join or leave.
type Phase byte

// The steps of a join, in order.
const (
	JoinConnect Phase = iota + 1
	JoinCheck
	JoinCatchUp
	JoinPromote
	JoinMerge
)

// Progress is how far a join is.
type Progress struct {
	Phase Phase
	Text  string
}

// undoTimeout bounds taking back a join that failed.
const undoTimeout = time.Minute

// Join makes this node a member of the cluster that discovery belongs to. What
// this node's metadata held is kept until the join is complete and then merged
// into the cluster's. An error, or the end of ctx, leaves both sides as they
// were.
func (c *Cluster) Join(ctx context.Context, discovery string, progress func(Progress)) error {
	if !c.changing.TryLock() {
		return &sentence{ErrRunning, "a join or leave is already under way on this node; wait for its end"}
	}
	defer c.changing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.JoinTimeout)
	defer cancel()

	name, address, err := ParseNode(discovery)
	if err != nil {
		return err
	}
	progress(Progress{JoinConnect, "connecting to " + address})
	conn, who, err := c.discover(ctx, name, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	progress(Progress{JoinCheck, fmt.Sprintf("reached %s of cluster %s", who.Name, who.Cluster)})
	other, err := c.check(ctx, conn, who)
	if err != nil {
		return err
	}
	if err := c.admitted(ctx, conn, other, progress); err != nil {
		return err
	}
	progress(Progress{JoinMerge, "merging this node's sessions and retained messages"})
	if err := c.merge(ctx); err != nil {
		return err
	}
	c.awaitVote(ctx)
	return nil
}

// voteTimeout bounds how long a join that is complete waits for what follows
// by itself.
const voteTimeout = 5 * time.Second

// awaitVote waits until this node votes, if there is a seat left, and is
// linked to every running member, so that a script that joins several nodes
// one after the other finds each as it will stay.
func (c *Cluster) awaitVote(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, voteTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !c.settledIn() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *Cluster) settledIn() bool {
	voters := c.cfg.Meta.Status().Voters
	if !slices.Contains(voters, c.cfg.Self) && len(voters) < meta.MaxVoters {
		return false
	}
	for _, m := range c.cfg.Meta.Members() {
		if m.ID != c.cfg.Self && m.Up && !c.cfg.Port.Up(m.ID) {
			return false
		}
	}
	return true
}

// discover connects to the discovery node and finds out who it is.
func (c *Cluster) discover(ctx context.Context, name, address string) (*grpc.ClientConn, peer.Identity, error) {
	if address == c.cfg.Address || name == c.cfg.Name {
		return nil, peer.Identity{}, c.selfJoin(name)
	}
	conn, who, err := c.cfg.Port.DialAddress(ctx, address)
	switch {
	case err == nil && who.Node == c.cfg.Self:
		conn.Close()
		return nil, who, c.selfJoin(name)
	case err == nil:
		return conn, who, nil
	case errors.Is(err, peer.ErrSelf):
		return nil, who, c.selfJoin(name)
	case errors.Is(err, peer.ErrCookie), errors.Is(err, peer.ErrVersion), errors.Is(err, peer.ErrCertificate):
		return nil, who, fmt.Errorf("%s: %w", name, err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok { // err has the address twice
		return nil, who, &sentence{ErrUnreachable, fmt.Sprintf("%s cannot be reached at %s: %v", name, address, op.Err)}
	}
	return nil, who, &sentence{ErrUnreachable, fmt.Sprintf("%s cannot be reached: %v", name, err)}
}

func (c *Cluster) selfJoin(name string) error {
	return &sentence{ErrSelfJoin, fmt.Sprintf("%s is this node itself (%s, cluster port %s); name another node, as in discovery-node=VerneMQ@192.168.100.124", name, c.cfg.Name, c.cfg.Address)}
}

// check asks the other side who it is and refuses what cannot work before
// anything is changed.
func (c *Cluster) check(ctx context.Context, conn *grpc.ClientConn, who peer.Identity) (*clusterpb.DescribeResponse, error) {
	client := clusterpb.NewClusterServiceClient(conn)
	other, err := client.Describe(ctx, &clusterpb.DescribeRequest{})
	if err != nil {
		return nil, fmt.Errorf("asking %s for its cluster: %w", who.Name, err)
	}
	own, _ := c.cfg.Meta.View().Cluster()
	members := c.cfg.Meta.Members()
	if message.ClusterID(other.GetCluster()) == own {
		return nil, &sentence{ErrAlreadyMember, fmt.Sprintf("%s and %s are members of the same cluster already", c.cfg.Name, who.Name)}
	}
	if len(members) > 1 {
		return nil, &sentence{ErrHasMembers, fmt.Sprintf("%s already has other members (%s); a node joins with `cluster join` only while it is alone, so let it leave them first: mqadmin cluster leave node=%s -k",
			c.cfg.Name, names(members, c.cfg.Self), c.cfg.Name)}
	}
	_, err = client.Admit(ctx, &clusterpb.AdmitRequest{Member: c.member(), ValidateOnly: true})
	return other, fromStatus(err)
}

func (c *Cluster) member() *clusterpb.Member {
	return &clusterpb.Member{Id: uint64(c.cfg.Self), Name: c.cfg.Name, Address: c.cfg.Address, Version: c.cfg.Version}
}

// admitted gives up this node's own metadata for a replica of the other
// cluster's, and takes everything back when that fails.
func (c *Cluster) admitted(ctx context.Context, conn *grpc.ClientConn, other *clusterpb.DescribeResponse, progress func(Progress)) (err error) {
	before := c.cfg.Port.Identity()
	undo := context.WithoutCancel(ctx)
	if err := c.cfg.Meta.PrepareJoin(ctx); err != nil {
		return fmt.Errorf("setting this node's metadata aside: %w", err)
	}
	admitted := false
	client := clusterpb.NewClusterServiceClient(conn)
	defer func() {
		if err == nil {
			return
		}
		undo, cancel := context.WithTimeout(undo, undoTimeout)
		defer cancel()
		if admitted {
			if _, e := client.Withdraw(undo, &clusterpb.WithdrawRequest{Node: uint64(c.cfg.Self)}); e != nil {
				c.log.Warn("the cluster still counts this node as a member; remove it there with `mqadmin cluster leave`", "node", c.cfg.Name, "error", e)
			}
		}
		c.cfg.Port.SetIdentity(before)
		if e := c.cfg.Meta.AbortJoin(undo); e != nil {
			err = errors.Join(err, fmt.Errorf("taking this node's former metadata back: %w", e))
		}
		c.refreshMembers()
	}()
	id := before
	id.Cluster = message.ClusterID(other.GetCluster())
	id.Generation = message.Generation{Number: other.GetGeneration(), Random: other.GetGenerationId()}
	c.cfg.Port.SetIdentity(id)
	c.cfg.Port.SetMembers(peerMembers(other.GetMembers()))

	resp, err := client.Admit(ctx, &clusterpb.AdmitRequest{Member: c.member()})
	if err != nil {
		return fromStatus(err)
	}
	admitted = true
	progress(Progress{JoinCatchUp, fmt.Sprintf("admitted; receiving the cluster's metadata up to index %d", resp.GetCommit())})
	info := meta.JoinInfo{
		Cluster:    message.ClusterID(resp.GetCluster()),
		Generation: message.Generation{Number: resp.GetGeneration(), Random: resp.GetGenerationId()},
		Leader:     message.NodeID(resp.GetLeader()), Commit: resp.GetCommit(),
	}
	if err := c.cfg.Meta.CommitJoin(ctx, info); err != nil {
		return fmt.Errorf("catching up with the cluster: %w", err)
	}
	progress(Progress{JoinPromote, "caught up"})
	return nil
}

// merge brings into the cluster what this node had before it joined. It is
// also called at a start, for a join whose process ended before that.
func (c *Cluster) merge(ctx context.Context) error {
	if _, err := c.cfg.Meta.NodeUp(ctx, c.cfg.Self, c.cfg.Meta.Incarnation()); err != nil {
		return fmt.Errorf("announcing this node: %w", err)
	}
	res, err := c.cfg.Meta.Merge(ctx)
	if err != nil {
		return fmt.Errorf("this node is a member now, but its former sessions are not merged yet; that goes on at its next start: %w", err)
	}
	for id, epoch := range res.Registered {
		c.cfg.Sessions.SetEpoch(id, epoch)
	}
	for _, id := range res.Lost {
		c.close(id, takenOver)
	}
	c.renew()
	c.reconcile()
	c.log.Info("joined the cluster", "members", names(c.cfg.Meta.Members(), 0), "sessions_merged", res.Sessions, "retained_merged", res.Retained, "sessions_lost", len(res.Lost))
	return nil
}

func peerMembers(list []*clusterpb.Member) []peer.Member {
	out := make([]peer.Member, len(list))
	for i, m := range list {
		out[i] = peer.Member{ID: message.NodeID(m.GetId()), Name: m.GetName(), Address: m.GetAddress()}
	}
	return out
}

// fromStatus turns a refusal by another node into one of this package's
// errors with that node's sentence.
func fromStatus(err error) error {
	if err == nil {
		return nil
	}
	st := status.Convert(err)
	for _, r := range statusReasons {
		if st.Code() == r.code {
			return &sentence{r.reason, st.Message()}
		}
	}
	return err
}

// statusReasons is how refusals of Admit travel.
var statusReasons = []struct {
	reason error
	code   codes.Code
}{
	{ErrNameTaken, codes.AlreadyExists},
	{ErrUnreachable, codes.FailedPrecondition},
	{ErrNoQuorum, codes.Unavailable},
	{ErrSessionsOnline, codes.Aborted},
	{ErrLastNode, codes.OutOfRange},
	{ErrRunning, codes.ResourceExhausted},
}

func toStatus(err error) error {
	for _, r := range statusReasons {
		if errors.Is(err, r.reason) {
			return status.Error(r.code, err.Error())
		}
	}
	if errors.Is(err, meta.ErrNoQuorum) {
		return status.Error(codes.Unavailable, "the cluster has no leader with a majority, so its membership cannot change now; bring a majority of the members up first")
	}
	return err
}
