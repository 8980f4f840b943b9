package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/router"
)

// Rerouter takes spooled messages to where their sessions are now. Implemented
// by router.Router.
type Rerouter interface {
	Reroute(m *message.Message, heirs []router.Heir, done func(error))
}

// Numbers of rerouting.
const (
	reroutePage  = 256
	reroutePause = time.Second
	rerouteTries = 120
)

// reroute empties this node's spool for a node that was removed: what waited
// for its durable sessions goes to where they are now. It waits until they all
// have a new owner, and tries again while a part cannot be delivered.
func (c *Cluster) reroute(gone message.NodeID) {
	for range rerouteTries {
		err := c.rerouteOnce(gone)
		if err == nil || c.ctx.Err() != nil {
			return
		}
		c.log.Info("messages that waited for a removed node are not all delivered yet", "node", gone.String(), "reason", err)
		c.pause(reroutePause)
	}
	c.log.Error("messages that waited for a removed node stay in the spool; they are tried again at the next start", "node", gone.String())
}

func (c *Cluster) rerouteOnce(gone message.NodeID) error {
	page, err := c.cfg.Spool.Read(gone, 0, reroutePage)
	if err != nil || len(page) == 0 {
		return err
	}
	heirs, err := c.heirs(gone)
	if err != nil {
		return err
	}
	n := 0
	for len(page) > 0 {
		if err := c.deliverSpooled(page, heirs); err != nil {
			return err
		}
		n += len(page)
		last := page[len(page)-1].Seq
		if err := c.cfg.Spool.Truncate(gone, last); err != nil {
			return err
		}
		if page, err = c.cfg.Spool.Read(gone, last+1, reroutePage); err != nil {
			return err
		}
	}
	c.log.Info("messages that waited for a removed node went to the new owners of its sessions", "node", gone.String(), "messages", n)
	return nil
}

// heirs lists the durable sessions that the node had, with their new owners.
func (c *Cluster) heirs(gone message.NodeID) ([]router.Heir, error) {
	var out []router.Heir
	orphans := 0
	v := c.cfg.Meta.View()
	v.Sessions(message.SessionID{}, func(s *meta.Session) bool {
		if s.Owner == gone {
			orphans++
		}
		for _, src := range s.Sources {
			if src.Node == gone {
				out = append(out, router.Heir{Session: s.ID, Node: s.Owner, Since: s.Since, Subscriptions: v.Subscriptions(s.ID)})
				break
			}
		}
		return true
	})
	if orphans > 0 {
		return nil, fmt.Errorf("%d sessions have no new owner yet", orphans)
	}
	return out, nil
}

// deliverSpooled returns when every message of the page is delivered.
func (c *Cluster) deliverSpooled(page []peer.Spooled, heirs []router.Heir) error {
	answers := make(chan error, len(page))
	sent := 0
	for _, s := range page {
		f, err := peer.DecodeSpooled(s)
		if err != nil {
			c.log.Error("a spooled message cannot be read and is lost", "error", err)
			continue
		}
		sent++
		c.cfg.Rerouter.Reroute(f.Message, heirs, func(err error) { answers <- err })
	}
	var errs []error
	for range sent {
		select {
		case err := <-answers:
			errs = append(errs, err)
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
	return errors.Join(errs...)
}

// rerouteLeftovers looks, after a start, for spools of nodes that were removed
// meanwhile: those that sessions still name as sources.
func (c *Cluster) rerouteLeftovers() {
	gone := map[message.NodeID]bool{}
	c.cfg.Meta.View().Sessions(message.SessionID{}, func(s *meta.Session) bool {
		for _, src := range s.Sources {
			if _, member := c.cfg.Meta.Member(src.Node); !member {
				gone[src.Node] = true
			}
		}
		return true
	})
	for node := range gone {
		c.reroute(node)
	}
}
