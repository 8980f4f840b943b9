// Package router takes one accepted PUBLISH to everybody who must have it: the
// queues of this node, one copy to every other node with a matching
// subscription, one member of each shared group, and the retained value of
// its topic. It is the only package that knows both who is subscribed and
// which node owns them.
package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
)

// Queues delivers to the sessions of this node. Implemented by queue.Manager.
type Queues interface {
	// Deliver hands d to the queue of id; done is called once, when the queue
	// has it (durable sessions: on disk).
	Deliver(id message.SessionID, d queue.Delivery, done func(error))
	// GroupHas tells of a message whose routing was interrupted whether a
	// member of a shared group on this node was given it.
	GroupHas(id message.ID, group, filter string) bool
}

// Links sends frames to other nodes. Implemented by peer.Port.
type Links interface {
	Send(to message.NodeID, f peer.Frame, done func(peer.Code, error))
	Up(node message.NodeID) bool
}

// Metadata is what the router asks of the replicated store. Implemented by
// meta.Store.
type Metadata interface {
	Applied() uint64
	WaitApplied(ctx context.Context, index uint64) error
	WaitVisible(ctx context.Context, index uint64) error
	Session(id message.SessionID) (*meta.Session, bool)
	Subscriptions(id message.SessionID) []message.Subscription
	Subscribe(ctx context.Context, id message.SessionID, e message.Epoch, subs []message.Subscription, o meta.Options) (existed []bool, index uint64, err error)
	Unsubscribe(ctx context.Context, id message.SessionID, e message.Epoch, filters []string, o meta.Options) (existed []bool, index uint64, err error)
	Routes
	Shares
	Retainer
}

// Config is what a Router is made of.
type Config struct {
	Self     message.NodeID
	Queues   Queues
	Links    Links
	Metadata Metadata
	// Settings hold until Set gives others.
	Settings
	// Separate delivers a copy for each matching subscription of a session
	// instead of one for all (overlapping_subscriptions).
	Separate bool
	Metrics  *metrics.Registry
	Logger   *slog.Logger
}

// Settings are what can be changed while messages are routed.
type Settings struct {
	// Policy chooses among the members of a shared group.
	Policy Policy
	// MaxRetainedMessage is the largest payload in bytes that may be retained;
	// 0 means no limit.
	MaxRetainedMessage int
	// MaxRetainedBytes bounds the sum of all retained messages; 0 means no limit.
	MaxRetainedBytes int64
	// EnqueueTimeout bounds the wait for metadata that a frame of another node
	// refers to (remote_enqueue_timeout).
	EnqueueTimeout time.Duration
}

// Router is made by New, fed by the metadata store as its Observer, and used
// by sessions and by links. Its methods may be called from any goroutine.
type Router struct {
	cfg     Config
	tables  tables
	version version
	routing barrier // those who match and send
	streams streams
	clean   cleanTable
	retain  retainTable
	ctx     context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup

	settings atomic.Pointer[Settings]
	quorum   atomic.Bool
	ready    atomic.Bool // the tables are loaded
	scratch  sync.Pool
	counters counters
}

type counters struct {
	matchesLocal, matchesRemote       *metrics.Counter
	sharedNoMember, sharedRedispatch  *metrics.Counter
	retainTooLarge, retainUnavailable *metrics.Counter
	remoteFailed                      *metrics.Counter
}

// New returns a router without subscriptions; meta.Open feeds it. Close ends
// the proposals that it has under way.
func New(cfg Config) *Router {
	r := &Router{cfg: cfg}
	r.Set(cfg.Settings)
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.tables.init(cfg.Self)
	r.routing.init()
	r.streams.init()
	r.clean.init(r)
	r.retain.init(r)
	r.scratch.New = func() any { return &scratch{separate: cfg.Separate} }
	r.register(cfg.Metrics)
	return r
}

// Set replaces the settings; what is routed from now on follows them.
func (r *Router) Set(s Settings) { r.settings.Store(&s) }

// Settings returns those in force.
func (r *Router) Settings() Settings { return *r.settings.Load() }

// Close stops the background proposals and waits for them.
func (r *Router) Close() {
	r.stop()
	r.wg.Wait()
}

func (r *Router) register(m *metrics.Registry) {
	r.counters = counters{
		matchesLocal:      m.Counter("router_matches_local", "Subscriptions of this node that a message matched."),
		matchesRemote:     m.Counter("router_matches_remote", "Messages forwarded to other nodes."),
		sharedNoMember:    m.Counter("router_shared_no_member", "Messages for a shared group that had no member to take them."),
		sharedRedispatch:  m.Counter("router_shared_redispatched", "Messages for a shared group that the first chosen member did not take."),
		retainTooLarge:    m.Counter("retain_message_too_large", "Messages routed but not retained because a limit was reached."),
		retainUnavailable: m.Counter("retain_unavailable", "Messages routed but not retained because the cluster had no quorum."),
		remoteFailed:      m.Counter("router_remote_failed", "Messages that another node with a matching subscription did not take."),
	}
	m.Gauge("router_subscriptions", "Subscriptions in the routing tables of this node.", func() int64 { return r.tables.entries() })
	m.Gauge("router_memory", "Approximate bytes of the routing tables.", func() int64 { return r.tables.entries() * bytesPerEntry })
	m.Gauge("retain_messages", "Retained messages.", func() int64 { n, _ := r.tables.retained(); return n })
	m.Gauge("retain_memory", "Bytes of retained messages.", func() int64 { _, n := r.tables.retained(); return n })
}

// bytesPerEntry is the mean cost of one subscription in an index, from its
// benchmark with 100,000 filters.
const bytesPerEntry = 180

// Ready reports whether the routing tables are loaded.
func (r *Router) Ready() bool { return r.ready.Load() }

// Publish routes m. done is called exactly once, when every destination has
// the message or has refused it for a reason that counts as delivered (a
// limit that is set to drop); it may run before Publish returns.
func (r *Router) Publish(m *message.Message, o session.PublishOptions, done func(session.PublishResult)) {
	if !o.AllowNetsplit && !r.quorum.Load() {
		done(session.PublishResult{Err: session.ErrNotReady})
		return
	}
	p := &pending{done: done}
	p.left.Store(1) // held by this function until all destinations are known
	if m.Retain {
		r.storeRetained(m, o.AllowNetsplit, p)
	}
	r.route(m, o, p)
	p.release(nil)
}

// route matches m once and gives it to all destinations.
func (r *Router) route(m *message.Message, o session.PublishOptions, p *pending) {
	turn := r.routing.enter()
	defer r.routing.leave(turn)
	s := r.scratch.Get().(*scratch)
	defer r.free(s)
	index := r.version.read(func() { r.match(s, m) })
	r.toLocal(s, m, o.Resumed, o.Waker, p)
	r.toRemote(s, m, index, p)
	r.toGroups(s, m, o, p)
}

// match collects the destinations of m.
func (r *Router) match(s *scratch, m *message.Message) {
	s.reset()
	t := r.tables.lookup(m.Mountpoint)
	if t == nil {
		return
	}
	t.local.Match(m.Topic, func(id message.SessionID, sub local) { s.addFor(m, id, sub) })
	t.remote.Match(m.Topic, func(node message.NodeID, _ struct{}) {
		if !slices.Contains(s.nodes, node) {
			s.nodes = append(s.nodes, node)
		}
	})
	if t.groups.Len() > 0 {
		t.groups.Match(m.Topic, func(_ groupKey, g *group) { s.groups = append(s.groups, g) })
	}
}

// matchFrame collects the sessions of this node that a message which another
// node has matched at index is for: those that are here and were then, and
// those that were here then and have left.
func (r *Router) matchFrame(s *scratch, m *message.Message, index uint64) {
	s.reset()
	t := r.tables.lookup(m.Mountpoint)
	if t == nil {
		return
	}
	t.local.Match(m.Topic, func(id message.SessionID, sub local) {
		if sub.since <= index {
			s.addFor(m, id, sub)
		}
	})
	if index >= r.tables.departedUntil.Load() {
		return
	}
	t.departed.Match(m.Topic, func(id message.SessionID, d departed) {
		if d.owned(index) {
			s.addFor(m, id, d.local)
		}
	})
}

func (r *Router) free(s *scratch) {
	s.reset()
	r.scratch.Put(s)
}

// pending counts the destinations of one message that have not answered.
type pending struct {
	left      atomic.Int32
	matched   atomic.Int32
	elsewhere atomic.Bool // another node is among them
	err       atomic.Pointer[error]
	done      func(session.PublishResult)
}

func (p *pending) add() { p.left.Add(1) }

// release notes one destination's answer; the last one completes the message.
func (p *pending) release(err error) {
	if err != nil {
		p.err.CompareAndSwap(nil, &err)
	}
	if p.left.Add(-1) != 0 {
		return
	}
	res := session.PublishResult{Matched: int(p.matched.Load()), Elsewhere: p.elsewhere.Load()}
	if e := p.err.Load(); e != nil {
		res.Err = *e
	}
	p.done(res)
}

// hit is one copy for a local session that a message matched: of all its
// overlapping subscriptions, with the highest QoS and all identifiers, or with
// Config.Separate of one each (MQTT 5.0 §3.3.4 allows both).
type hit struct {
	id  message.SessionID
	sub local
	ids []uint32
}

// scratch is the working memory of one match.
type scratch struct {
	hits   []hit
	at     map[message.SessionID]int // in use only beyond linearMerge hits
	nodes  []message.NodeID
	groups []*group
	// separate: each subscription makes a hit (Config.Separate).
	separate bool
}

// addFor is add unless the session has published m itself and does not want it.
func (s *scratch) addFor(m *message.Message, id message.SessionID, sub local) {
	if !sub.noLocal || id.ClientID != m.Publisher {
		s.add(id, sub)
	}
}

// linearMerge is the number of hits up to which comparing each with each is
// cheaper than a map.
const linearMerge = 16

func (s *scratch) add(id message.SessionID, sub local) {
	var h *hit
	if !s.separate {
		h = s.find(id)
	}
	if h == nil {
		s.hits = append(s.hits, hit{id: id, sub: sub})
		h = &s.hits[len(s.hits)-1]
	}
	h.sub.qos = max(h.sub.qos, sub.qos)
	h.sub.rap = h.sub.rap || sub.rap
	if sub.identifier != 0 {
		h.ids = append(h.ids, sub.identifier)
	}
}

// find returns the hit that the session already has, nil if none.
func (s *scratch) find(id message.SessionID) *hit {
	if len(s.hits) < linearMerge {
		for i := range s.hits {
			if s.hits[i].id == id {
				return &s.hits[i]
			}
		}
		return nil
	}
	if len(s.at) == 0 {
		if s.at == nil {
			s.at = make(map[message.SessionID]int, 4*linearMerge)
		}
		for i := range s.hits {
			s.at[s.hits[i].id] = i
		}
	}
	if i, ok := s.at[id]; ok {
		return &s.hits[i]
	}
	s.at[id] = len(s.hits)
	return nil
}

func (s *scratch) reset() {
	clear(s.hits)
	clear(s.at)
	clear(s.groups)
	s.hits, s.nodes, s.groups = s.hits[:0], s.nodes[:0], s.groups[:0]
}

// toLocal delivers m to the sessions of this node. resumed says that its
// routing was interrupted before, so that they may know it.
func (r *Router) toLocal(s *scratch, m *message.Message, resumed bool, w queue.Waker, p *pending) {
	n := len(s.hits)
	if n == 0 {
		return
	}
	r.counters.matchesLocal.Add(n)
	p.matched.Add(int32(n))
	p.left.Add(int32(n))
	for i := range s.hits {
		h := &s.hits[i]
		done := p.delivered
		if !h.sub.clean {
			id := h.id
			done = func(err error) {
				if errors.Is(err, queue.ErrNoSession) {
					r.follow(id, m, p)
					return
				}
				p.delivered(err)
			}
		}
		r.cfg.Queues.Deliver(h.id, queue.Delivery{
			Message: m, QoS: h.sub.qos, Retain: m.Retain && h.sub.rap, SubscriptionIDs: h.ids, Resumed: resumed, Waker: w,
		}, done)
	}
}

// delivered takes the answer of a queue. What a limit dropped and whose
// session has ended meanwhile is no failure of the PUBLISH: the queue has
// counted it.
func (p *pending) delivered(err error) {
	if errors.Is(err, queue.ErrFull) || errors.Is(err, queue.ErrNoSession) {
		err = nil
	}
	p.release(err)
}

// toRemote sends one copy to every other node where a subscription matched at
// index; that node matches again among its own sessions.
func (r *Router) toRemote(s *scratch, m *message.Message, index uint64, p *pending) {
	n := len(s.nodes)
	if n == 0 {
		return
	}
	r.counters.matchesRemote.Add(n)
	p.matched.Add(int32(n))
	p.left.Add(int32(n))
	p.elsewhere.Store(true)
	f := peer.Frame{Kind: peer.FramePublish, Applied: index, Message: m}
	for _, node := range s.nodes {
		r.cfg.Links.Send(node, f, func(code peer.Code, err error) { r.forwarded(m, p, code, err) })
	}
}

// forwarded takes the answer of another node. A message of QoS 0 is at most
// once: that a node did not take it is counted, and is no failure.
func (r *Router) forwarded(m *message.Message, p *pending, code peer.Code, err error) {
	if err == nil && code != peer.CodeAccepted {
		err = fmt.Errorf("another node answered %v", code)
	}
	if err != nil {
		r.counters.remoteFailed.Inc()
		if m.QoS == 0 {
			err = nil
		}
	}
	p.release(err)
}
