package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/cluster"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
	"github.com/mqadmin/mqadmin/internal/trace"
	"github.com/mqadmin/mqadmin/internal/version"
)

const adminRole = pb.Role_ROLE_ADMIN

// adminConfig gives the admin API what it asks for. identify is for servers
// that other nodes call.
func (b *Broker) adminConfig(identify func(context.Context) (admin.Identity, bool)) admin.Config {
	return admin.Config{
		Cluster: clusterAPI{b}, Node: nodeAPI{b}, Sessions: sessionAPI{b}, Subscriptions: subscriptionAPI{b}, Retained: retainAPI{b}, Routes: routeAPI{b},
		Metrics: b.metrics, Peers: peerAPI{b}, Settings: settingAPI{b},
		Listeners: listenerAPI{b}, Plugins: pluginAPI{b}, Logs: logAPI{b}, Certificates: tlsAPI{b}, Traces: traceAPI{b},
		Errors: errorReasons(), Identify: identify, Logger: b.log.With("part", "audit"), Registry: b.metrics,
		PeerTimeout: func() time.Duration { return b.live.config().Duration("cluster_ready_rpc_timeout") },
		Keys:        b.keys, Audit: b.auditLog(), AuditReads: b.cfg.Flag("log.audit.reads"),
		MaxCalls:         b.cfg.Int("admin.max_concurrent_calls"),
		MaxConnections:   b.cfg.Int("admin.max_connections"),
		MetricsNamespace: b.cfg.String("prometheus_namespace"),
	}
}

// errorReasons names the refusals of lower packages for machines.
func errorReasons() []admin.ErrorMapping {
	return []admin.ErrorMapping{
		{Err: trace.ErrRunning, Reason: pb.ErrorReason_ERROR_REASON_TRACE_RUNNING},
		{Err: cluster.ErrNodeName, Reason: pb.ErrorReason_ERROR_REASON_BAD_NODE_NAME},
		{Err: cluster.ErrUnreachable, Reason: pb.ErrorReason_ERROR_REASON_NODE_UNREACHABLE},
		{Err: cluster.ErrSelfJoin, Reason: pb.ErrorReason_ERROR_REASON_SELF_JOIN},
		{Err: cluster.ErrAlreadyMember, Reason: pb.ErrorReason_ERROR_REASON_ALREADY_MEMBER},
		{Err: cluster.ErrHasMembers, Reason: pb.ErrorReason_ERROR_REASON_HAS_MEMBERS},
		{Err: cluster.ErrNameTaken, Reason: pb.ErrorReason_ERROR_REASON_NAME_TAKEN},
		{Err: cluster.ErrUnknownNode, Reason: pb.ErrorReason_ERROR_REASON_NODE_UNKNOWN},
		{Err: cluster.ErrLastNode, Reason: pb.ErrorReason_ERROR_REASON_LAST_NODE},
		{Err: cluster.ErrSessionsOnline, Reason: pb.ErrorReason_ERROR_REASON_SESSIONS_ONLINE},
		{Err: cluster.ErrRunning, Reason: pb.ErrorReason_ERROR_REASON_OPERATION_RUNNING},
		{Err: cluster.ErrRisk, Reason: pb.ErrorReason_ERROR_REASON_RISK_NOT_ACCEPTED},
		{Err: cluster.ErrNoQuorum, Reason: pb.ErrorReason_ERROR_REASON_NO_QUORUM},
		{Err: meta.ErrNoQuorum, Reason: pb.ErrorReason_ERROR_REASON_NO_QUORUM},
		{Err: meta.ErrNameTaken, Reason: pb.ErrorReason_ERROR_REASON_NAME_TAKEN},
		{Err: queue.ErrNoSession, Reason: pb.ErrorReason_ERROR_REASON_SESSION_UNKNOWN},
		{Err: session.ErrTakenOver, Reason: pb.ErrorReason_ERROR_REASON_SESSION_UNKNOWN},
		{Err: peer.ErrCookie, Reason: pb.ErrorReason_ERROR_REASON_COOKIE_MISMATCH},
		{Err: peer.ErrVersion, Reason: pb.ErrorReason_ERROR_REASON_VERSION_MISMATCH},
		{Err: peer.ErrCertificate, Reason: pb.ErrorReason_ERROR_REASON_NODE_UNREACHABLE},
	}
}

// clusterAPI implements admin.Cluster.
type clusterAPI struct{ b *Broker }

// Members implements admin.Cluster.
func (a clusterAPI) Members(context.Context) (admin.View, error) {
	v := a.b.cluster.Members()
	out := admin.View{
		Node: v.Node, Leader: v.Leader, HasQuorum: v.Status.Quorum,
		ClusterID: v.Status.Cluster, Generation: v.Status.Generation.Number,
	}
	var newest uint64 // Raft's own entries count in its commit index and are applied by nobody
	for _, m := range v.Members {
		newest = max(newest, m.Applied)
	}
	for _, m := range v.Members {
		am := admin.Member{
			Name: m.Name, ID: m.ID, Address: m.Address, Version: m.Version, Role: roleOf(m),
			Running: m.Running, Cordoned: m.Cordoned, Since: m.Since,
		}
		if m.Known {
			applied := m.Applied
			lag := newest - applied
			am.Applied, am.Lag = &applied, &lag
		}
		out.Members = append(out.Members, am)
	}
	return out, nil
}

func roleOf(m cluster.MemberView) admin.Role {
	switch {
	case m.Leader:
		return admin.RoleLeader
	case m.Voter:
		return admin.RoleVoter
	}
	return admin.RoleNonVoter
}

// Join implements admin.Cluster.
func (a clusterAPI) Join(ctx context.Context, discovery string, progress func(admin.JoinProgress)) (admin.JoinResult, error) {
	keys := a.b.meta.View().Keys()
	err := a.b.cluster.Join(ctx, discovery, func(p cluster.Progress) {
		progress(admin.JoinProgress{Phase: admin.JoinPhase(p.Phase), Text: p.Text})
	})
	if err != nil {
		return admin.JoinResult{}, err
	}
	res := admin.JoinResult{Members: a.names()}
	for _, k := range keys { // this cluster's hold now
		if _, ok := a.b.meta.View().Key(k.Hash, k.Scope); !ok {
			res.Dropped = append(res.Dropped, "API key "+keyFromMeta(k).ID()+" ("+k.Scope+")")
		}
	}
	return res, nil
}

// Leave implements admin.Cluster.
func (a clusterAPI) Leave(ctx context.Context, r admin.LeaveRequest, progress func(admin.LeaveProgress)) (admin.LeaveResult, error) {
	outcome, err := a.b.cluster.Leave(ctx, cluster.LeaveRequest{
		Node: r.Node, KillSessions: r.KillSessions, Interval: r.SummaryInterval, Timeout: r.Timeout, AcceptQuorumLoss: r.AcceptQuorumLoss,
	}, func(p cluster.LeaveProgress) {
		progress(admin.LeaveProgress{
			Phase: admin.LeavePhase(p.Phase), Text: p.Text, SessionsOnline: p.SessionsOnline,
			QueuesDone: p.QueuesDone, QueuesTotal: p.QueuesTotal, MessagesDone: p.MessagesDone, MessagesTotal: p.MessagesTotal,
		})
	})
	if err != nil {
		return admin.LeaveResult{}, err
	}
	return admin.LeaveResult{Outcome: admin.LeaveOutcome(outcome), Members: a.names()}, nil
}

func (a clusterAPI) names() []string {
	var out []string
	for _, m := range a.b.cluster.Members().Members {
		out = append(out, m.Name)
	}
	return out
}

// nodeAPI implements admin.Node.
type nodeAPI struct{ b *Broker }

// Status implements admin.Node.
func (a nodeAPI) Status(context.Context) (admin.Status, error) {
	b := a.b
	v := values(b.metrics.Samples())
	st := admin.Status{
		Node: b.name, Version: version.String(), Ready: len(readiness(a).Node()) == 0, StartedAt: b.started,
		MsgIn: v["mqtt_publish_received"], MsgOut: v["mqtt_publish_sent"],
		QueueIn: v["queue_message_in"], QueueOut: v["queue_message_out"],
		QueueDrop: v["queue_message_drop"], QueueUnhandled: v["queue_message_unhandled"],
		NumSubscriptions: v["router_subscriptions"], NumRetained: v["retain_messages"],
		MatchesLocal: v["router_matches_local"], MatchesRemote: v["router_matches_remote"],
	}
	st.Members = map[string]bool{}
	for _, m := range b.cluster.Members().Members {
		st.Members[m.Name] = m.Running
	}
	for _, l := range (readiness{b}).Listeners() {
		st.Listeners = append(st.Listeners, admin.Listener{
			Type: l.Type, State: l.Status, Address: l.Address, Port: l.Port, Mountpoint: l.Mountpoint, MaxConnections: l.MaxConnections,
		})
	}
	st.NumOnline = int64(b.sessions.Connections())
	b.queues.Each(func(i queue.Info) bool { st.NumQueued += int64(i.Pending); return true })
	st.NumOffline = max(v["queue_processes"]-st.NumOnline, 0)
	return st, nil
}

// values sums samples by name.
func values(samples []metrics.Sample) map[string]int64 {
	out := map[string]int64{}
	for _, s := range samples {
		out[s.Name] += s.Value
	}
	return out
}

// Stop implements admin.Stopper. It begins when the call that asks for it is over.
func (a nodeAPI) Stop(ctx context.Context) error {
	stop := func() { a.b.stop.Do(func() { close(a.b.stopped) }) }
	if ctx.Done() == nil {
		stop()
		return nil
	}
	context.AfterFunc(ctx, stop) // once the call has been answered: the caller may be another member
	return nil
}

// Ping implements admin.Node.
func (a nodeAPI) Ping(context.Context) (admin.Pong, error) {
	return admin.Pong{Node: a.b.name, Version: version.String(), Ready: a.b.router.Ready()}, nil
}

// peerAPI implements admin.Peers.
type peerAPI struct{ b *Broker }

// Names implements admin.Peers.
func (a peerAPI) Names() []string {
	var out []string
	for _, m := range a.b.meta.Members() {
		if m.ID != a.b.id.node {
			out = append(out, m.Name)
		}
	}
	return out
}

// Conn implements admin.Peers.
func (a peerAPI) Conn(ctx context.Context, name string) (grpc.ClientConnInterface, error) {
	for _, m := range a.b.meta.Members() {
		if m.Name == name {
			if !a.b.port.Up(m.ID) {
				return nil, errors.New("no link to the node")
			}
			return a.b.port.Conn(ctx, m.ID)
		}
	}
	return nil, fmt.Errorf("%s is not a member", name)
}
