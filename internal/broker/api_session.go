package broker

import (
	"context"
	"fmt"
	"slices"

	pb "github.com/mqadmin/mqadmin/api/mqadmin/v1"
	"github.com/mqadmin/mqadmin/internal/admin"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/session"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// sessionAPI implements admin.Sessions.
type sessionAPI struct{ b *Broker }

// Each implements admin.Sessions. It follows the registry, which is in order
// and can be read at any speed, and asks for each session of this node what it
// is like; so nothing is collected, however many there are.
func (a sessionAPI) Each(ctx context.Context, scope admin.Scope, fn func(*admin.Session) bool) error {
	if scope.ClientID != nil {
		for _, id := range a.named(scope) {
			if i, ok := a.b.sessions.Get(id); ok && !fn(a.row(i)) {
				break
			}
		}
		return ctx.Err()
	}
	from := scope.From
	if scope.Mountpoint != nil && from.Mountpoint < *scope.Mountpoint {
		from = message.SessionID{Mountpoint: *scope.Mountpoint}
	}
	a.b.meta.Sessions(from, func(s *meta.Session) bool {
		switch {
		case ctx.Err() != nil, scope.Mountpoint != nil && s.ID.Mountpoint != *scope.Mountpoint:
			return false
		case !a.here(s), scope.Accept != nil && !scope.Accept(s.ID):
			return true
		}
		i, ok := a.b.sessions.Get(s.ID)
		return !ok || fn(a.row(i))
	})
	return ctx.Err()
}

// here reports whether this node has a queue of the session: as its owner, or
// because its owner has not taken all over.
func (a sessionAPI) here(s *meta.Session) bool {
	return s.Owner == a.b.id.node || slices.ContainsFunc(s.Sources, func(src meta.Source) bool { return src.Node == a.b.id.node })
}

// named are the sessions that a scope with a client id can mean, in order: one
// for each mountpoint.
func (a sessionAPI) named(scope admin.Scope) []message.SessionID {
	if scope.Mountpoint != nil {
		return []message.SessionID{{Mountpoint: *scope.Mountpoint, ClientID: *scope.ClientID}}
	}
	var ids []message.SessionID
	for _, mp := range a.b.meta.Mountpoints() {
		ids = append(ids, message.SessionID{Mountpoint: mp, ClientID: *scope.ClientID})
	}
	return ids
}

// Locate implements admin.Sessions.
func (a sessionAPI) Locate(scope admin.Scope) ([]string, bool) {
	if st := a.b.meta.Status(); !st.Quorum || st.Provisional {
		return nil, false // other members may have given it to themselves
	}
	var names []string
	for _, id := range a.named(scope) {
		s, ok := a.b.meta.Session(id)
		if !ok {
			continue
		}
		nodes := []message.NodeID{s.Owner}
		for _, src := range s.Sources {
			nodes = append(nodes, src.Node)
		}
		for _, n := range nodes {
			if m, ok := a.b.meta.Member(n); ok {
				names = append(names, m.Name)
			}
		}
	}
	return names, true
}

func (a sessionAPI) row(i session.Info) *admin.Session {
	s := &admin.Session{
		ID: i.ID, Node: a.b.name, QueueName: "queue " + i.ID.String(), State: i.State, DeliverMode: i.DeliverMode,
		OfflineMessages: int64(i.OfflineMessages), OnlineMessages: int64(i.OnlineMessages), CleanSession: i.CleanSession,
		Plugin: i.Plugin, StartedAt: i.QueueStartedAt,
	}
	if i.Online {
		s.Connections = connections(i)
	}
	return s
}

// connections lists those of a session; what waits for acknowledgements is told
// of the session as a whole, with the newest.
func connections(i session.Info) []admin.Connection {
	list := make([]admin.Connection, max(len(i.Connections), 1))
	for k := range list {
		list[k].Name = "connection " + i.ID.String()
		if k >= len(i.Connections) {
			break // it is being taken over
		}
		c := i.Connections[k]
		list[k].User, list[k].Protocol, list[k].StartedAt = c.User, byte(c.Protocol), c.StartedAt
		if c.Peer.IsValid() {
			list[k].PeerHost, list[k].PeerPort = c.Peer.Addr().String(), c.Peer.Port()
		}
	}
	list[0].WaitingAcks = int64(i.WaitingAcks)
	return list
}

// Subscriptions implements admin.Sessions.
func (a sessionAPI) Subscriptions(_ context.Context, id message.SessionID) ([]message.Subscription, error) {
	return a.b.router.Subscriptions(id), nil
}

// Messages implements admin.Sessions.
func (a sessionAPI) Messages(_ context.Context, id message.SessionID) ([]admin.QueuedMessage, error) {
	const page = 1000 // what one answer shows of a queue
	stored, err := a.b.store.ReadQueue(id, 0, page)
	if err != nil {
		return nil, fmt.Errorf("reading the queue of %s: %w", id, err)
	}
	out := make([]admin.QueuedMessage, len(stored))
	for i, s := range stored {
		out[i] = admin.QueuedMessage{Message: s.Message, QoS: s.Entry.QoS, Dup: s.Entry.PacketID != 0}
	}
	return out, nil
}

// Disconnect implements admin.Sessions.
func (a sessionAPI) Disconnect(ctx context.Context, r admin.DisconnectRequest) (admin.DisconnectResult, error) {
	b := a.b
	owner := b.cluster.Owner(r.ID)
	res := admin.DisconnectResult{Node: owner}
	if owner != "" && owner != b.name && !r.LocalOnly {
		// The owner closes the connection; what is to be deleted is deleted in
		// the metadata, by whichever node is asked.
		remote, err := a.disconnectOn(ctx, owner, r.ID)
		if err != nil && !r.Cleanup {
			return res, err
		}
		res.Disconnected = remote.Disconnected
	}
	disconnected, cleaned, err := b.cluster.Disconnect(ctx, r.ID, r.Cleanup && !r.LocalOnly)
	res.Disconnected = res.Disconnected || disconnected
	res.Cleaned = cleaned
	return res, err
}

func (a sessionAPI) disconnectOn(ctx context.Context, owner string, id message.SessionID) (admin.DisconnectResult, error) {
	conn, err := peerAPI(a).Conn(ctx, owner)
	if err != nil {
		return admin.DisconnectResult{}, admin.NewError(pb.ErrorReason_ERROR_REASON_NODE_DOWN,
			fmt.Sprintf("%s, which has the session of %s, cannot be reached", owner, id), "node", owner)
	}
	return admin.DisconnectOn(ctx, conn, admin.DisconnectRequest{ID: id})
}

// Owner implements admin.Sessions.
func (a sessionAPI) Owner(id message.SessionID) (string, bool) {
	owner := a.b.cluster.Owner(id)
	return owner, owner == a.b.name
}

// subscriptionAPI implements admin.Subscriptions.
type subscriptionAPI struct{ b *Broker }

// Subscribe implements admin.Subscriptions.
func (a subscriptionAPI) Subscribe(ctx context.Context, id message.SessionID, sub message.Subscription) (bool, error) {
	if err := topic.ValidateFilter(sub.Filter, a.b.settings.load().TopicMaxDepth); err != nil {
		return false, admin.NewError(pb.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, fmt.Sprintf("topic %q: %v", sub.Filter, err), "argument", "topic")
	}
	return a.b.sessions.Subscribe(ctx, id, sub)
}

// Unsubscribe implements admin.Subscriptions.
func (a subscriptionAPI) Unsubscribe(ctx context.Context, id message.SessionID, filter string, tell bool) (bool, error) {
	return a.b.sessions.Unsubscribe(ctx, id, filter, tell)
}

// Reauthorize implements admin.Subscriptions.
func (a subscriptionAPI) Reauthorize(ctx context.Context, id message.SessionID, username string) (removed, replaced []string, err error) {
	return a.b.sessions.Reauthorize(ctx, id, username)
}
