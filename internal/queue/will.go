package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mqadmin/mqadmin/internal/message"
)

// Will is what the broker publishes for a client whose connection ended
// without a DISCONNECT. It is on disk from CONNECT on, for clean sessions too.
type Will struct {
	// Message has no ID and no Expires yet: both are given when it is published.
	Message *message.Message
	// Epoch is the registration that it belongs to.
	Epoch message.Epoch
	// Delay between the end of the connection and the publication; it is cut
	// by the end of the session (MQTT 5.0 §3.1.3.2.2).
	Delay time.Duration
	// Expiry is the message expiry interval in seconds, with HasExpiry.
	Expiry    uint32
	HasExpiry bool
	// AllowNetsplit and SharePolicy are the session's at CONNECT.
	AllowNetsplit bool
	SharePolicy   string
	// Due is when it is to be published, in Unix milliseconds; 0 while the
	// connection is up.
	Due int64
}

const formatWill = 1

const (
	willHasExpiry = 0x01
	willNetsplit  = 0x02
)

// AppendBinary appends the will's record.
func (w *Will) AppendBinary(b []byte) []byte {
	var flags byte
	if w.HasExpiry {
		flags |= willHasExpiry
	}
	if w.AllowNetsplit {
		flags |= willNetsplit
	}
	b = append(b, formatWill, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(w.Epoch.Cluster))
	b = binary.AppendUvarint(b, uint64(w.Epoch.Generation))
	b = binary.AppendUvarint(b, w.Epoch.Index)
	b = binary.AppendUvarint(b, uint64(w.Delay/time.Millisecond))
	b = binary.AppendUvarint(b, uint64(w.Due))
	b = binary.AppendUvarint(b, uint64(w.Expiry))
	b = binary.AppendUvarint(b, uint64(len(w.SharePolicy)))
	b = append(b, w.SharePolicy...)
	return w.Message.AppendBinary(b)
}

var errWill = errors.New("record is truncated")

// DecodeWill reads a record that fills b.
func DecodeWill(b []byte) (Will, error) {
	if len(b) < 10 {
		return Will{}, fmt.Errorf("decoding will: %w", errWill)
	}
	if b[0] != formatWill {
		return Will{}, fmt.Errorf("decoding will: %w", message.ErrFormat)
	}
	w := Will{HasExpiry: b[1]&willHasExpiry != 0, AllowNetsplit: b[1]&willNetsplit != 0}
	w.Epoch.Cluster = message.ClusterID(binary.BigEndian.Uint64(b[2:]))
	b = b[10:]
	var v [6]uint64
	for i := range v {
		x, n := binary.Uvarint(b)
		if n <= 0 {
			return Will{}, fmt.Errorf("decoding will: %w", errWill)
		}
		v[i], b = x, b[n:]
	}
	w.Epoch.Generation, w.Epoch.Index = uint32(v[0]), v[1]
	w.Delay, w.Due, w.Expiry = time.Duration(v[2])*time.Millisecond, int64(v[3]), uint32(v[4])
	if v[5] > uint64(len(b)) {
		return Will{}, fmt.Errorf("decoding will: %w", errWill)
	}
	w.SharePolicy = string(b[:v[5]])
	m, err := message.Decode(b[v[5]:])
	if err != nil {
		return Will{}, fmt.Errorf("decoding will: %w", err)
	}
	w.Message = m
	return w, nil
}
