package bench

import (
	"strings"
	"testing"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

func TestGrowth(t *testing.T) {
	dir := t.TempDir()
	if err := clustertest.Build(t.Context(), dir, false); err != nil {
		t.Fatal(err)
	}
	rows, err := Growth(t.Context(), dir, dir, Sizes{Subscriptions: []int{1000}, Sessions: 50, Queued: 3}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	MarkdownGrowth(&b, rows)
	for _, want := range []string{"1000 subscriptions", "start after kill -9", "50 sessions, 150 messages", "a client resumes"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}
