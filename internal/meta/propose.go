package meta

import (
	"context"
	"errors"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// propose hands a command to the leader and returns when it is applied here,
// observers included. When ctx ends first, the command's outcome is open: it
// stays in its place of the sequence.
func (s *Store) propose(ctx context.Context, c *metapb.Command, overlay, volatile bool) (result, error) {
	began := time.Now()
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return result{}, ctx.Err()
	case <-s.ctx.Done():
		return result{}, ErrClosed
	}
	o := &op{cmd: c, overlay: overlay, volatile: volatile, slot: true, waiting: true, done: make(chan result, 1)}
	if err := s.prop.add(o, &s.clock, s.cfg.MaxOverlay); err != nil {
		if errors.Is(err, ErrOverlayFull) {
			s.full.Inc()
		}
		<-s.slots
		return result{}, err
	}
	select {
	case r := <-o.done:
		s.took.put.Since(began)
		return r, r.err
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
	if !s.prop.abandon(o) {
		r := <-o.done
		return r, r.err
	}
	if s.ctx.Err() != nil {
		return result{}, ErrClosed
	}
	return result{}, ctx.Err()
}

// RegisterRequest asks for the ownership of a session.
type RegisterRequest struct {
	ID         message.SessionID
	CleanStart bool
	// Durable sessions outlive their connection by Expiry seconds.
	Durable bool
	Expiry  uint32
}

// Register makes this node the owner of a session, with a new epoch. If ctx
// ends before it is known to be done, the store releases the session again.
func (s *Store) Register(ctx context.Context, r RegisterRequest, o Options) (Registration, error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_Register{Register: &metapb.Register{
		Mountpoint: r.ID.Mountpoint, Client: r.ID.ClientID, CleanStart: r.CleanStart, Durable: r.Durable, Expiry: r.Expiry,
	}}}, o.Overlay, false)
	res.reg.Index = res.index
	return res.reg, err
}

// ReleaseRequest says that a session's connection has ended.
type ReleaseRequest struct {
	ID    message.SessionID
	Epoch message.Epoch
	// Durable and Expiry as at the end of the connection: a DISCONNECT may
	// have changed them.
	Durable bool
	Expiry  uint32
	At      time.Time
}

// Release notes the end of a connection: a clean session is deleted, a
// durable one is offline. An epoch that is no longer current changes nothing:
// ErrStaleEpoch.
func (s *Store) Release(ctx context.Context, r ReleaseRequest) (index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_Release{Release: &metapb.Release{
		Mountpoint: r.ID.Mountpoint, Client: r.ID.ClientID, Epoch: epochToPB(r.Epoch), Durable: r.Durable, Expiry: r.Expiry,
		At: r.At.UnixMilli(),
	}}}, true, false)
	return res.index, err
}

// DeleteSession removes a session with its subscriptions if its epoch is still
// that one; a zero epoch removes it whatever its epoch.
func (s *Store) DeleteSession(ctx context.Context, id message.SessionID, e message.Epoch) (index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_DeleteSession{DeleteSession: &metapb.DeleteSession{
		Mountpoint: id.Mountpoint, Client: id.ClientID, Epoch: epochToPB(e),
	}}}, true, false)
	return res.index, err
}

// Subscribe adds or replaces subscriptions of a durable session. existed says
// for each whether there was one of that filter.
func (s *Store) Subscribe(ctx context.Context, id message.SessionID, e message.Epoch, subs []message.Subscription, o Options) (existed []bool, index uint64, err error) {
	op := &metapb.Subscribe{Mountpoint: id.Mountpoint, Client: id.ClientID, Epoch: epochToPB(e)}
	for _, sub := range subs {
		op.Subscriptions = append(op.Subscriptions, subToPB(sub))
	}
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_Subscribe{Subscribe: op}}, o.Overlay, false)
	return padded(res.existed, len(subs), true), res.index, err
}

// Unsubscribe removes subscriptions of a durable session. existed says for
// each whether there was one.
func (s *Store) Unsubscribe(ctx context.Context, id message.SessionID, e message.Epoch, filters []string, o Options) (existed []bool, index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_Unsubscribe{Unsubscribe: &metapb.Unsubscribe{
		Mountpoint: id.Mountpoint, Client: id.ClientID, Epoch: epochToPB(e), Filters: filters,
	}}}, o.Overlay, false)
	return padded(res.existed, len(filters), true), res.index, err
}

// padded fills in answers that were lost because the command came back inside
// a snapshot.
func padded(b []bool, n int, v bool) []bool {
	for len(b) < n {
		b = append(b, v)
	}
	return b
}

// SetRoute says that this node has clean sessions subscribed to the filter.
func (s *Store) SetRoute(ctx context.Context, mountpoint, filter string, o Options) (index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_SetRoute{SetRoute: &metapb.SetRoute{
		Mountpoint: mountpoint, Filter: filter,
	}}}, o.Overlay, true)
	return res.index, err
}

// ClearRoute takes SetRoute back.
func (s *Store) ClearRoute(ctx context.Context, mountpoint, filter string, o Options) (index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_ClearRoute{ClearRoute: &metapb.ClearRoute{
		Mountpoint: mountpoint, Filter: filter,
	}}}, o.Overlay, true)
	return res.index, err
}

// JoinShared enters a clean session of this node into a shared group;
// sub.Filter starts with "$share/".
func (s *Store) JoinShared(ctx context.Context, id message.SessionID, e message.Epoch, sub message.Subscription, o Options) (index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_JoinShared{JoinShared: &metapb.JoinShared{
		Mountpoint: id.Mountpoint, Client: id.ClientID, Epoch: epochToPB(e), Subscription: subToPB(sub),
	}}}, o.Overlay, true)
	return res.index, err
}

// LeaveShared takes JoinShared back.
func (s *Store) LeaveShared(ctx context.Context, id message.SessionID, filter string, o Options) (index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_LeaveShared{LeaveShared: &metapb.LeaveShared{
		Mountpoint: id.Mountpoint, Client: id.ClientID, Filter: filter,
	}}}, o.Overlay, true)
	return res.index, err
}

// SetRetained makes m the retained message of its topic.
func (s *Store) SetRetained(ctx context.Context, m *message.Message, o Options) (index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_SetRetained{SetRetained: &metapb.SetRetained{
		Message: m.AppendBinary(nil),
	}}}, o.Overlay, false)
	return res.index, err
}

// DeleteRetained removes the retained message of a topic.
func (s *Store) DeleteRetained(ctx context.Context, mountpoint, topic string, o Options) (index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_DeleteRetained{DeleteRetained: &metapb.DeleteRetained{
		Mountpoint: mountpoint, Topic: topic,
	}}}, o.Overlay, false)
	return res.index, err
}

// DeleteExpiredRetained removes the retained message of a topic if it has
// expired at that time, and tells whether it has.
func (s *Store) DeleteExpiredRetained(ctx context.Context, mountpoint, topic string, at time.Time) (deleted bool, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_DeleteRetained{DeleteRetained: &metapb.DeleteRetained{
		Mountpoint: mountpoint, Topic: topic, ExpiredAt: at.UnixMilli(),
	}}}, false, false)
	return padded(res.existed, 1, true)[0] && err == nil, err
}

// StrikeSource removes a drained source from a session.
func (s *Store) StrikeSource(ctx context.Context, id message.SessionID, src Source) (index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_StrikeSource{StrikeSource: &metapb.StrikeSource{
		Mountpoint: id.Mountpoint, Client: id.ClientID, Source: sourceToPB(src),
	}}}, false, false)
	return res.index, err
}

// SetHalf notes which half of the packet ids the owner draws from.
func (s *Store) SetHalf(ctx context.Context, id message.SessionID, e message.Epoch, upper bool) (index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_SetHalf{SetHalf: &metapb.SetHalf{
		Mountpoint: id.Mountpoint, Client: id.ClientID, Epoch: epochToPB(e), Upper: upper,
	}}}, true, false)
	return res.index, err
}

// NodeUp announces an incarnation of a node: what earlier incarnations left of
// clean sessions and routes is dropped. For this node itself the incarnation
// is the one that the store proposes with, whatever is passed.
func (s *Store) NodeUp(ctx context.Context, node message.NodeID, incarnation uint32) (index uint64, err error) {
	if node == s.self() {
		incarnation = s.prop.current()
	}
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_NodeUp{NodeUp: &metapb.NodeUp{
		Node: uint64(node), Incarnation: incarnation,
	}}}, true, true)
	return res.index, err
}

// NodeDown fences an incarnation of a node and drops its clean sessions and
// routes; durable ones are offline from now.
func (s *Store) NodeDown(ctx context.Context, node message.NodeID, incarnation uint32) (index uint64, err error) {
	res, err := s.propose(ctx, &metapb.Command{Op: &metapb.Command_NodeDown{NodeDown: &metapb.NodeDown{
		Node: uint64(node), Incarnation: incarnation,
	}}}, false, false)
	return res.index, err
}
