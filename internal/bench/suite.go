package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"
)

// LoadRole is the argument with which scripts/bench becomes the load process:
// it reads a Spec from standard input and writes an Outcome.
const LoadRole = "load"

// Outcome is what the load process answers.
type Outcome struct {
	Result Result
	Error  string
}

// RunLoad is the load process.
func RunLoad(ctx context.Context, in io.Reader, out io.Writer) error {
	var s Spec
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return fmt.Errorf("reading the run: %w", err)
	}
	var o Outcome
	r, err := Run(ctx, s)
	if o.Result = r; err != nil {
		o.Error = err.Error()
	}
	return json.NewEncoder(out).Encode(o)
}

// Suite measures scenarios.
type Suite struct {
	Launcher *Launcher
	Rounds   int
	// Brokers are the names of those that are compared.
	Brokers []string
	// Log gets a line for each run.
	Log io.Writer
}

// Measurement is what all rounds of a scenario gave.
type Measurement struct {
	Scenario Scenario
	// Rounds hold the results by broker; a run that failed is missing.
	Rounds []map[string]Result
	// Failures are the errors of the last failed run of each broker.
	Failures map[string]string
}

// Run measures scenarios side by side: in each round all brokers, each time in
// another order, and of each broker all scenarios.
func (s *Suite) Run(ctx context.Context, group ...Scenario) ([]Measurement, error) {
	all := make([]Measurement, len(group))
	for i, sc := range group {
		all[i] = Measurement{Scenario: sc, Failures: map[string]string{}}
	}
	servers := map[string]*Server{}
	defer func() { stopAll(servers) }()
	for round := range s.Rounds {
		for i := range all {
			all[i].Rounds = append(all[i].Rounds, map[string]Result{})
		}
		for i := range s.Brokers {
			name := s.Brokers[(i+round)%len(s.Brokers)]
			for k := range all {
				if err := s.into(ctx, &all[k], servers, name); err != nil {
					return nil, err
				}
			}
		}
	}
	return all, nil
}

// into makes one run and notes it. Its error ends the measurement: what another
// broker does wrong is in the report.
func (s *Suite) into(ctx context.Context, m *Measurement, servers map[string]*Server, name string) error {
	r, err := s.one(ctx, m.Scenario, servers, name)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && name == Ours:
		return fmt.Errorf("%s: %s: %w", m.Scenario.Name, name, err)
	case err != nil:
		m.Failures[name] = err.Error()
		fmt.Fprintf(s.Log, "%s: %s: %v\n", m.Scenario.Name, name, err)
		return nil
	}
	m.Rounds[len(m.Rounds)-1][name] = r
	return nil
}

func stopAll(servers map[string]*Server) {
	for name, sv := range servers {
		sv.Stop()
		delete(servers, name)
	}
}

// one makes one run. A broker that failed is started anew for the next.
func (s *Suite) one(ctx context.Context, sc Scenario, servers map[string]*Server, name string) (r Result, err error) {
	sv := servers[name]
	if sv == nil {
		if sv, err = s.Launcher.Start(ctx, name); err != nil {
			return r, err
		}
		servers[name] = sv
	}
	spec := sc.Spec
	spec.Address, spec.PID = sv.Address, sv.PID()
	r, err = s.Launcher.load(ctx, spec)
	if err != nil || sc.Fresh {
		sv.Stop()
		delete(servers, name)
	}
	return r, err
}

// runTime bounds one run, whatever the load process does.
func runTime(s Spec) time.Duration { return s.Warmup + s.Measure + time.Minute }

// load runs the load process for one run.
func (l *Launcher) load(ctx context.Context, s Spec) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, runTime(s))
	defer cancel()
	in, err := json.Marshal(s)
	if err != nil {
		return Result{}, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, l.Self, LoadRole)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, os.Stderr
	dieWithUs(cmd)
	if err := cmd.Run(); err != nil {
		return Result{}, fmt.Errorf("load process: %w", err)
	}
	var o Outcome
	if err := json.Unmarshal(out.Bytes(), &o); err != nil {
		return Result{}, fmt.Errorf("load process: %w", err)
	}
	if o.Error != "" {
		return Result{}, errors.New(o.Error)
	}
	return o.Result, nil
}

// median returns the middle value of fn over the rounds in which it exists.
func (m Measurement) median(fn func(map[string]Result) (float64, bool)) (float64, bool) {
	var v []float64
	for _, r := range m.Rounds {
		if x, ok := fn(r); ok {
			v = append(v, x)
		}
	}
	return middleOf(v)
}

func middleOf(v []float64) (float64, bool) {
	if len(v) == 0 {
		return 0, false
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2, true
	}
	return v[len(v)/2], true
}

// Median is the middle of what a broker measured.
func (m Measurement) Median(broker string, fn func(Result) float64) (float64, bool) {
	return m.median(func(r map[string]Result) (float64, bool) {
		x, ok := r[broker]
		return fn(x), ok
	})
}

// Ratio is the middle of the rounds' ratios of our broker to another.
func (m Measurement) Ratio(to string, fn func(Result) float64) (float64, bool) {
	return m.median(func(r map[string]Result) (float64, bool) {
		a, ok := r[Ours]
		b, ok2 := r[to]
		if !ok || !ok2 || fn(b) == 0 {
			return 0, false
		}
		return fn(a) / fn(b), true
	})
}
