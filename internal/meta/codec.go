package meta

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/meta/metapb"
)

// formatEntry is the first byte of a Raft log entry: a Batch follows.
const formatEntry = 1

// encodeEntry makes a log entry of encoded commands.
func encodeEntry(commands [][]byte) []byte {
	n := 1
	for _, c := range commands {
		n += 1 + binary.MaxVarintLen32 + len(c)
	}
	b := append(make([]byte, 0, n), formatEntry)
	for _, c := range commands {
		b = append(b, 1<<3|2) // field 1 of Batch, length-delimited
		b = binary.AppendUvarint(b, uint64(len(c)))
		b = append(b, c...)
	}
	return b
}

// decodeEntry reads a log entry. Anything that this version does not know is
// an error: the node must stop.
func decodeEntry(b []byte) ([]*metapb.Command, error) {
	if len(b) == 0 || b[0] != formatEntry {
		return nil, fmt.Errorf("decoding log entry: %w", ErrUnknownCommand)
	}
	var batch metapb.Batch
	if err := proto.Unmarshal(b[1:], &batch); err != nil {
		return nil, fmt.Errorf("decoding log entry: %w", err)
	}
	out := make([]*metapb.Command, len(batch.GetCommands()))
	for i, raw := range batch.GetCommands() {
		c, err := decodeCommand(raw)
		if err != nil {
			return nil, fmt.Errorf("decoding log entry, command %d: %w", i, err)
		}
		out[i] = c
	}
	return out, nil
}

// decodeCommand reads one command.
func decodeCommand(b []byte) (*metapb.Command, error) {
	c := &metapb.Command{}
	if err := proto.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("decoding command: %w", err)
	}
	if c.GetOp() == nil {
		return nil, ErrUnknownCommand
	}
	return c, nil
}

func epochToPB(e message.Epoch) *metapb.Epoch {
	if e.IsZero() {
		return nil
	}
	return &metapb.Epoch{Cluster: uint64(e.Cluster), Generation: e.Generation, Index: e.Index}
}

func epochFromPB(p *metapb.Epoch) message.Epoch {
	return message.Epoch{Cluster: message.ClusterID(p.GetCluster()), Generation: p.GetGeneration(), Index: p.GetIndex()}
}

func sourceToPB(s Source) *metapb.Source {
	return &metapb.Source{Node: uint64(s.Node), Epoch: epochToPB(s.Epoch), Since: s.Since, Until: s.Until}
}

func sourceFromPB(p *metapb.Source) Source {
	return Source{Node: message.NodeID(p.GetNode()), Epoch: epochFromPB(p.GetEpoch()), Since: p.GetSince(), Until: p.GetUntil()}
}

func subToPB(s message.Subscription) *metapb.Subscription {
	return &metapb.Subscription{
		Filter: s.Filter, Qos: uint32(s.QoS), NoLocal: s.NoLocal, RetainAsPublished: s.RetainAsPublished,
		RetainHandling: uint32(s.RetainHandling), Identifier: s.Identifier,
	}
}

func subFromPB(p *metapb.Subscription) message.Subscription {
	return message.Subscription{
		Filter: p.GetFilter(), QoS: byte(p.GetQos()), NoLocal: p.GetNoLocal(), RetainAsPublished: p.GetRetainAsPublished(),
		RetainHandling: byte(p.GetRetainHandling()), Identifier: p.GetIdentifier(),
	}
}

func memberToPB(m *Member) *metapb.Member {
	return &metapb.Member{
		Id: uint64(m.ID), Name: m.Name, Address: m.Address, Version: m.Version, Incarnation: m.Incarnation, Up: m.Up,
		JoinedAt: m.JoinedAt,
	}
}

func memberFromPB(p *metapb.Member) *Member {
	return &Member{
		ID: message.NodeID(p.GetId()), Name: p.GetName(), Address: p.GetAddress(), Version: p.GetVersion(),
		Incarnation: p.GetIncarnation(), Up: p.GetUp(), JoinedAt: p.GetJoinedAt(),
	}
}

func sessionToPB(s *Session) *metapb.Session {
	p := &metapb.Session{
		Mountpoint: s.ID.Mountpoint, Client: s.ID.ClientID, Owner: uint64(s.Owner), Incarnation: s.Incarnation,
		Epoch: epochToPB(s.Epoch), Durable: s.Durable, Expiry: s.Expiry, ConnectedAt: s.ConnectedAt,
		OfflineSince: s.OfflineSince, UpperHalf: s.UpperHalf, Stamp: s.Stamp.Time, StampNode: uint64(s.Stamp.Node),
		Wiped: s.Wiped, OverlayIndex: s.OverlayIndex, Present: s.Present, Previous: uint64(s.Previous), Since: s.Since,
	}
	for _, src := range s.Sources {
		p.Sources = append(p.Sources, sourceToPB(src))
	}
	return p
}

func sessionFromPB(p *metapb.Session) *Session {
	s := &Session{
		ID:    message.SessionID{Mountpoint: p.GetMountpoint(), ClientID: p.GetClient()},
		Owner: message.NodeID(p.GetOwner()), Incarnation: p.GetIncarnation(), Epoch: epochFromPB(p.GetEpoch()),
		Durable: p.GetDurable(), Expiry: p.GetExpiry(), ConnectedAt: p.GetConnectedAt(), OfflineSince: p.GetOfflineSince(),
		UpperHalf: p.GetUpperHalf(), Stamp: Stamp{Time: p.GetStamp(), Node: message.NodeID(p.GetStampNode())},
		Wiped: p.GetWiped(), OverlayIndex: p.GetOverlayIndex(), Present: p.GetPresent(), Previous: message.NodeID(p.GetPrevious()),
		Since: p.GetSince(),
	}
	for _, src := range p.GetSources() {
		s.Sources = append(s.Sources, sourceFromPB(src))
	}
	return s
}
