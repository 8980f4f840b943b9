package bench

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHistogram(t *testing.T) {
	var h, sum histogram
	for i := range 1000 {
		h.add(uint64(i+1) * 1000)
	}
	sum.merge(&h)
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond, 1: time.Millisecond} {
		got := sum.quantile(q)
		if diff := (got - want).Abs(); diff > want/50 {
			t.Errorf("quantile %v is %v instead of %v", q, got, want)
		}
	}
	for _, ns := range []uint64{0, 1, 63, 64, 65, 1 << 20, 1<<63 + 1} {
		m := middle(bucket(ns))
		if diff := int64(m - ns); diff > int64(ns/32) || diff < -int64(ns/32) {
			t.Errorf("%d is counted as %d", ns, m)
		}
	}
}

// rounds makes a measurement from CPU seconds of ours and mosquitto's.
func rounds(name string, over string, cpu ...[2]float64) Measurement {
	m := Measurement{Scenario: Scenario{Name: name, Over: over, Targets: []Target{{CPU, 0.5}}}}
	for _, c := range cpu {
		m.Rounds = append(m.Rounds, map[string]Result{
			Ours:      {Units: 100_000, CPU: c[0], Seconds: 1},
			Mosquitto: {Units: 100_000, CPU: c[1], Seconds: 1},
		})
	}
	return m
}

func TestRatioIsTheMedianOfRounds(t *testing.T) {
	// A slow round slows both; the ratio of medians would be 0.3.
	m := rounds("x", "", [2]float64{1, 2}, [2]float64{3, 6}, [2]float64{5, 10}, [2]float64{1, 10})
	if got, _ := m.Ratio(Mosquitto, Result.PerUnits); got != 0.5 {
		t.Errorf("ratio %v", got)
	}
	if _, ok := m.Ratio(Mochi, Result.PerUnits); ok {
		t.Error("a ratio to a broker that was not measured")
	}
}

func TestVerdicts(t *testing.T) {
	all := []Measurement{
		rounds("a v3.1.1", "", [2]float64{1, 2}), rounds("a v5", "a v3.1.1", [2]float64{1.2, 2}),
	}
	want := []Verdict{
		{"a v3.1.1", "CPU ≤ 0.50 ×", "0.50 ×", true},
		{"a v5", "CPU ≤ 0.50 ×", "0.60 ×", false},
		{"a v5", "CPU ≤ 1.1 × of v3.1.1", "1.20 ×", false},
	}
	if diff := cmp.Diff(want, Verdicts(all)); diff != "" {
		t.Error(diff)
	}
	for i := range all {
		for _, r := range all[i].Rounds {
			delete(r, Mosquitto)
		}
	}
	if v := Verdicts(all); len(v) != 1 {
		t.Errorf("without mosquitto: %v", v)
	}
}

func TestMarkdown(t *testing.T) {
	m := rounds("a v3.1.1", "", [2]float64{0.25, 2})
	m.Rounds[0][Ours] = Result{Units: 100_000, CPU: 0.25, Seconds: 2, RSS: 3 << 20}
	m.Scenario.Spec.Kind = Flow
	var b strings.Builder
	Markdown(&b, []Measurement{m}, []string{Ours, Mochi})
	for _, line := range []string{
		"| a v3.1.1 | CPU ≤ 0.50 × | 0.12 × | reached |",
		"| a v3.1.1 | broker | 0.250 |  | 50000 | 0.00 ms | 0.00 ms | 3.0 |  |",
		"| a v3.1.1 | mochi | failed |  |  |  |  |  |  |",
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("%q is not in\n%s", line, b.String())
		}
	}
}

func TestScenarios(t *testing.T) {
	for _, g := range Groups(Scenarios(QuickTimes)) {
		if len(g) != 2 || g[0].Spec.Version != 4 || g[1].Spec.Version != 5 {
			t.Errorf("%s is in a group of %d", g[0].Name, len(g))
		}
	}
	names := map[string]Scenario{}
	for _, s := range Scenarios(QuickTimes) {
		if _, ok := names[s.Name]; ok {
			t.Errorf("%s is there twice", s.Name)
		}
		names[s.Name] = s
		if s.Over != "" && names[s.Over].Name == "" {
			t.Errorf("%s is compared with %q, which does not come before it", s.Name, s.Over)
		}
		// Everything that may be on its way fits the brokers' queues.
		if n := int64(s.Spec.Publishers*s.Spec.Window) * s.Spec.copies(); n > queueLimit {
			t.Errorf("%s: %d messages on their way", s.Name, n)
		}
	}
}
