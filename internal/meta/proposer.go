package meta

import (
	"errors"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// Limits of one batch and of how many are on their way to the leader.
const (
	maxBatchCommands = 1024
	maxBatchBytes    = 128 << 10
	maxInFlight      = 2
)

// op is one command of this node from its proposal until it is applied here.
type op struct {
	cmd *metapb.Command
	// overlay: it may go to the journal; volatile: it need not be on disk
	// there, because it ends with the process.
	overlay, volatile bool
	// keep: it is not dropped when the quorum is lost.
	keep bool
	// slot: it occupies one of Store.slots.
	slot bool
	// data is the encoding that may stand in some log: it never changes.
	data []byte
	// journalled: it was applied to the detached view and answered.
	journalled bool
	// done gets the result once; waiting is false when nobody reads it.
	done    chan result
	waiting bool
}

// proposer keeps the commands of this node in the order of their sequence
// until they are applied here, and hands them to whoever leads. What was
// handed out before is handed out again, unchanged, to the next leader.
type proposer struct {
	node message.NodeID

	mu          sync.Mutex
	incarnation uint32
	// ops[i] has sequence base+i. ops[:sent] were handed to the current
	// leader, ops[:everSent] to some leader.
	ops      []*op
	base     uint64
	sent     int
	everSent int
	// ends are the sequences that end the batches in flight.
	ends []uint64
	// journalled counts the ops that are in the detached view.
	journalled int
	cutOff     bool // no quorum: only overlay ops are taken
	paused     bool // nothing is handed out
	fenced     bool // the incarnation was refused
	again      bool // the leader saw a gap

	kick chan struct{} // capacity 1: take may have something
	wake chan struct{} // capacity 1: the run loop should look
}

func newProposer(node message.NodeID, incarnation uint32) *proposer {
	return &proposer{
		node: node, incarnation: incarnation, base: 1, kick: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add queues a command. Its stamp is drawn here, so that stamps and sequences
// have one order.
func (p *proposer) add(o *op, c *clock, maxOverlay int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.cutOff && !o.overlay:
		return ErrNoQuorum
	case p.cutOff && p.journalled >= maxOverlay:
		return ErrOverlayFull
	}
	o.cmd.Origin = uint64(p.node)
	o.cmd.Stamp, o.cmd.Wall = c.now()
	p.ops = append(p.ops, o)
	signal(p.kick)
	if p.cutOff { // the run loop journals it
		signal(p.wake)
	}
	return nil
}

// abandon notes that nobody waits for the op any more; false when its result
// is there already.
func (p *proposer) abandon(o *op) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := o.waiting
	o.waiting = false
	return was
}

// answer gives the op its result. It reports whether somebody waited.
func (o *op) answer(r result) bool {
	if !o.waiting {
		return false
	}
	o.waiting = false
	o.done <- r
	return true
}

// take returns the next batch for the leader, nil when there is none or as many
// as limit are in flight.
func (p *proposer) take(limit int) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ends) > 0 && p.ends[0] < p.base {
		p.ends = p.ends[1:]
	}
	if p.paused || p.fenced || len(p.ends) >= limit {
		return nil
	}
	var out [][]byte
	bytes := 0
	for p.sent < len(p.ops) && len(out) < maxBatchCommands {
		o := p.ops[p.sent]
		if o.data == nil {
			o.cmd.Incarnation, o.cmd.Sequence = p.incarnation, p.base+uint64(p.sent)
			o.cmd.Overlay = o.journalled
			if up := o.cmd.GetNodeUp(); up != nil && up.GetNode() == uint64(p.node) {
				up.Incarnation = p.incarnation
			}
			data, err := proto.Marshal(o.cmd)
			if err != nil { // strings are UTF-8: packet has checked them
				data = nil
			}
			o.data = data
		}
		if bytes += len(o.data); len(out) > 0 && bytes > maxBatchBytes {
			break
		}
		out = append(out, o.data)
		p.sent++
	}
	p.everSent = max(p.everSent, p.sent)
	if len(out) > 0 {
		p.ends = append(p.ends, p.base+uint64(p.sent)-1)
	}
	return out
}

// rewind lets everything that is not applied be handed out again.
func (p *proposer) rewind() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent, p.ends, p.again = 0, nil, false
	signal(p.kick)
}

// applied is called for each command of this node that was applied. It returns
// the op if it is known, now out of the queue.
func (p *proposer) applied(c *metapb.Command, r result) *op {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.GetIncarnation() != p.incarnation || c.GetSequence() < p.base {
		return nil
	}
	if r.refused {
		switch {
		case errors.Is(r.err, ErrFenced):
			p.fenced = true
		case errors.Is(r.err, errGap):
			p.again = true
		case errors.Is(r.err, ErrNoMember):
			p.fenced = true
			return p.pop()
		}
		signal(p.wake)
		return nil
	}
	if c.GetSequence() != p.base || len(p.ops) == 0 {
		return nil
	}
	signal(p.kick)
	return p.pop()
}

func (p *proposer) pop() *op {
	if len(p.ops) == 0 {
		return nil
	}
	o := p.ops[0]
	p.ops[0] = nil
	p.ops = p.ops[1:]
	p.base++
	p.sent, p.everSent = max(p.sent-1, 0), max(p.everSent-1, 0)
	if o.journalled {
		p.journalled--
	}
	return o
}

// appliedUpTo takes out the ops up to a sequence that a snapshot contains.
func (p *proposer) appliedUpTo(o origin) []*op {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checkFence(o)
	if o.incarnation != p.incarnation {
		return nil
	}
	var out []*op
	for p.base <= o.sequence && len(p.ops) > 0 {
		out = append(out, p.pop())
	}
	return out
}

// seen looks at what the state knows of this node.
func (p *proposer) seen(o origin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checkFence(o)
}

func (p *proposer) checkFence(o origin) {
	if o.fenced >= p.incarnation || o.incarnation > p.incarnation {
		p.fenced = true
		signal(p.wake)
	}
}

// needs reports what the run loop has to do.
func (p *proposer) needs() (fenced, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fenced, p.again
}

// reincarnate proposes everything again under a new incarnation. It must not
// be called unless the old one is fenced or unknown to the cluster.
func (p *proposer) reincarnate(inc uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.incarnation, p.base, p.sent, p.everSent, p.ends, p.fenced = inc, 1, 0, 0, nil, false
	for _, o := range p.ops {
		o.data = nil
	}
	signal(p.kick)
}

// current returns the incarnation.
func (p *proposer) current() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.incarnation
}

// setPaused stops or starts handing out.
func (p *proposer) setPaused(v bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = v
	signal(p.kick)
}

// idle reports whether nothing is on its way whose outcome is unknown.
func (p *proposer) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.everSent == 0
}

// cut enters or leaves the time without quorum. Entering, it fails the ops
// that may not go to the journal: those that no leader has seen are dropped,
// of the others the outcome stays open.
func (p *proposer) cut(off bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutOff = off
	if !off {
		signal(p.kick)
		return
	}
	kept := p.ops[:0:0]
	for i, o := range p.ops {
		if !o.overlay && !o.journalled {
			o.answer(result{err: ErrNoQuorum})
			if i >= p.everSent && !o.keep {
				continue
			}
		}
		kept = append(kept, o)
	}
	p.ops = kept
}

// overlayOps returns the ops that have to go to the journal now.
func (p *proposer) overlayOps() []*op {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cutOff {
		return nil
	}
	var out []*op
	for i := len(p.ops) - 1; i >= 0; i-- { // what is journalled stands in front
		o := p.ops[i]
		if o.journalled {
			break
		}
		if o.overlay {
			out = append(out, o)
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// settleOverlay answers ops that are in the journal and the detached view.
func (p *proposer) settleOverlay(ops []*op, results []result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, o := range ops {
		o.journalled = true
		p.journalled++
		o.answer(results[i])
	}
}

// load puts ops of a journal in front of everything.
func (p *proposer) load(ops []*op) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ops = append(ops, p.ops...)
	p.journalled += len(ops)
}

// counts returns the sizes for Status.
func (p *proposer) counts() (pending, journalled int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ops) - p.journalled, p.journalled
}

// drain answers everything that waits, at the end.
func (p *proposer) drain(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutOff = true
	for _, o := range p.ops {
		o.answer(result{err: err})
	}
	p.ops = nil
}
