// Package message holds the words that every other package speaks: the
// message itself, who published it, and the names of nodes, sessions,
// subscriptions and epochs. Its binary formats go to disk, into the Raft log
// and onto the wire between nodes of different versions, so each starts with a
// format byte and golden files keep every format that was ever written.
package message

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// NodeID identifies one data directory: it is drawn at random when the
// directory is made, so a wiped disk is a new member and never the old one
// with amnesia. Zero means unknown.
type NodeID uint64

// String returns the id as 16 hexadecimal digits, the form used as Raft
// server id and in logs.
func (n NodeID) String() string { return fmt.Sprintf("%016x", uint64(n)) }

// ParseNodeID reads what NodeID.String printed.
func ParseNodeID(s string) (NodeID, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 {
		return 0, fmt.Errorf("node id %q: want 16 hexadecimal digits", s)
	}
	return NodeID(v), nil
}

// ClusterID identifies a cluster: drawn at random when its first node
// bootstraps and checked in every handshake. Zero means unknown.
type ClusterID uint64

// String returns the id as 16 hexadecimal digits.
func (c ClusterID) String() string { return fmt.Sprintf("%016x", uint64(c)) }

// Generation counts the forced recoveries of a cluster. Two recoveries that
// happened apart have equal numbers and different ids: they have diverged.
type Generation struct {
	Number uint32
	Random uint64
}

// Epoch orders the registrations of one session id. Index is the Raft index
// of the register command. An epoch of another cluster is older than any of
// ours.
type Epoch struct {
	Cluster    ClusterID
	Generation uint32
	Index      uint64
}

// IsZero reports whether e was never assigned.
func (e Epoch) IsZero() bool { return e == Epoch{} }

// Compare orders e and o as seen from cluster own: −1 when e is older.
func (e Epoch) Compare(o Epoch, own ClusterID) int {
	if e.Cluster != o.Cluster {
		switch own {
		case e.Cluster:
			return 1
		case o.Cluster:
			return -1
		}
		return cmp.Compare(e.Cluster, o.Cluster)
	}
	if c := cmp.Compare(e.Generation, o.Generation); c != 0 {
		return c
	}
	return cmp.Compare(e.Index, o.Index)
}

// ID names one accepted PUBLISH for ever: the node that accepted it, that
// node's incarnation (one per process start) and a sequence within it.
// Destinations drop ids that they know, so a resend is never a duplicate.
type ID struct {
	Origin      NodeID
	Incarnation uint32
	Sequence    uint64
}

// IDSize is the length in bytes of an encoded ID.
const IDSize = 20

// IsZero reports whether the id was never assigned.
func (id ID) IsZero() bool { return id == ID{} }

// String returns origin.incarnation.sequence.
func (id ID) String() string {
	return fmt.Sprintf("%s.%d.%d", id.Origin, id.Incarnation, id.Sequence)
}

// AppendBinary appends the 20 bytes of id, big endian, so that byte order is
// the order of acceptance within one incarnation.
func (id ID) AppendBinary(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(id.Origin))
	b = binary.BigEndian.AppendUint32(b, id.Incarnation)
	return binary.BigEndian.AppendUint64(b, id.Sequence)
}

// DecodeID reads an ID from the front of b and returns the rest.
func DecodeID(b []byte) (ID, []byte, error) {
	if len(b) < IDSize {
		return ID{}, b, ErrTruncated
	}
	return ID{
		Origin:      NodeID(binary.BigEndian.Uint64(b)),
		Incarnation: binary.BigEndian.Uint32(b[8:]),
		Sequence:    binary.BigEndian.Uint64(b[12:]),
	}, b[IDSize:], nil
}

// SessionID names a session: the same client id on two mountpoints is two
// unrelated clients.
type SessionID struct {
	Mountpoint string
	ClientID   string
}

// String returns the id for people: the client id, with its mountpoint in
// front when that is not the default one.
func (s SessionID) String() string {
	if s.Mountpoint == "" {
		return s.ClientID
	}
	return s.Mountpoint + "/" + s.ClientID
}

// Key returns the id as one ordered string. Neither part can contain U+0000
// [MQTT-1.5.4-2], which therefore separates them.
func (s SessionID) Key() string { return s.Mountpoint + "\x00" + s.ClientID }

// ParseKey reads what Key returned.
func ParseKey(key string) (SessionID, error) {
	mp, client, ok := strings.Cut(key, "\x00")
	if !ok {
		return SessionID{}, fmt.Errorf("session key %q: no separator", key)
	}
	return SessionID{Mountpoint: mp, ClientID: client}, nil
}

// Errors of the decoders in this package.
var (
	// ErrTruncated: the record ends before its last field.
	ErrTruncated = errors.New("record is truncated")
	// ErrFormat: the record's format byte is of a newer version.
	ErrFormat = errors.New("record has an unknown format")
)
