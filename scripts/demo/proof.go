package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"text/tabwriter"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/scenario"
)

const (
	// proofTimeout bounds the run of the scenario, stallTimeout how long it may
	// go without any progress: then what is missing will not come any more.
	proofTimeout = 3 * time.Minute
	stallTimeout = 10 * time.Second
	// settleTimeout is how long the last acknowledgements may be under way
	// after the last message has arrived.
	settleTimeout = 5 * time.Second
)

// check is a counter with the sum over all nodes that proves that nothing was
// lost.
type check struct {
	name string
	want int64
}

// checks are the counters of a run of so many messages: what every step of a
// QoS 2 delivery must add up to, on the publishers' and on the consumers' side,
// and what must not have happened at all.
func checks(messages int64) []check {
	return []check{
		{"mqtt_publish_received", messages},
		{"mqtt_pubcomp_sent", messages},
		{"mqtt_publish_sent", messages},
		{"mqtt_pubcomp_received", messages},
		{"queue_message_drop", 0},
		{"queue_message_expired", 0},
		{"queue_message_unhandled", 0},
		{"router_shared_no_member", 0},
		{"router_remote_failed", 0},
		{"cluster_bytes_dropped", 0},
	}
}

// counters are the metrics of one node.
type counters map[string]int64

// prove runs the scenario with real clients and compares the counters while
// they are connected.
func (c *cluster) prove(ctx context.Context, messages int) error {
	var brokers []string
	for _, n := range c.nodes {
		brokers = append(brokers, n.MQTT)
	}
	fmt.Fprintf(c.out, "Publishing %s messages of QoS 2 on all nodes into $share/workers/demo/jobs, which has a consumer on each node.\n",
		thousands(int64(messages)))
	counted := false
	bounded, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	rep, err := scenario.Run(bounded, scenario.Config{
		Brokers: brokers, Name: "demo", Messages: messages,
		BeforeEnd: func(ctx context.Context) error {
			counted = true
			return c.count(ctx, int64(messages))
		},
	}, c.progress(cancel))
	if ctx.Err() != nil {
		return errInterrupted
	}
	c.summarize(rep)
	if !counted {
		err = errors.Join(err, c.count(ctx, int64(messages)))
	}
	if !rep.Perfect(messages) {
		err = errors.Join(err, fmt.Errorf("of %d messages, %d were acknowledged, %d are missing, %d came again and %d were never published",
			messages, rep.Acked, rep.Missing, rep.Duplicates, rep.Wrong))
	}
	if err == nil {
		fmt.Fprint(c.out, "Nothing was lost, and nothing came twice.\n\n")
	}
	return err
}

// errInterrupted is the error of a demo that was ended before its proof was
// complete.
var errInterrupted = errors.New("interrupted before the proof was complete")

// progress prints how far the run is and gives it up when it stands still.
func (c *cluster) progress(giveUp func()) func(scenario.Progress) {
	var last scenario.Progress
	moved := time.Now()
	return func(p scenario.Progress) {
		if p != last {
			last, moved = p, time.Now()
			fmt.Fprintf(c.out, "  %s acknowledged, %s received\n", thousands(int64(p.Acked)), thousands(int64(p.Received)))
		} else if time.Since(moved) > stallTimeout {
			giveUp()
		}
	}
}

// summarize prints what the clients counted.
func (c *cluster) summarize(r scenario.Report) {
	fmt.Fprintf(c.out, "The clients counted %s acknowledged and", thousands(int64(r.Acked)))
	for i, n := range r.Received {
		sign := " +"
		if i == 0 {
			sign = ""
		}
		fmt.Fprintf(c.out, "%s %s", sign, thousands(int64(n)))
	}
	fmt.Fprintf(c.out, " = %s received in %s: %s missing, %s twice.\n",
		thousands(int64(r.Sum())), seconds(r.Elapsed), thousands(int64(r.Missing)), thousands(int64(r.Duplicates)))
}

// count prints cluster, sessions and counters, and fails unless every sum is
// right.
func (c *cluster) count(ctx context.Context, messages int64) error {
	fmt.Fprintln(c.out)
	all := make([]counters, len(c.nodes))
	settled, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	// A wrong sum stays wrong, and is reported below with all others.
	_ = clustertest.Await(settled, func() error {
		for i, n := range c.nodes {
			m, err := n.Counters(ctx)
			if err != nil {
				return err
			}
			all[i] = m
		}
		return wrong(checks(messages), all)
	})
	first := c.nodes[0]
	if err := c.admin(ctx, first, "cluster", "show"); err != nil {
		return err
	}
	if err := c.admin(ctx, first, "session", "show", "--node", "--client_id", "--is_online", "--topic", "--qos"); err != nil {
		return err
	}
	var names []string
	for _, n := range c.nodes {
		names = append(names, n.Name)
	}
	c.show(first, "metrics", "show", " # the same on each node")
	if err := printSums(c.out, names, checks(messages), all); err != nil {
		return err
	}
	return wrong(checks(messages), all)
}

// wrong returns an error for each counter whose sum is not what it must be, nil
// if there is none.
func wrong(list []check, all []counters) error {
	var errs []error
	for _, k := range list {
		if got := sum(k.name, all); got != k.want {
			errs = append(errs, fmt.Errorf("the sum of %s is %s, and must be %s", k.name, thousands(got), thousands(k.want)))
		}
	}
	return errors.Join(errs...)
}

func sum(name string, all []counters) int64 {
	var n int64
	for _, m := range all {
		n += m[name]
	}
	return n
}

// printSums prints a line per counter: its value on each node, their sum, and
// what that must be.
func printSums(out io.Writer, names []string, list []check, all []counters) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "counter\t")
	for _, n := range names {
		fmt.Fprintf(w, "%s\t", n)
	}
	fmt.Fprintln(w, "sum\tmust be\t")
	for _, k := range list {
		fmt.Fprintf(w, "%s\t", k.name)
		for _, m := range all {
			fmt.Fprintf(w, "%s\t", thousands(m[k.name]))
		}
		fmt.Fprintf(w, "%s\t%s\t\n", thousands(sum(k.name, all)), thousands(k.want))
	}
	fmt.Fprintln(w)
	return w.Flush()
}

// mosquitto are the flags with which mosquitto's clients reach an address.
func mosquitto(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "-h " + address
	}
	return "-h " + host + " -p " + port
}
