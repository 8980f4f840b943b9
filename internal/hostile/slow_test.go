package hostile

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mqadmin/mqadmin/internal/clustertest"
	"github.com/mqadmin/mqadmin/internal/packet"
)

// many opens n connections at once and runs fn with each; they are closed when
// all are done. held is called while all are still open.
func many(t *testing.T, addr string, n int, open func(i int) (*raw, error), fn func(i int, c *raw) error, held func()) {
	t.Helper()
	conns := make([]*raw, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c, err := open(i)
			if err == nil {
				conns[i] = c
				err = fn(i, c)
			}
			if err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if held != nil {
		held()
	}
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

// TestSlowSenders: who drips its CONNECT, or stops within it, is closed after
// mqtt_connect_timeout; who drips later, after one and a half keep-alives.
func TestSlowSenders(t *testing.T) {
	s := serve(t, "mqtt_connect_timeout = 1000")
	p := startProbe(t, s.addr)
	before := measure()
	connect := packet.Append(nil, 4, &packet.Connect{Version: 4, ClientID: "slow", CleanStart: true})
	fresh := func(int) (*raw, error) { return dial(s.addr) }
	drip := func(_ int, c *raw) error {
		begin := time.Now()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		go func() { _, _ = io.Copy(io.Discard, c.TCPConn) }() // ends with the connection
		for i := range connect {
			if _, err := c.Write(connect[i : i+1]); err != nil {
				return nil // closed
			}
			<-tick.C
		}
		return fmt.Errorf("a CONNECT of %v was taken", time.Since(begin))
	}
	silent := func(head []byte) func(int, *raw) error {
		return func(_ int, c *raw) error {
			if _, err := c.Write(head); err != nil {
				return err
			}
			return c.closedWithin(patience)
		}
	}
	var all sync.WaitGroup
	for name, fn := range map[string]func(int, *raw) error{
		"dripping": drip, "nothing": silent(nil), "one byte": silent([]byte{0x10}), "half": silent(connect[:len(connect)/2]),
		"promises 256 MiB": silent([]byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4, 'M', 'Q', 'T', 'T', 5, 2}),
	} {
		all.Go(func() {
			t.Run(name, func(t *testing.T) { many(t, s.addr, 50, fresh, fn, nil) })
		})
	}
	all.Go(func() {
		many(t, s.addr, 50, func(i int) (*raw, error) {
			return join(s.addr, packet.Connect{Version: 5, ClientID: fmt.Sprint("drip", i), CleanStart: true, KeepAlive: 1})
		}, func(_ int, c *raw) error {
			b := c.encode(&packet.Publish{Topic: "slow", Payload: make([]byte, 1000)})
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			begin := time.Now()
			go func() { _, _ = io.Copy(io.Discard, c.TCPConn) }() // ends with the connection
			for i := range b {
				if _, err := c.Write(b[i : i+1]); err != nil {
					return nil
				}
				<-tick.C
				if time.Since(begin) > patience {
					return errors.New("still open after many keep-alives")
				}
			}
			return nil
		}, nil)
	})
	all.Wait()
	p.end(t)
	s.idle(0)
	s.recovers(before)
}

// TestPromisedLengths: memory is taken for what has arrived, not for what a
// header promises.
func TestPromisedLengths(t *testing.T) {
	s := serve(t)
	p := startProbe(t, s.addr)
	before := measure()
	const conns = 500
	open := func(i int) (*raw, error) {
		if i%2 == 0 {
			return dial(s.addr)
		}
		return join(s.addr, packet.Connect{Version: 5, ClientID: fmt.Sprint("big", i), CleanStart: true})
	}
	many(t, s.addr, conns, open, func(i int, c *raw) error {
		head := []byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4, 'M', 'Q', 'T', 'T', 5, 2}
		if i%2 == 1 {
			head = []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 5, 't', 'o', 'p', 'i', 'c'}
		}
		_, err := c.Write(head)
		return err
	}, func() {
		used := measure().heap - before.heap
		t.Logf("%d promises of 256 MiB cost %d KiB", conns, used>>10)
		if used > clustertest.Slowdown*conns*(48<<10) { // its goroutine, its buffer, the client here
			t.Errorf("%d KiB for each", used>>10/conns)
		}
	})
	p.end(t)
	s.idle(0)
	s.recovers(before)
}

// TestHalfOpen: a client that has closed its sending side is gone, one that
// only does not read is not.
func TestHalfOpen(t *testing.T) {
	s := serve(t)
	p := startProbe(t, s.addr)
	before := measure()
	many(t, s.addr, 100, func(i int) (*raw, error) {
		return join(s.addr, packet.Connect{Version: 4, ClientID: fmt.Sprint("half", i), CleanStart: true})
	}, func(_ int, c *raw) error {
		if err := c.CloseWrite(); err != nil {
			return err
		}
		return c.closedWithin(patience)
	}, nil)
	p.end(t)
	s.idle(0)
	s.recovers(before)
}

// TestLargePackets sends packets of 64 MiB: a message that is allowed arrives,
// what exceeds max_message_size is refused by its header, and an
// unauthenticated CONNECT of that size is not even taken in.
func TestLargePackets(t *testing.T) {
	const size = 64 << 20
	s := serve(t)
	p := startProbe(t, s.addr)
	before := measure()
	t.Run("CONNECT", func(t *testing.T) {
		c, err := dial(s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		user := append([]byte{0x26, 0xFF, 0xFF}, make([]byte, 65535)...)
		user = append(append(user, 0xFF, 0xFF), make([]byte, 65535)...)
		head := []byte{0x10, 0xFF, 0xFF, 0xFF, 0x1F, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0xF0, 0xFF, 0xFF, 0x1F}
		if _, err := c.Write(head); err != nil {
			t.Fatal(err)
		}
		if n := c.press(user, size, time.Second); n > 8<<20 {
			t.Errorf("%d bytes of a CONNECT were taken", n)
		}
		if err := c.closedWithin(patience); err != nil {
			t.Error(err)
		}
	})
	t.Run("topic", func(t *testing.T) { // a topic has at most 64 KiB; the rest is its payload
		c := mustJoin(t, s.addr, packet.Connect{Version: 4, ClientID: "large", CleanStart: true})
		_, err := c.Write([]byte{0x30, 0x80, 0x80, 0x80, 0x20, 0xFF, 0xFF})
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 1<<20) // NULs, which no topic has [MQTT-1.5.4-2]
		c.press(part, size-2, patience)
		if err := c.closedWithin(patience); err != nil {
			t.Error(err)
		}
	})
	t.Run("payload", func(t *testing.T) {
		sub := mustJoin(t, s.addr, packet.Connect{Version: 4, ClientID: "large-sub", CleanStart: true})
		subscribed(t, sub, "large", 0)
		c := mustJoin(t, s.addr, packet.Connect{Version: 5, ClientID: "large", CleanStart: true})
		if _, err := c.Write([]byte{0x30, 0x80, 0x80, 0x80, 0x20, 0, 5, 'l', 'a', 'r', 'g', 'e', 0}); err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 1<<20)
		for left := size - 8; left > 0; left -= min(left, len(part)) {
			if _, err := c.Write(part[:min(left, len(part))]); err != nil {
				t.Fatal(err)
			}
		}
		got := 0
		sub.SetReadDeadline(time.Now().Add(patience))
		for got < size {
			n, err := sub.Read(part)
			if err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
			got += n
		}
	})
	p.end(t)
	s.idle(0)
	s.recovers(before)
}

// TestMaxMessageSize: a larger packet ends the connection at its header.
func TestMaxMessageSize(t *testing.T) {
	s := serve(t, "max_message_size = 1MB")
	for _, version := range []byte{4, 5} {
		c := mustJoin(t, s.addr, packet.Connect{Version: version, ClientID: "large", CleanStart: true})
		if _, err := c.Write([]byte{0x30, 0x80, 0x80, 0x80, 0x20}); err != nil {
			t.Fatal(err)
		}
		if version == 5 {
			if d, err := recv[*packet.Disconnect](c); err != nil || d.Reason != packet.PacketTooLarge {
				t.Errorf("DISCONNECT %v, %v", d, err)
			}
		}
		if err := c.closedWithin(patience); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
	}
}
