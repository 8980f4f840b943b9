package broker

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
	"github.com/mqadmin/mqadmin/internal/peer"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

// theirs is one of VerneMQ's metrics, a line of testdata/vernemq-metrics.tsv.
type theirs struct {
	name, kind string
	// labels are sets of labels, each with all its values.
	labels []string
	// answer is "same", "by: …" (served, with another source) or "not: …".
	answer string
}

func vernemqMetrics(t *testing.T) []theirs {
	t.Helper()
	data, err := os.ReadFile("testdata/vernemq-metrics.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var out []theirs
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			t.Fatalf("a line of %d fields: %s", len(f), line)
		}
		out = append(out, theirs{f[0], f[1], expandLabels(f[2]), f[3]})
	}
	return out
}

// expandLabels turns "a=1 ; b=2|3 c=4" into a=1, b=2 c=4, b=3 c=4.
func expandLabels(text string) []string {
	var out []string
	for set := range strings.SplitSeq(text, " ; ") {
		combos := []string{""}
		for _, label := range strings.Fields(set) {
			name, values, _ := strings.Cut(label, "=")
			var next []string
			for _, c := range combos {
				for v := range strings.SplitSeq(values, "|") {
					next = append(next, strings.TrimSpace(c+" "+name+"="+v))
				}
			}
			combos = next
		}
		out = append(out, combos...)
	}
	slices.Sort(out)
	return out
}

// metricsBroker is a broker with everything that registers a metric: all its
// parts, an encrypted listener, another member, the auth plugins.
func metricsBroker(t *testing.T) *Broker {
	t.Helper()
	cert, key := pemFiles(t)
	b := serveBroker(t, "listener.ssl.s = 127.0.0.1:0", "listener.ssl.certfile = "+cert, "listener.ssl.keyfile = "+key,
		"plugins.vmq_passwd = on", "plugins.vmq_acl = on")
	await(t, "the link to another member", func() bool {
		b.port.SetMembers([]peer.Member{{ID: message.NodeID(7), Name: "other@127.0.0.1", Address: "127.0.0.1:1"}})
		return slices.ContainsFunc(b.metrics.Samples(), func(s metrics.Sample) bool { return s.Name == "cluster_link_buffered_bytes" })
	})
	return b
}

// TestMetricsOfVerneMQ compares names, kinds and labels with VerneMQ's, and
// docs/metrics.md with what there is.
func TestMetricsOfVerneMQ(t *testing.T) {
	b := metricsBroker(t)
	if c := b.metrics.Conflicts(); c != nil {
		t.Errorf("two packages mean different things: %v", c)
	}
	kinds, labels, help := map[string]string{}, map[string][]string{}, map[string]string{}
	for _, s := range b.metrics.Samples() {
		kinds[s.Name], help[s.Name] = string(s.Kind), s.Help
		labels[s.Name] = append(labels[s.Name], labelText(s.Labels))
		if slices.ContainsFunc(s.Labels, func(l metrics.Label) bool { return l.Name == "node" || l.Name == "le" }) {
			t.Errorf("%s: node and le are Prometheus' labels", s.Name)
		}
		if !strings.HasSuffix(s.Help, ".") || strings.ToUpper(s.Help[:1]) != s.Help[:1] {
			t.Errorf("%s: what it counts is no sentence: %q", s.Name, s.Help)
		}
	}
	reference := vernemqMetrics(t)
	for _, m := range reference {
		served := !strings.HasPrefix(m.answer, "not: ")
		if (kinds[m.name] != "") != served {
			t.Errorf("%s is %q in the table, and registered as %q", m.name, m.answer, kinds[m.name])
			continue
		}
		if !served {
			continue
		}
		if kinds[m.name] != m.kind {
			t.Errorf("%s is a %s, in VerneMQ a %s", m.name, kinds[m.name], m.kind)
		}
		slices.Sort(labels[m.name])
		if d := cmp.Diff(m.labels, labels[m.name]); d != "" {
			t.Errorf("%s: labels: %s", m.name, d)
		}
	}
	if runtime.GOOS == "linux" { // others have less of what the system tells
		checkDoc(t, metricsDoc(reference, kinds, labels, help))
	}
}

func labelText(labels []metrics.Label) string {
	parts := make([]string, len(labels))
	for i, l := range labels {
		parts[i] = l.Name + "=" + l.Value
	}
	return strings.Join(parts, " ")
}

// checkDoc compares docs/metrics.md below its introduction, which is written by
// hand, with text.
func checkDoc(t *testing.T, text string) {
	t.Helper()
	const mark = "<!-- What follows is written by: go test ./internal/broker -run TestMetricsOfVerneMQ -update -->\n"
	path := filepath.Join("..", "..", "docs", "metrics.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	intro, rest, ok := strings.Cut(string(data), mark)
	if !ok {
		t.Fatalf("%s has no line %q", path, mark)
	}
	if *update {
		if err := os.WriteFile(path, []byte(intro+mark+text), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(text, rest); d != "" {
		t.Errorf("%s is not up to date (-update renews it): %s", path, d)
	}
}

// metricsDoc writes the tables of docs/metrics.md.
func metricsDoc(reference []theirs, kinds map[string]string, labels map[string][]string, help map[string]string) string {
	var own, same, by, not strings.Builder
	known := map[string]bool{}
	for _, m := range reference {
		known[m.name] = true
		name := strings.ReplaceAll(m.name, "<", "\\<")
		kind, text, _ := strings.Cut(m.answer, ": ")
		switch kind {
		case "same":
			fmt.Fprintf(&same, "| `%s` | %s | %s | %s |\n", m.name, m.kind, labelNames(m.labels), help[m.name])
		case "by":
			fmt.Fprintf(&by, "| `%s` | %s | %s |\n", m.name, m.kind, text)
		case "not":
			fmt.Fprintf(&not, "| %s | %s | %s |\n", name, m.kind, text)
		}
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range kinds {
			if !known[n] && !yield(n) {
				return
			}
		}
	}) {
		fmt.Fprintf(&own, "| `%s` | %s | %s | %s |\n", name, kinds[name], labelNames(labels[name]), help[name])
	}
	return "\n## VerneMQ's names\n\n| name | kind | labels | what it counts |\n|---|---|---|---|\n" + same.String() +
		"\n## What stands for Erlang's virtual machine\n\n| name | kind | answered by |\n|---|---|---|\n" + by.String() +
		"\n## What has no meaning here\n\n| name | kind | reason |\n|---|---|---|\n" + not.String() +
		"\n## Metrics that VerneMQ does not have\n\n| name | kind | labels | what it counts |\n|---|---|---|---|\n" + own.String()
}

// labelNames lists the names of sets of labels.
func labelNames(sets []string) string {
	var out []string
	for _, set := range sets {
		for _, label := range strings.Fields(set) {
			name, _, _ := strings.Cut(label, "=")
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return strings.Join(out, ", ")
}
