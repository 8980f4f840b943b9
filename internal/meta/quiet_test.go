package meta

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestQuietBoundsRepeatedComplaints(t *testing.T) {
	var out bytes.Buffer
	h := newQuiet(slog.NewTextHandler(&out, nil))
	now := time.Unix(1000, 0)
	h.state.now = func() time.Time { return now }
	log := slog.New(h).With("part", "raft")
	for range 3600 { // half an hour of a member that is away
		log.Error("failed to contact", "error", "refused")
		log.Warn("election timeout")
		log.Info("entering follower state")
		now = now.Add(500 * time.Millisecond)
	}
	for text, most := range map[string]int{"failed to contact": 35, "election timeout": 35, "entering follower state": 3600} {
		if n := strings.Count(out.String(), text); n > most || n < 30 {
			t.Errorf("%q %d times", text, n)
		}
	}
	if !strings.Contains(out.String(), "suppressed=119") && !strings.Contains(out.String(), "suppressed=120") {
		t.Error("what was left out is not counted")
	}
	now = now.Add(time.Hour)
	out.Reset()
	log.Error("failed to contact") // says what was left out
	now = now.Add(time.Hour)
	for range quietAfter { // a new story is told in full again
		log.Error("failed to contact")
	}
	if n := strings.Count(out.String(), "failed"); n != 1+quietAfter {
		t.Errorf("%d lines of a new story", n)
	}
}
