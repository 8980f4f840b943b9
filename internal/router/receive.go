package router

import (
	"context"
	"errors"

	"github.com/mqadmin/mqadmin/internal/peer"
	"github.com/mqadmin/mqadmin/internal/queue"
	"github.com/mqadmin/mqadmin/internal/session"
)

// Receive takes a frame from another node's link: a PUBLISH is matched again
// among the sessions of this node, a direct one goes to the session that it
// names. done gets the answer for the sender. A link calls it for one frame
// after the other, so what came first is enqueued first.
func (r *Router) Receive(from peer.Identity, f peer.Frame, done func(peer.Code)) {
	r.await(f.Applied)
	switch {
	case f.IsMark():
		r.streams.note(from.Node, f.Applied)
		done(peer.CodeAccepted)
	case f.Kind == peer.FramePublish:
		r.receivePublish(from, f, done)
	case f.Kind == peer.FrameDirect:
		r.receiveDirect(f, done)
	default:
		done(peer.CodeError)
	}
}

func (r *Router) receivePublish(from peer.Identity, f peer.Frame, done func(peer.Code)) {
	p := &pending{done: func(res session.PublishResult) {
		if res.Err != nil {
			r.cfg.Logger.Warn("a message of another node could not be stored", "from", from.Name, "error", res.Err)
			done(peer.CodeError)
			return
		}
		done(peer.CodeAccepted)
	}}
	p.left.Store(1)
	s := r.scratch.Get().(*scratch)
	defer r.free(s)
	r.version.read(func() { r.matchFrame(s, f.Message, f.Applied) })
	r.toLocal(s, f.Message, false, nil, p)
	p.release(nil)
}

func codeOf(err error) peer.Code {
	switch {
	case err == nil:
		return peer.CodeAccepted
	case errors.Is(err, queue.ErrNoSession):
		return peer.CodeNoSession
	case errors.Is(err, queue.ErrOffline):
		return peer.CodeOffline
	case errors.Is(err, queue.ErrFull):
		return peer.CodeFull
	}
	return peer.CodeError
}

// awaitTries is how often await waits for EnqueueTimeout while there is quorum:
// metadata that has been committed comes, however slow this node is.
const awaitTries = 12

// await holds the link until this node has applied the metadata at which the
// sender matched the frame: a subscription that the sender saw must be seen
// here too, and a session that has just moved here gets what is its own from
// then on. Meanwhile the sender keeps what follows, in its spool in the end.
// Without quorum nothing is applied, and nothing waited for.
func (r *Router) await(index uint64) {
	for try := range awaitTries {
		if index <= r.cfg.Metadata.Applied() || !r.quorum.Load() {
			return
		}
		ctx, cancel := context.WithTimeout(r.ctx, r.settings.Load().EnqueueTimeout)
		err := r.cfg.Metadata.WaitApplied(ctx, index)
		cancel()
		if err == nil || r.ctx.Err() != nil {
			return
		}
		if try == 0 {
			r.cfg.Logger.Warn("a frame was matched at metadata that this node has not applied in time", "index", index, "applied", r.cfg.Metadata.Applied())
		}
	}
}
