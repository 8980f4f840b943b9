// The command broker is a clustered MQTT broker.
package main

import (
	"context"
	"os"

	"github.com/mqadmin/mqadmin/internal/broker"
)

func main() {
	stdio := broker.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}
	os.Exit(broker.Main(context.Background(), os.Args, stdio))
}
