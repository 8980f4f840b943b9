package metrics

import "testing"

// What a message of QoS 0 counts on its way to one subscriber: received, matched,
// into the queue, out of it, sent.
func BenchmarkMessageOfQoS0(b *testing.B) {
	r := New()
	var counters []*Counter
	for _, name := range []string{"mqtt_publish_received", "router_matches_local", "queue_message_in", "queue_message_out", "mqtt_publish_sent"} {
		counters = append(counters, r.Counter(name, "Counted."))
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			for _, c := range counters {
				c.Inc()
			}
		}
	})
}
