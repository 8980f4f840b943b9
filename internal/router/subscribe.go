package router

import (
	"context"
	"errors"
	"fmt"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta"
	"github.com/mqadmin/mqadmin/internal/session"
)

// Subscribe enters the subscriptions of a session and returns once every
// member that holds a lease has them: from then on a PUBLISH on any of them
// reaches the session. The results are in the order of subs. An error fails
// all of them: session.ErrNotReady without quorum, session.ErrTakenOver when
// the session is no longer this node's.
func (r *Router) Subscribe(ctx context.Context, s session.Subject, subs []message.Subscription) ([]session.SubscribeResult, error) {
	if s.Durable {
		return r.subscribeDurable(ctx, s, subs)
	}
	return r.clean.subscribe(ctx, s, subs)
}

func (r *Router) subscribeDurable(ctx context.Context, s session.Subject, subs []message.Subscription) ([]session.SubscribeResult, error) {
	existed, index, err := r.cfg.Metadata.Subscribe(ctx, s.ID, s.Epoch, subs, meta.Options{Overlay: s.AllowNetsplit})
	if err != nil {
		return nil, translate(err)
	}
	out := make([]session.SubscribeResult, len(subs))
	for i := range out {
		out[i].Existed = existed[i]
	}
	return out, translate(r.cfg.Metadata.WaitVisible(ctx, index))
}

// Unsubscribe removes filters of a session and tells of each whether it was
// there. It returns once no member routes by them any more.
func (r *Router) Unsubscribe(ctx context.Context, s session.Subject, filters []string) ([]bool, error) {
	if !s.Durable {
		return r.clean.unsubscribe(ctx, s, filters)
	}
	existed, index, err := r.cfg.Metadata.Unsubscribe(ctx, s.ID, s.Epoch, filters, meta.Options{Overlay: s.AllowNetsplit})
	if err != nil {
		return nil, translate(err)
	}
	return existed, translate(r.cfg.Metadata.WaitVisible(ctx, index))
}

// translate turns the store's errors into those that a session answers with a
// reason code.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, meta.ErrNoQuorum):
		return fmt.Errorf("%w: %w", session.ErrNotReady, err)
	case errors.Is(err, meta.ErrStaleEpoch), errors.Is(err, meta.ErrNoSession), errors.Is(err, meta.ErrSuperseded):
		return fmt.Errorf("%w: %w", session.ErrTakenOver, err)
	}
	return err
}

// Subscriptions lists the subscriptions of a session of this node, or of a
// durable session anywhere.
func (r *Router) Subscriptions(id message.SessionID) []message.Subscription {
	if subs := r.clean.list(id); subs != nil {
		return subs
	}
	return r.cfg.Metadata.Subscriptions(id)
}
