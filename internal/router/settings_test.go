package router

import (
	"slices"
	"testing"

	"github.com/mqadmin/mqadmin/internal/message"
)

// What Set changes holds for the next message.
func TestSetHoldsForTheNextMessage(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxRetainedMessage = 4 })
	kept := func() []string {
		var got []string
		w.Retained("", "#", func(m *message.Message) { got = append(got, m.Topic) })
		slices.Sort(got)
		return got
	}
	publish := func(topic string) {
		w.publish(t, &message.Message{Topic: topic, Payload: []byte("12345"), Retain: true, QoS: 1})
	}
	publish("too/large")
	s := w.Settings()
	s.MaxRetainedMessage = 5
	w.Set(s)
	publish("fits/now")
	s.MaxRetainedBytes = 1
	w.Set(s)
	publish("no/room")
	if got := kept(); !slices.Equal(got, []string{"fits/now"}) {
		t.Errorf("retained %v", got)
	}
}
