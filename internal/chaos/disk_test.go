package chaos

import (
	"context"
	"fmt"
	"testing"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// TestNearlyFullDisk: with less free space than message_store.min_free_space,
// what has to be stored is refused with a reason, and a gauge says so; messages
// for clean sessions go on.
func TestNearlyFullDisk(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w := newWorld(t, "message_store.min_free_space = 1000000GB")
	w.start(ctx)
	durable := newSubscriber("durable", w.node.MQTT, packet.V5, w.h, func() {})
	if err := durable.subscribe(ctx); err != nil {
		t.Fatal(err)
	}
	err := clustertest.Await(ctx, func() error {
		m, err := w.node.Counters(ctx)
		if err == nil && m["message_store_unavailable"] != 1 {
			err = fmt.Errorf("message_store_unavailable is %d", m["message_store_unavailable"])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := connect(ctx, w.node.MQTT, &packet.Connect{Version: packet.V5, ClientID: "clean", CleanStart: true, ReceiveMaximum: 20})
	if err != nil {
		t.Fatal(err)
	}
	defer c.nc.Close()
	for topic, want := range map[string]packet.Reason{"k/stored": packet.QuotaExceeded, "elsewhere": packet.NoMatchingSubscribers} {
		if err := c.send(&packet.Publish{Topic: topic, QoS: 1, PacketID: 1}); err != nil {
			t.Fatal(err)
		}
		if p, err := c.recv(); err != nil {
			t.Error(err)
		} else if a, ok := p.(*packet.Ack); !ok || a.Reason != want {
			t.Errorf("%s: %+v, want reason %v", topic, p, want)
		}
	}
}
