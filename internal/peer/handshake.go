package peer

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/mqadmin/mqadmin/internal/message"
)

// The handshake inside TLS is one record each way: a preamble of fixed size
// that is the same in every version for ever, a proof over everything, and a
// body. Until the proof is checked only the magic and the body's length are
// looked at.
const (
	magic        = "mqadmin\x01"
	preambleSize = 56
	proofSize    = sha256.Size
	// maxBody bounds what a stranger can make us read: three strings of at
	// most 255 bytes and room for what later versions add.
	maxBody = 2048

	labelDialer   = "mqadmin peer dialer"
	labelAcceptor = "mqadmin peer acceptor"
	// labelExporter binds the proofs to one TLS session, so that nobody in
	// between can pass them on (RFC 8446 §7.5).
	labelExporter = "EXPORTER-mqadmin-peer"
)

// Offsets within the preamble, integers big endian. The first byte after the
// magic is the Kind from the dialer and the status from the acceptor.
const (
	offKind        = 8
	offFlags       = 9
	offMin         = 10
	offMax         = 12
	offBody        = 14
	offNode        = 16
	offTarget      = 24
	offCluster     = 32
	offGeneration  = 40
	offIncarnation = 44
	offGenRandom   = 48
)

// flagAnyCluster is set by a dialer that looks for a cluster to join.
const flagAnyCluster = 0x01

// versionRange is what a side speaks, both ends included. Raise the upper end
// when frames change, the lower one when an old form is no longer written.
type versionRange struct{ min, max uint16 }

func supported() versionRange { return versionRange{1, 1} }

// common returns the highest version that both speak.
func (v versionRange) common(o versionRange) (uint16, bool) {
	best := min(v.max, o.max)
	return best, best >= max(v.min, o.min)
}

func (v versionRange) String() string {
	if v.min == v.max {
		return fmt.Sprintf("version %d", v.min)
	}
	return fmt.Sprintf("versions %d to %d", v.min, v.max)
}

// hello is the content of one handshake record.
type hello struct {
	kind       byte // Kind, or status
	anyCluster bool
	versions   versionRange
	target     message.NodeID // expected at the other end, 0 when unknown
	id         Identity
}

// session holds the secrets of one TLS session while it is being proven.
type session struct {
	secret   Secret
	exporter []byte
}

func newSession(s Secret, conn *tls.Conn) (session, error) {
	state := conn.ConnectionState()
	ekm, err := state.ExportKeyingMaterial(labelExporter, nil, 32)
	if err != nil {
		return session{}, fmt.Errorf("deriving keying material: %w", err)
	}
	return session{s, ekm}, nil
}

// proof covers who speaks (label), this TLS session, what was said before, and
// what is said now.
func (s session) proof(label string, former, preamble, body []byte) []byte {
	m := hmac.New(sha256.New, s.secret.key[:])
	for _, part := range [][]byte{[]byte(label), s.exporter, former, preamble, body} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(part)))
		m.Write(n[:])
		m.Write(part)
	}
	return m.Sum(nil)
}

// write sends h in one record and returns its proof.
func (s session) write(w io.Writer, label string, former []byte, h hello) ([]byte, error) {
	var body []byte
	for _, f := range []string{h.id.Name, h.id.Version, h.id.Address} {
		f = f[:min(len(f), 255)]
		body = append(append(body, byte(len(f))), f...)
	}
	p := make([]byte, preambleSize, preambleSize+proofSize+len(body))
	copy(p, magic)
	p[offKind] = h.kind
	if h.anyCluster {
		p[offFlags] |= flagAnyCluster
	}
	binary.BigEndian.PutUint16(p[offMin:], h.versions.min)
	binary.BigEndian.PutUint16(p[offMax:], h.versions.max)
	binary.BigEndian.PutUint16(p[offBody:], uint16(len(body)))
	binary.BigEndian.PutUint64(p[offNode:], uint64(h.id.Node))
	binary.BigEndian.PutUint64(p[offTarget:], uint64(h.target))
	binary.BigEndian.PutUint64(p[offCluster:], uint64(h.id.Cluster))
	binary.BigEndian.PutUint32(p[offGeneration:], h.id.Generation.Number)
	binary.BigEndian.PutUint32(p[offIncarnation:], h.id.Incarnation)
	binary.BigEndian.PutUint64(p[offGenRandom:], h.id.Generation.Random)
	proof := s.proof(label, former, p, body)
	_, err := w.Write(append(append(p, proof...), body...))
	return proof, err
}

// read takes one record, checks its proof and only then decodes it. A wrong
// proof is ErrCookie, a wrong form ErrProtocol.
func (s session) read(r io.Reader, label string, former []byte) (hello, []byte, error) {
	var head [preambleSize + proofSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return hello{}, nil, err
	}
	p, proof := head[:preambleSize], head[preambleSize:]
	if !bytes.Equal(p[:len(magic)], []byte(magic)) {
		return hello{}, nil, fmt.Errorf("handshake does not begin as one: %w", ErrProtocol)
	}
	n := int(binary.BigEndian.Uint16(p[offBody:]))
	if n > maxBody {
		return hello{}, nil, fmt.Errorf("handshake of %d bytes: %w", n, ErrProtocol)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return hello{}, nil, err
	}
	if !hmac.Equal(proof, s.proof(label, former, p, body)) {
		return hello{}, nil, ErrCookie
	}
	h, err := decodeHello(p, body)
	return h, proof, err
}

// decodeHello reads a proven record. A longer body is one of a later version.
func decodeHello(p, body []byte) (hello, error) {
	h := hello{
		kind:       p[offKind],
		anyCluster: p[offFlags]&flagAnyCluster != 0,
		versions:   versionRange{binary.BigEndian.Uint16(p[offMin:]), binary.BigEndian.Uint16(p[offMax:])},
		target:     message.NodeID(binary.BigEndian.Uint64(p[offTarget:])),
		id: Identity{
			Node:    message.NodeID(binary.BigEndian.Uint64(p[offNode:])),
			Cluster: message.ClusterID(binary.BigEndian.Uint64(p[offCluster:])),
			Generation: message.Generation{
				Number: binary.BigEndian.Uint32(p[offGeneration:]),
				Random: binary.BigEndian.Uint64(p[offGenRandom:]),
			},
			Incarnation: binary.BigEndian.Uint32(p[offIncarnation:]),
		},
	}
	for _, f := range []*string{&h.id.Name, &h.id.Version, &h.id.Address} {
		if len(body) == 0 || len(body) < 1+int(body[0]) {
			return hello{}, fmt.Errorf("handshake is truncated: %w", ErrProtocol)
		}
		end := 1 + int(body[0])
		*f, body = string(body[1:end]), body[end:]
	}
	return h, nil
}
