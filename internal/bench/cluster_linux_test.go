package bench

import (
	"strings"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

func TestCluster(t *testing.T) {
	if clustertest.RaceEnabled {
		t.Skip("the broker processes of this test are without the race detector")
	}
	dir := t.TempDir()
	if err := clustertest.Build(t.Context(), dir, false); err != nil {
		t.Fatal(err)
	}
	c := Cluster{Bin: dir, Dir: dir, Log: t.Output(), Sizes: ClusterSizes{
		Times: Times{Warmup: 10 * time.Millisecond, Measure: 100 * time.Millisecond}, Rounds: 1, Rate: 100 * time.Millisecond,
		Sessions: 20, Queued: 100, Nodes: []int{2},
	}}
	rows, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	MarkdownCluster(&b, rows)
	for _, want := range []string{
		"CPU of both nodes", "first SUBACK after", "SUBSCRIBEs per second", "200 subscriptions of 20 durable sessions", "with 100 queued messages, in order", "2 nodes: idle",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

func TestPauses(t *testing.T) {
	begin := time.Unix(1000, 0)
	var w times
	for _, ms := range []int{-900, -100, 50, 60, 400, 410} {
		w.list = append(w.list, begin.Add(time.Duration(ms)*time.Millisecond))
	}
	if got, want := w.pause(begin), 340*time.Millisecond; got != want {
		t.Errorf("longest pause %v, want %v", got, want)
	}
	if got, want := w.first(begin), 50*time.Millisecond; got != want {
		t.Errorf("first after %v, want %v", got, want)
	}
	if got := w.first(begin.Add(time.Hour)); got >= 0 {
		t.Errorf("first after %v, want none", got)
	}
}
