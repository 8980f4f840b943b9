package bench

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// serve runs a mochi server in this process and returns its address.
func serve(t *testing.T, hooks ...mqtt.Hook) string {
	t.Helper()
	addr, err := clustertest.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx := t.Context()
	go func() { ended <- RunMochi(ctx, addr, hooks...) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := dial(ctx, login{address: addr, version: packet.V311, id: "await"})
		if err == nil {
			c.abort()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// short is a run of a fraction of a second.
func short(t *testing.T, addr string, s Spec) Spec {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("brokers are measured through /proc")
	}
	s.Address, s.PID, s.Warmup, s.Measure, s.Patience = addr, os.Getpid(), 20*time.Millisecond, 150*time.Millisecond, 20*time.Second
	return s
}

func TestFlows(t *testing.T) {
	addr := serve(t)
	for _, shape := range []Shape{Pair, All, Shared} {
		for qos := range byte(3) {
			t.Run(fmt.Sprintf("%s QoS %d", shape, qos), func(t *testing.T) {
				r, err := Run(t.Context(), short(t, addr, Spec{
					Kind: Flow, Shape: shape, Version: packet.V311, QoS: qos, Publishers: 2, Subscribers: 2, Window: 10,
				}))
				if err != nil {
					t.Fatal(err)
				}
				if r.Units == 0 || r.Seconds < 0.15 || r.P50 <= 0 || r.P99 < r.P50 || r.RSS == 0 {
					t.Errorf("result %+v", r)
				}
			})
		}
	}
}

func TestFlowOfVersion5(t *testing.T) {
	addr := serve(t)
	r, err := Run(t.Context(), short(t, addr, Spec{
		Kind: Flow, Shape: Pair, Version: packet.V5, Publishers: 2, Subscribers: 2, Window: 10,
	}))
	if err != nil || r.Units == 0 {
		t.Fatalf("result %+v, error %v", r, err)
	}
}

func TestRateIsKept(t *testing.T) {
	addr := serve(t)
	r, err := Run(t.Context(), short(t, addr, Spec{
		Kind: Rate, Shape: Pair, Version: packet.V311, Publishers: 2, Subscribers: 2, Window: 100, Rate: 400,
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := float64(r.Units) / r.Seconds; got > 500 {
		t.Errorf("%.0f messages a second instead of 400 at most", got)
	}
}

func TestMany(t *testing.T) {
	addr := serve(t)
	r, err := Run(t.Context(), short(t, addr, Spec{Kind: Connects, Version: packet.V5, Connections: 40, Parallel: 4}))
	if err != nil {
		t.Fatal(err)
	}
	if r.Units != 40 || r.RSS == 0 {
		t.Errorf("result %+v", r)
	}
}

// tamper changes what the server routes.
type tamper struct {
	mqtt.HookBase
	count int
	fn    func(n int, pk packets.Packet) (packets.Packet, error)
}

func (h *tamper) ID() string { return "tamper" }

func (h *tamper) Provides(b byte) bool { return b == mqtt.OnPublish }

func (h *tamper) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	h.count++
	return h.fn(h.count, pk)
}

func TestWrongBrokersAreFound(t *testing.T) {
	for name, fn := range map[string]func(n int, pk packets.Packet) (packets.Packet, error){
		"loses a message": func(n int, pk packets.Packet) (packets.Packet, error) {
			if n == 5 {
				return pk, packets.ErrRejectPacket
			}
			return pk, nil
		},
		"changes the order": func(n int, pk packets.Packet) (packets.Packet, error) {
			if n == 5 {
				pk.Payload[19] ^= 0x02
			}
			return pk, nil
		},
		"shortens a payload": func(n int, pk packets.Packet) (packets.Packet, error) {
			if n == 5 {
				pk.Payload = pk.Payload[:10]
			}
			return pk, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := short(t, serve(t, &tamper{fn: fn}), Spec{
				Kind: Flow, Shape: Pair, Version: packet.V311, Publishers: 1, Subscribers: 1, Window: 10,
			})
			s.Patience = 300 * time.Millisecond
			if _, err := Run(t.Context(), s); !errors.Is(err, errBehaviour) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestSilentBroker(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if c, err := ln.Accept(); err == nil {
			c.Close()
		}
	}()
	defer ln.Close()
	_, err = Run(t.Context(), short(t, ln.Addr().String(), Spec{Kind: Flow, Shape: Pair, Version: packet.V311, Publishers: 1, Subscribers: 1, Window: 1}))
	if err == nil {
		t.Error("a connection that ends is no error")
	}
}

func TestNextReadsWhatPacketWrites(t *testing.T) {
	for _, v := range []byte{packet.V311, packet.V5} {
		for qos := range byte(3) {
			b := packet.AppendPublish(nil, v, &packet.Publish{
				QoS: qos, PacketID: 513, Topic: strings.Repeat("t", 60), Payload: make([]byte, Payload), SubscriptionIDs: []uint32{7},
			})
			for cut := range b {
				if _, n, err := next(b[:cut], v); n != 0 || err != nil {
					t.Fatalf("v%d QoS %d, %d of %d bytes: %d, %v", v, qos, cut, len(b), n, err)
				}
			}
			f, n, err := next(b, v)
			if err != nil || n != len(b) || f.qos != qos || len(f.body) != Payload || qos > 0 && f.pid != 513 {
				t.Errorf("v%d QoS %d: %+v, %d, %v", v, qos, f, n, err)
			}
		}
	}
	if _, _, err := next([]byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1}, packet.V5); !errors.Is(err, errBehaviour) {
		t.Errorf("a remaining length of five bytes: %v", err)
	}
}
