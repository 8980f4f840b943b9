// Package bench measures brokers: a load generator that runs in a process of
// its own, the brokers that it is pointed at, and the report. Everything is a
// closed loop, so that no broker has to drop anything, and bounded in count
// and time. Nothing imports it but scripts/bench.
package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind is what a run does.
type Kind string

// The kinds of runs.
const (
	// Flow publishes as fast as messages come out at the other end.
	Flow Kind = "flow"
	// Rate publishes Spec.Rate messages a second.
	Rate Kind = "rate"
	// Connects opens Spec.Connections and measures until the last CONNACK.
	Connects Kind = "connects"
	// Idle opens Spec.Connections with one subscription each and looks at the
	// memory that they cost.
	Idle Kind = "idle"
)

// Shape is who gets whose messages.
type Shape string

// The shapes.
const (
	// Pair: publisher i to subscriber i.
	Pair Shape = "pair"
	// All: every subscriber gets every message.
	All Shape = "all"
	// Shared: each message to one of the subscribers.
	Shared Shape = "shared"
)

// Spec is one run against one broker. It travels to the load process as JSON.
type Spec struct {
	Kind    Kind
	Shape   Shape
	Address string
	// PublishAt is where the publishers connect, if not to Address.
	PublishAt string
	// PID is the broker's process, whose CPU and memory are read. The CPU of
	// Also, other nodes of its cluster, is added.
	PID                     int
	Also                    []int
	Version                 byte // 4 or 5
	QoS                     byte
	Publishers, Subscribers int
	// Window bounds the messages of one publisher that are on their way.
	// Publishers write half of it at a time.
	Window int
	// Persistent: the subscribers' sessions outlive their connections.
	Persistent bool
	Rate       int
	// Connections of Connects and Idle, Parallel of them being opened at once.
	Connections, Parallel int
	Warmup, Measure       time.Duration
	// Patience is how long a run may go without any progress.
	Patience time.Duration
}

// Payload is the number of payload bytes of each message: a time, the
// publisher and a sequence number, filled up.
const Payload = 64

// Result is what a run measured.
type Result struct {
	// Units are the deliveries, or connections, of the measured time.
	Units int64
	// Seconds is the measured time, CPU what the broker used of it (user and
	// system, from /proc).
	Seconds, CPU float64
	// P50 and P99 are from publisher to subscriber.
	P50, P99 time.Duration
	// RSS is the broker's at the end, RSSBefore before anybody connected.
	RSS, RSSBefore int64
}

// PerUnits is the broker's CPU seconds for 100,000 deliveries or connections.
func (r Result) PerUnits() float64 {
	if r.Units == 0 {
		return 0
	}
	return r.CPU / float64(r.Units) * 100_000
}

// PerConnection is the resident memory in bytes that one connection costs.
func (r Result) PerConnection() float64 {
	if r.Units == 0 {
		return 0
	}
	return float64(r.RSS-r.RSSBefore) / float64(r.Units)
}

// errBehaviour is wrapped by what a broker did wrong.
var errBehaviour = errors.New("the broker misbehaved")

// Run makes one run. It returns when everything that was published has
// arrived exactly as often and in the order that it should, or with an error.
func Run(ctx context.Context, s Spec) (Result, error) {
	switch s.Kind {
	case Flow, Rate:
		return runFlow(ctx, s)
	case Connects, Idle:
		return runMany(ctx, s)
	}
	return Result{}, fmt.Errorf("no kind of run is called %q", s.Kind)
}

// cpu is the time that the broker's processes have used.
func (s Spec) cpu() (sum float64, err error) {
	for _, pid := range append([]int{s.PID}, s.Also...) {
		n, err := cpuSeconds(pid)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// copies is how often each message is delivered.
func (s Spec) copies() int64 {
	if s.Shape == All {
		return int64(s.Subscribers)
	}
	return 1
}

// topic is what publisher i publishes to.
func (s Spec) topic(i int) string { return fmt.Sprintf("bench/%d", i) }

// filter is what subscriber i subscribes to.
func (s Spec) filter(i int) string {
	switch s.Shape {
	case Shared:
		return "$share/g/bench/+"
	case All:
		return "bench/+"
	default:
		return s.topic(i)
	}
}
