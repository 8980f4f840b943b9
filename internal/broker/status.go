package broker

import (
	"context"
	"slices"
	"sync"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/web"
)

// readiness says whether a load balancer should send clients here.
type readiness struct{ b *Broker }

// Node implements web.Readiness.
func (r readiness) Node() []string {
	var why []string
	if !r.b.router.Ready() {
		why = append(why, "Routing tables are not loaded")
	}
	if s := r.b.settings.load(); !r.b.meta.Status().Quorum && !s.AllowRegister {
		why = append(why, "No quorum")
	}
	return why
}

// Listeners implements web.Readiness.
func (r readiness) Listeners() []web.Listener {
	var out []web.Listener
	for _, st := range r.b.listeners.List() {
		out = append(out, web.Listener{
			Type: st.Config.Type.Shown(), Status: string(st.State), Address: st.Address, Port: st.Port,
			Mountpoint: st.Config.Mountpoint, MaxConnections: st.Config.MaxConnections,
		})
	}
	return out
}

// Offline implements web.Readiness.
func (r readiness) Offline() []string {
	var out []string
	for _, m := range r.b.cluster.Members().Members {
		if !m.Running {
			out = append(out, m.Name)
		}
	}
	return out
}

// statusPage is /status.json.
type statusPage struct{ b *Broker }

// Nodes implements web.Status: this node, and those that answer.
func (s statusPage) Nodes(ctx context.Context) []web.NodeStatus {
	st, err := nodeAPI(s).Status(ctx)
	if err != nil {
		return nil
	}
	peers := peerAPI(s)
	names := peers.Names()
	slices.Sort(names)
	answers := make([]*pb.GetNodeStatusResponse, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			if conn, err := peers.Conn(ctx, name); err == nil {
				answers[i], _ = pb.NewNodeServiceClient(conn).GetNodeStatus(ctx, &pb.GetNodeStatusRequest{}) // who does not answer is left out
			}
		})
	}
	wg.Wait()
	out := []web.NodeStatus{webStatus(admin.StatusToProto(st))}
	for _, r := range answers {
		if r != nil {
			out = append(out, webStatus(r))
		}
	}
	return out
}

// webStatus is a node's answer as /status.json has it.
func webStatus(r *pb.GetNodeStatusResponse) web.NodeStatus {
	n := web.NodeStatus{
		Name: r.GetNode(), Online: r.GetNumOnline(), Offline: r.GetNumOffline(), MessagesIn: r.GetMsgIn(), MessagesOut: r.GetMsgOut(),
		QueueIn: r.GetQueueIn(), QueueOut: r.GetQueueOut(), QueueDrop: r.GetQueueDrop(), QueueUnhandled: r.GetQueueUnhandled(),
		Subscriptions: r.GetNumSubscriptions(), Retained: r.GetNumRetained(),
		MatchesLocal: r.GetMatchesLocal(), MatchesRemote: r.GetMatchesRemote(), Version: r.GetVersion(), Members: r.GetMembers(),
	}
	for _, l := range r.GetListeners() {
		n.Listeners = append(n.Listeners, web.Listener{
			Type: l.GetType(), Status: l.GetState(), Address: l.GetAddress(), Port: int(l.GetPort()),
			Mountpoint: l.GetMountpoint(), MaxConnections: int(l.GetMaxConnections()),
		})
	}
	return n
}
