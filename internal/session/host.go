package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// Host is the broker as plugins without a connection see it: a bridge publishes
// and subscribes through it. Each of its sessions is a clean one, registered in
// the cluster like a client's, and ends when the plugin unsubscribes, when a
// client takes its id, or with Close.
type Host struct {
	m *Manager

	mu       sync.Mutex // guards what follows
	sessions map[message.SessionID]*hosted
	closed   bool
}

var _ hook.Host = (*Host)(nil)

// NewHost returns a Host over the sessions, queues and router of m.
func NewHost(m *Manager) *Host {
	h := &Host{m: m, sessions: map[message.SessionID]*hosted{}}
	m.mu.Lock()
	m.host = h
	m.mu.Unlock()
	return h
}

// Publish routes a message as if a client had been allowed to publish it; done
// is called once, when every destination has it.
func (h *Host) Publish(m *message.Message, done func(error)) {
	h.publish(m, h.m.cfg.Settings().AllowPublish, done)
}

// PublishAlways is Publish for what the broker itself says: without a majority
// too, whatever allow_publish_during_netsplit is.
func (h *Host) PublishAlways(m *message.Message, done func(error)) { h.publish(m, true, done) }

func (h *Host) publish(m *message.Message, allowNetsplit bool, done func(error)) {
	msg := *m
	msg.ID = h.m.cfg.NextID()
	o := PublishOptions{AllowNetsplit: allowNetsplit}
	h.m.cfg.Router.Publish(&msg, o, func(r PublishResult) { done(r.Err) })
}

// Subscribe adds subscriptions to the plugin's session, which it opens with the
// first ones: s is the one given then.
func (h *Host) Subscribe(ctx context.Context, id message.SessionID, subs []message.Subscription, s hook.Subscriber) error {
	p, err := h.open(ctx, id, s)
	if err != nil {
		return fmt.Errorf("subscribing %s: %w", id, err)
	}
	results, err := h.m.cfg.Router.Subscribe(ctx, p.subject(h), subs)
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	if err != nil {
		return fmt.Errorf("subscribing %s: %w", id, err)
	}
	for i, sub := range subs {
		if _, _, shared := topic.SplitShare(sub.Filter); shared || sub.RetainHandling == 2 || sub.RetainHandling == 1 && results[i].Existed {
			continue
		}
		h.m.cfg.Router.Retained(id.Mountpoint, sub.Filter, func(m *message.Message) {
			p.q.Deliver(queue.Delivery{Message: m, QoS: sub.QoS, Retain: true}, func(error) {}) // what exceeds a limit is counted
		})
	}
	return nil
}

// Unsubscribe removes filters of the plugin's session; with none the session
// ends, and what waited for it is gone.
func (h *Host) Unsubscribe(ctx context.Context, id message.SessionID, filters []string) error {
	p := h.find(id)
	if p == nil {
		return fmt.Errorf("unsubscribing %s: %w", id, queue.ErrNoSession)
	}
	if len(filters) == 0 {
		h.end(p)
		<-p.gone
		return nil
	}
	if _, err := h.m.cfg.Router.Unsubscribe(ctx, p.subject(h), filters); err != nil {
		return fmt.Errorf("unsubscribing %s: %w", id, err)
	}
	return nil
}

// Close ends all sessions and takes no new ones.
func (h *Host) Close() {
	h.mu.Lock()
	h.closed = true
	all := make([]*hosted, 0, len(h.sessions))
	for _, p := range h.sessions {
		all = append(all, p)
	}
	h.mu.Unlock()
	for _, p := range all {
		h.end(p)
		<-p.gone
	}
}

// find returns a plugin's session; nil for a nil Host.
func (h *Host) find(id message.SessionID) *hosted {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[id]
}

// hosted is one session of a plugin. Its goroutine pulls the queue and ends with
// stop.
type hosted struct {
	id    message.SessionID
	epoch message.Epoch
	s     hook.Subscriber
	q     *queue.Queue
	att   *queue.Attachment
	wake  chan struct{} // one wish to look at the queue
	stop  chan struct{} // closed when the session ends
	gone  chan struct{} // closed when it has ended
	once  sync.Once
	taken bool // by a client; set before stop is closed
}

func (p *hosted) subject(h *Host) Subject {
	s := h.m.cfg.Settings()
	return Subject{ID: p.id, Epoch: p.epoch, AllowNetsplit: s.AllowSubscribe}
}

// open returns the session of a plugin, registered and attached.
func (h *Host) open(ctx context.Context, id message.SessionID, s hook.Subscriber) (*hosted, error) {
	unlock := h.m.lock(id, nil)
	defer unlock()
	h.mu.Lock()
	p, closed := h.sessions[id], h.closed
	h.mu.Unlock()
	switch {
	case closed:
		return nil, ErrShutdown
	case p != nil:
		return p, nil
	}
	set := h.m.cfg.Settings()
	reg, err := h.m.cfg.Registrar.Register(ctx, RegisterRequest{ID: id, CleanStart: true, AllowNetsplit: set.AllowRegister, Version: packet.V311})
	if err != nil {
		return nil, err
	}
	p = &hosted{
		id: id, epoch: reg.Epoch, s: s,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), gone: make(chan struct{}),
	}
	o := queue.Options{MaxInflight: set.MaxInflight, MaxOnline: set.MaxOnline, LIFO: set.LIFO, UpgradeQoS: set.UpgradeQoS}
	q, _, err := h.m.cfg.Queues.Open(queue.OpenRequest{ID: id, Epoch: reg.Epoch, Clean: true, UpperHalf: reg.UpperHalf, Held: reg.Held, Options: o})
	if err == nil {
		p.q = q
		p.att, err = q.Attach(p, o)
	}
	if err != nil {
		h.m.cfg.Registrar.Ended(context.WithoutCancel(ctx), End{ID: id, Epoch: reg.Epoch, At: time.Now()})
		return nil, err
	}
	h.mu.Lock()
	h.sessions[id] = p
	h.mu.Unlock()
	go h.run(p) // ends with the session; Unsubscribe and Close wait for it
	return p, nil
}

// Wake implements queue.Consumer.
func (p *hosted) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Close implements queue.Consumer: a client or another node has the session.
func (p *hosted) Close(packet.Reason) {
	p.once.Do(func() {
		p.taken = true
		close(p.stop)
	})
}

// end asks the session's goroutine to end it.
func (h *Host) end(p *hosted) { p.once.Do(func() { close(p.stop) }) }

// run hands what the queue has to the plugin until the session ends.
func (h *Host) run(p *hosted) {
	outs := make([]queue.Out, 0, pullSize)
	for ended := false; !ended; {
		select {
		case <-p.stop:
			ended = true
			continue
		case <-p.wake:
		}
		for n := pullSize; n == pullSize; {
			outs = p.att.Pull(outs[:0], pullSize)
			n = len(outs)
			for i := range outs {
				p.deliver(&outs[i])
			}
			clear(outs)
		}
	}
	p.att.Detach(queue.DetachOptions{})
	h.mu.Lock()
	delete(h.sessions, p.id)
	h.mu.Unlock()
	h.m.cfg.Registrar.Ended(context.Background(), End{ID: p.id, Epoch: p.epoch, At: time.Now()})
	close(p.gone)
	if p.taken {
		p.s.Gone()
	}
}

// deliver hands over one packet. The plugin's done stands for the client's
// acknowledgements.
func (p *hosted) deliver(o *queue.Out) {
	pid, qos := o.PacketID, o.QoS
	if o.Release {
		_ = p.att.Pubcomp(pid) // fails when the session has ended
		return
	}
	var once sync.Once
	p.s.Deliver(o.Message, qos, func() {
		once.Do(func() {
			switch qos {
			case 1:
				_ = p.att.Puback(pid) // fails when the session has ended
			case 2:
				_ = p.att.Pubrec(pid, false) // as above
			}
		})
	})
}
