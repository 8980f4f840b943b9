package clustertest_test

import (
	"slices"
	"testing"
	"time"
)

// The targets are printed beside what was measured; on a busy machine a test
// that asserts them fails for no fault of ours, so that only a multiple fails.
const (
	showTarget  = 30 * time.Millisecond
	startTarget = time.Second
	sanity      = 10
)

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}

// TestShowSpeed measures `mqadmin cluster show` against a running node.
func TestShowSpeed(t *testing.T) {
	n := newNode(t, "n1")
	start(t, n)
	var took []time.Duration
	for range 20 {
		begin := time.Now()
		if r := n.Admin(t.Context(), "cluster", "show"); r.Code != 0 {
			t.Fatalf("cluster show: %+v", r)
		}
		took = append(took, time.Since(begin))
	}
	t.Logf("fastest %v, slowest %v", slices.Min(took), slices.Max(took))
	t.Logf("target for cluster show: %v", showTarget)
	within(t, "cluster show, median of 20", median(took), sanity*showTarget*slowdown)
}

// TestStartSpeed measures from the start of the process to the line that says
// that it serves, for a fresh single node.
func TestStartSpeed(t *testing.T) {
	var took []time.Duration
	for range 5 {
		n := newNode(t, "n1")
		begin := time.Now()
		start(t, n)
		took = append(took, time.Since(begin))
		n.Kill()
	}
	t.Logf("fastest %v, slowest %v", slices.Min(took), slices.Max(took))
	t.Logf("target for a start: %v", startTarget)
	within(t, "start to serving, median of 5", median(took), sanity*startTarget*slowdown)
}
