package session

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// States of the writer.
const (
	writerIdle = iota
	writerRuns
	writerAgain // woken while it runs
	writerHeld  // the connection's reader will look at the end of its round
	writerDue   // woken, and some reader will write at the end of its round
)

// maxControl bounds the encoded answers that wait for a slow client; beyond it
// the reader waits too.
const maxControl = 64 << 10

// output is what goes to the client: answers to its packets, acknowledgements
// in the order of its PUBLISHes, and what its queue has. One goroutine at a
// time writes, and only while there is something.
type output struct {
	state atomic.Int32
	// direct: a reader may write, without waiting, what is small and in memory.
	direct atomic.Bool
	try    func(fd uintptr) bool // one attempt to write left
	left   []byte                // what a direct write could not; the writer's
	n      int                   // result of try

	mu      sync.Mutex // guards what follows
	space   sync.Cond  // control and acks have become shorter, or over
	control []byte
	acks    []*ackSlot // in the order of the PUBLISHes
	pubacks int        // those of QoS 1 among acks
	att     *queue.Attachment
	owes    bool          // the client waits for CONNACK
	last    *ending       // write what is there, DISCONNECT, close
	feeding chan struct{} // retained messages wait for room

	// over: the writer has written the last bytes, and none is started any
	// more. space tells of it too.
	over bool
}

func (o *output) init() { o.space.L = &o.mu }

// runWriter runs the writer; the connection's finish waits for its last run.
// direct says that this is a reader, which must not wait for the client.
func (c *conn) runWriter(direct bool) {
	ok := false
	defer func() {
		if !ok { // it panicked: nobody writes any more
			c.nc.Close()
			c.out.end()
		}
	}()
	c.m.guard(c, func() {
		c.write(direct)
		ok = true
	})
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	o.space.Broadcast()
}

// await returns when the last bytes have been written.
func (o *output) await() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.over {
		o.space.Wait()
	}
}

func (o *output) wake(c *conn) {
	for {
		switch s := o.state.Load(); {
		case s == writerAgain, s == writerDue:
			return
		case s == writerHeld && o.state.CompareAndSwap(writerHeld, writerDue):
			return
		case s == writerRuns && o.state.CompareAndSwap(writerRuns, writerAgain):
			return
		case s == writerIdle && o.state.CompareAndSwap(writerIdle, writerRuns):
			go c.runWriter(false)
			return
		}
	}
}

// finish makes the writer write what is there, say why, and close.
func (o *output) finish(c *conn, e ending) {
	o.mu.Lock()
	o.last = &e
	o.space.Broadcast()
	o.mu.Unlock()
	o.wake(c)
}

// owe notes that a CONNECT has come, which is answered before the close.
func (o *output) owe() {
	o.mu.Lock()
	o.owes = true
	o.mu.Unlock()
}

// unanswered reports whether a CONNECT has had no CONNACK. It does not change
// any more once the connection ends.
func (o *output) unanswered() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.owes
}

// sendConnack accepts the client; from here on its queue is written. It reports
// false when the connection has ended meanwhile: then the ending is its answer.
func (c *conn) sendConnack(ack *packet.Connack) bool {
	o := &c.out
	o.mu.Lock()
	fits, over := true, o.last != nil
	if !over {
		if o.control, fits = packet.AppendLimit(o.control, c.version, ack, c.maxPacket, true); fits {
			o.owes, o.att = false, c.pending
			c.m.count.connack(c.version, packet.Success)
		}
	}
	o.mu.Unlock()
	if !fits {
		return c.fail(packet.PacketTooLarge, "")
	}
	o.wake(c)
	return !over
}

// send encodes an answer. It waits while too many wait for a slow client. An
// answer that is larger than the client takes, with all left out that may be,
// ends the connection: the client would wait for it for ever.
func (c *conn) send(p packet.Packet) bool {
	o := &c.out
	o.mu.Lock()
	for len(o.control) > maxControl && o.last == nil {
		o.space.Wait()
	}
	var ok bool
	o.control, ok = packet.AppendLimit(o.control, c.version, p, c.maxPacket, c.problemInfo)
	o.mu.Unlock()
	if !ok {
		return c.fail(packet.PacketTooLarge, "the answer exceeds the maximum packet size")
	}
	o.wake(c)
	return true
}

// answer is send for the reader.
func (c *conn) answer(p packet.Packet) bool {
	c.out.mu.Lock()
	full := len(c.out.control) > maxControl
	c.out.mu.Unlock()
	if full {
		c.round.Yield()
	}
	return c.send(p)
}

// writeSize is when the writer stops gathering and writes.
const writeSize = 32 << 10

// pullSize is the number of packets pulled from the queue at once.
const pullSize = 64

// scratch is the working memory of a writer.
type scratch struct {
	buf  []byte
	outs []queue.Out
	pub  packet.Publish
}

var scratches = sync.Pool{New: func() any {
	return &scratch{buf: make([]byte, 0, 4096), outs: make([]queue.Out, 0, pullSize)}
}}

// write empties what waits, gathering small packets into one write, and ends
// when there is nothing left. A direct one leaves it to a goroutine when it
// would have to wait, or when there is much.
func (c *conn) write(direct bool) {
	s := scratches.Get().(*scratch)
	defer func() {
		clear(s.outs[:cap(s.outs)])
		s.pub = packet.Publish{}
		if cap(s.buf) <= 2*writeSize {
			scratches.Put(s)
		}
	}()
	if direct && c.l.Chain.MayWait(hook.PointOnDeliver) {
		go c.runWriter(false)
		return
	}
	if len(c.out.left) > 0 {
		c.put(c.out.left)
		c.out.left = nil
	}
	for {
		s.buf = s.buf[:0]
		att, last := c.gather(s)
		for att != nil && last == nil && len(s.buf) < writeSize {
			s.outs = att.Pull(s.outs[:0], pullSize)
			for i := range s.outs {
				c.encode(s, &s.outs[i], att)
			}
			if len(s.outs) < pullSize {
				break
			}
		}
		more := len(s.buf) >= writeSize
		c.fed()
		if t := c.m.tracing.Load(); t != nil && last == nil {
			c.showSent(t.t, s.buf)
		}
		switch {
		case direct:
			if !c.putNow(s.buf) || last != nil || more {
				go c.runWriter(false)
				return
			}
		case last != nil:
			c.farewell(s, last, att != nil)
			return
		case len(s.buf) > 0:
			c.put(s.buf)
		}
		if !more && c.out.state.CompareAndSwap(writerRuns, writerIdle) {
			return
		}
		c.out.state.Store(writerRuns)
	}
}

// put writes b, however long the client takes.
func (c *conn) put(b []byte) {
	n, err := c.nc.Write(b)
	c.m.count.bytesSent.Add(n)
	if err != nil {
		c.terminate(ending{reason: packet.UnspecifiedError})
	}
}

// putNow writes what the socket takes at once and keeps the rest. It reports
// whether that was all.
func (c *conn) putNow(b []byte) bool {
	n := c.writeNow(b)
	c.m.count.bytesSent.Add(n)
	if n < len(b) {
		c.out.left = append([]byte(nil), b[n:]...)
	}
	return n == len(b)
}

// gather takes the answers and the completed acknowledgements.
func (c *conn) gather(s *scratch) (*queue.Attachment, *ending) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	s.buf = append(s.buf, o.control...)
	if o.control = o.control[:0]; cap(o.control) > 512 {
		o.control = nil
	}
	n := 0
	for n < len(o.acks) && o.acks[n].done {
		a := o.acks[n]
		if !a.silent {
			s.buf = c.encodeAck(s.buf, a)
		}
		if a.kind == packet.TypePuback {
			o.pubacks--
		}
		o.acks[n] = nil
		n++
		c.m.freeSlot(a)
	}
	if o.acks = o.acks[n:]; len(o.acks) == 0 {
		o.acks = nil
	}
	o.space.Broadcast()
	return o.att, o.last
}

func (c *conn) encodeAck(b []byte, a *ackSlot) []byte {
	c.m.count.sent[a.kind].inc(c.version, a.reason)
	if a.text == "" {
		return packet.AppendAck(b, c.version, a.kind, a.pid, a.reason)
	}
	b, _ = packet.AppendLimit(b, c.version, &packet.Ack{Kind: a.kind, PacketID: a.pid, Reason: a.reason, ReasonString: a.text},
		c.maxPacket, c.problemInfo)
	return b
}

// farewell writes the last bytes and closes. connected tells that CONNACK went
// out before.
func (c *conn) farewell(s *scratch, e *ending, connected bool) {
	switch {
	case !e.tell:
	case c.out.unanswered():
		r := packet.ServerReason(packet.TypeConnack, e.reason, packet.ServerUnavailable)
		s.buf, _ = packet.AppendLimit(s.buf, c.version, &packet.Connack{
			Reason: r, ReasonString: e.text, ServerReference: e.reference,
		}, c.maxPacket, c.problemInfo)
		c.m.count.connack(c.version, r)
	case connected && c.version == packet.V5:
		r := packet.ServerReason(packet.TypeDisconnect, e.reason, packet.UnspecifiedError)
		s.buf, _ = packet.AppendLimit(s.buf, c.version, &packet.Disconnect{
			Reason: r, ReasonString: e.text, ServerReference: e.reference,
		}, c.maxPacket, c.problemInfo)
		c.m.count.sent[packet.TypeDisconnect].inc(c.version, r)
	}
	if t := c.m.tracing.Load(); t != nil {
		c.showSent(t.t, s.buf)
		c.showEnd(t.t)
	}
	if len(s.buf) > 0 {
		n, _ := c.nc.Write(s.buf) // the connection ends either way
		c.m.count.bytesSent.Add(n)
	}
	c.nc.Close()
	c.out.end()
}

// encode appends one packet of the queue.
func (c *conn) encode(s *scratch, o *queue.Out, att *queue.Attachment) {
	if o.Release {
		c.m.count.sent[packet.TypePubrel].inc(c.version, packet.Success)
		s.buf = packet.AppendAck(s.buf, c.version, packet.TypePubrel, o.PacketID, packet.Success)
		return
	}
	m := o.Message
	p := &s.pub
	*p = packet.Publish{
		Dup: o.Dup, Retain: o.Retain, QoS: o.QoS, PacketID: o.PacketID, Topic: m.Topic, Payload: m.Payload,
		SubscriptionIDs: o.SubscriptionIDs, Properties: m.Properties,
	}
	if m.Expires != 0 { // what is left of it [MQTT-3.3.2-6]
		left := m.Expires - time.Now().UnixMilli()
		p.Expiry, p.HasExpiry = uint32(max(left+999, 1000)/1000), true
	}
	if c.l.Chain.Has(hook.PointOnDeliver) {
		c.onDeliver(p, m)
	}
	start := len(s.buf)
	fresh := c.told.put(p)
	s.buf = packet.AppendPublish(s.buf, c.version, p)
	if fresh && c.tooLarge(len(s.buf)-start) { // perhaps for the alias alone
		p.TopicAlias, fresh = 0, false
		s.buf = packet.AppendPublish(s.buf[:start], c.version, p)
	}
	if c.tooLarge(len(s.buf) - start) {
		s.buf = s.buf[:start]
		c.m.count.tooLargeForClient.Inc()
		if c.l.Chain.Has(hook.PointOnMessageDrop) {
			c.l.Chain.OnMessageDrop(&hook.Message{Session: c.id, Message: m, QoS: o.QoS, Reason: "max_packet_size_exceeded"})
		}
		if o.PacketID != 0 {
			att.Discard(o.PacketID)
		}
		return
	}
	if fresh {
		c.told.keep(p)
	}
	c.m.count.publishSent[c.v()].Inc()
}

// tooLarge reports whether a packet exceeds what the client takes [MQTT-3.1.2-24].
func (c *conn) tooLarge(size int) bool { return c.maxPacket > 0 && size > int(c.maxPacket) }

// onDeliver lets plugins change the message.
func (c *conn) onDeliver(p *packet.Publish, m *message.Message) {
	d := &hook.Deliver{
		Client: c.client, Topic: m.Topic, Payload: m.Payload, QoS: p.QoS, Retain: p.Retain, Properties: m.Properties,
	}
	c.l.Chain.OnDeliver(c.ctx, d)
	p.Topic, p.Payload, p.Properties = d.Topic, d.Payload, d.Properties
}

// fed tells the feeder of retained messages that the queue has been pulled.
func (c *conn) fed() {
	c.out.mu.Lock()
	f := c.out.feeding
	c.out.mu.Unlock()
	if f != nil {
		select {
		case f <- struct{}{}:
		default:
		}
	}
}
