package meta

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Raft repeats its complaints with every try, several times a second, as long
// as a member is away, which can be days. The first few of a kind are written,
// then one per quietFor.
const (
	quietAfter = 5
	quietFor   = time.Minute
)

// quiet is a handler that lets warnings and errors of one text through only so
// often.
type quiet struct {
	slog.Handler
	state *quietState
}

type quietState struct {
	now  func() time.Time
	mu   sync.Mutex
	said map[string]*saying // by text: the library has a few dozen
}

// saying is one text: how often it was written since it was last silent for
// quietFor, and what was left out since it was last written.
type saying struct {
	count, left int
	at          time.Time
}

func newQuiet(h slog.Handler) *quiet {
	return &quiet{h, &quietState{now: time.Now, said: map[string]*saying{}}}
}

// Handle implements slog.Handler.
func (q *quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return q.Handler.Handle(ctx, r)
	}
	left, ok := q.state.admit(r.Message)
	if !ok {
		return nil
	}
	if left > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("suppressed", left))
	}
	return q.Handler.Handle(ctx, r)
}

// admit decides on one line and returns how many like it were left out before.
func (s *quietState) admit(text string) (left int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	said := s.said[text]
	if said == nil {
		said = &saying{}
		s.said[text] = said
	}
	since := now.Sub(said.at)
	switch {
	case since >= quietFor && said.left == 0:
		said.count = 1 // it had stopped
	case since < quietFor && said.count >= quietAfter:
		said.left++
		return 0, false
	default:
		said.count++
	}
	left, said.left, said.at = said.left, 0, now
	return left, true
}

// WithAttrs implements slog.Handler.
func (q *quiet) WithAttrs(a []slog.Attr) slog.Handler {
	return &quiet{q.Handler.WithAttrs(a), q.state}
}

// WithGroup implements slog.Handler.
func (q *quiet) WithGroup(name string) slog.Handler {
	return &quiet{q.Handler.WithGroup(name), q.state}
}
