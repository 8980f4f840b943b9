package session

import (
	"context"
	"time"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// closeTimeout is how long the last packet may take to be written.
const closeTimeout = time.Second

// Wake starts the writer; see queue.Consumer.
func (c *conn) Wake() { c.out.wake(c) }

// Close ends the connection because the queue was taken away; see
// queue.Consumer.
func (c *conn) Close(reason packet.Reason) {
	c.terminate(ending{reason: reason, tell: true, takeover: reason == packet.SessionTakenOver})
}

// disconnect handles DISCONNECT from the client (MQTT 5.0 §3.14).
func (c *conn) disconnect(p *packet.Disconnect) bool {
	c.m.count.received[packet.TypeDisconnect].inc(c.version, p.Reason)
	if p.HasSessionExpiry && p.SessionExpiry != c.expiry {
		if c.expiry == 0 { // [MQTT-3.14.2-2] names the expiry; §3.14.2.2.2 the error
			return c.fail(packet.ProtocolError, "session expiry of 0 cannot be changed at the end")
		}
		c.expiry = p.SessionExpiry
	}
	c.terminate(ending{reason: p.Reason, noWill: p.Reason == packet.NormalDisconnection})
	return false
}

// terminate ends the connection; only the first call counts. It does not wait.
func (c *conn) terminate(e ending) {
	c.mu.Lock()
	if c.end != nil {
		c.mu.Unlock()
		return
	}
	c.end = &e
	for _, t := range c.timers {
		t.Stop()
	}
	c.timers = nil
	for _, t := range []*time.Timer{c.alive, c.reauth} {
		if t != nil {
			t.Stop()
		}
	}
	c.mu.Unlock()
	c.closed.Store(true)
	c.nc.SetWriteDeadline(time.Now().Add(closeTimeout))
	c.out.finish(c, e)
	c.cancel()                            // who sees it finds that a CONNECT is not accepted any more
	c.nc.SetReadDeadline(time.Unix(1, 0)) // the reader ends
}

// finish runs when the reader has ended: it gives the queue back, publishes
// the will and tells the cluster.
func (c *conn) finish() {
	c.terminate(ending{reason: packet.UnspecifiedError})
	c.mu.Lock()
	e := *c.end
	c.mu.Unlock()
	c.wg.Wait() // a subscription that is under way must not outlive the session
	if c.q != nil {
		c.leave(e)
	}
	close(c.finished)
	c.out.await()
	c.nc.Close()
	c.in.release()
}

// leave detaches from the queue.
func (c *conn) leave(e ending) {
	expiry := c.expiry
	if e.cleanup {
		expiry = 0
	}
	will := c.will
	// A client that was never accepted has left no will (MQTT 5.0 §3.1.2.5).
	if e.noWill || c.out.unanswered() || e.takeover && c.set.SuppressWillOnTakeover {
		if will != nil {
			c.pending.ClearWill(will)
		}
		will = nil
	}
	var filters []string
	if expiry == 0 && c.l.Chain.Has(hook.PointOnTopicUnsubscribed) {
		filters = hook.Filters(c.m.cfg.Router.Subscriptions(c.id))
	}
	c.pending.Detach(queue.DetachOptions{Expiry: expiry, Will: will})
	if !c.m.detached(c) {
		return // others share the session
	}
	c.m.cfg.Registrar.Ended(context.Background(), End{
		ID: c.id, Epoch: *c.epoch.Load(), Durable: c.durable, Expiry: expiry, At: time.Now(), Reason: e.reason,
	})
	c.m.told(c)
	if len(filters) > 0 {
		c.l.Chain.OnTopicUnsubscribed(c.id, filters)
	}
	if e.takeover {
		return
	}
	if expiry > 0 {
		c.l.Chain.OnClientOffline(c.id)
	} else {
		c.l.Chain.OnClientGone(c.id)
	}
}

// gone tells whoever gave us the connection that it has ended.
func (c *conn) gone() {
	if c.ended != nil {
		c.ended()
	}
}
