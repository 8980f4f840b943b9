package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// Times of the demo.
const (
	startTimeout = 30 * time.Second
	stopTimeout  = 15 * time.Second
	// joinedTarget is how long a cluster of three may take from nothing until
	// every node sees every other one.
	joinedTarget = 5 * time.Second
	// signalGrace is how long brokers that the terminal has signalled already
	// may take before they are signalled again.
	signalGrace = 3 * time.Second
)

// cluster is the three brokers of the demo.
type cluster struct {
	bin   string
	out   io.Writer
	nodes []*clustertest.Node
}

// settings are those that the guide makes. With the default limit of 1,000
// messages a consumer that falls behind would lose what exceeds it, counted;
// with the default policy each message would stay on the node it came to.
func settings() []string {
	return []string{
		"plugins.vmq_acl = on", "shared_subscription_policy = random",
		"max_inflight_messages = 1000", "max_online_messages = -1", "max_offline_messages = -1",
	}
}

// newCluster writes the configuration of three brokers below dir, on ports
// that are free now.
func newCluster(dir, bin string, out io.Writer) (*cluster, error) {
	c := &cluster{bin: bin, out: out}
	acl := filepath.Join(dir, "vmq.acl")
	if err := os.WriteFile(acl, []byte("# everybody may do everything\ntopic #\n"), 0o600); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "Three brokers, with their files below %s:\n\n", dir)
	for i := 1; i <= 3; i++ {
		n, err := clustertest.New(clustertest.Config{
			Bin: bin, Dir: filepath.Join(dir, fmt.Sprintf("n%d", i)), Name: fmt.Sprintf("n%d@127.0.0.1", i),
			Settings: append(settings(), "vmq_acl.acl_file = "+acl),
		})
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "  %s  MQTT %s  cluster port %s  HTTP %s\n", n.Name, n.MQTT, n.Cluster, n.HTTP)
		c.nodes = append(c.nodes, n)
	}
	fmt.Fprintln(out)
	return c, nil
}

// start starts the brokers, joins them with mqadmin and returns when every
// node sees every other one.
func (c *cluster) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	began := time.Now()
	group, gctx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		group.Go(func() error { return n.Start(gctx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "All three serve after %s.\n", seconds(time.Since(began)))
	first := c.nodes[0]
	for _, n := range c.nodes[1:] {
		c.show(n, "cluster", "join", "discovery-node="+first.Discovery())
		if err := n.Join(ctx, first); err != nil {
			return err
		}
	}
	err := clustertest.Await(ctx, func() error {
		for _, n := range c.nodes {
			if err := n.AllRunning(ctx, c.nodes...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	fmt.Fprintf(c.out, "One cluster of three, %s after the start", seconds(took))
	if took > joinedTarget {
		fmt.Fprintf(c.out, "; it should be %s at most (is the machine busy?)", seconds(joinedTarget))
	}
	fmt.Fprint(c.out, ".\n\n")
	return nil
}

// command is a line that can be typed to run mqadmin against a node.
func (c *cluster) command(n *clustertest.Node, args ...string) string {
	return strings.Join(append([]string{filepath.Join(c.bin, "mqadmin"), "--socket", n.Socket()}, args...), " ")
}

// show prints the line before its command is run.
func (c *cluster) show(n *clustertest.Node, args ...string) {
	fmt.Fprintf(c.out, "$ %s\n", c.command(n, args...))
}

// admin shows a command, runs it and shows what it prints.
func (c *cluster) admin(ctx context.Context, n *clustertest.Node, args ...string) error {
	c.show(n, args...)
	r := n.Admin(ctx, args...)
	fmt.Fprintf(c.out, "%s%s\n", r.Stdout, r.Stderr)
	if r.Code != 0 {
		return fmt.Errorf("%v ended with exit code %d", args, r.Code)
	}
	return nil
}

// stop ends every broker. Those that the terminal has signalled get the time
// to end by themselves, because a second signal would cut that short.
func (c *cluster) stop(signalled bool) error {
	if signalled {
		grace := time.After(signalGrace)
		for _, n := range c.nodes {
			if !n.Running() {
				continue
			}
			select {
			case <-n.Exited():
			case <-grace:
			}
		}
	}
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Stop(stopTimeout))
	}
	return errors.Join(errs...)
}

// explain prints what the brokers printed last, for whoever looks for the cause
// of a failure.
func (c *cluster) explain(w io.Writer) {
	for _, n := range c.nodes {
		if t := n.Tail(); t != "" {
			fmt.Fprintf(w, "\n%s printed last:\n%s", n.Name, t)
		}
	}
}

// suggest prints complete lines to go on with.
func (c *cluster) suggest() {
	n1, n2, n3 := c.nodes[0], c.nodes[1], c.nodes[2]
	fmt.Fprintf(c.out, `The cluster is running; Ctrl-C ends it. In another terminal, in this directory:

  %s
  %s
  %s
  %s

With mosquitto's clients, a subscriber on one node and a publisher on another:

  mosquitto_sub %s -i me -c -q 2 -t 'hello/#' -v
  mosquitto_pub %s -q 2 -t hello/world -m hi

Then the end of that session, and of a node:

  %s
  %s

`,
		c.command(n2, "cluster", "show"),
		c.command(n2, "session", "show", "--node", "--client_id", "--is_online", "--topic"),
		c.command(n2, "metrics", "show"),
		c.command(n2, "node", "status"),
		mosquitto(n1.MQTT), mosquitto(n3.MQTT),
		c.command(n2, "session", "disconnect", "client-id=me", "-c"),
		c.command(n1, "cluster", "leave", "node="+n3.Name, "-k"))
}
