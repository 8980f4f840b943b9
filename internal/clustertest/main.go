package clustertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// envBin names the directory with the built programs, so that a test that
// executes itself in namespaces finds what its parent built.
const envBin = "MQADMIN_CLUSTERTEST_BIN"

// Bin is the directory with the programs under test.
func Bin() string { return os.Getenv(envBin) }

// Main builds the programs, with the race detector if the test has it, runs
// the tests and returns the exit code for TestMain. A race that one of the
// programs reported fails the run.
func Main(m interface{ Run() int }) int {
	if Bin() != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "mqadmin-bin-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	err = Build(context.Background(), dir, RaceEnabled)
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
