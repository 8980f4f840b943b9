package bench

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// value is the figure of a measure.
func (m Measure) value(r Result) float64 {
	switch m {
	case Latency:
		return float64(r.P50)
	case Memory:
		return r.PerConnection()
	default:
		return r.PerUnits()
	}
}

// Verdict is a target and what was measured for it.
type Verdict struct {
	Scenario string
	Target   string
	Measured string
	Reached  bool
}

// Verdicts compares the measurements with the targets. What could not be
// compared, for want of mosquitto, has no verdict.
func Verdicts(all []Measurement) []Verdict {
	var out []Verdict
	by := map[string]Measurement{}
	for _, m := range all {
		by[m.Scenario.Name] = m
		for _, t := range m.Scenario.Targets {
			v := Verdict{Scenario: m.Scenario.Name}
			if t.Measure == Memory {
				n, ok := m.Median(Ours, Memory.value)
				if !ok {
					continue
				}
				v.Target, v.Measured, v.Reached = fmt.Sprintf("%s ≤ %.0f KiB", t.Measure, t.Factor/1024), fmt.Sprintf("%.1f KiB", n/1024), n <= t.Factor
			} else {
				n, ok := m.Ratio(Mosquitto, t.Measure.value)
				if !ok {
					continue
				}
				v.Target, v.Measured, v.Reached = fmt.Sprintf("%s ≤ %.2f ×", t.Measure, t.Factor), fmt.Sprintf("%.2f ×", n), n <= t.Factor
			}
			out = append(out, v)
		}
		if v, ok := overhead(m, by[m.Scenario.Over]); ok {
			out = append(out, v)
		}
	}
	return out
}

// maxV5 is what MQTT 5 may cost in CPU, compared with MQTT 3.1.1.
const maxV5 = 1.1

func overhead(v5, v3 Measurement) (Verdict, bool) {
	if v5.Scenario.Spec.Kind == Idle {
		return Verdict{}, false
	}
	var ratios []float64
	for i := range min(len(v5.Rounds), len(v3.Rounds)) {
		a, ok := v5.Rounds[i][Ours]
		b, ok2 := v3.Rounds[i][Ours]
		if ok && ok2 && b.CPU > 0 {
			ratios = append(ratios, a.PerUnits()/b.PerUnits())
		}
	}
	n, ok := middleOf(ratios)
	return Verdict{
		Scenario: v5.Scenario.Name, Target: fmt.Sprintf("CPU ≤ %.1f × of v3.1.1", maxV5), Measured: fmt.Sprintf("%.2f ×", n), Reached: n <= maxV5,
	}, ok
}

// columns of the report.
var columns = []string{"scenario", "broker", "CPU s/100k", "ratio", "per second", "p50", "p99", "RSS MiB", "KiB/conn"}

// rows are the lines of one scenario, one for each broker.
func (m Measurement) rows(brokers []string) [][]string {
	var rows [][]string
	for _, b := range brokers {
		row := make([]string, len(columns))
		row[0], row[1] = m.Scenario.Name, b
		if _, ok := m.Median(b, Result.PerUnits); !ok {
			row[2] = "failed"
			rows = append(rows, row)
			continue
		}
		cell := func(i int, format string, fn func(Result) float64) {
			v, _ := m.Median(b, fn)
			row[i] = fmt.Sprintf(format, v)
		}
		cell(2, "%.3f", Result.PerUnits)
		if x, ok := m.Ratio(b, Result.PerUnits); ok && b != Ours {
			row[3] = fmt.Sprintf("%.2f ×", x)
		}
		cell(4, "%.0f", func(r Result) float64 { return float64(r.Units) / r.Seconds })
		if k := m.Scenario.Spec.Kind; k == Flow || k == Rate {
			row[5], row[6] = m.duration(b, func(r Result) time.Duration { return r.P50 }), m.duration(b, func(r Result) time.Duration { return r.P99 })
		}
		cell(7, "%.1f", func(r Result) float64 { return float64(r.RSS) / (1 << 20) })
		if m.Scenario.Spec.Kind == Idle {
			cell(8, "%.1f", func(r Result) float64 { return r.PerConnection() / 1024 })
		}
		rows = append(rows, row)
	}
	return rows
}

func (m Measurement) duration(broker string, fn func(Result) time.Duration) string {
	v, _ := m.Median(broker, func(r Result) float64 { return float64(fn(r)) })
	return fmt.Sprintf("%.2f ms", v/1e6)
}

// Text writes the rows of a measurement as it is made.
func (m Measurement) Text(w io.Writer, brokers []string) {
	for _, r := range m.rows(brokers) {
		fmt.Fprintf(w, "%-31s %-9s %10s %8s %10s %9s %9s %8s %8s\n", r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8])
	}
}

// Header writes the heads of the columns of Text.
func Header(w io.Writer) {
	c := columns
	fmt.Fprintf(w, "%-31s %-9s %10s %8s %10s %9s %9s %8s %8s\n", c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8])
}

// TextVerdicts writes what was reached.
func TextVerdicts(w io.Writer, all []Verdict) {
	for _, v := range all {
		word := "reached"
		if !v.Reached {
			word = "MISSED"
		}
		fmt.Fprintf(w, "%-31s %-31s %10s  %s\n", v.Scenario, v.Target, v.Measured, word)
	}
}

// Markdown writes both tables for docs/performance.md.
func Markdown(w io.Writer, all []Measurement, brokers []string) {
	table(w, []string{"scenario", "to reach", "measured", ""}, func(row func(...string)) {
		for _, v := range Verdicts(all) {
			word := "reached"
			if !v.Reached {
				word = "**missed**"
			}
			row(v.Scenario, v.Target, v.Measured, word)
		}
	})
	fmt.Fprintln(w)
	table(w, columns, func(row func(...string)) {
		for _, m := range all {
			for _, r := range m.rows(brokers) {
				row(r...)
			}
		}
	})
}

func table(w io.Writer, head []string, fill func(row func(...string))) {
	row := func(cells ...string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	row(head...)
	row(strings.Split(strings.Repeat("---,", len(head)-1)+"---", ",")...)
	fill(row)
}
