package chaos

import (
	"flag"
	"os"
	"testing"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

var (
	kills = flag.Int("kills", 3, "how often the broker is killed")
	seed  = flag.Uint64("seed", 0, "of the random moments; 0 draws one")
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }
