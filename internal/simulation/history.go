package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// keptEvents bounds a history; the oldest go first.
const keptEvents = 50_000

// History is what happened in a simulation, in virtual time.
type History struct {
	mu      sync.Mutex
	start   time.Time
	events  []string
	dropped int
	faults  []string
}

func newHistory() *History { return &History{start: time.Now()} }

// Add notes an event: who, and what.
func (h *History) Add(who, format string, args ...any) {
	line := fmt.Sprintf("%10.6f %-5s %s", time.Since(h.start).Seconds(), who, fmt.Sprintf(format, args...))
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.events) == keptEvents {
		h.events = append(h.events[:0:0], h.events[keptEvents/4:]...)
		h.dropped += keptEvents / 4
	}
	h.events = append(h.events, line)
}

// fault notes something that must not happen at all: a panic, a part that
// cannot go on.
func (h *History) fault(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, text)
}

// Faults returns what must not happen and did.
func (h *History) Faults() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.faults...)
}

// About returns the events that contain one of the words, at most the last
// most of them, in order; all events without words.
func (h *History) About(most int, words ...string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, e := range h.events {
		wanted := len(words) == 0
		for _, w := range words {
			wanted = wanted || strings.Contains(e, w)
		}
		if wanted {
			out = append(out, e)
		}
	}
	skipped := max(len(out)-most, 0)
	out = out[skipped:]
	if skipped+h.dropped > 0 {
		out = append([]string{fmt.Sprintf("… %d earlier events …", skipped+h.dropped)}, out...)
	}
	return strings.Join(out, "\n")
}

// Around returns, at most most, the events that contain one of the words and are
// not far from one that contains what.
func (h *History) Around(most int, what string, words ...string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	near := make([]bool, len(h.events))
	for i, e := range h.events {
		if strings.Contains(e, what) {
			for j := max(i-40, 0); j < min(i+40, len(h.events)); j++ {
				near[j] = true
			}
		}
	}
	var out []string
	for i, e := range h.events {
		wanted := strings.Contains(e, what)
		for _, w := range words {
			wanted = wanted || near[i] && strings.Contains(e, w)
		}
		if wanted {
			out = append(out, e)
		}
	}
	if len(out) > most {
		out = append(out[:most], fmt.Sprintf("… %d later events …", len(out)-most))
	}
	return strings.Join(out, "\n")
}

// logs is the slog.Handler of a node: its warnings are events.
type logs struct {
	h     *History
	who   string
	attrs string
	level slog.Level
}

// Enabled implements slog.Handler.
func (l logs) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

// Handle implements slog.Handler.
func (l logs) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message + l.attrs)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	l.h.Add(l.who, "%s: %s", r.Level, b.String())
	if strings.HasPrefix(r.Message, "panic") {
		l.h.fault(l.who + ": " + b.String())
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (l logs) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		l.attrs += fmt.Sprintf(" %s=%v", a.Key, a.Value)
	}
	return l
}

// WithGroup implements slog.Handler.
func (l logs) WithGroup(string) slog.Handler { return l }
