package session

import (
	"net/netip"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// Tracer is shown the packets of sessions that it wants. It is called by the
// goroutines of connections, so it must not wait.
type Tracer interface {
	Wants(id message.SessionID) bool
	// Packet is shown one packet, which is valid during the call.
	Packet(t Traced)
	// Ended is told that a connection that it was shown is gone.
	Ended(connection string)
}

// Traced is one packet of a traced session.
type Traced struct {
	At time.Time
	// Connection is where the client is: its address, and a unix socket's name.
	Connection string
	Received   bool
	Packet     packet.Packet
}

// tracing holds the Tracer, so that a connection asks with one load.
type tracing struct{ t Tracer }

// Trace shows packets to t from now on; nil ends that.
func (m *Manager) Trace(t Tracer) {
	if t == nil {
		m.tracing.Store(nil)
		return
	}
	m.tracing.Store(&tracing{t})
}

// showReceived shows a packet of the client before anything is done about it.
func (c *conn) showReceived(t Tracer, p packet.Packet) {
	if connect, ok := p.(*packet.Connect); ok && c.q == nil {
		c.shownAs = message.SessionID{Mountpoint: c.l.Mountpoint, ClientID: connect.ClientID}
	}
	if id, ok := c.traced(t); ok {
		t.Packet(Traced{At: time.Now(), Connection: id, Received: true, Packet: p})
	}
}

// showSent shows what is written next. The bytes are decoded again: that costs
// those who are traced something, and others nothing.
func (c *conn) showSent(t Tracer, b []byte) {
	id, ok := c.traced(t)
	if !ok {
		return
	}
	d := packet.Decoder{Version: c.version, Client: true}
	for len(b) > 0 {
		p, n, err := d.Decode(b)
		if err != nil || p == nil {
			return
		}
		t.Packet(Traced{At: time.Now(), Connection: id, Packet: p})
		b = b[n:]
	}
}

// showEnd tells that the connection is closed.
func (c *conn) showEnd(t Tracer) {
	if id, ok := c.traced(t); ok {
		t.Ended(id)
	}
}

// traced reports whether t wants this connection, and names it. The session of
// a client that was given its id, or another mountpoint by a plugin, is known
// once it is registered.
func (c *conn) traced(t Tracer) (connection string, ok bool) {
	id := c.shownAs
	if c.id.ClientID != "" {
		id = c.id
	}
	if id.ClientID == "" || !t.Wants(id) {
		return "", false
	}
	return peerName(c.l.Peer), true
}

func peerName(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix socket"
	}
	return a.String()
}
