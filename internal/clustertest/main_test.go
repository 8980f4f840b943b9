package clustertest_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// envBin names the directory with the built programs. TestMain sets it after
// the one build, so that a test that executes itself in namespaces finds them.
const envBin = "MQADMIN_CLUSTERTEST_BIN"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(envBin) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "mqadmin-bin-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := clustertest.Build(context.Background(), dir, raceEnabled); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Setenv(envBin, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// bin is the directory with the programs under test.
func bin() string { return os.Getenv(envBin) }

func diffOf[T any](want, got T) string { return cmp.Diff(want, got) }

// skipShort skips tests that take more than a few seconds.
func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts several brokers; not with -short")
	}
}
