package metrics

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSamplesAreOrderedAndLabelled(t *testing.T) {
	r := New()
	v5 := Label{"mqtt_version", "5"}
	r.Counter("b", "second", v5).Add(2)
	r.Counter("b", "second", Label{"mqtt_version", "4"}).Inc()
	r.Gauge("a", "first", func() int64 { return -7 })
	if got := r.Counter("b", "second", v5).Value(); got != 2 {
		t.Errorf("a second call made another counter: %d", got)
	}
	want := []Sample{
		{Kind: KindGauge, Name: "a", Help: "first", Value: -7},
		{Kind: KindCounter, Name: "b", Help: "second", Labels: []Label{{"mqtt_version", "4"}}, Value: 1},
		{Kind: KindCounter, Name: "b", Help: "second", Labels: []Label{v5}, Value: 2},
	}
	if d := cmp.Diff(want, r.Samples()); d != "" {
		t.Error(d)
	}
	agg := []Sample{{Kind: KindGauge, Name: "a", Help: "first", Value: -7}, {Kind: KindCounter, Name: "b", Help: "second", Value: 3}}
	if d := cmp.Diff(agg, Aggregate(r.Samples())); d != "" {
		t.Error(d)
	}
	r.Reset()
	if got := Aggregate(r.Samples())[1].Value; got != 0 {
		t.Errorf("after a reset: %d", got)
	}
	if got := r.Samples()[0].Value; got != -7 {
		t.Errorf("a reset changed a gauge: %d", got)
	}
}

func TestNilRegistryHandsOutCounters(t *testing.T) {
	var r *Registry
	r.Counter("x", "").Inc()
	r.Gauge("y", "", func() int64 { return 1 })
	r.Reset()
	if got := r.Samples(); got != nil {
		t.Errorf("samples of nothing: %v", got)
	}
}

func TestHistogram(t *testing.T) {
	r := New()
	bounds := []int64{10, 100}
	a, b := Label{"group", "a"}, Label{"group", "b"}
	h := r.Histogram("h", "latency", bounds, a)
	for _, v := range []int64{0, 10, 11, 100, 101} {
		h.Observe(v)
	}
	if r.Histogram("h", "latency", bounds, a) != h {
		t.Error("a second call made another histogram")
	}
	r.Histogram("h", "latency", bounds, b).Observe(50)
	want := &Distribution{Buckets: []Bucket{{10, 2}, {100, 4}}, Sum: 222, Count: 5}
	if d := cmp.Diff(want, r.Samples()[0].Distribution); d != "" {
		t.Error(d)
	}
	agg := Aggregate(r.Samples())
	if d := cmp.Diff([]Sample{{Kind: KindHistogram, Name: "h", Help: "latency", Distribution: &Distribution{
		Buckets: []Bucket{{10, 2}, {100, 5}}, Sum: 272, Count: 6,
	}}}, agg); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want, r.Samples()[0].Distribution); d != "" {
		t.Errorf("summing changed what is summed: %s", d)
	}
	r.Reset()
	if d := r.Samples()[0].Distribution; d.Count != 0 || d.Sum != 0 {
		t.Errorf("after a reset: %+v", d)
	}
}

func TestResetLeavesWhatOthersKeep(t *testing.T) {
	r := New()
	var c Counter
	c.Add(3)
	r.CounterFunc("kept", "by somebody else", func() int64 { return int64(c.Value()) })
	r.Reset()
	if d := cmp.Diff([]Sample{{Kind: KindCounter, Name: "kept", Help: "by somebody else", Value: 3}}, r.Samples()); d != "" {
		t.Error(d)
	}
}

func TestConflictsAreSeenAndRemovedMetricsAreGone(t *testing.T) {
	r := New()
	node := Label{"node", "a"}
	r.Gauge("g", "one thing", func() int64 { return 1 }, node)
	r.Gauge("g", "one thing", func() int64 { return 2 }, node)
	if got := r.Conflicts(); got != nil {
		t.Errorf("a node that came back is no conflict: %v", got)
	}
	if got := r.Samples(); len(got) != 1 || got[0].Value != 2 {
		t.Errorf("%v", got)
	}
	r.Remove("g", node)
	if got := r.Samples(); len(got) != 0 {
		t.Errorf("after its removal: %v", got)
	}
	r.Gauge("g", "another thing", func() int64 { return 1 })
	r.Counter("g", "one thing").Inc()
	if got := r.Conflicts(); len(got) != 2 {
		t.Errorf("conflicts: %v", got)
	}
	if got := r.Samples(); len(got) != 1 || got[0].Kind != KindGauge || got[0].Help != "one thing" {
		t.Errorf("of two kinds the first stays: %v", got)
	}
}
