// The command bench measures the broker beside mosquitto and a bare mochi
// server: CPU, throughput, latency and memory, each in a closed loop, the
// brokers in alternation, and prints the ratios that docs/performance.md holds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mqadmin/mqadmin/internal/bench"
	"github.com/mqadmin/mqadmin/internal/clustertest"
)

// options are the command line.
type options struct {
	bin      string
	scenario string
	brokers  string
	rounds   int
	quick    bool
	markdown string
	environ  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := role(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// role is what this process is for: the measurement, or one of its children.
func role(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == bench.LoadRole:
		return bench.RunLoad(ctx, os.Stdin, os.Stdout)
	case len(args) == 2 && args[0] == bench.MochiRole:
		return bench.RunMochi(ctx, args[1])
	}
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.bin, "bin", "", "`directory` with a broker that is built; without it, it is built")
	f.StringVar(&o.scenario, "scenario", "", "`regexp` of the scenarios to measure; empty for all")
	f.StringVar(&o.brokers, "brokers", "", "comma separated `names` out of broker, mochi, mosquitto; empty for all")
	f.IntVar(&o.rounds, "rounds", 0, "`rounds` of each scenario; default 5, quick 3")
	f.BoolVar(&o.quick, "quick", false, "shorter runs")
	f.StringVar(&o.markdown, "markdown", "", "`file` to write the tables to")
	f.StringVar(&o.environ, "env", "", "comma separated `NAME=value` for our broker")
	if err := f.Parse(args); err != nil {
		return err
	}
	return run(ctx, o, os.Stdout)
}

// run measures. No process and no file of it is left when it returns.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	want, err := regexp.Compile(o.scenario)
	if err != nil {
		return fmt.Errorf("-scenario: %w", err)
	}
	dir, err := os.MkdirTemp("", "mqadmin-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	suite, err := prepare(ctx, o, dir, out)
	if err != nil {
		return err
	}
	times := bench.OrdinaryTimes
	if o.quick {
		times = bench.QuickTimes
	}
	var all []bench.Measurement
	bench.Header(out)
	chosen := slices.DeleteFunc(bench.Scenarios(times), func(sc bench.Scenario) bool { return !want.MatchString(sc.Name) })
	for _, group := range bench.Groups(chosen) {
		got, err := suite.Run(ctx, group...)
		if err != nil {
			return err
		}
		for _, m := range got {
			m.Text(out, suite.Brokers)
		}
		all = append(all, got...)
	}
	var growth []bench.GrowthRow
	if want.MatchString(bench.GrowthName) {
		sizes := bench.OrdinarySizes
		if o.quick {
			sizes = bench.QuickSizes
		}
		if growth, err = bench.Growth(ctx, suite.Launcher.Bin, dir, sizes, out); err != nil {
			return err
		}
	}
	var clusters []bench.ClusterRow
	if want.MatchString(bench.ClusterName) {
		c := bench.Cluster{Bin: suite.Launcher.Bin, Dir: dir, Sizes: bench.OrdinaryCluster, Log: out}
		if o.quick {
			c.Sizes = bench.QuickCluster
		}
		if clusters, err = c.Run(ctx); err != nil {
			return err
		}
	}
	if len(all)+len(growth)+len(clusters) == 0 {
		return fmt.Errorf("no scenario matches %q", o.scenario)
	}
	fmt.Fprintln(out)
	bench.TextVerdicts(out, bench.Verdicts(all))
	if o.markdown == "" {
		return nil
	}
	var b strings.Builder
	bench.Markdown(&b, all, suite.Brokers)
	bench.MarkdownGrowth(&b, growth)
	bench.MarkdownCluster(&b, clusters)
	return os.WriteFile(o.markdown, []byte(b.String()), 0o644)
}

// prepare finds or builds the brokers.
func prepare(ctx context.Context, o options, dir string, out io.Writer) (*bench.Suite, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l := &bench.Launcher{Bin: o.bin, Self: self, Dir: dir}
	if o.environ != "" {
		l.Environ = strings.Split(o.environ, ",")
	}
	if l.Bin == "" {
		l.Bin = dir
		if err := clustertest.Build(ctx, dir, false); err != nil {
			return nil, err
		}
	}
	if l.Mosquitto, err = bench.FindMosquitto(); err != nil {
		fmt.Fprintln(out, "mosquitto is not installed: nothing is compared with it")
	}
	s := &bench.Suite{Launcher: l, Rounds: o.rounds, Brokers: l.Names(), Log: out}
	if s.Rounds == 0 {
		s.Rounds = 5
		if o.quick {
			s.Rounds = 3
		}
	}
	if o.brokers != "" {
		s.Brokers = strings.Split(o.brokers, ",")
		for _, b := range s.Brokers {
			if !slices.Contains(l.Names(), b) {
				return nil, fmt.Errorf("-brokers: there is no %q here, only %s", b, strings.Join(l.Names(), ", "))
			}
		}
	}
	fmt.Fprintf(out, "%d rounds, %s, brokers %s\n", s.Rounds, time.Now().Format(time.DateOnly), strings.Join(s.Brokers, ", "))
	return s, nil
}
