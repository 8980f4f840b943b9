package bench

import (
	"fmt"
	"time"

	"github.com/mqadmin/mqadmin/internal/packet"
)

// Measure is what is compared of a scenario.
type Measure string

// The measures.
const (
	CPU     Measure = "CPU"
	Latency Measure = "p50 latency"
	Memory  Measure = "RSS per connection"
)

// Target is a figure to reach, and what it is relative to.
type Target struct {
	Measure Measure
	// Factor is the largest ratio to mosquitto in the same round, or with
	// Memory the largest number of bytes.
	Factor float64
}

// Scenario is one line of the report.
type Scenario struct {
	Name string
	Spec Spec
	// Fresh brokers for every round: the memory of the round before must not
	// be in the way.
	Fresh   bool
	Targets []Target
	// Over names the scenario of MQTT 3.1.1 that this one of MQTT 5 is
	// compared with.
	Over string
}

// Times are how long each run takes.
type Times struct{ Warmup, Measure time.Duration }

// The times of an ordinary and of a quick measurement.
var (
	OrdinaryTimes = Times{Warmup: 700 * time.Millisecond, Measure: 2500 * time.Millisecond}
	QuickTimes    = Times{Warmup: 300 * time.Millisecond, Measure: 1000 * time.Millisecond}
)

// shapes are the scenarios that run at every QoS and in both versions.
var shapes = []struct {
	name       string
	shape      Shape
	pubs, subs int
	window     int
	targets    [3]float64 // by QoS, 0 none
}{
	{"pair 10→10", Pair, 10, 10, 100, [3]float64{0.20, 0.50, 0.50}},
	{"fan-out 1→100", All, 1, 100, 100, [3]float64{0.20, 0.30, 0}},
	{"fan-in 100→1", All, 100, 1, 20, [3]float64{0.20, 0, 0}},
	{"shared 10→5", Shared, 10, 5, 100, [3]float64{}},
}

// Scenarios returns all of them.
func Scenarios(t Times) []Scenario {
	var all []Scenario
	add := func(name string, s Spec, targets ...Target) {
		for _, v := range []byte{packet.V311, packet.V5} {
			sc := Scenario{Name: name + versionName(v), Spec: s, Targets: targets}
			if v == packet.V5 {
				sc.Over, sc.Targets = name+versionName(packet.V311), nil
			}
			sc.Spec.Version, sc.Spec.Warmup, sc.Spec.Measure, sc.Spec.Patience = v, t.Warmup, t.Measure, 5*time.Second
			sc.Fresh = s.Kind == Idle || s.Kind == Connects
			all = append(all, sc)
		}
	}
	for _, sh := range shapes {
		for qos := range byte(3) {
			s := Spec{Kind: Flow, Shape: sh.shape, QoS: qos, Publishers: sh.pubs, Subscribers: sh.subs, Window: sh.window}
			var targets []Target
			if f := sh.targets[qos]; f > 0 {
				targets = []Target{{CPU, f}}
			}
			add(fmt.Sprintf("%s QoS %d", sh.name, qos), s, targets...)
		}
	}
	for qos := range byte(2) {
		add(fmt.Sprintf("one by one 10→10 QoS %d", qos), Spec{
			Kind: Flow, Shape: Pair, QoS: qos, Publishers: 10, Subscribers: 10, Window: 1,
		})
	}
	add("persistent 10→10 QoS 1", Spec{
		Kind: Flow, Shape: Pair, QoS: 1, Publishers: 10, Subscribers: 10, Window: 100, Persistent: true,
	}, Target{CPU, 1.0})
	for qos := range byte(2) {
		add(fmt.Sprintf("2,000 msg/s QoS %d", qos), Spec{
			Kind: Rate, Shape: Pair, QoS: qos, Publishers: 10, Subscribers: 10, Window: 100, Rate: 2000,
		}, Target{CPU, 2.0}, Target{Latency, 1.3})
	}
	add("5,000 connects", Spec{Kind: Connects, Connections: 5000, Parallel: 50}, Target{CPU, 1.5})
	add("10,000 idle", Spec{Kind: Idle, Connections: 10_000, Parallel: 50}, Target{Memory, 8 << 10})
	return all
}

// Groups puts together what is compared with each other.
func Groups(all []Scenario) [][]Scenario {
	var groups [][]Scenario
	for i, sc := range all {
		if n := len(groups); i > 0 && sc.Over != "" && sc.Over == all[i-1].Name {
			groups[n-1] = append(groups[n-1], sc)
			continue
		}
		groups = append(groups, []Scenario{sc})
	}
	return groups
}

func versionName(v byte) string {
	if v == packet.V5 {
		return " v5"
	}
	return " v3.1.1"
}
