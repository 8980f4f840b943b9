package hostile

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// drops are the ways in which a connection ends badly. Each returns the open
// connection in the state in which it is to be left.
var drops = []struct {
	name string
	open func(addr string, id string) (*raw, error)
}{
	{"before CONNECT", func(addr, _ string) (*raw, error) { return dial(addr) }},
	{"within the fixed header", func(addr, _ string) (*raw, error) { return sent(addr, []byte{0x10}) }},
	{"within CONNECT", func(addr, id string) (*raw, error) {
		b := packet.Append(nil, 4, &packet.Connect{Version: 4, ClientID: id, CleanStart: true})
		return sent(addr, b[:len(b)/2])
	}},
	{"before CONNACK", func(addr, id string) (*raw, error) {
		return sent(addr, packet.Append(nil, 4, &packet.Connect{Version: 4, ClientID: id, CleanStart: true}))
	}},
	{"after CONNACK", func(addr, id string) (*raw, error) {
		return join(addr, packet.Connect{Version: 5, ClientID: id, CleanStart: true})
	}},
	{"within PUBLISH", func(addr, id string) (*raw, error) {
		c, err := join(addr, packet.Connect{Version: 5, ClientID: id, CleanStart: true})
		if err == nil {
			b := c.encode(&packet.Publish{Topic: "churn", Payload: make([]byte, 1000)})
			_, err = c.Write(b[:500])
		}
		return c, err
	}},
	{"within SUBSCRIBE", func(addr, id string) (*raw, error) {
		c, err := join(addr, packet.Connect{Version: 4, ClientID: id, CleanStart: true})
		if err == nil {
			err = c.send(&packet.Subscribe{PacketID: 1, Subscriptions: []message.Subscription{{Filter: "churn/#", QoS: 2}}})
		}
		return c, err
	}},
	{"between PUBREC and PUBREL", func(addr, id string) (*raw, error) {
		c, err := join(addr, packet.Connect{Version: 4, ClientID: "kept-" + id, CleanStart: false})
		if err == nil {
			err = c.send(&packet.Publish{Topic: "churn", QoS: 2, PacketID: 7, Payload: []byte("half")})
		}
		if err == nil {
			_, err = recv[*packet.Ack](c)
		}
		return c, err
	}},
}

// sent opens a connection and sends bytes.
func sent(addr string, b []byte) (*raw, error) {
	c, err := dial(addr)
	if err == nil {
		_, err = c.Write(b)
	}
	return c, err
}

// TestConnectsAndDrops opens thousands of connections and ends them, with FIN
// and RST, at every bad moment. Nothing may remain of them.
func TestConnectsAndDrops(t *testing.T) {
	s := serve(t)
	churn(t, s.addr, len(drops)*40) // what is made once, is made
	s.idle(0)
	p := startProbe(t, s.addr)
	before := measure()
	churn(t, s.addr, scaled(2_000, 10_000))
	p.end(t)
	s.idle(0)
	s.recovers(before)
}

func churn(t *testing.T, addr string, n int) {
	t.Helper()
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				d := drops[int(i)%len(drops)]
				c, err := d.open(addr, fmt.Sprintf("w%d", worker))
				switch {
				case err != nil:
					t.Errorf("%s: %v", d.name, err)
					failed.Add(1)
				case i%2 == 0:
					c.reset()
				}
				if c != nil {
					c.Close()
				}
				if failed.Load() > 5 {
					return
				}
			}
		})
	}
	wg.Wait()
}
