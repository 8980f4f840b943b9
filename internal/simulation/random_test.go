package simulation_test

import (
	"flag"
	"math"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqadmin/mqadmin/internal/simulation"
)

var (
	seeds     = flag.Uint64("seeds", defaultSeeds, "random workloads to run")
	firstSeed = flag.Uint64("first-seed", 1, "the first of them")
	strict    = flag.Bool("strict", false, "excuse no defect that is known")
	histories = flag.String("history", "", "write the whole history of a failed workload to this file")
)

// TestRandomWorkload lets clients publish, subscribe, move and drop while nodes
// are killed, lose their power, stop, and are cut off, and checks what was
// promised (P1 to P5).
func TestRandomWorkload(t *testing.T) {
	allowed := map[allowance]int{}
	published := 0
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		synctest.Test(t, func(t *testing.T) {
			c := simulation.New(t, simulation.Options{Seed: seed, Nodes: 3})
			w := newWorkload(c, seed)
			w.run(40 * time.Second)
			k := checker{w: w, allowed: allowed}
			k.check()
			for _, p := range w.pubs {
				published += len(p.sent)
			}
			if t.Failed() && *histories != "" {
				if err := os.WriteFile(*histories, []byte(c.History.About(math.MaxInt)+"\n"), 0o644); err != nil {
					t.Error(err)
				}
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d: run it again with -run TestRandomWorkload -first-seed %d -seeds 1 -count 10", seed, seed)
		}
	}
	t.Logf("%d workloads, %d messages", *seeds, published)
	for a, n := range allowed {
		t.Logf("allowed %d times: %s", n, a)
	}
}
