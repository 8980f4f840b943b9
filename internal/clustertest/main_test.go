package clustertest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// envBin names the directory with the built programs. TestMain sets it after
// the one build, so that a test that executes itself in namespaces finds them.
const envBin = "MQADMIN_CLUSTERTEST_BIN"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if bin() != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "mqadmin-bin-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	err = clustertest.Build(context.Background(), dir, raceEnabled)
	// Races in the programs are reported into files, because most of them are
	// killed; and they need not wait a second at their end.
	races := filepath.Join(dir, "race")
	for name, value := range map[string]string{envBin: dir, "GORACE": "atexit_sleep_ms=0 log_path=" + races} {
		if err == nil {
			err = os.Setenv(name, value)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	reports, _ := filepath.Glob(races + ".*")
	for _, path := range reports {
		text, _ := os.ReadFile(path)
		fmt.Fprintf(os.Stderr, "a data race in one of the programs:\n%s\n", text)
		code = 1
	}
	return code
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
