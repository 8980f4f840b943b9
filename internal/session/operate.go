package session

import (
	"context"
	"fmt"
	"slices"

	"github.com/mqadmin/mqadmin/internal/hook"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// This file has what an administrator does to the subscriptions of a session
// here, whether its client is connected or not. CONNECTs of the session wait
// meanwhile.

// Subscribe enters a subscription as if the client had sent SUBSCRIBE, without
// asking whether it may, and delivers the retained messages. It tells whether
// it replaced one. queue.ErrNoSession: this node has no such session.
func (m *Manager) Subscribe(ctx context.Context, id message.SessionID, sub message.Subscription) (existed bool, err error) {
	unlock := m.lock(id, nil)
	defer unlock()
	s, err := m.subject(id, m.cfg.Settings().AllowSubscribe)
	if err != nil {
		return false, err
	}
	return m.enterFor(ctx, s, sub)
}

func (m *Manager) enterFor(ctx context.Context, s Subject, sub message.Subscription) (existed bool, err error) {
	results, err := m.cfg.Router.Subscribe(ctx, s, []message.Subscription{sub})
	if err == nil && len(results) > 0 {
		existed, err = results[0].Existed, results[0].Err
	}
	if err != nil {
		return false, fmt.Errorf("subscribing %s to %q: %w", s.ID, sub.Filter, err)
	}
	m.recordSubscriptions(s.ID)
	if _, _, shared := topic.SplitShare(sub.Filter); shared || sub.RetainHandling == 2 || sub.RetainHandling == 1 && existed {
		return existed, nil
	}
	m.cfg.Router.Retained(s.ID.Mountpoint, sub.Filter, func(msg *message.Message) {
		if !sub.NoLocal || msg.Publisher != s.ID.ClientID {
			m.cfg.Queues.Deliver(s.ID, queue.Delivery{Message: msg, QoS: sub.QoS, Retain: true}, func(error) {}) // what exceeds a limit is counted
		}
	})
	return existed, nil
}

// Unsubscribe removes a subscription and tells whether it was there; with tell
// the plugins hear of it.
func (m *Manager) Unsubscribe(ctx context.Context, id message.SessionID, filter string, tell bool) (existed bool, err error) {
	unlock := m.lock(id, nil)
	defer unlock()
	s, err := m.subject(id, m.cfg.Settings().AllowUnsubscribe)
	if err != nil {
		return false, err
	}
	if existed, err = m.removeFor(ctx, s, filter); existed && tell && err == nil {
		m.chain(id).OnTopicUnsubscribed(id, []string{filter})
	}
	return existed, err
}

func (m *Manager) removeFor(ctx context.Context, s Subject, filter string) (existed bool, err error) {
	list, err := m.cfg.Router.Unsubscribe(ctx, s, []string{filter})
	if err != nil {
		return false, fmt.Errorf("unsubscribing %s from %q: %w", s.ID, filter, err)
	}
	m.recordSubscriptions(s.ID)
	return len(list) > 0 && list[0], nil
}

// Reauthorize asks the plugins about each subscription of a session again, in
// the name of username. What they refuse now is removed, what they change is
// replaced; both are returned by their filters.
func (m *Manager) Reauthorize(ctx context.Context, id message.SessionID, username string) (removed, replaced []string, err error) {
	unlock := m.lock(id, nil)
	defer unlock()
	s, err := m.subject(id, m.cfg.Settings().AllowSubscribe)
	if err != nil {
		return nil, nil, err
	}
	chain, client := m.chain(id), hook.Client{ID: id}
	if c := m.attached(id); c != nil {
		client = c.client
	}
	client.Username, client.HasUsername = username, true
	for _, old := range m.cfg.Router.Subscriptions(id) {
		now, granted := ask(ctx, chain, client, old)
		switch {
		case granted && now == old:
			continue
		case granted:
			now.RetainHandling = 2 // it has had the retained messages
			if _, err := m.enterFor(ctx, s, now); err != nil {
				return removed, replaced, err
			}
			replaced = append(replaced, old.Filter)
		default:
			removed = append(removed, old.Filter)
		}
		if !granted || now.Filter != old.Filter {
			if _, err := m.removeFor(ctx, s, old.Filter); err != nil {
				return removed, replaced, err
			}
		}
	}
	if len(removed) > 0 {
		chain.OnTopicUnsubscribed(id, slices.Clone(removed))
	}
	return removed, replaced, nil
}

// ask asks the plugins about one subscription and returns what they make of it.
func ask(ctx context.Context, chain *hook.Chain, client hook.Client, sub message.Subscription) (message.Subscription, bool) {
	h := &hook.Subscribe{Client: client, Subscriptions: []message.Subscription{sub}}
	if !chain.AuthOnSubscribe(ctx, h).Allowed() || len(h.Reasons) > 0 && h.Reasons[0].Failed() {
		return sub, false
	}
	return h.Subscriptions[0], true
}

// subject tells the cluster for whom this node speaks.
func (m *Manager) subject(id message.SessionID, allowNetsplit bool) (Subject, error) {
	s := Subject{ID: id, AllowNetsplit: allowNetsplit}
	if p := m.hosted(id); p != nil {
		s.Epoch = p.epoch
		return s, nil
	}
	if c := m.attached(id); c != nil {
		s.Epoch, s.Durable = *c.epoch.Load(), c.durable
		return s, nil
	}
	q, ok := m.cfg.Queues.Info(id)
	if !ok {
		return s, queue.ErrNoSession
	}
	s.Epoch, s.Durable = q.Epoch, q.Durable
	return s, nil
}

// chain returns the plugins of a session: those of its listener or, without a
// connection, the default ones.
func (m *Manager) chain(id message.SessionID) *hook.Chain {
	if c := m.attached(id); c != nil {
		return c.l.Chain
	}
	return m.cfg.Chain
}

// recordSubscriptions keeps the copy of a durable session's subscriptions.
func (m *Manager) recordSubscriptions(id message.SessionID) {
	m.cfg.Queues.SetSubscriptions(id, m.cfg.Router.Subscriptions)
}
