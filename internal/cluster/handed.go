package cluster

import (
	"fmt"

	"github.com/mqadmin/mqadmin/internal/cluster/clusterpb"
	"github.com/mqadmin/mqadmin/internal/message"
	"github.com/mqadmin/mqadmin/internal/msgstore"
	"github.com/mqadmin/mqadmin/internal/queue"
)

// Limits of one part of a queue on the wire. A message may be as long as MQTT
// allows, so a part of one message can exceed partBytes.
const (
	partBytes = 1 << 20
	maxPart   = 257 << 20
)

// inboundRouted is a bit of the byte that may follow an inbound id: the message
// must not be routed again.
const inboundRouted = 0x01

// cutPart shortens a part to partBytes of payload, one entry at least.
func cutPart(h queue.Handed) queue.Handed {
	size := 0
	for i, e := range h.Entries {
		if size += len(e.Message.Payload) + len(e.Message.Topic); i > 0 && size > partBytes {
			h.Entries, h.Next, h.More = h.Entries[:i], e.Seq, true
			break
		}
	}
	return h
}

// handedTo and handedOf translate a part of a queue to the wire and back.
func handedTo(h queue.Handed, first bool) *clusterpb.PullResponse {
	resp := &clusterpb.PullResponse{Next: h.Next, Last: !h.More}
	for _, e := range h.Entries {
		resp.Entries = append(resp.Entries, &clusterpb.Entry{
			Sequence: e.Seq, Message: e.Message.AppendBinary(nil),
			Qos: uint32(e.Entry.QoS), Retain: e.Entry.Retain, State: uint32(e.Entry.State), PacketId: uint32(e.Entry.PacketID),
			SubscriptionIds: e.Entry.SubscriptionIDs, Group: e.Entry.Group, Filter: e.Entry.Filter,
		})
	}
	if first && len(h.Inbound) > 0 {
		resp.Inbound = make(map[uint32][]byte, len(h.Inbound))
		for pid, in := range h.Inbound {
			raw := in.ID.AppendBinary(nil)
			if in.Routed {
				raw = append(raw, inboundRouted)
			}
			resp.Inbound[uint32(pid)] = raw
		}
	}
	return resp
}

func handedOf(resp *clusterpb.PullResponse) (queue.Handed, error) {
	h := queue.Handed{Next: resp.GetNext(), More: !resp.GetLast()}
	for _, e := range resp.GetEntries() {
		m, err := message.Decode(e.GetMessage())
		if err != nil {
			return h, fmt.Errorf("entry %d: %w", e.GetSequence(), err)
		}
		if e.GetQos() > 2 || e.GetState() > uint32(msgstore.Released) || e.GetPacketId() > 0xFFFF {
			return h, fmt.Errorf("entry %d: malformed", e.GetSequence())
		}
		h.Entries = append(h.Entries, queue.Stored{Seq: e.GetSequence(), Message: m, Entry: msgstore.Entry{
			QoS: byte(e.GetQos()), Retain: e.GetRetain(), State: msgstore.State(e.GetState()), PacketID: uint16(e.GetPacketId()),
			SubscriptionIDs: e.GetSubscriptionIds(), Group: e.GetGroup(), Filter: e.GetFilter(),
		}})
	}
	for pid, raw := range resp.GetInbound() {
		id, rest, err := message.DecodeID(raw)
		if err != nil || pid == 0 || pid > 0xFFFF {
			return h, fmt.Errorf("inbound packet id %d: malformed", pid)
		}
		if h.Inbound == nil {
			h.Inbound = map[uint16]msgstore.Inbound{}
		}
		h.Inbound[uint16(pid)] = msgstore.Inbound{ID: id, Routed: len(rest) > 0 && rest[0]&inboundRouted != 0}
	}
	return h, nil
}
