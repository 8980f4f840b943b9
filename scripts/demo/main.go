// The command demo shows in half a minute what the broker is for: it starts a
// cluster of three on loopback, joins it with mqadmin, sends QoS 2 messages
// into a shared subscription with a consumer on every node, and proves with the
// brokers' own counters that none was lost and none came twice. On a terminal
// it leaves the cluster running for whoever wants to try more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// options are the command line.
type options struct {
	bin      string
	messages int
	stay     bool // leave the cluster running until a signal
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "`directory` with the broker and mqadmin programs")
	flag.IntVar(&o.messages, "messages", 20_000, "how many messages to publish")
	flag.Parse()
	o.stay = term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// run is the whole demo. Its error is nil only if every count was right and
// every broker stopped cleanly; the brokers and their directory are gone when
// it returns, whatever happened.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "mqadmin-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := newCluster(dir, o.bin, out)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.explain(os.Stderr)
		}
		fmt.Fprintln(out, "stopping the brokers and removing their files")
		err = errors.Join(err, c.stop(interrupted(ctx)))
	}()
	if err := c.start(ctx); err != nil {
		return err
	}
	if err := c.prove(ctx, o.messages); err != nil {
		return err
	}
	if o.stay {
		c.suggest()
		<-ctx.Done()
		fmt.Fprintln(out)
	}
	return nil
}

// interrupted reports whether Ctrl-C ended ctx: then the terminal has sent the
// same signal to the brokers.
func interrupted(ctx context.Context) bool {
	return ctx.Err() != nil && strings.HasPrefix(context.Cause(ctx).Error(), os.Interrupt.String())
}

// seconds prints a duration as people say it.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// thousands prints a number with a comma between groups of three digits.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
