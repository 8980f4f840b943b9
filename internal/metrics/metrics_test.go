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
	if got := r.Counter("b", "", v5).Value(); got != 2 {
		t.Errorf("a second call made another counter: %d", got)
	}
	want := []Sample{
		{KindGauge, "a", "first", nil, -7},
		{KindCounter, "b", "second", []Label{{"mqtt_version", "4"}}, 1},
		{KindCounter, "b", "second", []Label{v5}, 2},
	}
	if d := cmp.Diff(want, r.Samples()); d != "" {
		t.Error(d)
	}
	agg := []Sample{{KindGauge, "a", "first", nil, -7}, {KindCounter, "b", "second", nil, 3}}
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
