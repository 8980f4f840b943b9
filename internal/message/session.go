package message

import (
	"encoding/binary"
	"fmt"
)

// Subscription is one topic filter of one session with its options
// (MQTT 5.0 §3.8.3.1).
type Subscription struct {
	// Filter is as the client sent it, "$share/group/" prefix included.
	Filter            string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	// RetainHandling: 0 send retained, 1 only if new, 2 never.
	RetainHandling byte
	// Identifier is the MQTT 5 subscription identifier; 0 means none.
	Identifier uint32
}

// Bits of the options byte of an encoded Subscription: as on the wire.
const (
	optNoLocal = 0x04
	optRAP     = 0x08
)

// AppendBinary appends the subscription's record.
func (s Subscription) AppendBinary(b []byte) []byte {
	opts := s.QoS&0x03 | s.RetainHandling&0x03<<4
	if s.NoLocal {
		opts |= optNoLocal
	}
	if s.RetainAsPublished {
		opts |= optRAP
	}
	b = append(b, opts)
	b = binary.AppendUvarint(b, uint64(s.Identifier))
	return appendString(b, s.Filter)
}

func (r *reader) subscription() Subscription {
	opts := r.byte()
	id := r.uvarint()
	return Subscription{
		QoS:               opts & 0x03,
		NoLocal:           opts&optNoLocal != 0,
		RetainAsPublished: opts&optRAP != 0,
		RetainHandling:    opts >> 4 & 0x03,
		Identifier:        uint32(id),
		Filter:            r.string(),
	}
}

// NeverExpires is the session expiry interval that means "keep for ever"
// (MQTT 5.0 §3.1.2.11.2).
const NeverExpires = 0xFFFFFFFF

// SessionRecord is a node's own copy of a durable session that lives on it,
// kept beside the session's messages. When the metadata directory is wiped
// the session is registered again from it, so no queued message is lost.
type SessionRecord struct {
	ID    SessionID
	Epoch Epoch
	// Expiry is the session expiry interval in seconds, NeverExpires for ever.
	Expiry uint32
	// UpperHalf says that outgoing packet ids are drawn from 32768…65535.
	UpperHalf bool
	// OfflineSince is when the last connection ended, in Unix milliseconds;
	// 0 while connected.
	OfflineSince  int64
	Subscriptions []Subscription
}

const formatSession = 1

// AppendBinary appends the record.
func (s *SessionRecord) AppendBinary(b []byte) []byte {
	var flags byte
	if s.UpperHalf {
		flags |= 0x01
	}
	b = append(b, formatSession, flags)
	b = appendString(b, s.ID.Mountpoint)
	b = appendString(b, s.ID.ClientID)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Epoch.Cluster))
	b = binary.AppendUvarint(b, uint64(s.Epoch.Generation))
	b = binary.AppendUvarint(b, s.Epoch.Index)
	b = binary.AppendUvarint(b, uint64(s.Expiry))
	b = binary.AppendUvarint(b, uint64(s.OfflineSince))
	b = binary.AppendUvarint(b, uint64(len(s.Subscriptions)))
	for _, sub := range s.Subscriptions {
		b = sub.AppendBinary(b)
	}
	return b
}

// DecodeSessionRecord reads a record that fills b.
func DecodeSessionRecord(b []byte) (*SessionRecord, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("decoding session record: %w", ErrTruncated)
	}
	if b[0] != formatSession {
		return nil, fmt.Errorf("decoding session record: %w", ErrFormat)
	}
	s := &SessionRecord{UpperHalf: b[1]&0x01 != 0}
	r := reader{b: b[2:]}
	s.ID = SessionID{Mountpoint: r.string(), ClientID: r.string()}
	s.Epoch.Cluster = ClusterID(r.uint64())
	s.Epoch.Generation = uint32(r.uvarint())
	s.Epoch.Index = r.uvarint()
	s.Expiry = uint32(r.uvarint())
	s.OfflineSince = int64(r.uvarint())
	n := r.uvarint()
	if n > uint64(len(r.b)/3) { // each takes three bytes at least
		r.fail(ErrTruncated)
	}
	if n > 0 && r.err == nil {
		s.Subscriptions = make([]Subscription, n)
	}
	for i := range s.Subscriptions {
		s.Subscriptions[i] = r.subscription()
	}
	if r.err == nil && len(r.b) != 0 {
		r.err = fmt.Errorf("%d bytes left over", len(r.b))
	}
	if r.err != nil {
		return nil, fmt.Errorf("decoding session record: %w", r.err)
	}
	return s, nil
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail(ErrTruncated)
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}
