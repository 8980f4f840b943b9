package hostile

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// randomness returns a source for each worker, and prints the seed.
func randomness(t *testing.T) func(worker int) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d; repeat with -seed %[1]d", s)
	return func(worker int) *rand.Rand { return rand.New(rand.NewPCG(s, uint64(worker))) }
}

// templates are the packets of one version that are mutated.
func templates(version byte) [][]byte {
	props := &message.Properties{ContentType: "t", ResponseTopic: "r", User: []message.UserProperty{{Name: "n", Value: "v"}}}
	if version != packet.V5 {
		props = nil
	}
	subs := []message.Subscription{{Filter: "a/+/c", QoS: 2}, {Filter: "#", QoS: 1}, {Filter: "$share/g/x/#", QoS: 1}}
	ps := []packet.Packet{
		&packet.Connect{Version: version, ClientID: "again", CleanStart: true, ReceiveMaximum: 1, RequestProblem: true},
		&packet.Publish{Topic: "a/b/c", Payload: []byte("payload"), Properties: props},
		&packet.Publish{Topic: "a/b/c", QoS: 1, PacketID: 1, Retain: true, Payload: []byte("payload"), Properties: props},
		&packet.Publish{Topic: "a/b/c", QoS: 2, PacketID: 2, Dup: true, Payload: []byte("payload")},
		&packet.Publish{Topic: "$SYS/x", QoS: 2, PacketID: 3},
		&packet.Subscribe{PacketID: 4, Subscriptions: subs},
		&packet.Unsubscribe{PacketID: 5, Filters: []string{"a/+/c", "#"}},
		&packet.Pingreq{}, &packet.Disconnect{},
	}
	for i, kind := range []packet.Type{packet.TypePuback, packet.TypePubrec, packet.TypePubrel, packet.TypePubcomp} {
		ps = append(ps, &packet.Ack{Kind: kind, PacketID: uint16(i + 1)})
	}
	if version == packet.V5 {
		ps = append(ps, &packet.Auth{Reason: packet.ContinueAuthentication, Method: "m", Data: []byte("d")},
			&packet.Disconnect{Reason: packet.DisconnectWithWill}, &packet.Publish{Topic: "alias", TopicAlias: 1})
	}
	out := make([][]byte, len(ps))
	for i, p := range ps {
		out[i] = packet.Append(nil, version, p)
	}
	return out
}

// mutate changes a packet in one to three ways, or leaves it.
func mutate(r *rand.Rand, all [][]byte) []byte {
	b := append([]byte(nil), all[r.IntN(len(all))]...)
	for range r.IntN(4) {
		at := r.IntN(len(b) + 1)
		switch r.IntN(9) {
		case 0: // one bit
			if at < len(b) {
				b[at] ^= 1 << r.IntN(8)
			}
		case 1: // one byte
			if at < len(b) {
				b[at] = byte(r.Uint32())
			}
		case 2: // cut off
			b = b[:at]
		case 3: // something in between
			b = append(b[:at:at], append([]byte{byte(r.Uint32()), byte(r.Uint32())}, b[at:]...)...)
		case 4: // something missing
			b = append(b[:at:at], b[min(at+1+r.IntN(4), len(b)):]...)
		case 5: // a part of another packet
			o := all[r.IntN(len(all))]
			b = append(b[:at:at], o[r.IntN(len(o)):]...)
		case 6: // a length at its bounds
			if at+1 < len(b) {
				b[at], b[at+1] = 0xFF, byte(0xFF-r.IntN(2)*0x80)
			}
		case 7: // the remaining length made right again
			b = whole(b)
		case 8: // noise
			for range r.IntN(30) {
				b = append(b, byte(r.Uint32()))
			}
		}
	}
	if r.IntN(2) == 0 {
		b = whole(b)
	}
	return b
}

// whole writes the remaining length that a small packet has.
func whole(b []byte) []byte {
	if len(b) < 2 || len(b) > 127 {
		return b
	}
	b[1] = byte(len(b) - 2)
	return b
}

// TestRandomPackets sends packets that are mostly none, before and after
// CONNECT, over connections that share client ids.
func TestRandomPackets(t *testing.T) {
	s := serve(t)
	source := randomness(t)
	p := startProbe(t, s.addr)
	before := measure()
	var sent, conns atomic.Int64
	want := int64(scaled(10_000, 100_000))
	var wg sync.WaitGroup
	for worker := range 32 {
		r := source(worker)
		wg.Go(func() {
			for sent.Load() < want {
				n, err := molest(s.addr, r)
				if err != nil {
					t.Error(err)
					return
				}
				sent.Add(int64(n))
				conns.Add(1)
			}
		})
	}
	wg.Wait()
	p.end(t)
	t.Logf("%d packets over %d connections", sent.Load(), conns.Load())
	s.idle(0)
	s.recovers(before)
}

// incomplete is how long the broker may be silent before it is taken to wait
// for the rest of a packet.
const incomplete = 5 * time.Millisecond

// answers reads what the broker says, if anything, and reports whether it may
// be told more.
func (c *raw) answers(within time.Duration) bool {
	var b [4096]byte
	c.SetReadDeadline(time.Now().Add(within))
	n, _ := c.Read(b[:])
	return n > 0
}

// molest opens one connection and sends packets until the broker has closed
// it, and returns how many. Only not being let in is an error.
func molest(addr string, r *rand.Rand) (sent int, err error) {
	version := []byte{3, 4, 5}[r.IntN(3)]
	all := templates(version)
	c, err := dial(addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.version = version
	if r.IntN(4) > 0 {
		_ = c.send(&packet.Connect{
			Version: version, ClientID: string('a' + rune(r.IntN(20))), CleanStart: r.IntN(4) > 0, KeepAlive: 1,
			ReceiveMaximum: uint16(1 + r.IntN(10)), RequestProblem: true,
		})
		if !c.answers(patience) { // refused
			return 1, nil
		}
	}
	for range 20 {
		c.SetWriteDeadline(time.Now().Add(patience))
		sent++
		if _, err := c.Write(append(mutate(r, all), 0xC0, 0x00)); err != nil || !c.answers(incomplete) {
			break
		}
	}
	if r.IntN(4) == 0 {
		c.reset()
	}
	return sent, nil
}
