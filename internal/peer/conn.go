package peer

import (
	"net"
	"sync"
)

// conn is a connection whose other end proved itself.
type conn struct {
	net.Conn // TLS
	raw      net.Conn
	kind     Kind
	peer     Identity
	version  uint16 // of the protocol, common to both
	member   bool   // the peer was a member of this cluster when it connected

	once    sync.Once
	release func()
}

// Close cuts the connection at once. It says no TLS goodbye, which could block
// on a peer that does not read; all that travels here frames itself.
func (c *conn) Close() error {
	c.cut()
	return nil
}

func (c *conn) cut() {
	c.once.Do(func() {
		c.raw.Close()
		if c.release != nil {
			c.release()
		}
	})
}
