package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// publisher sends numbered messages of one QoS, and sends again what was not
// acknowledged when a connection ended (MQTT 5.0 §4.4).
type publisher struct {
	id       string
	addr     string
	version  byte
	qos      byte
	window   int
	h        *history
	progress func()

	stop  atomic.Bool // no new messages
	open  []*sending  // in the order of their PUBLISHes
	last  uint16
	next  int
	acked int // numbers below have been acknowledged
}

type sending struct {
	pid      uint16
	n        int
	received bool // PUBREC came
}

func (p *publisher) topic() string { return "k/" + p.id }

func (p *publisher) payload(n int) []byte { return fmt.Appendf(nil, "%s %d", p.id, n) }

// run publishes until stop is set and everything is acknowledged.
func (p *publisher) run(ctx context.Context) error {
	for {
		c, _, err := dial(ctx, p.addr, p.id, p.version)
		if err != nil {
			return fmt.Errorf("%s: %w", p.id, err)
		}
		done, err := p.session(c)
		c.nc.Close()
		if done || err != nil {
			return err
		}
	}
}

// session is one connection; done tells that nothing is left to do.
func (p *publisher) session(c *conn) (done bool, err error) {
	for _, s := range p.open {
		if s.received {
			p.h.add("%s sends PUBREL %d (%d) again", p.id, s.n, s.pid)
			_ = c.send(ack(packet.TypePubrel, s.pid))
			continue
		}
		p.h.add("%s sends PUBLISH %d (%d) again", p.id, s.n, s.pid)
		_ = c.send(&packet.Publish{Topic: p.topic(), Payload: p.payload(s.n), QoS: p.qos, PacketID: s.pid, Dup: true})
	}
	for {
		for len(p.open) < p.window && !p.stop.Load() {
			p.publish(c)
		}
		if len(p.open) == 0 {
			return true, nil
		}
		in, err := c.recv()
		if err != nil {
			return false, nil //nolint:nilerr // the broker was killed
		}
		if err := p.handle(c, in); err != nil {
			return false, err
		}
	}
}

func (p *publisher) publish(c *conn) {
	for p.last++; p.last == 0 || slices.ContainsFunc(p.open, func(s *sending) bool { return s.pid == p.last }); p.last++ {
	}
	s := &sending{pid: p.last, n: p.next}
	p.next++
	p.open = append(p.open, s)
	p.h.add("%s sends PUBLISH %d (%d)", p.id, s.n, s.pid)
	_ = c.send(&packet.Publish{Topic: p.topic(), Payload: p.payload(s.n), QoS: p.qos, PacketID: s.pid})
}

// handle takes an acknowledgement. Those of the PUBLISHes come in their order
// [MQTT-4.6.0-2].
func (p *publisher) handle(c *conn, in packet.Packet) error {
	a, ok := in.(*packet.Ack)
	if !ok {
		return fmt.Errorf("%s got %#v", p.id, in)
	}
	i := slices.IndexFunc(p.open, func(s *sending) bool { return s.pid == a.PacketID })
	if i < 0 {
		return fmt.Errorf("%s got %v for the unknown %d", p.id, a.Kind, a.PacketID)
	}
	s := p.open[i]
	p.h.add("%s gets %v %d (%d) %v", p.id, a.Kind, s.n, s.pid, a.Reason)
	if a.Reason.Failed() && a.Reason != packet.PacketIdentifierNotFound {
		return fmt.Errorf("%s: %v for %d: %v", p.id, a.Kind, s.n, a.Reason)
	}
	switch a.Kind {
	case packet.TypePubrec:
		s.received = true
		p.acked = max(p.acked, s.n+1)
		_ = c.send(ack(packet.TypePubrel, s.pid))
	case packet.TypePuback:
		p.acked = max(p.acked, s.n+1)
		p.open = slices.Delete(p.open, i, i+1)
	case packet.TypePubcomp:
		p.open = slices.Delete(p.open, i, i+1)
	}
	p.progress()
	return nil
}

// subscriber receives what all publishers send, and knows the QoS 2 packet
// identifiers that it has not been asked to release (§4.3.3, method B).
type subscriber struct {
	id       string
	addr     string
	version  byte
	h        *history
	progress func()

	mu   sync.Mutex
	have map[uint16]bool
	got  map[string][]string // payloads by topic, in the order of arrival
	n    int
}

func newSubscriber(id, addr string, version byte, h *history, progress func()) *subscriber {
	return &subscriber{id: id, addr: addr, version: version, h: h, progress: progress, have: map[uint16]bool{}, got: map[string][]string{}}
}

// subscribe makes the session, and leaves.
func (s *subscriber) subscribe(ctx context.Context) error {
	c, _, err := dial(ctx, s.addr, s.id, s.version)
	if err != nil {
		return err
	}
	defer c.nc.Close()
	err = c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "k/#", QoS: 2}}})
	if err != nil {
		return err
	}
	p, err := c.recv()
	if a, ok := p.(*packet.Suback); err != nil || !ok || a.Reasons[0].Failed() {
		return fmt.Errorf("%s: SUBACK %+v: %w", s.id, p, err)
	}
	return c.send(&packet.Disconnect{})
}

// run receives until ctx ends, or with limit > 0 until so many messages more
// have come.
func (s *subscriber) run(ctx context.Context, limit int) error {
	for end := 0; ; {
		c, present, _ := dial(ctx, s.addr, s.id, s.version)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // that ended the attempt
		}
		if !present {
			return fmt.Errorf("%s: session present is 0", s.id)
		}
		s.h.add("%s is connected", s.id)
		if end == 0 && limit > 0 {
			end = s.count() + limit
		}
		unhook := context.AfterFunc(ctx, func() { c.nc.Close() })
		err := s.receive(c, end)
		unhook()
		c.nc.Close()
		if err != nil || ctx.Err() != nil || end > 0 && s.count() >= end {
			return err
		}
	}
}

// receive takes packets until the connection ends or, with end > 0, so many
// messages have come.
func (s *subscriber) receive(c *conn, end int) error {
	for end == 0 || s.count() < end {
		p, err := c.recv()
		if err != nil {
			return nil //nolint:nilerr // the broker was killed
		}
		if err := s.handle(c, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *subscriber) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

func (s *subscriber) handle(c *conn, in packet.Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p := in.(type) {
	case *packet.Publish:
		s.h.add("%s gets PUBLISH %s (%d) dup=%v", s.id, p.Payload, p.PacketID, p.Dup)
		if p.QoS < 2 || !s.have[p.PacketID] {
			s.got[p.Topic] = append(s.got[p.Topic], string(p.Payload))
			s.n++
			s.progress()
		}
		kind := packet.TypePuback
		if p.QoS == 2 {
			kind, s.have[p.PacketID] = packet.TypePubrec, true
		}
		_ = c.send(ack(kind, p.PacketID)) // a connection that has ended shows when reading
	case *packet.Ack:
		s.h.add("%s gets %v (%d)", s.id, p.Kind, p.PacketID)
		delete(s.have, p.PacketID)
		_ = c.send(ack(packet.TypePubcomp, p.PacketID))
	default:
		return fmt.Errorf("%s got %#v", s.id, in)
	}
	return nil
}

// missing returns how many of the acknowledged messages of p have not arrived.
func (s *subscriber) missing(p *publisher) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	for _, m := range s.got[p.topic()] {
		seen[m] = true
	}
	return p.acked - len(seen)
}

// check returns what is wrong with the messages of p: missing, twice (QoS 2),
// or out of order.
func (s *subscriber) check(p *publisher) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	next := 0
	for _, m := range s.got[p.topic()] {
		if seen[m] {
			if p.qos == 2 {
				return fmt.Errorf("%s got %q twice", s.id, m)
			}
			continue
		}
		seen[m] = true
		if want := string(p.payload(next)); m != want {
			return fmt.Errorf("%s got %q, the next should be %q", s.id, m, want)
		}
		next++
	}
	if next < p.acked {
		return fmt.Errorf("%s: %d messages of %s were acknowledged, %d arrived", s.id, p.acked, p.id, next)
	}
	return nil
}
