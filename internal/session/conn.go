package session

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// conn is one connection. The fields of the first group belong to its reader,
// or do not change after CONNACK.
type conn struct {
	m      *Manager
	nc     net.Conn
	l      *ListenerInfo
	in     input
	dec    packet.Decoder
	ended  func() // told when everything is over, may be nil
	ctx    context.Context
	cancel context.CancelFunc

	version   byte
	bridge    bool
	set       *Settings // of the time of CONNECT, with the client's modifiers
	policy    string
	client    hook.Client
	shownAs   message.SessionID // of a CONNECT that was traced
	id        message.SessionID
	durable   bool
	mode      queue.DeliverMode // not Exclusive: others may share the session
	upper     bool              // see Registration.UpperHalf
	expiry    uint32            // session expiry interval in seconds
	keepAlive time.Duration
	startedAt time.Time
	q         *queue.Queue
	pending   *queue.Attachment // the hold on q
	will      *queue.Will
	aliases   map[uint16]string // topic aliases of the client
	told      *toldAliases      // those towards it
	rate      rateLimit
	auth      *exchange // enhanced authentication, nil without

	maxPacket   uint32 // what the client accepts; 0 any
	problemInfo bool

	out    output
	round  round
	subs   lane // SUBSCRIBE and UNSUBSCRIBE, which wait for the cluster
	feeds  lane // retained messages that wait for room in the queue
	routes lane // QoS 2 PUBLISHes whose identifier has reached the disk
	wg     sync.WaitGroup
	active atomic.Int64 // Unix nanoseconds of the last packet
	lively int          // see livelyRounds
	busy   atomic.Bool  // the reader works: silence is not the client's
	closed atomic.Bool
	// epoch of the registration; the cluster renews it when it registers the
	// session again.
	epoch    atomic.Pointer[message.Epoch]
	finished chan struct{} // closed when the queue has been detached
	// contested: another node has taken the session while it was being
	// registered here. Guarded by Manager.mu.
	contested bool
	// joins: another connection had registered the session when this one came.
	// next is one of the same session. Both guarded by Manager.mu.
	joins bool
	next  *conn

	mu     sync.Mutex // guards what follows
	end    *ending
	timers []*time.Timer
	alive  *time.Timer // keep-alive
	reauth *time.Timer // a re-authentication under way
}

// ending is why a connection ends.
type ending struct {
	reason    packet.Reason
	tell      bool // CONNACK if the client waits for one, else DISCONNECT (MQTT 5), goes out before the close
	text      string
	reference string
	takeover  bool
	noWill    bool // the client ended it properly
	cleanup   bool // the session ends too
}

func newConn(m *Manager, nc net.Conn, l *ListenerInfo, ended func()) *conn {
	c := &conn{m: m, nc: nc, l: l, ended: ended, finished: make(chan struct{}), problemInfo: true}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.in.init(nc)
	c.set = m.cfg.Settings()
	c.dec = packet.Decoder{Reuse: true, MaxLevels: c.set.TopicMaxDepth, MaxSize: packetLimit(c.set.MaxMessageSize)}
	if n := packetLimit(c.set.MaxConnectSize); n > 0 && (c.dec.MaxSize == 0 || n < c.dec.MaxSize) {
		c.dec.MaxSize = n // until somebody is known
	}
	c.out.init()
	c.round.c = c
	return c
}

// packetLimit turns max_message_size, a remaining length, into the size of a
// whole packet with its fixed header.
func packetLimit(remaining int) uint32 {
	if remaining <= 0 || remaining >= packet.MaxRemaining {
		return 0
	}
	header := 2
	for n := remaining; n >= 128; n >>= 7 {
		header++
	}
	return uint32(remaining + header)
}

// level is the protocol level as session show prints it.
func (c *conn) level() int {
	if c.bridge {
		return int(c.version) | 0x80
	}
	return int(c.version)
}

func (c *conn) v() int {
	if c.version == packet.V5 {
		return v5
	}
	return v4
}

// lost notes how reading ended.
func (c *conn) lost(err error) {
	if c.closed.Load() {
		return
	}
	switch {
	case c.q == nil && errors.Is(err, os.ErrDeadlineExceeded):
		c.m.count.socketCloseTimeout.Inc()
		c.fail(packet.NotAuthorized, "authentication took too long") // told if there was a CONNECT
	case !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe):
		c.m.count.socketError.Inc()
	}
	c.terminate(ending{reason: packet.UnspecifiedError})
}

// yieldAfter is the number of packets after which the reader lets the writers
// run, so that a burst does not overflow a queue that nobody had time to empty.
const yieldAfter = 64

// decode handles the packets that are complete. It reports whether the
// connection goes on.
func (c *conn) decode() bool {
	c.round.begin()
	defer c.round.flush()
	for i := 1; ; i++ {
		if c.closed.Load() {
			return false
		}
		p, n, err := c.dec.Decode(c.in.bytes())
		if err != nil {
			c.refuse(err)
			return false
		}
		if p == nil {
			if i > 1 { // until now it was busy
				c.active.Store(time.Now().UnixNano())
			}
			return true
		}
		if t := c.m.tracing.Load(); t != nil {
			c.showReceived(t.t, p)
		}
		ok := c.handle(p)
		c.in.consume(n)
		if !ok {
			return false
		}
		if i%yieldAfter == 0 {
			c.round.flush()
			runtime.Gosched()
			c.round.begin()
		}
	}
}

// refuse ends the connection for bytes that are no valid packet.
func (c *conn) refuse(err error) {
	var pe *packet.Error
	if !errors.As(err, &pe) {
		pe = &packet.Error{Reason: packet.UnspecifiedError}
	}
	c.m.log.Debug("connection sent an invalid packet", "peer", c.l.Peer, "client", c.id.String(), "error", err)
	if pe.Reason == packet.PacketTooLarge {
		c.m.count.invalidSize[c.v()].Inc()
	}
	if pe.Reason == packet.TopicNameInvalid || pe.Reason == packet.TopicFilterInvalid {
		c.m.count.invalidTopic[c.v()].Inc()
	}
	if c.q == nil && pe.Version != 0 {
		c.version = pe.Version
		c.out.owe()
	}
	c.fail(pe.Reason, pe.Msg)
}

// fail ends the connection and tells the client why, as far as its version can.
func (c *conn) fail(r packet.Reason, text string) bool {
	c.terminate(ending{reason: r, tell: true, text: text})
	return false
}

// handle acts on one packet. It reports whether the connection goes on.
func (c *conn) handle(p packet.Packet) bool {
	if c.q == nil {
		if connect, ok := p.(*packet.Connect); ok {
			return c.connect(connect)
		}
		return c.early(p)
	}
	switch p := p.(type) {
	case *packet.Publish:
		return c.publish(p)
	case *packet.Ack:
		return c.ack(p)
	case *packet.Subscribe:
		return c.subscribe(p)
	case *packet.Unsubscribe:
		return c.unsubscribe(p)
	case *packet.Pingreq:
		c.m.count.pingreqReceived[c.v()].Inc()
		c.m.count.pingrespSent[c.v()].Inc()
		return c.answer(&packet.Pingresp{})
	case *packet.Disconnect:
		return c.disconnect(p)
	case *packet.Auth:
		c.round.Yield() // who answers may take its time
		return c.onAuth(p)
	}
	return c.fail(packet.ProtocolError, "unexpected packet") // a second CONNECT [MQTT-3.1.0-2]
}

// after runs fn once d has passed, unless the connection ends before.
func (c *conn) after(d time.Duration, fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end == nil {
		c.timers = append(c.timers, time.AfterFunc(d, fn))
	}
}

// watch closes the connection when the client has been silent for limit, one
// and a half times its keep-alive [MQTT-3.1.2-22].
func (c *conn) watch(limit time.Duration) {
	last := time.Unix(0, c.active.Load())
	left := limit - time.Since(last)
	if c.busy.Load() {
		left = limit
	}
	if left > 0 {
		c.mu.Lock()
		if c.end == nil {
			c.alive.Reset(left)
		}
		c.mu.Unlock()
		return
	}
	c.m.count.keepaliveExpired[c.v()].Inc()
	c.terminate(ending{reason: packet.KeepAliveTimeout, tell: true})
}

// spawn starts a goroutine of the connection; its panic closes only this one.
func (c *conn) spawn(fn func()) {
	c.wg.Go(func() { c.m.guard(c, fn) })
}
