package router

import (
	"errors"
	"slices"
	"testing"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/peer"
)

func TestReroute(t *testing.T) {
	w := newWorld(t, nil)
	sub := func(filters ...string) (out []message.Subscription) {
		for _, f := range filters {
			out = append(out, message.Subscription{Filter: f, QoS: 1})
		}
		return out
	}
	heirs := []Heir{
		{Session: client("here"), Node: self, Subscriptions: sub("a/+", "a/#")},
		{Session: client("there"), Node: other, Subscriptions: sub("a/b")},
		{Session: client("no match"), Node: self, Subscriptions: sub("x", "$share/g/a/b")},
		{Session: message.SessionID{Mountpoint: "mp", ClientID: "elsewhere"}, Node: self, Subscriptions: sub("#")},
	}
	var got error
	calls := 0
	w.Reroute(&message.Message{Topic: "a/b", QoS: 2}, heirs, func(err error) { got = err; calls++ })
	if got != nil || calls != 1 {
		t.Fatalf("%v, %d calls", got, calls)
	}
	if names := w.queues.names(); !slices.Equal(names, []string{"here"}) || len(w.queues.got["here"]) != 1 || !w.queues.got["here"][0].Resumed {
		t.Errorf("delivered %v", w.queues.got)
	}
	if len(w.links.sent) != 1 || w.links.sent[0].Session != client("there") || w.links.sent[0].OnlineOnly {
		t.Errorf("sent %+v", w.links.sent)
	}
	w.links.answer = func(message.NodeID, peer.Frame) (peer.Code, error) { return 0, peer.ErrLinkDown }
	w.Reroute(&message.Message{Topic: "a/b", QoS: 2}, heirs, func(err error) { got = err })
	if !errors.Is(got, peer.ErrLinkDown) {
		t.Errorf("a node that cannot be reached: %v", got)
	}
}
