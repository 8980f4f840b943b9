package web

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/mqadmin/mqadmin/internal/metrics"
)

// nodeLabel is the label that every metric has.
const nodeLabel = "node"

// collector gives the samples of a registry to Prometheus. It is unchecked
// (it describes nothing), because counters are made while the broker runs.
type collector struct {
	node, namespace string
	metrics         Metrics
}

// Describe describes nothing: see collector.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends every sample, all of one name with the same help, as the
// format demands.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	help := map[string]string{}
	for _, s := range c.metrics.Samples() {
		if h, ok := help[s.Name]; ok {
			s.Help = h
		}
		help[s.Name] = s.Help
		names, values := []string{nodeLabel}, []string{c.node}
		for _, l := range s.Labels {
			names, values = append(names, l.Name), append(values, l.Value)
		}
		desc := prometheus.NewDesc(c.namespace+s.Name, s.Help, names, nil)
		m, err := constant(desc, s, values)
		if err != nil {
			m = prometheus.NewInvalidMetric(desc, err)
		}
		out <- m
	}
}

// constant is one sample in Prometheus' terms.
func constant(desc *prometheus.Desc, s metrics.Sample, labels []string) (prometheus.Metric, error) {
	switch s.Kind {
	case metrics.KindHistogram:
		buckets := map[float64]uint64{}
		for _, b := range s.Distribution.Buckets {
			buckets[float64(b.Bound)] = b.Count
		}
		return prometheus.NewConstHistogram(desc, s.Distribution.Count, float64(s.Distribution.Sum), buckets, labels...)
	case metrics.KindCounter:
		return prometheus.NewConstMetric(desc, prometheus.CounterValue, float64(s.Value), labels...)
	default:
		return prometheus.NewConstMetric(desc, prometheus.GaugeValue, float64(s.Value), labels...)
	}
}

// nodeFirst moves the node label to the front, where VerneMQ prints it; the
// client library sorts labels by name.
func nodeFirst(g prometheus.Gatherer) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := g.Gather()
		for _, f := range families {
			for _, m := range f.Metric {
				i := slices.IndexFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetName() == nodeLabel })
				if i > 0 {
					label := m.Label[i]
					m.Label = slices.Insert(slices.Delete(m.Label, i, i+1), 0, label)
				}
			}
		}
		return families, err
	})
}
