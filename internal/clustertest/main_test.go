package clustertest_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// slowdown multiplies limits of time.
const slowdown = clustertest.Slowdown

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }

// bin is the directory with the programs under test.
func bin() string { return clustertest.Bin() }

func diffOf[T any](want, got T) string { return cmp.Diff(want, got) }

// skipShort skips tests that take more than a few seconds.
func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts several brokers; not with -short")
	}
}
