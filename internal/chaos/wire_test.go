package chaos

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// patience bounds every wait of these tests.
const patience = 60 * time.Second

// history is what happened, in order, for the report of a failure.
type history struct {
	start time.Time
	mu    sync.Mutex
	lines []string
}

// historyLines are kept: some seconds of what led to a failure.
const historyLines = 4000

func (h *history) add(format string, args ...any) {
	line := fmt.Sprintf("%10.4f ", time.Since(h.start).Seconds()) + fmt.Sprintf(format, args...)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lines = append(h.lines, line); len(h.lines) > 2*historyLines {
		h.lines = append([]string(nil), h.lines[historyLines:]...)
	}
}

// about returns the lines that have all words, the last ones.
func (h *history) about(words ...string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, l := range h.lines {
		ok := true
		for _, w := range words {
			ok = ok && strings.Contains(l, w)
		}
		if ok || strings.Contains(l, "KILL") || strings.Contains(l, "serves") {
			out = append(out, l)
		}
	}
	return strings.Join(out[max(0, len(out)-400):], "\n")
}

// conn is one connection of a client.
type conn struct {
	nc      net.Conn
	version byte
	dec     packet.Decoder
	buf     []byte
	chunk   []byte
}

// dial connects a durable session until that works or ctx ends.
func dial(ctx context.Context, addr, id string, version byte) (c *conn, present bool, err error) {
	for {
		if c, present, err = tryDial(ctx, addr, id, version); err == nil || ctx.Err() != nil {
			return c, present, err
		}
		select {
		case <-time.After(5 * time.Millisecond): // the broker is being started
		case <-ctx.Done():
		}
	}
}

func tryDial(ctx context.Context, addr, id string, version byte) (*conn, bool, error) {
	return connect(ctx, addr, &packet.Connect{
		Version: version, ClientID: id, ReceiveMaximum: 20, SessionExpiry: message.NeverExpires, HasSessionExpiry: version == packet.V5,
	})
}

func connect(ctx context.Context, addr string, connect *packet.Connect) (*conn, bool, error) {
	var d net.Dialer
	version := connect.Version
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, false, err
	}
	c := &conn{nc: nc, version: version, dec: packet.Decoder{Version: version, Client: true}, chunk: make([]byte, 16<<10)}
	err = c.send(connect)
	var p packet.Packet
	if err == nil {
		p, err = c.recv()
	}
	if a, ok := p.(*packet.Connack); err == nil && ok && a.Reason == packet.Success {
		return c, a.SessionPresent, nil
	}
	nc.Close()
	return nil, false, fmt.Errorf("CONNACK %+v: %w", p, err)
}

func (c *conn) send(ps ...packet.Packet) error {
	var b []byte
	for _, p := range ps {
		b = packet.Append(b, c.version, p)
	}
	_, err := c.nc.Write(b)
	return err
}

// recv returns the next packet.
func (c *conn) recv() (packet.Packet, error) {
	for {
		p, n, err := c.dec.Decode(c.buf)
		if err != nil {
			return nil, err
		}
		if p != nil {
			if pub, ok := p.(*packet.Publish); ok {
				pub.Payload = append([]byte(nil), pub.Payload...)
			}
			c.buf = c.buf[n:]
			return p, nil
		}
		k, err := c.nc.Read(c.chunk)
		if err != nil {
			return nil, err
		}
		c.buf = append(c.buf, c.chunk[:k]...)
	}
}

func ack(kind packet.Type, pid uint16) *packet.Ack { return &packet.Ack{Kind: kind, PacketID: pid} }
