package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
)

// Register makes this node the owner of a session. When it returns, the former
// owner's connection is closed on every node that can be reached, and the
// queue of the session is here, as far as its former owners could hand it over
// within EnqueueTimeout.
func (c *Cluster) Register(ctx context.Context, r session.RegisterRequest) (session.Registration, error) {
	if err := c.endings.wait(ctx, r.ID); err != nil {
		return session.Registration{}, err
	}
	c.registers.begin(r.ID)
	defer c.registered(r.ID)
	reg, err := c.cfg.Meta.Register(ctx, meta.RegisterRequest{
		ID: r.ID, CleanStart: r.CleanStart, Durable: r.Durable, Expiry: r.Expiry,
	}, meta.Options{Overlay: r.AllowNetsplit})
	if err != nil {
		return session.Registration{}, translate(err)
	}
	out := session.Registration{Present: reg.Present, Epoch: reg.Epoch, UpperHalf: reg.UpperHalf}
	missing, err := c.take(ctx, r, reg)
	if err == nil && slices.Contains(missing, reg.Previous) {
		out.UpperHalf, err = c.otherHalf(ctx, r.ID, reg)
	}
	if err != nil {
		// The client gave up, or its queue cannot be opened: nobody is connected.
		c.Ended(ctx, session.End{ID: r.ID, Epoch: reg.Epoch, Durable: r.Durable, Expiry: r.Expiry, At: time.Now()})
		return session.Registration{}, translate(err)
	}
	if r.Durable {
		out.Record = &message.SessionRecord{
			ID: r.ID, Epoch: reg.Epoch, Expiry: r.Expiry, UpperHalf: out.UpperHalf, Subscriptions: reg.Subscriptions,
		}
	}
	return out, nil
}

// Admit tells whether a client may share a session that is connected here: it
// needs no registration of its own, but the cluster must be ready as for one.
func (c *Cluster) Admit(allowNetsplit bool) error {
	if allowNetsplit || c.cfg.Meta.Status().Quorum {
		return nil
	}
	return session.ErrNotReady
}

// otherHalf makes a session draw its packet identifiers from the other half
// than its former owner did: what that had in flight is not known, and comes
// later with the identifiers that it has.
func (c *Cluster) otherHalf(ctx context.Context, id message.SessionID, reg meta.Registration) (upper bool, err error) {
	upper = !reg.UpperHalf
	if _, err := c.cfg.Meta.SetHalf(ctx, id, reg.Epoch, upper); err != nil {
		return reg.UpperHalf, fmt.Errorf("changing the packet identifiers of %s: %w", id, err)
	}
	return upper, nil
}

// take waits until the former owner of a session has let go of it and fetches
// what other nodes hold of its queue. It returns the nodes that did not answer
// in time.
func (c *Cluster) take(ctx context.Context, r session.RegisterRequest, reg meta.Registration) (missing []message.NodeID, err error) {
	if reg.Previous != 0 && reg.Previous != c.cfg.Self && reg.Connected {
		if err := c.cfg.Meta.WaitVisible(ctx, reg.Index); err != nil {
			return nil, err
		}
	}
	if len(reg.Sources) == 0 {
		return nil, nil
	}
	if _, _, err := c.cfg.Queues.Open(c.held(r.ID, r.Expiry, reg)); err != nil {
		return nil, fmt.Errorf("opening the queue of %s: %w", r.ID, err)
	}
	limit := time.NewTimer(c.EnqueueTimeout())
	defer limit.Stop()
	select {
	case missing = <-c.startMove(r.ID, reg.Epoch):
	case <-limit.C: // the rest follows what is delivered here
		if s, ok := c.cfg.Meta.Session(r.ID); ok {
			for _, src := range s.Sources {
				missing = append(missing, src.Node)
			}
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return missing, nil
}

// held asks for a queue into which parts of former owners are imported.
func (c *Cluster) held(id message.SessionID, expiry uint32, reg meta.Registration) queue.OpenRequest {
	return queue.OpenRequest{
		ID: id, Epoch: reg.Epoch, Durable: true, Expiry: expiry, UpperHalf: reg.UpperHalf, Subscriptions: reg.Subscriptions,
		Held: true, Options: c.cfg.QueueOptions(),
	}
}

func translate(err error) error {
	switch {
	case errors.Is(err, meta.ErrNoQuorum), errors.Is(err, meta.ErrOverlayFull):
		return fmt.Errorf("%w: %w", session.ErrNotReady, err)
	case errors.Is(err, meta.ErrStaleEpoch), errors.Is(err, meta.ErrSuperseded):
		return fmt.Errorf("%w: %w", session.ErrTakenOver, err)
	}
	return err
}

// Ended notes that a connection has ended: a clean session goes, a durable one
// is offline from now. It does not block.
func (c *Cluster) Ended(_ context.Context, e session.End) {
	if !e.Durable {
		c.cfg.Router.Forget(e.ID)
	}
	noted, kept := func() {}, e.Durable
	if e.Durable && e.Expiry == 0 { // DISCONNECT, or somebody here, has ended the session
		noted, kept = c.endings.begin(e.ID), false
	}
	c.ends.Go(func() {
		defer noted()
		_, err := c.cfg.Meta.Release(c.ctx, meta.ReleaseRequest{ID: e.ID, Epoch: e.Epoch, Durable: kept, Expiry: e.Expiry, At: e.At})
		if err != nil && !over(err) && c.ctx.Err() == nil {
			c.log.Warn("the end of a connection could not be noted in the cluster", "client", e.ID.String(), "error", err)
		}
	})
}

// endings are durable sessions whose end is being noted in the cluster. A
// client that comes back at once must not find the session that it has ended
// [MQTT-3.1.2-23].
type endings struct {
	mu sync.Mutex // guards what follows
	of map[message.SessionID]chan struct{}
}

// begin notes that the end of id is being noted, until the result is called.
func (s *endings) begin(id message.SessionID) (noted func()) {
	done := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[message.SessionID]chan struct{}{}
	}
	s.of[id] = done
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.of[id] == done {
			delete(s.of, id)
		}
		close(done)
	}
}

// wait returns once no end of id is being noted.
func (s *endings) wait(ctx context.Context, id message.SessionID) error {
	s.mu.Lock()
	done := s.of[id]
	s.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Flush waits until the ends of connections are noted in the cluster, or ctx
// ends.
func (c *Cluster) Flush(ctx context.Context) { c.ends.Wait(ctx) }

// over reports whether the session has gone on without this connection.
func over(err error) bool {
	return errors.Is(err, meta.ErrStaleEpoch) || errors.Is(err, meta.ErrNoSession) || errors.Is(err, meta.ErrSuperseded)
}

// Expired removes a durable session whose expiry has passed on this node.
func (c *Cluster) Expired(id message.SessionID, epoch message.Epoch) {
	c.wg.Go(func() {
		_, err := c.cfg.Meta.DeleteSession(c.ctx, id, epoch)
		if err != nil && !over(err) && c.ctx.Err() == nil {
			c.log.Warn("an expired session could not be removed from the cluster", "client", id.String(), "error", err)
		}
	})
}

// Disconnect ends the connection of a session on this node; with cleanup the
// session itself is removed from the whole cluster.
func (c *Cluster) Disconnect(ctx context.Context, id message.SessionID, cleanup bool) (disconnected, cleaned bool, err error) {
	disconnected = c.cfg.Sessions.Disconnect(id, session.DisconnectOptions{Reason: administrative})
	if !cleanup {
		return disconnected, false, nil
	}
	_, err = c.cfg.Meta.DeleteSession(ctx, id, message.Epoch{})
	switch {
	case err == nil:
		cleaned = true
	case errors.Is(err, meta.ErrNoSession):
		err = nil
	}
	return disconnected, cleaned, err
}

// Owner returns the name of the node that owns a session, "" if none does.
func (c *Cluster) Owner(id message.SessionID) string {
	s, ok := c.cfg.Meta.Session(id)
	if !ok {
		return ""
	}
	if m, ok := c.cfg.Meta.Member(s.Owner); ok {
		return m.Name
	}
	return s.Owner.String()
}

// restore decides about a durable session that lies on this node's disk but
// is not this node's in the registry. If it was registered in this very
// cluster, the registry has gone on without it and it is deleted; otherwise the
// metadata directory was wiped or the node has joined another cluster, and the
// session is registered again, so that no queued message is lost.
func (c *Cluster) restore(id message.SessionID) {
	rec, err := c.cfg.Records.Session(id)
	if err != nil || rec == nil {
		c.cfg.Queues.Delete(id)
		return
	}
	// The record was read before the registry is asked: a client that connects
	// now writes them in the other order.
	now, elsewhere := c.cfg.Meta.Session(id)
	if elsewhere && (now.Owner == c.cfg.Self || c.holds(now)) {
		return
	}
	own, _ := c.cfg.Meta.View().Cluster()
	if rec.Epoch.Cluster == own {
		c.log.Info("a session that ended or moved while this node was away is deleted here", "client", id.String())
		c.cfg.Queues.Delete(id)
		return
	}
	if elsewhere {
		return // a join is about to name this node as a source; the owner pulls
	}
	if err := c.registerAgain(rec); err != nil && !over(err) {
		c.log.Error("a session on this node's disk could not be registered again", "client", id.String(), "error", err)
		return
	}
	c.log.Info("a session on this node's disk was registered again", "client", id.String(), "messages", c.pending(id))
}

func (c *Cluster) registerAgain(rec *message.SessionRecord) error {
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	reg, err := c.cfg.Meta.Register(ctx, meta.RegisterRequest{ID: rec.ID, Durable: true, Expiry: rec.Expiry}, meta.Options{Overlay: true})
	if err != nil {
		return err
	}
	c.cfg.Sessions.SetEpoch(rec.ID, reg.Epoch)
	if len(rec.Subscriptions) > 0 {
		if _, _, err := c.cfg.Meta.Subscribe(ctx, rec.ID, reg.Epoch, rec.Subscriptions, meta.Options{Overlay: true}); err != nil {
			return err
		}
	}
	at := time.Now()
	if rec.OfflineSince != 0 {
		at = time.UnixMilli(rec.OfflineSince)
	}
	_, err = c.cfg.Meta.Release(ctx, meta.ReleaseRequest{ID: rec.ID, Epoch: reg.Epoch, Durable: true, Expiry: rec.Expiry, At: at})
	return err
}
