package broker

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"broker":  main,
		"vernemq": main,
	})
}

func main() {
	os.Exit(Main(context.Background(), os.Args, Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}))
}

// leakChecked looks for goroutines left behind after all tests.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return code
}

// TestScripts runs the broker's command line, each script with free ports of
// its own in $MQTT, $CLUSTER and $HTTP.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"MQTT", "CLUSTER", "HTTP"} {
				addr, err := clustertest.FreeAddress()
				if err != nil {
					return err
				}
				e.Vars = append(e.Vars, name+"="+addr)
			}
			e.Vars = append(e.Vars,
				"BROKER_LISTENER__TCP__DEFAULT="+e.Getenv("MQTT"),
				"BROKER_LISTENER__VMQ__CLUSTERING="+e.Getenv("CLUSTER"),
				"BROKER_LISTENER__HTTP__DEFAULT="+e.Getenv("HTTP"))
			return nil
		},
	})
}
