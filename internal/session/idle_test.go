package session

import (
	"net"
	"runtime"
	"testing"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// BenchmarkIdleConnection reports what a connection over TCP with one
// subscription costs in memory while nothing happens, both heap and stacks
// (the client's end is a bare socket of the same process). The promise is 8
// KiB of resident memory.
func BenchmarkIdleConnection(b *testing.B) {
	const count = 1000
	for range b.N {
		n := newNode(b)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		n.wg.Go(func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				n.wg.Go(func() { n.m.Serve(nc, &n.info, nil) })
			}
		})
		hello := packet.Append(nil, 4, &packet.Connect{Version: 4, CleanStart: true, KeepAlive: 300, ReceiveMaximum: 65535})
		hello = packet.Append(hello, 4, &packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "a/b", QoS: 1}}})
		before := memory()
		conns := make([]net.Conn, count)
		for i := range conns {
			if conns[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
				b.Fatal(err)
			}
			if _, err := conns[i].Write(hello); err != nil {
				b.Fatal(err)
			}
			answer := make([]byte, 9) // CONNACK and SUBACK
			if _, err := conns[i].Read(answer[:4]); err != nil {
				b.Fatal(err)
			}
			if _, err := conns[i].Read(answer[4:]); err != nil {
				b.Fatal(err)
			}
		}
		after := memory()
		b.ReportMetric(float64(after.HeapInuse-before.HeapInuse)/count, "heap-B/conn")
		b.ReportMetric(float64(after.StackInuse-before.StackInuse)/count, "stack-B/conn")
		for _, c := range conns {
			c.Close()
		}
		l.Close()
		n.stop()
	}
}

// memory returns heap and stack in use after collection; stacks shrink by half
// in each.
func memory() runtime.MemStats {
	for range 4 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m
}
