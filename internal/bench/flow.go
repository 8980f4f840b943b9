package bench

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqadmin/mqadmin/internal/packet"
)

// flow is one run with publishers and subscribers.
type flow struct {
	Spec
	base      time.Time
	pubs      []*publisher
	subs      []*subscriber
	published atomic.Int64
	delivered atomic.Int64
	measuring atomic.Bool
	stopped   atomic.Bool
	ending    atomic.Bool
	failed    chan error
	wg        sync.WaitGroup
}

// publisher sends its messages in windows.
type publisher struct {
	f         *flow
	c         *connection
	index     int
	head      []byte // the packet up to the payload
	pidAt     int    // where in head the packet identifier is, 0 none
	sent      atomic.Int64
	delivered atomic.Int64 // copies of its messages that have arrived
	completed atomic.Int64 // acknowledged messages
	kick      chan struct{}
	out       []byte
}

// subscriber receives, looks whether the order is right, and acknowledges.
type subscriber struct {
	f       *flow
	c       *connection
	last    []int64 // by publisher
	fresh   []int64 // deliveries by publisher since the last report to them
	latency histogram
	out     []byte
}

func runFlow(ctx context.Context, s Spec) (Result, error) {
	f := &flow{Spec: s, base: time.Now(), failed: make(chan error, s.Publishers+s.Subscribers+1)}
	defer f.close()
	if err := f.open(ctx); err != nil {
		return Result{}, err
	}
	for _, s := range f.subs {
		f.wg.Go(func() { f.note(s.run()) })
	}
	for _, p := range f.pubs {
		f.wg.Go(func() { f.note(p.acks()) })
		if s.Kind == Flow {
			f.wg.Go(func() { f.note(p.run()) })
		}
	}
	if s.Kind == Rate {
		f.wg.Go(func() { f.note(f.pace()) })
	}
	r, err := f.measure(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := f.complete(ctx); err != nil {
		return Result{}, err
	}
	f.close()
	var all histogram
	for _, s := range f.subs {
		all.merge(&s.latency)
	}
	r.P50, r.P99 = all.quantile(0.50), all.quantile(0.99)
	return r, nil
}

// open connects everybody, subscribers first.
func (f *flow) open(ctx context.Context) error {
	for i := range f.Subscribers {
		c, err := dial(ctx, login{
			address: f.Address, version: f.Version, id: fmt.Sprintf("bench-sub-%d", i), persistent: f.Persistent,
			filter: f.filter(i), qos: f.QoS, buffer: 32 << 10,
		})
		if err != nil {
			return err
		}
		s := &subscriber{f: f, c: c, last: make([]int64, f.Publishers), fresh: make([]int64, f.Publishers)}
		f.subs = append(f.subs, s)
	}
	for i := range f.Publishers {
		c, err := dial(ctx, login{
			address: cmp.Or(f.PublishAt, f.Address), version: f.Version, id: fmt.Sprintf("bench-pub-%d", i), buffer: 16 << 10,
		})
		if err != nil {
			return err
		}
		p := &publisher{f: f, c: c, index: i, kick: make(chan struct{}, 1)}
		p.encode(f.topic(i))
		f.pubs = append(f.pubs, p)
	}
	return nil
}

// close ends all connections and waits for the goroutines that use them.
func (f *flow) close() {
	f.ending.Store(true)
	f.stop()
	for _, s := range f.subs {
		s.c.abort()
	}
	for _, p := range f.pubs {
		p.c.abort()
	}
	f.wg.Wait()
}

// stop ends publishing.
func (f *flow) stop() {
	f.stopped.Store(true)
	for _, p := range f.pubs {
		p.wake()
	}
}

func (f *flow) note(err error) {
	if err != nil && !f.ending.Load() {
		f.failed <- err
	}
}

// measure lets the flow run in, and takes what happens in the measured time.
func (f *flow) measure(ctx context.Context) (r Result, err error) {
	if err := f.sleep(ctx, f.Warmup); err != nil {
		return r, err
	}
	f.measuring.Store(true)
	began, units := time.Now(), f.delivered.Load()
	cpu, err := f.cpu()
	if err != nil {
		return r, err
	}
	if err := f.sleep(ctx, f.Measure); err != nil {
		return r, err
	}
	end, err := f.cpu()
	if err != nil {
		return r, err
	}
	r = Result{Units: f.delivered.Load() - units, Seconds: time.Since(began).Seconds(), CPU: end - cpu}
	f.measuring.Store(false)
	r.RSS, err = residentBytes(f.PID)
	return r, err
}

// sleep waits for d, and fails when something goes wrong or nothing goes on.
func (f *flow) sleep(ctx context.Context, d time.Duration) error {
	end := time.After(d)
	for {
		before := f.delivered.Load()
		select {
		case <-end:
			return nil
		case err := <-f.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(f.Patience):
		}
		if f.delivered.Load() == before {
			return fmt.Errorf("%w: nothing was delivered for %v", errBehaviour, f.Patience)
		}
	}
}

// complete stops publishing and waits until everything has arrived and is
// acknowledged.
func (f *flow) complete(ctx context.Context) error {
	f.stop()
	progress, last := time.Now(), int64(-1)
	for !f.done() {
		select {
		case err := <-f.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
		if n := f.delivered.Load(); n != last {
			progress, last = time.Now(), n
		} else if time.Since(progress) > f.Patience {
			return fmt.Errorf("%w: %d messages published, %d copies of %d delivered", errBehaviour,
				f.published.Load(), n, f.published.Load()*f.copies())
		}
	}
	if got, want := f.delivered.Load(), f.published.Load()*f.copies(); got != want {
		return fmt.Errorf("%w: %d deliveries instead of %d", errBehaviour, got, want)
	}
	return nil
}

func (f *flow) done() bool {
	if f.delivered.Load() < f.published.Load()*f.copies() {
		return false
	}
	for _, p := range f.pubs {
		if f.QoS > 0 && p.completed.Load() < p.sent.Load() {
			return false
		}
	}
	return true
}

// encode makes the part of the packet that is always the same.
func (p *publisher) encode(topic string) {
	b := packet.AppendPublish(nil, p.f.Version, &packet.Publish{
		QoS: p.f.QoS, PacketID: 1, Topic: topic, Payload: make([]byte, Payload),
	})
	p.head = b[:len(b)-Payload]
	if p.f.QoS > 0 {
		p.pidAt = 2 + 2 + len(topic) // the remaining length of these packets has one byte
	}
}

func (p *publisher) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// credit is the number of messages that may be sent now.
func (p *publisher) credit() int64 {
	sent, copies := p.sent.Load(), p.f.copies()
	free := int64(p.f.Window) - (sent*copies-p.delivered.Load()+copies-1)/copies
	if p.f.QoS > 0 {
		free = min(free, int64(p.f.Window)-(sent-p.completed.Load()))
	}
	return free
}

// run publishes half a window at a time, until it is stopped.
func (p *publisher) run() error {
	for !p.f.stopped.Load() {
		n := p.credit()
		if n < int64(max(1, p.f.Window/2)) {
			<-p.kick
			continue
		}
		if err := p.send(int(n)); err != nil {
			return err
		}
	}
	return nil
}

// send writes n messages in one go.
func (p *publisher) send(n int) error {
	p.out = p.out[:0]
	seq := p.sent.Load()
	now := uint64(time.Since(p.f.base))
	for range n {
		seq++
		at := len(p.out)
		p.out = append(p.out, p.head...)
		if p.pidAt > 0 {
			binary.BigEndian.PutUint16(p.out[at+p.pidAt:], uint16((seq-1)%65535+1))
		}
		var payload [Payload]byte
		binary.BigEndian.PutUint64(payload[0:], now)
		binary.BigEndian.PutUint32(payload[8:], uint32(p.index))
		binary.BigEndian.PutUint64(payload[12:], uint64(seq))
		p.out = append(p.out, payload[:]...)
	}
	p.sent.Store(seq)
	p.f.published.Add(int64(n))
	_, err := p.c.Write(p.out)
	return err
}

// acks reads the broker's acknowledgements.
func (p *publisher) acks() error {
	var out []byte
	for {
		out = out[:0]
		for {
			f, n, err := next(p.c.in, p.f.Version)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			p.c.in = p.c.in[n:]
			switch packet.Type(f.kind) {
			case packet.TypePubrec:
				out = appendAck(out, packet.TypePubrel, f.pid)
			case packet.TypePuback, packet.TypePubcomp:
				p.completed.Add(1)
			default:
				return fmt.Errorf("%w: a publisher got packet type %d", errBehaviour, f.kind)
			}
		}
		if len(out) > 0 {
			if _, err := p.c.Write(out); err != nil {
				return err
			}
		}
		p.wake()
		if err := p.c.fill(); err != nil {
			return err
		}
	}
}

// run receives until the connection ends.
func (s *subscriber) run() error {
	for {
		s.out = s.out[:0]
		now := uint64(time.Since(s.f.base))
		for {
			f, n, err := next(s.c.in, s.f.Version)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			s.c.in = s.c.in[n:]
			if err := s.take(f, now); err != nil {
				return err
			}
		}
		if len(s.out) > 0 {
			if _, err := s.c.Write(s.out); err != nil {
				return err
			}
		}
		s.report()
		if err := s.c.fill(); err != nil {
			return err
		}
	}
}

func (s *subscriber) take(f frame, now uint64) error {
	switch packet.Type(f.kind) {
	case packet.TypePublish:
	case packet.TypePubrel:
		s.out = appendAck(s.out, packet.TypePubcomp, f.pid)
		return nil
	default:
		return fmt.Errorf("%w: a subscriber got packet type %d", errBehaviour, f.kind)
	}
	switch f.qos {
	case 1:
		s.out = appendAck(s.out, packet.TypePuback, f.pid)
	case 2:
		s.out = appendAck(s.out, packet.TypePubrec, f.pid)
	}
	sent, from, seq := binary.BigEndian.Uint64(f.body), int(binary.BigEndian.Uint32(f.body[8:])), int64(binary.BigEndian.Uint64(f.body[12:]))
	switch {
	case f.qos != s.f.QoS || from >= len(s.last):
		return fmt.Errorf("%w: a message that nobody sent", errBehaviour)
	case seq <= s.last[from] || s.f.Shape != Shared && seq != s.last[from]+1:
		return fmt.Errorf("%w: message %d of publisher %d came after %d", errBehaviour, seq, from, s.last[from])
	}
	s.last[from] = seq
	s.fresh[from]++
	if s.f.measuring.Load() {
		s.latency.add(now - sent)
	}
	return nil
}

// report tells the publishers what has arrived.
func (s *subscriber) report() {
	var sum int64
	for i, n := range s.fresh {
		if n > 0 {
			s.fresh[i] = 0
			sum += n
			s.f.pubs[i].delivered.Add(n)
			s.f.pubs[i].wake()
		}
	}
	s.f.delivered.Add(sum)
}
