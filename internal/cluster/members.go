package cluster

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/session"
)

// links remembers since when the link to each node is as it is.
type links struct {
	mu    sync.Mutex
	since map[message.NodeID]link
	seen  map[message.NodeID]sighting
}

type link struct {
	up          bool
	incarnation uint32
	at          time.Time
}

// OnLink takes the news of a link; it is peer.Config.OnLink.
func (c *Cluster) OnLink(node message.NodeID, incarnation uint32, up bool) {
	c.links.mu.Lock()
	c.links.since[node] = link{up: up, incarnation: incarnation, at: time.Now()}
	c.links.mu.Unlock()
	if up {
		c.moves.wake()
		c.log.Info("link is up", "node", c.nameOf(node))
	} else {
		c.log.Warn("link is down", "node", c.nameOf(node))
	}
}

func (c *Cluster) link(node message.NodeID) link {
	c.links.mu.Lock()
	defer c.links.mu.Unlock()
	return c.links.since[node]
}

func (c *Cluster) nameOf(node message.NodeID) string {
	if m, ok := c.cfg.Meta.Member(node); ok {
		return m.Name
	}
	return node.String()
}

// refreshMembers gives the membership to the cluster port.
func (c *Cluster) refreshMembers() {
	members := c.cfg.Meta.Members()
	out := make([]peer.Member, len(members))
	for i, m := range members {
		out[i] = peer.Member{ID: m.ID, Name: m.Name, Address: m.Address}
	}
	c.cfg.Port.SetMembers(out)
	id := c.cfg.Port.Identity()
	cluster, gen := c.cfg.Meta.View().Cluster()
	if cluster != 0 && (id.Cluster != cluster || id.Generation != gen) && !c.cfg.Meta.Status().Joining {
		id.Cluster, id.Generation = cluster, gen
		c.cfg.Port.SetIdentity(id)
	}
}

func (c *Cluster) memberChanged(e meta.MemberChanged) {
	c.refreshMembers()
	if e.New == nil && e.Old.ID != c.cfg.Self {
		c.moves.wake() // nobody waits for its messages any more
		c.wg.Go(func() { c.reroute(e.Old.ID) })
	}
	if e.New == nil || e.New.ID != c.cfg.Self || e.Old == nil {
		return
	}
	if e.Old.Incarnation != e.New.Incarnation && e.New.Up {
		c.cfg.Router.Reassert()
		c.renew()
	}
}

// renew compares the live sessions here with the registry after the view was
// replaced or this node was taken for dead. A registration that was made
// without quorum has a new epoch now; a session that has another owner, or
// whose registration was dropped, is closed, and its client registers anew.
func (c *Cluster) renew() {
	if st := c.cfg.Meta.Status(); st.Joining || c.cfg.Meta.PendingMerge() != nil {
		return // the merge that follows registers them
	}
	var live []session.Info
	c.cfg.Sessions.Each(func(i session.Info) bool {
		if i.Online {
			live = append(live, i)
		}
		return true
	})
	for _, i := range live {
		s, ok := c.cfg.Meta.Session(i.ID)
		switch {
		case !ok, s.Owner != c.cfg.Self, !s.Is(i.Epoch), !s.Connected():
			c.cfg.Sessions.Disconnect(i.ID, session.DisconnectOptions{Reason: takenOver})
		case s.Epoch != i.Epoch:
			c.cfg.Sessions.SetEpoch(i.ID, s.Epoch)
		}
	}
}

// watchNodes declares members down whose link is, while this node leads.
func (c *Cluster) watchNodes() {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		members := c.cfg.Meta.Members()
		c.links.sight(members, time.Now())
		if c.cfg.Meta.Status().Role != meta.RoleLeader {
			continue
		}
		for _, m := range members {
			if m.ID != c.cfg.Self && m.Up {
				c.watch(m)
			}
		}
	}
}

// sighting is since when a member is known to be up with an incarnation.
type sighting struct {
	incarnation uint32
	at          time.Time
}

// sight notes which members are up. A node that has just joined, or has just
// come back, is given the time to be linked to.
func (l *links) sight(members []*meta.Member, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := map[message.NodeID]sighting{}
	for _, m := range members {
		if !m.Up {
			continue
		}
		s, ok := l.seen[m.ID]
		if !ok || s.incarnation != m.Incarnation {
			s = sighting{m.Incarnation, now}
		}
		seen[m.ID] = s
	}
	l.seen = seen
}

// awaySince returns since when a member that is up according to the metadata
// is not linked to this node; false while it is.
func (l *links) awaySince(m *meta.Member) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	link, seen := l.since[m.ID], l.seen[m.ID]
	if link.up {
		return time.Time{}, false
	}
	if link.at.After(seen.at) {
		return link.at, true
	}
	return seen.at, true
}

// watch declares one member down if its link has been down long enough.
func (c *Cluster) watch(m *meta.Member) {
	since, away := c.links.awaySince(m)
	if !away || time.Since(since) < c.cfg.DownAfter {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
	defer cancel()
	if _, err := c.cfg.Meta.NodeDown(ctx, m.ID, m.Incarnation); err != nil {
		if c.ctx.Err() == nil {
			c.log.Warn("a node that cannot be reached could not be declared down", "node", m.Name, "error", err)
		}
		return
	}
	c.counters.downs.Inc()
	c.log.Warn("node is down; its clean sessions are gone and its durable ones are offline", "node", m.Name, "since", since)
}

// View is the cluster as this node sees it.
type View struct {
	Node, Leader string
	Status       meta.Status
	Members      []MemberView
}

// MemberView is one member as this node sees it.
type MemberView struct {
	meta.Member
	Running, Cordoned, Voter, Leader bool
	// Applied and Known: the index it has applied, where this node knows it.
	Applied uint64
	Known   bool
	// Since: running or away since then; zero when not known.
	Since time.Time
}

// Members describes the cluster, members ordered by name.
func (c *Cluster) Members() View {
	st := c.cfg.Meta.Status()
	v := View{Node: c.cfg.Name, Status: st}
	for _, m := range c.cfg.Meta.Members() {
		l := c.link(m.ID)
		mv := MemberView{Member: *m, Running: l.up, Since: l.at, Leader: m.ID == st.Leader, Voter: slices.Contains(st.Voters, m.ID)}
		if m.ID == c.cfg.Self {
			mv.Running, mv.Since, mv.Cordoned, mv.Applied, mv.Known = true, c.started, c.cordoned.Load(), st.Applied, true
		}
		for _, ms := range st.Members {
			if ms.ID == m.ID && ms.Leased {
				mv.Applied, mv.Known = ms.Applied, true
			}
		}
		if mv.Leader {
			v.Leader = m.Name
		}
		v.Members = append(v.Members, mv)
	}
	slices.SortFunc(v.Members, func(a, b MemberView) int { return cmp.Compare(a.Name, b.Name) })
	return v
}
