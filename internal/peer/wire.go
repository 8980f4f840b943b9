package peer

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/metrics"
)

// On a link every frame is a length (four bytes, big endian, of what follows),
// a type and fields; integers are uvarints, strings have their length before
// them.
const headerSize = 4

// Types of frame.
const (
	typePublish byte = 1 // sequence, applied index, message
	typeDirect  byte = 2 // request id, applied index, session, options, message
	typeHello   byte = 3 // start id of the sender, sequence confirmed
	typePing    byte = 4 // sequence confirmed (0 from the receiver)

	typeWelcome byte = 16 // last sequence taken
	typeAck     byte = 17 // every publish up to this sequence is answered
	typeOutcome byte = 18 // sequence, code: a publish that was not accepted
	typeResult  byte = 19 // request id, code: the answer to a direct
)

// Bits of the options byte of a Direct frame.
const (
	directQoS        = 0x03
	directOnlineOnly = 0x04
)

// spoolFormat is the first byte of a spooled frame.
const spoolFormat = 1

// begin leaves room for the length and writes the type.
func begin(b []byte, typ byte) ([]byte, int) {
	at := len(b)
	return append(b, 0, 0, 0, 0, typ), at
}

// finish fills in the length of the frame that begins at.
func finish(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-headerSize))
	return b
}

// appendNumbers appends a frame that holds nothing but integers.
func appendNumbers(b []byte, typ byte, v ...uint64) []byte {
	b, at := begin(b, typ)
	for _, n := range v {
		b = binary.AppendUvarint(b, n)
	}
	return finish(b, at)
}

func appendPublish(b []byte, seq, applied uint64, m *message.Message) []byte {
	b, at := begin(b, typePublish)
	b = binary.AppendUvarint(b, seq)
	b = binary.AppendUvarint(b, applied)
	return finish(m.AppendBinary(b), at)
}

func appendDirect(b []byte, id uint64, f *Frame) []byte {
	b, at := begin(b, typeDirect)
	b = binary.AppendUvarint(b, id)
	b = binary.AppendUvarint(b, f.Applied)
	b = appendString(b, f.Session.Mountpoint)
	b = appendString(b, f.Session.ClientID)
	opts := f.QoS & directQoS
	if f.OnlineOnly {
		opts |= directOnlineOnly
	}
	b = append(b, opts)
	b = appendString(b, f.Group)
	b = appendString(b, f.Filter)
	b = binary.AppendUvarint(b, uint64(len(f.SubscriptionIDs)))
	for _, id := range f.SubscriptionIDs {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return finish(f.Message.AppendBinary(b), at)
}

// spoolRecord is a publish as it stands in a Spool; its sequence is the
// record's key.
func spoolRecord(applied uint64, m *message.Message) []byte {
	b := append(make([]byte, 0, 16+m.Size()), spoolFormat)
	return m.AppendBinary(binary.AppendUvarint(b, applied))
}

// appendSpooled turns a record into the frame that it stands for.
func appendSpooled(b []byte, s Spooled) ([]byte, error) {
	if len(s.Frame) < 2 || s.Frame[0] != spoolFormat {
		return b, fmt.Errorf("spooled frame %d has an unknown format", s.Seq)
	}
	b, at := begin(b, typePublish)
	b = binary.AppendUvarint(b, s.Seq)
	return finish(append(b, s.Frame[1:]...), at), nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// sizeOf returns an upper bound of the frame's bytes on the wire, which is
// also about what it holds in memory.
func sizeOf(f *Frame) int {
	return 64 + f.Message.Size() + len(f.Session.Mountpoint) + len(f.Session.ClientID) +
		len(f.Group) + len(f.Filter) + 5*len(f.SubscriptionIDs)
}

// fields reads a frame's fields in order; the first failure sticks.
type fields struct {
	b   []byte
	bad bool
}

func (r *fields) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *fields) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *fields) string() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *fields) err(what string) error {
	if r.bad {
		return fmt.Errorf("%s frame is truncated: %w", what, ErrProtocol)
	}
	return nil
}

// DecodeSpooled reads a frame back from a Spool, for a node that takes it
// elsewhere than to the peer that it was for.
func DecodeSpooled(s Spooled) (Frame, error) {
	if len(s.Frame) < 2 || s.Frame[0] != spoolFormat {
		return Frame{}, fmt.Errorf("spooled frame %d has an unknown format", s.Seq)
	}
	f, err := decodePublish(s.Frame[1:])
	if err != nil {
		return Frame{}, fmt.Errorf("spooled frame %d: %w", s.Seq, err)
	}
	return f, nil
}

// decodeNumbers reads a frame of nothing but integers. More fields than asked
// for are of a later version.
func decodeNumbers(b []byte, v ...*uint64) error {
	r := fields{b: b}
	for _, n := range v {
		*n = r.uvarint()
	}
	return r.err("link")
}

// decodePublish reads what stands behind the sequence.
func decodePublish(b []byte) (Frame, error) {
	r := fields{b: b}
	f := Frame{Kind: FramePublish, Applied: r.uvarint()}
	if err := r.err("publish"); err != nil {
		return f, err
	}
	var err error
	f.Message, err = message.Decode(r.b)
	return f, err
}

// decodeDirect reads what stands behind the request id.
func decodeDirect(b []byte) (Frame, error) {
	r := fields{b: b}
	f := Frame{Kind: FrameDirect, Applied: r.uvarint()}
	f.Session = message.SessionID{Mountpoint: r.string(), ClientID: r.string()}
	opts := r.byte()
	f.QoS, f.OnlineOnly = opts&directQoS, opts&directOnlineOnly != 0
	f.Group, f.Filter = r.string(), r.string()
	n := r.uvarint()
	if n > uint64(len(r.b)) { // each takes a byte at least
		r.bad = true
	}
	if n > 0 && !r.bad {
		f.SubscriptionIDs = make([]uint32, n)
	}
	for i := range f.SubscriptionIDs {
		f.SubscriptionIDs[i] = uint32(r.uvarint())
	}
	if f.QoS > 2 {
		r.bad = true
	}
	if err := r.err("direct"); err != nil {
		return f, err
	}
	var err error
	f.Message, err = message.Decode(r.b)
	return f, err
}

// frameReader takes frames off a link.
type frameReader struct {
	conn    net.Conn
	r       *bufio.Reader
	limit   int
	silence time.Duration // after which the peer is taken for dead
	count   *metrics.Counter
	peeked  int
	large   []byte
}

const readBuffer = 64 << 10

func newFrameReader(c net.Conn, limit int, silence time.Duration, count *metrics.Counter) *frameReader {
	return &frameReader{conn: c, r: bufio.NewReaderSize(c, readBuffer), limit: limit, silence: silence, count: count}
}

// next returns the type and the fields of the next frame, which are good until
// the call after.
func (f *frameReader) next() (byte, []byte, error) {
	f.r.Discard(f.peeked) //nolint:errcheck // what was peeked is there
	f.peeked, f.large = 0, nil
	head, err := f.peek(headerSize)
	if err != nil {
		return 0, nil, err
	}
	n := int64(binary.BigEndian.Uint32(head))
	if n < 1 || n > int64(f.limit) {
		return 0, nil, fmt.Errorf("frame of %d bytes, limit %d: %w", n, f.limit, ErrProtocol)
	}
	f.count.Add(headerSize + int(n))
	if headerSize+int(n) <= f.r.Size() {
		b, err := f.peek(headerSize + int(n))
		if err != nil {
			return 0, nil, err
		}
		f.peeked = len(b)
		return b[headerSize], b[headerSize+1:], nil
	}
	f.r.Discard(headerSize) //nolint:errcheck // what was peeked is there
	f.large = make([]byte, n)
	for at := 0; at < len(f.large); {
		f.conn.SetReadDeadline(time.Now().Add(f.silence))
		m, err := f.r.Read(f.large[at:])
		if err != nil {
			return 0, nil, err
		}
		at += m
	}
	return f.large[0], f.large[1:], nil
}

// peek waits for n bytes, as long as some arrive within the silence allowed.
func (f *frameReader) peek(n int) ([]byte, error) {
	for f.r.Buffered() < n {
		f.conn.SetReadDeadline(time.Now().Add(f.silence))
		if _, err := f.r.Peek(f.r.Buffered() + 1); err != nil {
			if err == io.EOF && f.r.Buffered() > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return f.r.Peek(n)
}
