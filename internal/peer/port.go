package peer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// Port is the cluster port of one node. Its methods may be called from any
// goroutine.
type Port struct {
	cfg            Config
	log            *slog.Logger
	server, client *tls.Config
	versions       versionRange
	doorman        *doorman
	notifier       *notifier
	counters       counters
	// start is drawn at random for this process: a source that comes with
	// another one has begun anew.
	start uint64

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	receiver      Receiver
	receiverReady chan struct{} // closed when receiver is set

	mu      sync.Mutex
	closed  bool
	id      Identity
	members map[message.NodeID]Member
	// moved is where members say that they are, if it is not what members has.
	moved  map[message.NodeID]string
	links  map[message.NodeID]*link
	routes atomic.Pointer[map[message.NodeID]*link] // copy of links for Send
	// sequences is where the link to a member goes on that was removed and
	// came back.
	sequences map[message.NodeID]uint64
	sources   map[message.NodeID]*source
	strangers map[net.Conn]struct{}
	conns     map[*conn]struct{}
	clients   map[message.NodeID]*grpc.ClientConn
	raft      *streamListener
	grpc      *streamListener
}

// counters of the message channel, under VerneMQ's names.
type counters struct {
	received, sent, dropped, refused *metrics.Counter
	spooled, wrote                   *metrics.Histogram
}

// New makes a port that neither listens nor dials yet.
func New(c Config) (*Port, error) {
	c = c.withDefaults()
	if c.Dial == nil {
		return nil, errors.New("cluster port: no way to dial is configured")
	}
	server, client, err := tlsConfigs(c.TLS)
	if err != nil {
		return nil, err
	}
	if c.Secret.Short() {
		c.Logger.Warn("distributed_cookie is short: whoever reaches the cluster port might guess it; use 16 bytes or more")
	}
	var start [8]byte
	if _, err := rand.Read(start[:]); err != nil {
		return nil, err
	}
	p := &Port{
		cfg: c, log: c.Logger, server: server, client: client, versions: supported(),
		doorman: newDoorman(c.Logger, c.Metrics, c.MaxHandshakes),
		counters: counters{
			received: c.Metrics.Counter("cluster_bytes_received", "Bytes received on the message links between nodes."),
			sent:     c.Metrics.Counter("cluster_bytes_sent", "Bytes sent on the message links between nodes."),
			dropped:  c.Metrics.Counter("cluster_bytes_dropped", "Bytes dropped because the buffer of a link was full."),
			refused:  c.Metrics.Counter("cluster_spool_refused", "Spooled frames that the node did not accept when it was back."),
			spooled:  c.Metrics.Histogram("cluster_spool_append_microseconds", "Frames for a node that cannot be reached, until they were on disk.", metrics.Latencies()),
			wrote:    c.Metrics.Histogram("cluster_link_write_bytes", "Bytes of one write on a link; the more, the more messages share it.", metrics.Sizes()),
		},
		start: binary.BigEndian.Uint64(start[:]), id: c.Identity,
		receiverReady: make(chan struct{}),
		members:       map[message.NodeID]Member{}, moved: map[message.NodeID]string{}, links: map[message.NodeID]*link{},
		sequences: map[message.NodeID]uint64{}, sources: map[message.NodeID]*source{},
		strangers: map[net.Conn]struct{}{}, conns: map[*conn]struct{}{},
		clients: map[message.NodeID]*grpc.ClientConn{},
	}
	p.routes.Store(&map[message.NodeID]*link{})
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.raft, p.grpc = newStreamListener(p), newStreamListener(p)
	p.notifier = newNotifier(c.OnLink)
	p.spawn(func() { p.notifier.run(p.ctx) })
	if c.Receiver != nil {
		p.SetReceiver(c.Receiver)
	}
	return p, nil
}

// spawn starts a goroutine that Close waits for; false when closed.
func (p *Port) spawn(fn func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.wg.Go(fn)
	return true
}

// Close ends all links and connections and waits for every goroutine. Frames
// not yet done fail with ErrClosed.
func (p *Port) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		p.wg.Wait()
		return nil
	}
	p.closed = true
	p.cancel()
	clients := p.clients
	p.clients = nil
	var conns []net.Conn
	for c := range p.strangers {
		conns = append(conns, c)
	}
	for c := range p.conns {
		conns = append(conns, c)
	}
	raftL, grpcL := p.raft, p.grpc
	p.mu.Unlock()
	for _, c := range clients {
		c.Close() //nolint:errcheck // only says that it was closed before
	}
	for _, c := range conns {
		c.Close()
	}
	raftL.shut()
	grpcL.shut()
	p.wg.Wait()
	return nil
}

// Identity returns what this node tells about itself now.
func (p *Port) Identity() Identity {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.id
}

// SetIdentity changes it: after a join (cluster, generation) or when the node
// takes a new incarnation. Connections that were made under another cluster,
// generation or incarnation are closed; links come back by themselves.
func (p *Port) SetIdentity(id Identity) {
	p.mu.Lock()
	old := p.id
	p.id = id
	stale := p.connsWhere(func(c *conn) bool { return p.stale(c.kind, old) })
	p.mu.Unlock()
	for _, c := range stale {
		c.cut()
	}
}

// sever cuts the calls from and to a node whose link was lost and cannot be
// made again, so that they fail now and not when TCP gives up.
func (p *Port) sever(node message.NodeID) {
	p.mu.Lock()
	dead := p.connsWhere(func(c *conn) bool { return c.kind == KindGRPC && c.peer.Node == node })
	p.mu.Unlock()
	for _, c := range dead {
		c.cut()
	}
}

// stale reports whether a connection made as own no longer counts now that the
// node is p.id. It is called with mu held.
func (p *Port) stale(kind Kind, own Identity) bool {
	moved := own.Cluster != p.id.Cluster || own.Generation != p.id.Generation
	return (moved && kind != KindGRPC) || (own.Incarnation != p.id.Incarnation && kind == KindLink)
}

// connsWhere is called with mu held.
func (p *Port) connsWhere(fn func(*conn) bool) []*conn {
	var out []*conn
	for c := range p.conns {
		if fn(c) {
			out = append(out, c)
		}
	}
	return out
}

// SetReceiver sets who takes incoming frames; call it once, here or with
// Config.Receiver. Until then links of peers are held waiting.
func (p *Port) SetReceiver(r Receiver) {
	p.receiver = r
	close(p.receiverReady)
}

// SetMembers says who belongs to the cluster; this node itself may be in the
// list. One link is kept to each other member; the link to one that is no
// longer there is closed and its frames fail with ErrClosed.
func (p *Port) SetMembers(members []Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	now := map[message.NodeID]Member{}
	for _, m := range members {
		if old, ok := p.members[m.ID]; ok && old.Address != m.Address {
			delete(p.moved, m.ID) // the members have the news, this or a later one
		}
		now[m.ID] = m
		m.Address = p.at(m)
		if m.ID == p.id.Node {
			continue
		}
		if l := p.links[m.ID]; l != nil {
			l.setMember(m)
			continue
		}
		p.addLink(m)
	}
	p.members = now
	for id, l := range p.links {
		if _, ok := now[id]; !ok {
			delete(p.links, id)
			delete(p.moved, id)
			p.sequences[id] = l.retire()
			p.cfg.Metrics.Remove(bufferedBytes, l.label())
			p.cfg.Metrics.Remove(ackTime, l.label())
		}
	}
	routes := maps.Clone(p.links)
	p.routes.Store(&routes)
	for id, c := range p.clients {
		if _, ok := now[id]; !ok {
			delete(p.clients, id)
			p.wg.Go(func() { c.Close() }) //nolint:errcheck // only says that it was closed before
		}
	}
	for _, c := range p.connsWhere(func(c *conn) bool {
		_, ok := now[c.peer.Node]
		return !ok && c.kind != KindGRPC
	}) {
		p.wg.Go(c.cut)
	}
}

// Metrics that each link has.
const (
	bufferedBytes = "cluster_link_buffered_bytes"
	ackTime       = "cluster_link_ack_microseconds"
)

// label tells the metrics of a link from those of others.
func (l *link) label() metrics.Label { return metrics.Label{Name: "peer", Value: l.name()} }

// addLink is called with mu held.
func (p *Port) addLink(m Member) {
	next := p.sequences[m.ID]
	if next == 0 {
		// The sequence begins with the incarnation, so that it grows from one
		// process to the next: 2^40 frames are 12 days at a million a second.
		next = uint64(p.id.Incarnation)<<40 + 1
	}
	l := newLink(p, m, next)
	l.acks = p.cfg.Metrics.Histogram(ackTime, "From a write on the link to a node until the node had taken what was in it; one write at a time is watched.", metrics.Latencies(), l.label())
	p.links[m.ID] = l
	p.wg.Go(l.run)
	p.cfg.Metrics.Gauge(bufferedBytes, "Bytes of frames that wait in memory for a node, sent or not.",
		func() int64 { return p.buffered(m.ID) }, l.label())
}

func (p *Port) link(node message.NodeID) *link {
	return (*p.routes.Load())[node]
}

func (p *Port) buffered(node message.NodeID) int64 {
	if l := p.link(node); l != nil {
		return l.buffered()
	}
	return 0
}

// Up reports whether frames flow to the node.
func (p *Port) Up(node message.NodeID) bool {
	l := p.link(node)
	return l != nil && l.isUp()
}

// Send hands a frame to the link to a member. It never blocks. Frames arrive
// in the order of Send; only while a spool is being emptied Direct frames
// overtake it. done (may be nil) is called exactly once, without locks held,
// possibly before Send returns, and must not block. With a nil error the code
// is the peer's answer, or CodeAccepted from the spool.
func (p *Port) Send(to message.NodeID, f Frame, done func(Code, error)) {
	if done == nil {
		done = func(Code, error) {}
	}
	if l := p.link(to); l != nil {
		l.send(f, done)
		return
	}
	done(0, ErrUnknownNode)
}

// at returns where a member is dialled. It is called with mu held.
func (p *Port) at(m Member) string {
	if a, ok := p.moved[m.ID]; ok {
		return a
	}
	return m.Address
}

// heard takes the address that a member told in its handshake. One that was
// started at another address is dialled there at once: the members can only be
// corrected once there is a leader, and that may take this very node.
func (p *Port) heard(id Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.members[id.Node]
	if !ok || id.Address == "" || id.Address == p.at(m) {
		return
	}
	p.log.Info("a member has moved", "node", m.Name, "from", p.at(m), "to", id.Address)
	delete(p.moved, m.ID)
	if id.Address != m.Address {
		p.moved[m.ID] = id.Address
	}
	if l := p.links[m.ID]; l != nil {
		m.Address = id.Address
		l.setMember(m)
	}
}

// member looks up a member by id.
func (p *Port) member(id message.NodeID) (Member, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.members[id]
	m.Address = p.at(m)
	return m, ok
}

// resolve turns a host:port or a node id into an address and, where it is a
// member's, the id to be expected there.
func (p *Port) resolve(target string) (string, message.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id, err := message.ParseNodeID(target); err == nil {
		if m, ok := p.members[id]; ok {
			return p.at(m), id
		}
	}
	for _, m := range p.members {
		if m.Address == target {
			return p.at(m), m.ID
		}
	}
	return target, 0
}

// Address returns where a member is dialled.
func (p *Port) Address(node message.NodeID) (string, bool) {
	m, ok := p.member(node)
	return m.Address, ok
}
