package hostile

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

var (
	soak = flag.Bool("soak", false, "attack longer, and a broker process too, with limits on its memory and on the latency of others")
	seed = flag.Uint64("seed", 0, "seed of everything that is random; 0 draws one, which is printed")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(envAttack) != "" {
		os.Exit(attackAlone())
	}
	if *soak {
		os.Exit(clustertest.Main(leakless{m}))
	}
	os.Exit(leakless{m}.Run())
}

// leakless fails a run after which goroutines are left.
type leakless struct{ m *testing.M }

func (l leakless) Run() int {
	code := l.m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// scaled is how often something is done: n times, or more with -soak; less
// with -short and under the race detector, which is about as much slower.
func scaled(n, long int) int {
	switch {
	case *soak:
		return long
	case testing.Short() || clustertest.RaceEnabled:
		return n / 5
	}
	return n
}
