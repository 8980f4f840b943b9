package msgstore

import (
	"encoding/binary"
	"fmt"

	"github.com/mqadmin/mqadmin/internal/message"
)

// Format bytes of the records. A reader refuses formats above its own; a
// writer always writes its own.
const (
	formatStore   = 1
	formatRecord  = 2 // 1: without the order of PUBRECs
	formatHeader  = 1
	formatInbound = 2 // 1: the bare message id
)

// Bits of the flags byte of a record.
const (
	recordQoS    = 0x03
	recordRetain = 0x04
	recordShared = 0x08
	recordPacket = 0x10
	recordSubs   = 0x20
	recordGroup  = 0x40
	recordOrder  = 0x80 // since format 2
)

// record is the value under a queue key: the entry, and either the message
// itself or the id and size of a shared one.
type record struct {
	entry  Entry
	shared bool
	id     message.ID // of the shared message
	size   int        // encoded size of the message
	body   []byte     // the encoded message, if not shared
}

// appendBinary appends format, flags, state, then the fields that flags
// announce, then id and size or the message to the end.
func (r *record) appendBinary(b []byte) []byte {
	e := &r.entry
	flags := e.QoS & recordQoS
	set := func(on bool, bit byte) {
		if on {
			flags |= bit
		}
	}
	set(e.Retain, recordRetain)
	set(r.shared, recordShared)
	set(e.PacketID != 0, recordPacket)
	set(len(e.SubscriptionIDs) > 0, recordSubs)
	set(e.Group != "" || e.Filter != "", recordGroup)
	set(e.Order != 0, recordOrder)
	b = append(b, formatRecord, flags, byte(e.State))
	if e.PacketID != 0 {
		b = binary.BigEndian.AppendUint16(b, e.PacketID)
	}
	if len(e.SubscriptionIDs) > 0 {
		b = binary.AppendUvarint(b, uint64(len(e.SubscriptionIDs)))
		for _, id := range e.SubscriptionIDs {
			b = binary.AppendUvarint(b, uint64(id))
		}
	}
	if flags&recordGroup != 0 {
		b = appendString(b, e.Group)
		b = appendString(b, e.Filter)
	}
	if e.Order != 0 {
		b = binary.AppendUvarint(b, e.Order)
	}
	if r.shared {
		b = r.id.AppendBinary(b)
		return binary.AppendUvarint(b, uint64(r.size))
	}
	return append(b, r.body...)
}

// decodeRecord reads a record. Its body aliases b.
func decodeRecord(b []byte) (record, error) {
	var r record
	d := decoder{b: b}
	format := d.format(formatRecord)
	flags := d.byte()
	e := &r.entry
	e.QoS = flags & recordQoS
	e.Retain = flags&recordRetain != 0
	e.State = State(d.byte())
	if format < 2 && flags&recordOrder != 0 || e.QoS > 2 || e.State > Released {
		d.fail()
	}
	if flags&recordPacket != 0 {
		e.PacketID = d.uint16()
	}
	if flags&recordSubs != 0 {
		e.SubscriptionIDs = d.subscriptionIDs()
	}
	if flags&recordGroup != 0 {
		e.Group, e.Filter = d.string(), d.string()
	}
	if flags&recordOrder != 0 {
		e.Order = d.uvarint()
	}
	if r.shared = flags&recordShared != 0; r.shared {
		r.id = d.id()
		r.size = int(d.uvarint() & maxSize)
		d.end()
	} else {
		r.body, r.size = d.b, len(d.b)
	}
	if d.err != nil {
		return record{}, fmt.Errorf("queue record: %w", d.err)
	}
	return r, nil
}

// maxSize masks sizes read from disk, so that none is negative as an int on
// any platform.
const maxSize = 1<<31 - 1

// message decodes the body of a record that is not shared.
func (r *record) message() (*message.Message, error) { return decodeMessage(r.body) }

func decodeMessage(b []byte) (*message.Message, error) {
	m, err := message.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return m, nil
}

// header is the value under a session's header key: where its queue is and how
// much is in it, so that nothing need be counted.
type header struct {
	queue uint64 // number of the queue, part of its keys
	head  uint64 // no entry is below
	next  uint64 // one above the highest sequence ever enqueued
	count uint64
	bytes uint64
}

func (h *header) appendBinary(b []byte) []byte {
	b = append(b, formatHeader)
	for _, v := range [...]uint64{h.queue, h.head, h.next, h.count, h.bytes} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func decodeHeader(b []byte) (header, error) {
	d := decoder{b: b}
	d.format(formatHeader)
	h := header{queue: d.uvarint(), head: d.uvarint(), next: d.uvarint(), count: d.uvarint(), bytes: d.uvarint()}
	d.end()
	if d.err != nil {
		return header{}, fmt.Errorf("queue header: %w", d.err)
	}
	return h, nil
}

// Bits of the flags byte of an inbound record.
const (
	inboundRouted   = 0x01
	inboundSettling = 0x02
)

func (in Inbound) flags() (f byte) {
	if in.Routed {
		f |= inboundRouted
	}
	if in.Settling {
		f |= inboundSettling
	}
	return f
}

func appendInbound(b []byte, flags byte, id message.ID) []byte {
	return id.AppendBinary(append(b, formatInbound, flags))
}

// decodeInbound reads an inbound record. The first format, which had no format
// number, is told by its length.
func decodeInbound(b []byte) (Inbound, error) {
	d := decoder{b: b}
	var in Inbound
	if len(b) != message.IDSize {
		d.format(formatInbound)
		flags := d.byte()
		if flags&^(inboundRouted|inboundSettling) != 0 {
			d.fail()
		}
		in.Routed, in.Settling = flags&inboundRouted != 0, flags&inboundSettling != 0
	}
	in.ID = d.id()
	d.end()
	if d.err != nil {
		return Inbound{}, fmt.Errorf("inbound record: %w", d.err)
	}
	return in, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decoder consumes a record from the front; after the first error every read
// returns zero, so callers look at err once.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err, d.b = ErrCorrupt, nil
	}
}

func (d *decoder) format(newest byte) byte {
	v := d.byte()
	if d.err == nil && v > newest {
		d.err, d.b = ErrFormat, nil
	} else if v == 0 {
		d.fail()
	}
	return v
}

func (d *decoder) end() {
	if len(d.b) != 0 {
		d.fail()
	}
}

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail()
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if v := d.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return ""
	}
	return string(d.take(int(n)))
}

func (d *decoder) id() message.ID {
	id, rest, err := message.DecodeID(d.b)
	if err != nil {
		d.fail()
		return message.ID{}
	}
	d.b = rest
	return id
}

func (d *decoder) subscriptionIDs() []uint32 {
	n := d.uvarint()
	if n > uint64(len(d.b)) { // each takes a byte at least
		d.fail()
		return nil
	}
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(d.uvarint())
	}
	return ids
}
