package chaos

import (
	"context"
	"testing"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// TestWillAfterKill: CONNACK means that the will is on disk. It is published
// after kill -9, for a clean session and for a durable one, once its delay is
// over.
func TestWillAfterKill(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w := newWorld(t)
	w.start(ctx)
	watch := newSubscriber("watch", w.node.MQTT, packet.V5, w.h, func() {})
	if err := watch.subscribe(ctx); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, c := range []*packet.Connect{
		{Version: packet.V311, ClientID: "clean 3.1.1", CleanStart: true},
		{Version: packet.V5, ClientID: "clean 5", CleanStart: true},
		{Version: packet.V5, ClientID: "durable", SessionExpiry: message.NeverExpires, HasSessionExpiry: true},
		{Version: packet.V5, ClientID: "delayed", SessionExpiry: message.NeverExpires, HasSessionExpiry: true, Will: &packet.Will{Delay: 1}},
	} {
		if c.Will == nil {
			c.Will = &packet.Will{}
		}
		c.ReceiveMaximum = 20
		c.Will.Topic, c.Will.QoS, c.Will.Payload = "k/will", 2, []byte("will of "+c.ClientID)
		nc, _, err := connect(ctx, w.node.MQTT, c)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.nc.Close()
		want = append(want, string(c.Will.Payload))
	}
	w.node.Kill()
	w.start(ctx)
	if err := watch.run(ctx, len(want)); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, m := range watch.got["k/will"] {
		got[m]++
	}
	for _, m := range want {
		if got[m] != 1 {
			t.Errorf("%q came %d times: %v", m, got[m], watch.got)
		}
	}
}
