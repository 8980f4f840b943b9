// The command mqadmin watches and steers a cluster of brokers.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mqadmin/mqadmin/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(cli.Run(ctx, os.Args, cli.Process()))
}
