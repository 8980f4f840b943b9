package queue

import (
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
)

// startWill publishes w after its delay, or at once. q.mu is held.
func (q *Queue) startWill(w *Will) {
	if w.Delay <= 0 {
		q.m.spawn(func() { q.m.publishWill(q.id, w) })
		return
	}
	due := *w
	due.Due = time.Now().Add(w.Delay).UnixMilli()
	q.will = &due
	q.m.spawn(func() { q.m.storeWill(q.id, w, &due) })
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
			q.m.publishWill(q.id, w)
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
	m.publishWill(q.id, w)
}

// publishWill publishes w and then removes it from the disk.
func (m *Manager) publishWill(id message.SessionID, w *Will) {
	done := func(err error) {
		if err != nil {
			m.log.Warn("will was not published", "client", id.String(), "topic", w.Message.Topic, "error", err)
		}
		if m.cfg.Store != nil { // not here: the callback may come from the store
			m.spawn(func() { m.forgetWill(id, w) })
		}
	}
	if m.cfg.PublishWill == nil {
		done(nil)
		return
	}
	m.cfg.PublishWill(id, *w, done)
}

// storeWill writes w as the session's will if its present one is former, or if
// former is nil. done may be nil.
func (m *Manager) storeWill(id message.SessionID, former, w *Will, done ...func(error)) {
	if m.cfg.Store == nil {
		for _, d := range done {
			d(nil)
		}
		return
	}
	m.wmu.Lock()
	defer m.wmu.Unlock()
	if former != nil && m.wills[id] != former {
		return // a newer connection has set its own
	}
	m.wills[id] = w
	b := m.cfg.Store.NewBatch()
	b.PutWill(id, w.AppendBinary(nil))
	answer := m.logCommit
	if len(done) > 0 {
		answer = done[0]
	}
	m.cfg.Store.Commit(b, answer)
}

// forgetWill removes the session's will from the disk if it is w, or whichever
// it is when w is nil.
func (m *Manager) forgetWill(id message.SessionID, w *Will) {
	if m.cfg.Store == nil {
		return
	}
	m.wmu.Lock()
	defer m.wmu.Unlock()
	if at, ok := m.wills[id]; !ok || w != nil && at != w {
		return
	}
	delete(m.wills, id)
	b := m.cfg.Store.NewBatch()
	b.DeleteWill(id)
	m.cfg.Store.Commit(b, m.logCommit)
}

// resumeWill takes up a will that was read from the store after a restart: the
// connection that set it ended with the process.
func (m *Manager) resumeWill(id message.SessionID, w *Will) {
	q := m.Get(id)
	left := w.Delay
	if w.Due != 0 {
		left = time.Until(time.UnixMilli(w.Due))
	}
	if q == nil {
		m.publishWill(id, w)
		return
	}
	q.mu.Lock()
	resumed := q.att != nil || q.epoch != w.Epoch
	if !resumed && left > 0 {
		q.will = w
		q.delayWill(left)
	}
	q.mu.Unlock()
	switch {
	case resumed: // a newer connection came in time
		m.forgetWill(id, w)
	case left <= 0:
		m.publishWill(id, w)
	}
}
