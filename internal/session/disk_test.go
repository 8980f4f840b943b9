package session

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// badDisk is a disk that can be made to fail, or to be nearly full.
type badDisk struct {
	vfs.FS
	writes atomic.Int64
	broken atomic.Pointer[error]
	full   atomic.Bool
	events chan error // of the store: why it is unavailable, nil when it is back
	log    lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newBadDisk() *badDisk {
	d := &badDisk{events: make(chan error, 1000)}
	d.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		d.writes.Add(1)
		if err := d.broken.Load(); err != nil {
			return fmt.Errorf("%s: %w", op.Path, *err)
		}
		return nil
	}))
	return d
}

func (d *badDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if d.full.Load() {
		return vfs.DiskUsage{AvailBytes: 1 << 10}, nil
	}
	return vfs.DiskUsage{AvailBytes: 1 << 40}, nil
}

func (d *badDisk) node(t *testing.T) *node {
	return newNode(t, func(n *node) {
		n.openStoreWith(msgstore.Config{
			FS: d, MinFreeBytes: 1 << 20, RetryInterval: 5 * time.Millisecond, Metrics: n.registry,
			OnFailure: func(err error) { d.events <- err },
			Logger:    slog.New(slog.NewTextHandler(&d.log, nil)),
		})
	})
}

// offer publishes to a durable session and, behind it, to a clean one. It
// returns the answer to the first; the second is always acknowledged, and its
// acknowledgement keeps its place, so a first one that has not come by then
// never will.
func (c *client) offer(payload string, qos byte, pid uint16) (r packet.Reason, acked bool) {
	c.t.Helper()
	c.send(&packet.Publish{Topic: "durable", Payload: []byte(payload), QoS: qos, PacketID: pid},
		&packet.Publish{Topic: "clean", Payload: []byte(payload), QoS: 1, PacketID: pid + 1})
	for end := packet.TypePuback; ; {
		a := expect[*packet.Ack](c)
		if a.PacketID == pid {
			r, acked = a.Reason, true
		}
		if a.Kind == packet.TypePubrec && !a.Reason.Failed() {
			c.send(ackOf(packet.TypePubrel, pid))
			end = packet.TypePubcomp
		}
		switch {
		case end == packet.TypePubcomp && a.Kind == end:
			return r, true
		case end == packet.TypePuback && a.PacketID == pid+1 && !a.Reason.Failed():
			return r, acked
		case a.PacketID == pid+1 && a.Reason.Failed():
			c.t.Fatalf("the clean session's message was refused: %v", a.Reason)
		}
	}
}

// diskWay is one way in which a disk refuses.
type diskWay struct {
	name      string
	fail, end func(*badDisk)
	// deletes: what deletes still goes through.
	deletes bool
}

func diskWays() []diskWay {
	broken := func(cause error) func(*badDisk) {
		return func(d *badDisk) { d.broken.Store(&cause) }
	}
	repaired := func(d *badDisk) { d.broken.Store(nil) }
	return []diskWay{
		{name: "disk full", fail: broken(syscall.ENOSPC), end: repaired},
		{name: "I/O error", fail: broken(syscall.EIO), end: repaired},
		{
			name: "nearly full", deletes: true,
			fail: func(d *badDisk) { d.full.Store(true) }, end: func(d *badDisk) { d.full.Store(false) },
		},
	}
}

// While the disk refuses, publishes that need it are refused (MQTT 5: 0x97,
// before: no acknowledgement), everything else goes on, a gauge and the log say
// so, and all is well again without a restart once the disk is.
func TestDiskRefuses(t *testing.T) {
	for _, way := range diskWays() {
		t.Run(way.name, func(t *testing.T) { diskRefuses(t, way) })
	}
}

func diskRefuses(t *testing.T, way diskWay) {
	d := newBadDisk()
	n := d.node(t)
	durable := func(version byte, id string) *client {
		return n.join(version, &packet.Connect{ClientID: id, SessionExpiry: message.NeverExpires, HasSessionExpiry: version == packet.V5})
	}
	sub := durable(5, "sub")
	sub.subscribe("durable", 2)
	clean := n.join(4, &packet.Connect{ClientID: "clean", CleanStart: true})
	clean.subscribe("clean", 1)
	pubs := []*client{durable(5, "p5"), durable(4, "p4"), n.join(5, &packet.Connect{ClientID: "c5", CleanStart: true}), n.join(4, &packet.Connect{ClientID: "c4", CleanStart: true})}
	want := map[string]bool{} // acknowledged
	pid := uint16(0)
	var again []func() // 3.x clients repeat what was not acknowledged
	all := func(what string, refused bool) {
		t.Helper()
		for i, p := range pubs {
			for qos := byte(1); qos <= 2; qos++ {
				payload, id := fmt.Sprint(what, " ", i, " ", qos), pid+1
				pid += 2
				reason, acked := p.offer(payload, qos, id)
				switch {
				case !refused && (!acked || reason.Failed()):
					t.Errorf("%s: acknowledged %v, %v", payload, acked, reason)
				case refused && p.version == packet.V5 && reason != packet.QuotaExceeded:
					t.Errorf("%s: reason %v, want 0x97", payload, reason)
				case refused && p.version != packet.V5 && acked:
					t.Errorf("%s was acknowledged", payload)
				case !refused:
					want[payload] = true
				case !acked:
					again = append(again, func() {
						if _, acked := p.offer(payload, qos, id); acked {
							want[payload] = true
						} else {
							t.Errorf("%s is still not acknowledged", payload)
						}
					})
				}
				if got := expect[*packet.Publish](clean); string(got.Payload) != payload {
					t.Errorf("the clean session got %q, want %q", got.Payload, payload)
				} else {
					clean.send(ackOf(packet.TypePuback, got.PacketID))
				}
			}
		}
	}
	all("before", false)
	way.fail(d)
	if way.deletes {
		if err := <-d.events; err == nil {
			t.Fatal("no error was told")
		}
	}
	all("during", true)
	if n.metric("message_store_unavailable") != 1 {
		t.Error("the gauge says nothing")
	}
	if !strings.Contains(d.log.String(), "publishes that need the disk are refused") {
		t.Errorf("the log says nothing:\n%s", d.log.String())
	}
	if way.deletes { // the subscriber's acknowledgements make room
		collect(sub, want)
		clear(want)
	} else if a := n.dial(5).connect(&packet.Connect{ClientID: "new", SessionExpiry: 100, HasSessionExpiry: true}); a.Reason != packet.ServerUnavailable {
		t.Errorf("a new durable session: %v", a.Reason)
	}
	n.join(4, &packet.Connect{ClientID: "another", CleanStart: true})

	way.end(d)
	for err := range d.events { // a try that was under way may fail once more
		if err == nil {
			break
		}
	}
	all("after", false)
	for _, fn := range again {
		fn()
	}
	if n.metric("message_store_unavailable") != 0 {
		t.Error("the gauge does not go back")
	}
	collect(sub, want)
}

// collect takes messages until all of want are there and complete. Others may
// come too: whether a message that was refused is on disk, nobody knows. None of
// QoS 2 comes twice.
func collect(c *client, want map[string]bool) {
	c.t.Helper()
	got, open := map[string]bool{}, map[uint16]bool{}
	missing := func() (list []string) {
		for m := range want {
			if !got[m] {
				list = append(list, m)
			}
		}
		return list
	}
	for len(missing()) > 0 || len(open) > 0 {
		switch p := c.recv().(type) {
		case *packet.Publish:
			m := string(p.Payload)
			if p.QoS == 2 && got[m] && !open[p.PacketID] {
				c.t.Errorf("%q came twice", m)
			}
			got[m] = true
			kind := packet.TypePuback
			if p.QoS == 2 {
				kind, open[p.PacketID] = packet.TypePubrec, true
			}
			c.send(ackOf(kind, p.PacketID))
		case *packet.Ack:
			delete(open, p.PacketID)
			c.send(ackOf(packet.TypePubcomp, p.PacketID))
		default:
			c.t.Fatalf("got %#v, still missing: %q", p, missing())
		}
	}
}

// Clean sessions touch no disk: neither CONNECT and SUBSCRIBE nor messages of
// any QoS, also beside durable ones.
func TestCleanFlowTouchesNoDisk(t *testing.T) {
	d := newBadDisk()
	n := d.node(t)
	n.join(5, &packet.Connect{ClientID: "durable", SessionExpiry: message.NeverExpires, HasSessionExpiry: true}).subscribe("elsewhere", 2)
	n.flush()
	before := d.writes.Load()
	for _, version := range []byte{4, 5} {
		pub := n.join(version, &packet.Connect{ClientID: "pub", CleanStart: true})
		sub := n.join(version, &packet.Connect{ClientID: "sub", CleanStart: true})
		sub.subscribe("clean", 2)
		for i := range 100 {
			for qos := byte(1); qos <= 2; qos++ {
				m := fmt.Sprint(i, " ", qos)
				pub.send(&packet.Publish{Topic: "clean", Payload: []byte(m), QoS: qos, PacketID: uint16(qos)})
				collect(sub, map[string]bool{m: true})
				expect[*packet.Ack](pub)
				if qos == 2 {
					pub.send(ackOf(packet.TypePubrel, 2))
					expect[*packet.Ack](pub)
				}
			}
		}
		for _, c := range []*client{pub, sub} {
			c.send(&packet.Disconnect{})
			c.closed()
		}
	}
	if wrote := d.writes.Load() - before; wrote > 0 {
		t.Errorf("%d writes to the disk", wrote)
	}
	pub := n.join(5, &packet.Connect{ClientID: "pub", CleanStart: true})
	pub.send(&packet.Publish{Topic: "elsewhere", QoS: 1, PacketID: 1})
	expect[*packet.Ack](pub)
	if d.writes.Load() == before {
		t.Error("writes are not counted: a durable session's message was none")
	}
}
