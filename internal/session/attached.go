package session

import (
	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// enter notes that c is being registered. It returns a connection whose
// session c may share.
func (m *Manager) enter(c *conn) *conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.coming[c.id] = c
	if c.mode == queue.Exclusive {
		return nil
	}
	c.joins = m.byID[c.id] != nil
	return m.byID[c.id]
}

// entered ends what enter began.
func (m *Manager) entered(c *conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.coming, c.id)
}

// attach makes c the connection of its session, unless another node has taken
// that since c was registered.
func (m *Manager) attach(c *conn) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.contested {
		return ErrTakenOver
	}
	if c.next = m.byID[c.id]; c.next != nil {
		c.epoch.Store(c.next.epoch.Load())
	}
	m.byID[c.id] = c
	return nil
}

// detached ends what attach began. It reports whether c was the last
// connection of its session.
func (m *Manager) detached(c *conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch at := m.byID[c.id]; {
	case at == c && c.next == nil:
		delete(m.byID, c.id)
	case at == c:
		m.byID[c.id] = c.next
	default:
		for ; at != nil; at = at.next {
			if at.next == c {
				at.next = c.next
			}
		}
	}
	c.next = nil
	last := m.alone(c.id)
	if last {
		m.leaving[c.id] = c
	}
	return last
}

// told ends what detached began for the last connection of a session: its end
// has been told.
func (m *Manager) told(c *conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leaving[c.id] == c {
		delete(m.leaving, c.id)
	}
}

// departing returns a connection of the session that has ended and whose end
// may still have to be told, nil if there is none.
func (m *Manager) departing(id message.SessionID) *conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.leaving[id]; c != nil {
		return c
	}
	if c := m.byID[id]; c != nil && c.closed.Load() {
		return c
	}
	return nil
}

// left ends what enter began for a connection whose session could not be
// opened. It reports whether nobody else has the session.
func (m *Manager) left(c *conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	c.joins = false
	return m.alone(c.id)
}

// alone reports whether the session has no connection, nor one that is about
// to share it. m.mu is held.
func (m *Manager) alone(id message.SessionID) bool {
	coming := m.coming[id]
	return m.byID[id] == nil && (coming == nil || !coming.joins)
}

// contest tells a connection that is being registered that another node has
// taken the session: perhaps after it, so it has to come again.
func (m *Manager) contest(id message.SessionID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.coming[id]; c != nil {
		c.contested = true
	}
}

func (m *Manager) attached(id message.SessionID) *conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byID[id]
}

// hosted returns the session of a plugin, if id is one.
func (m *Manager) hosted(id message.SessionID) *hosted {
	m.mu.Lock()
	h := m.host
	m.mu.Unlock()
	return h.find(id)
}

// all returns the connections of a session.
func (m *Manager) all(id message.SessionID) (list []*conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := m.byID[id]; c != nil; c = c.next {
		list = append(list, c)
	}
	return list
}

// registration makes this node the owner of the session, unless other is a
// connection here that shares it.
func (c *conn) registration(r *hook.Register, other *conn) (Registration, error) {
	if other != nil {
		return Registration{Present: true, Epoch: *other.epoch.Load(), UpperHalf: other.upper}, c.m.cfg.Registrar.Admit(c.set.AllowRegister)
	}
	return c.m.cfg.Registrar.Register(c.ctx, RegisterRequest{
		ID: c.id, CleanStart: r.CleanStart, Expiry: c.expiry, Durable: c.durable, AllowNetsplit: c.set.AllowRegister,
		Version: c.version, Peer: c.l.Peer,
	})
}
