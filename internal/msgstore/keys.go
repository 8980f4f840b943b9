package msgstore

import (
	"encoding/binary"
	"fmt"

	"github.com/mqadmin/mqadmin/internal/message"
)

// The first byte of a key names its kind. Integers are big endian, so the
// order of keys is the order of sequences.
//
//	a name                    store-wide: "format", "queue" (last queue number)
//	d message-id destination  the destination has a QoS 2 message that may come again
//	h mountpoint NUL client   queue header, see header
//	i queue packet-id         received QoS 2 PUBLISH, see Inbound
//	k key                     caller's metadata
//	l len(name) name seq      record of a log
//	m message-id              message shared by queues
//	q queue seq               entry of a queue, see record
//	r message-id queue seq    reference to a shared message
//	s mountpoint NUL client   session record
//	w mountpoint NUL client   will
//	x queue                   queue of a deleted session, not yet emptied
//
// Keys that end in a session are never the prefix of a range; ranges are made
// of fixed-width parts or a length-prefixed name, so none runs into another.
const (
	keyStore   = 'a'
	keySettled = 'd'
	keyHeader  = 'h'
	keyInbound = 'i'
	keyMeta    = 'k'
	keyLog     = 'l'
	keyMessage = 'm'
	keyQueue   = 'q'
	keyRef     = 'r'
	keySession = 's'
	keyWill    = 'w'
	keyPurge   = 'x'
)

// Store-wide keys.
const (
	storeFormat = "format"
	storeQueue  = "queue"
)

func appendName(b []byte, kind byte, name string) []byte {
	return append(append(b, kind), name...)
}

func appendSessionKey(b []byte, kind byte, sid message.SessionID) []byte {
	b = append(append(b, kind), sid.Mountpoint...)
	return append(append(b, 0), sid.ClientID...)
}

// parseSessionKey reads a key of kind h, s or w.
func parseSessionKey(key []byte) (message.SessionID, error) {
	sid, err := message.ParseKey(string(key[1:]))
	if err != nil {
		return sid, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return sid, nil
}

// appendQueueRange returns the common start of a queue's keys of that kind (i
// or q).
func appendQueueRange(b []byte, kind byte, queue uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, kind), queue)
}

func appendQueueKey(b []byte, queue, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendQueueRange(b, keyQueue, queue), seq)
}

func appendInboundKey(b []byte, queue uint64, packetID uint16) []byte {
	return binary.BigEndian.AppendUint16(appendQueueRange(b, keyInbound, queue), packetID)
}

func appendMessageKey(b []byte, id message.ID) []byte {
	return id.AppendBinary(append(b, keyMessage))
}

func appendSettledKey(b []byte, id message.ID, destination string) []byte {
	return append(id.AppendBinary(append(b, keySettled)), destination...)
}

func appendRefKey(b []byte, id message.ID, queue, seq uint64) []byte {
	b = id.AppendBinary(append(b, keyRef))
	b = binary.BigEndian.AppendUint64(b, queue)
	return binary.BigEndian.AppendUint64(b, seq)
}

func appendLogRange(b []byte, name string) []byte {
	b = binary.AppendUvarint(append(b, keyLog), uint64(len(name)))
	return append(b, name...)
}

func appendLogKey(b []byte, name string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendLogRange(b, name), seq)
}

// keySeq returns the last eight bytes of a key as a sequence.
func keySeq(key []byte) uint64 {
	if len(key) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key[len(key)-8:])
}

// after returns the smallest key above all that start with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
