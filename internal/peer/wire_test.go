package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// bytesConn is a connection that has sent some bytes and hung up.
type bytesConn struct {
	net.Conn
	io.Reader
}

func (b bytesConn) Read(p []byte) (int, error)      { return b.Reader.Read(p) }
func (b bytesConn) SetReadDeadline(time.Time) error { return nil }

func reader(b []byte, limit int) *frameReader {
	return newFrameReader(bytesConn{Reader: bytes.NewReader(b)}, limit, time.Second, &metrics.Counter{})
}

func TestFrameRoundTrip(t *testing.T) {
	d := direct("a/b")
	p := publish("a/c", 2)
	p.Message.Payload = make([]byte, 3*readBuffer) // larger than the buffer
	b := appendDirect(nil, 5, &d)
	b = appendPublish(b, 1<<40, p.Applied, p.Message)
	b = appendNumbers(b, typeAck, 9)
	r := reader(b, 1<<20)
	for _, want := range []struct {
		typ byte
		n   uint64
		f   *Frame
	}{{typeDirect, 5, &d}, {typePublish, 1 << 40, &p}, {typeAck, 9, nil}} {
		typ, b, err := r.next()
		if err != nil || typ != want.typ {
			t.Fatalf("type %d, %v", typ, err)
		}
		fs := fields{b: b}
		if n := fs.uvarint(); n != want.n {
			t.Errorf("number %d", n)
		}
		var f Frame
		switch typ {
		case typeDirect:
			f, err = decodeDirect(fs.b)
		case typePublish:
			f, err = decodePublish(fs.b)
		default:
			continue
		}
		if d := cmp.Diff(*want.f, f); d != "" || err != nil {
			t.Errorf("%v %s", err, d)
		}
	}
	if _, _, err := r.next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestFrameLimits(t *testing.T) {
	for _, n := range []uint32{0, 1001, 1<<32 - 1} {
		b := binary.BigEndian.AppendUint32(nil, n)
		if _, _, err := reader(append(b, make([]byte, 2000)...), 1000).next(); !errors.Is(err, ErrProtocol) {
			t.Errorf("frame of %d bytes: %v", n, err)
		}
	}
	for _, b := range [][]byte{{0}, {0, 0, 0, 9, 1, 2}} {
		if _, _, err := reader(b, 1000).next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v: %v", b, err)
		}
	}
}

func TestSizeIsAnUpperBound(t *testing.T) {
	m := &message.Message{
		Topic: "t", Mountpoint: "mp", Publisher: "p", Expires: 1 << 60, Payload: make([]byte, 300),
		Properties: &message.Properties{ContentType: "x", User: []message.UserProperty{{Name: "a", Value: "b"}}, CorrelationData: make([]byte, 200)},
	}
	f := direct("x")
	f.Message = m
	if got, bound := len(appendDirect(nil, 1<<63, &f)), sizeOf(&f); got > bound {
		t.Errorf("direct of %d bytes, bound %d", got, bound)
	}
	if got, bound := len(appendPublish(nil, 1<<63, 1<<63, m)), sizeOf(&Frame{Message: m}); got > bound {
		t.Errorf("publish of %d bytes, bound %d", got, bound)
	}
}

// TestUnreadableFrame: one bad message is refused; the link and the others go on.
func TestUnreadableFrame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFabric()
		spool := &memSpool{t: t}
		bad := []byte{spoolFormat, 7, 99}
		spool.frames = []Spooled{{1, bad}, {2, spoolRecord(7, publish("good", 1).Message)}, {3, []byte{42}}}
		one, in := pair(t, f, func(c *Config) { c.Spool = spool })
		if d := cmp.Diff([]string{"good"}, in.topics()); d != "" {
			t.Error(d)
		}
		if n := counted(one, "cluster_spool_refused"); n != 1 {
			t.Errorf("%d refused", n)
		}
	})
}

func FuzzFrames(f *testing.F) {
	d, p := direct("a/b"), publish("a/c", 2)
	f.Add(appendDirect(nil, 5, &d))
	f.Add(appendPublish(nil, 5, 6, p.Message))
	f.Add(appendNumbers(nil, typeOutcome, 1, 2))
	f.Add(append(appendNumbers(nil, typePing, 1), 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reader(b, 1<<16)
		for {
			typ, body, err := r.next()
			if err != nil {
				return
			}
			var n, v uint64
			decodeNumbers(body, &n, &v) //nolint:errcheck // must not panic
			fs := fields{b: body}
			fs.uvarint()
			switch typ {
			case typePublish:
				if fr, err := decodePublish(fs.b); err == nil {
					sameFrame(t, fr, appendPublish(nil, 1, fr.Applied, fr.Message))
				}
			case typeDirect:
				if fr, err := decodeDirect(fs.b); err == nil {
					sameFrame(t, fr, appendDirect(nil, 1, &fr))
				}
			}
		}
	})
}

// sameFrame decodes what was encoded again and compares.
func sameFrame(t *testing.T, want Frame, b []byte) {
	t.Helper()
	typ, body, err := reader(b, 1<<20).next()
	if err != nil {
		t.Fatal(err)
	}
	decode := decodePublish
	if typ == typeDirect {
		decode = decodeDirect
	}
	got, err := decode(body[1:])
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Fatalf("%v %s", err, d)
	}
}

// BenchmarkLink sends frames of 200 bytes over TLS on loopback, 150 of them
// payload, and waits until all are acknowledged.
func BenchmarkLink(b *testing.B) {
	in := receiverFunc(func(_ Identity, _ Frame, done func(Code)) { done(CodeAccepted) })
	two, addr2 := tcpPort(b, 2, func(c *Config) { c.Receiver = in })
	one, addr1 := tcpPort(b, 1, func(c *Config) { c.Receiver = in })
	members := []Member{{1, "one", addr1}, {2, "two", addr2}}
	two.SetMembers(members)
	one.SetMembers(members)
	f := publish("buildings/17/floors/3/rooms/42/temperature/now", 1)
	f.Message.Payload = make([]byte, 150)
	credit := make(chan struct{}, 32<<10)
	done := func(_ Code, err error) {
		if err != nil {
			b.Error(err)
		}
		<-credit
	}
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
	defer cancel()
	for !one.Up(2) && ctx.Err() == nil {
		wait(ctx, time.Millisecond)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		credit <- struct{}{}
		one.Send(2, f, done)
	}
	for range cap(credit) {
		credit <- struct{}{}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}

type receiverFunc func(Identity, Frame, func(Code))

func (fn receiverFunc) Receive(from Identity, f Frame, done func(Code)) { fn(from, f, done) }
