package meta

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
	"github.com/mqadmin/mqadmin/internal/topic"
)

// A snapshot is the magic and a format byte, then, compressed with s2: a
// SnapshotHeader, the records that it counts, each length-prefixed, and a
// CRC-32C of everything since the compressed part began.
const (
	snapshotMagic  = "MQMETA"
	snapshotFormat = 1
	// maxRecord bounds one record of a snapshot: a retained message may have
	// 256 MiB, the limit of MQTT, and its topic.
	maxRecord     = 257 << 20
	snapshotBlock = 256 << 10
)

var errSnapshot = errors.New("snapshot is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeSnapshot writes the state. sent is called after each record with the
// bytes written before compression; it may delay to throttle.
func (s *state) writeSnapshot(w io.Writer, sent func(n int) error) error {
	if _, err := w.Write(append([]byte(snapshotMagic), snapshotFormat)); err != nil {
		return fmt.Errorf("writing snapshot: %w", err)
	}
	zw := s2.NewWriter(w, s2.WriterConcurrency(1), s2.WriterBlockSize(snapshotBlock))
	sum := crc32.New(castagnoli)
	out := io.MultiWriter(zw, sum)
	put := func(m proto.Message) error {
		n, err := protodelim.MarshalTo(out, m)
		if err != nil {
			return err
		}
		return sent(n)
	}
	err := put(s.snapshotHeader())
	if err == nil {
		err = s.eachRecord(func(r *metapb.SnapshotRecord) error { return put(r) })
	}
	if err == nil {
		_, err = zw.Write(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
	}
	if cerr := zw.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("writing snapshot: %w", err)
	}
	return nil
}

func (s *state) snapshotHeader() *metapb.SnapshotHeader {
	return &metapb.SnapshotHeader{
		Index: s.index, Cluster: uint64(s.cluster), Generation: s.generation.Number, GenerationId: s.generation.Random,
		Stamp: s.stamp, Members: uint64(s.members.Len()), Sessions: uint64(s.sessions.Len()),
		Subscriptions: uint64(s.subs.Len()), Routes: uint64(s.cleanRoutes()), Shared: uint64(s.cleanShared()),
		Retained: uint64(s.retained.Len()), Tombstones: uint64(s.tombs.Len()), Origins: uint64(s.origins.Len()),
		Keys: uint64(s.keys.Len()),
	}
}

// recordCount is the number of records that must follow the header.
func recordCount(h *metapb.SnapshotHeader) uint64 {
	return h.GetMembers() + h.GetSessions() + h.GetSubscriptions() + h.GetRoutes() + h.GetShared() + h.GetRetained() +
		h.GetTombstones() + h.GetOrigins() + h.GetKeys()
}

// cleanNodes returns the nodes that have the clean part of a route set.
func cleanNodes(list []Route) []uint64 {
	var out []uint64
	for _, r := range list {
		if r.Clean {
			out = append(out, uint64(r.Node))
		}
	}
	return out
}

func (s *state) cleanRoutes() int {
	n := 0
	s.routes.Scan(func(_ string, list []Route) bool {
		if len(cleanNodes(list)) > 0 {
			n++
		}
		return true
	})
	return n
}

func (s *state) cleanShared() int {
	n := 0
	s.shared.Scan(func(_ string, m *SharedMember) bool {
		if !m.Durable {
			n++
		}
		return true
	})
	return n
}

// eachRecord makes the records of a snapshot: sessions before what hangs on
// them.
func (s *state) eachRecord(put func(*metapb.SnapshotRecord) error) error {
	var err error
	emit := func(r *metapb.SnapshotRecord) bool {
		err = put(r)
		return err == nil
	}
	s.members.Scan(func(_ message.NodeID, m *Member) bool {
		return emit(&metapb.SnapshotRecord{Value: &metapb.SnapshotRecord_Member{Member: memberToPB(m)}})
	})
	if err == nil {
		s.sessions.Scan(func(_ string, e *Session) bool {
			return emit(&metapb.SnapshotRecord{Value: &metapb.SnapshotRecord_Session{Session: sessionToPB(e)}})
		})
	}
	if err == nil {
		s.subs.Scan(func(k string, e *subEntry) bool { return emit(subRecord(k, e)) })
	}
	if err == nil {
		s.routes.Scan(func(_ string, list []Route) bool {
			nodes := cleanNodes(list)
			return len(nodes) == 0 || emit(&metapb.SnapshotRecord{Value: &metapb.SnapshotRecord_Route{Route: &metapb.RouteRecord{
				Mountpoint: list[0].Mountpoint, Filter: list[0].Filter, Clean: nodes,
			}}})
		})
	}
	if err == nil {
		s.shared.Scan(func(_ string, m *SharedMember) bool {
			return m.Durable || emit(&metapb.SnapshotRecord{Value: &metapb.SnapshotRecord_Shared{Shared: &metapb.SharedRecord{
				Mountpoint: m.Session.Mountpoint, Client: m.Session.ClientID, Node: uint64(m.Node), Subscription: subToPB(m.Subscription),
			}}})
		})
	}
	if err == nil {
		err = s.eachPlainRecord(put)
	}
	return err
}

// eachPlainRecord makes the records that hang on nothing.
func (s *state) eachPlainRecord(put func(*metapb.SnapshotRecord) error) error {
	var err error
	emit := func(r *metapb.SnapshotRecord) bool {
		err = put(r)
		return err == nil
	}
	s.retained.Scan(func(_ string, e *Retained) bool {
		return emit(&metapb.SnapshotRecord{Value: &metapb.SnapshotRecord_Retained{Retained: &metapb.RetainedRecord{
			Message: e.Message.AppendBinary(nil), Stamp: e.Stamp.Time, StampNode: uint64(e.Stamp.Node),
		}}})
	})
	if err == nil {
		s.tombs.Scan(func(k string, t tombstone) bool {
			return emit(&metapb.SnapshotRecord{Value: &metapb.SnapshotRecord_Tombstone{Tombstone: &metapb.Tombstone{
				Key: []byte(k), Stamp: t.stamp.Time, StampNode: uint64(t.stamp.Node), Index: t.index,
			}}})
		})
	}
	if err == nil {
		s.origins.Scan(func(n message.NodeID, o origin) bool {
			return emit(&metapb.SnapshotRecord{Value: &metapb.SnapshotRecord_Origin{Origin: &metapb.Origin{
				Node: uint64(n), Incarnation: o.incarnation, Sequence: o.sequence, Fenced: o.fenced,
			}}})
		})
	}
	if err == nil {
		s.keys.Scan(func(_ string, k *Key) bool {
			return emit(&metapb.SnapshotRecord{Value: &metapb.SnapshotRecord_Key{Key: keyToPB(k)}})
		})
	}
	return err
}

func subRecord(key string, e *subEntry) *metapb.SnapshotRecord {
	id, _ := message.ParseKey(key[:len(key)-len(e.sub.Filter)-1])
	return &metapb.SnapshotRecord{Value: &metapb.SnapshotRecord_Subscription{Subscription: &metapb.SubscriptionRecord{
		Mountpoint: id.Mountpoint, Client: id.ClientID, Subscription: subToPB(e.sub), Stamp: e.stamp.Time,
		StampNode: uint64(e.stamp.Node),
	}}}
}

// readSnapshot reads what writeSnapshot wrote into a new state.
func readSnapshot(r io.Reader) (*state, error) {
	s, err := decodeSnapshot(r)
	if err != nil {
		return nil, fmt.Errorf("reading snapshot: %w", err)
	}
	return s, nil
}

func decodeSnapshot(r io.Reader) (*state, error) {
	head := make([]byte, len(snapshotMagic)+1)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, errSnapshot
	}
	if head[len(snapshotMagic)] != snapshotFormat {
		return nil, fmt.Errorf("format %d: %w", head[len(snapshotMagic)], ErrUnknownCommand)
	}
	in := &summedReader{r: bufio.NewReaderSize(s2.NewReader(r, s2.ReaderMaxBlockSize(4*snapshotBlock)), 64<<10), sum: crc32.New(castagnoli)}
	var h metapb.SnapshotHeader
	if err := in.next(&h); err != nil {
		return nil, err
	}
	s := newState()
	s.index, s.cluster, s.stamp = h.GetIndex(), message.ClusterID(h.GetCluster()), h.GetStamp()
	s.generation = message.Generation{Number: h.GetGeneration(), Random: h.GetGenerationId()}
	for range recordCount(&h) {
		var rec metapb.SnapshotRecord
		if err := in.next(&rec); err != nil {
			return nil, err
		}
		if err := s.load(&rec); err != nil {
			return nil, err
		}
	}
	want := in.sum.Sum32()
	var tail [4]byte
	if _, err := io.ReadFull(in.r, tail[:]); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint32(tail[:]) != want {
		return nil, fmt.Errorf("checksum: %w", errSnapshot)
	}
	s.events = nil
	return s, nil
}

// load enters one record; what is derived from subscriptions is derived again.
func (s *state) load(rec *metapb.SnapshotRecord) error {
	switch v := rec.GetValue().(type) {
	case *metapb.SnapshotRecord_Member:
		m := memberFromPB(v.Member)
		s.members.Set(m.ID, m)
	case *metapb.SnapshotRecord_Session:
		e := sessionFromPB(v.Session)
		s.sessions.Set(e.ID.Key(), e)
	case *metapb.SnapshotRecord_Subscription:
		p := v.Subscription
		owner, ok := s.sessions.Get(message.SessionID{Mountpoint: p.GetMountpoint(), ClientID: p.GetClient()}.Key())
		if !ok {
			return fmt.Errorf("subscription without session: %w", errSnapshot)
		}
		s.setSub(owner, subFromPB(p.GetSubscription()), Stamp{Time: p.GetStamp(), Node: message.NodeID(p.GetStampNode())})
	case *metapb.SnapshotRecord_Route:
		for _, n := range v.Route.GetClean() {
			s.editRoute(v.Route.GetMountpoint(), v.Route.GetFilter(), message.NodeID(n), func(r *Route) { r.Clean = true })
		}
	case *metapb.SnapshotRecord_Shared:
		p := v.Shared
		sub := subFromPB(p.GetSubscription())
		group, inner, _ := topic.SplitShare(sub.Filter)
		s.setShared(&SharedMember{
			Session: message.SessionID{Mountpoint: p.GetMountpoint(), ClientID: p.GetClient()},
			Node:    message.NodeID(p.GetNode()), Group: group, Subscription: sub, Inner: inner,
		})
	case *metapb.SnapshotRecord_Retained:
		m, err := message.Decode(v.Retained.GetMessage())
		if err != nil {
			return err
		}
		st := Stamp{Time: v.Retained.GetStamp(), Node: message.NodeID(v.Retained.GetStampNode())}
		s.retained.Set(routeKey(m.Mountpoint, m.Topic), &Retained{Message: m, Stamp: st})
	case *metapb.SnapshotRecord_Tombstone:
		p := v.Tombstone
		st := Stamp{Time: p.GetStamp(), Node: message.NodeID(p.GetStampNode())}
		s.tombs.Set(string(p.GetKey()), tombstone{stamp: st, index: p.GetIndex()})
	case *metapb.SnapshotRecord_Origin:
		p := v.Origin
		s.origins.Set(message.NodeID(p.GetNode()), origin{incarnation: p.GetIncarnation(), sequence: p.GetSequence(), fenced: p.GetFenced()})
	case *metapb.SnapshotRecord_Key:
		k := keyFromPB(v.Key)
		s.keys.Set(keyOf(k.Hash, k.Scope), k)
	default:
		return fmt.Errorf("record: %w", ErrUnknownCommand)
	}
	s.events = s.events[:0]
	return nil
}

// summedReader sums what is read through it.
type summedReader struct {
	r   *bufio.Reader
	sum hash.Hash32
	buf bytes.Buffer
}

// next reads one record. Memory grows with what is there, not with the length
// that the record claims.
func (s *summedReader) next(m proto.Message) error {
	n, err := binary.ReadUvarint(s)
	if err != nil {
		return err
	}
	if n > maxRecord {
		return fmt.Errorf("record of %d bytes: %w", n, errSnapshot)
	}
	s.buf.Reset()
	if _, err := io.CopyN(&s.buf, s, int64(n)); err != nil {
		return err
	}
	return proto.Unmarshal(s.buf.Bytes(), m)
}

// Read implements io.Reader.
func (s *summedReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.sum.Write(p[:n])
	return n, err
}

// ReadByte implements io.ByteReader.
func (s *summedReader) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.sum.Write([]byte{b})
	}
	return b, err
}
