package queue

import (
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
)

// startWill publishes w after its delay, or at once. q.mu is held.
func (q *Queue) startWill(w *Will) {
	if w.Delay <= 0 {
		q.m.wg.Go(func() { q.m.publishWill(q.id, *w) })
		return
	}
	due := *w
	due.Due = time.Now().Add(w.Delay).UnixMilli()
	q.will = &due
	q.m.storeWill(q.id, due)
	q.delayWill(w.Delay)
}

// delayWill starts the timer of q.will. q.mu is held.
func (q *Queue) delayWill(after time.Duration) {
	w := q.will
	q.delay = time.AfterFunc(after, func() {
		q.mu.Lock()
		mine := q.will == w
		if mine {
			q.will = nil
		}
		q.mu.Unlock()
		if mine {
			q.m.publishWill(q.id, *w)
		}
	})
}

// lateWill publishes the will of a connection that has lost its queue to
// another one. A delayed will of a session that goes on is not published: it
// was resumed in time [MQTT-3.1.3-9].
func (m *Manager) lateWill(q *Queue, w *Will, ended bool) {
	if w == nil {
		return
	}
	if w.Delay > 0 && !ended {
		return
	}
	m.send(q.id, *w, func(error) {})
}

// publishWill publishes w and then removes it from the disk.
func (m *Manager) publishWill(id message.SessionID, w Will) {
	m.send(id, w, func(err error) {
		if err != nil {
			m.log.Warn("will was not published", "client", id.String(), "topic", w.Message.Topic, "error", err)
		}
		m.wg.Go(func() { m.forgetWill(id) }) // the callback may come from the store
	})
}

func (m *Manager) send(id message.SessionID, w Will, done func(error)) {
	if m.cfg.PublishWill == nil {
		done(nil)
		return
	}
	m.cfg.PublishWill(id, w, done)
}

// storeWill notes when a delayed will is due, so that a restart keeps it.
func (m *Manager) storeWill(id message.SessionID, w Will) {
	if m.cfg.Store == nil {
		return
	}
	m.wg.Go(func() {
		b := m.cfg.Store.NewBatch()
		b.PutWill(id, w.AppendBinary(nil))
		m.cfg.Store.Commit(b, m.logCommit)
	})
}

func (m *Manager) forgetWill(id message.SessionID) {
	if m.cfg.Store == nil {
		return
	}
	var b *msgstore.Batch = m.cfg.Store.NewBatch()
	b.DeleteWill(id)
	m.cfg.Store.Commit(b, m.logCommit)
}

// resumeWill takes up a will that was read from the store after a restart: the
// connection that set it ended with the process.
func (m *Manager) resumeWill(id message.SessionID, w Will) {
	q := m.Get(id)
	now := time.Now()
	left := w.Delay
	if w.Due != 0 {
		left = time.UnixMilli(w.Due).Sub(now)
	}
	if q == nil || left <= 0 {
		m.publishWill(id, w)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.att != nil || q.epoch != w.Epoch {
		return // a newer connection resumed the session in time
	}
	q.will = &w
	q.delayWill(left)
}
